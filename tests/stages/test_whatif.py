"""Ceilings of the parts, measured on real processes."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from engine.config import RunConfig
from engine.errors import ConfigError
from engine.standins import StandIns, parse_injection
from engine.whatif import FILE_NAME, Ceiling, Ladder, what_if, with_numerics
from tests.conftest import DataSet
from tests.stages.test_verdict import PROFILE


def config_of(data: DataSet, folder: Path, inject: str) -> RunConfig:
    """Two chips of 40 images/s each."""
    profile = folder / "profile.toml"
    profile.write_text(PROFILE.format(ms=100, gb_per_s=2.75))
    return RunConfig(
        data.folder,
        data.labels,
        "fingerprint",
        devices=(0, 1),
        batch=4,
        workers=1,
        window=4,
        profile=str(profile),
        out=folder / "out",
        inject=inject,
    )


@pytest.mark.parametrize(
    ("inject", "bound", "low", "high"),
    [
        pytest.param("", "chips", 60, 82, marks=pytest.mark.heavy),
        ("read-ms=40", "the disk, and decoders that wait for it", 10, 25),
    ],
)
def test_the_ladder_begins_with_the_part_that_bounds_the_run(
    inject: str, bound: str, low: float, high: float, small_data: DataSet, tmp_path: Path
) -> None:
    ladder = what_if(config_of(small_data, tmp_path, inject), lambda _: None, seconds=0.8)
    first = ladder.parts[0]
    assert first.part == bound, ladder.text
    assert low < first.images_per_s < high, ladder.text
    assert [c.part for c in ladder.parts][-1] == "the hub", ladder.text
    assert f"bound by {bound}" in ladder.text
    assert max(map(len, ladder.text.splitlines())) <= 80
    written = json.loads((tmp_path / "out" / FILE_NAME).read_text())
    assert [c["images_per_s"] for c in written["ceilings"]] == [c.images_per_s for c in ladder.ceilings]


def test_the_numerics_of_simulated_chips_are_a_part_of_their_own() -> None:
    chips = Ceiling("chips", "rows", "chips", 150.0, 664.0)
    others = [Ceiling("decoders", "", "decoders", 900.0), Ceiling("hub", "", "the hub", 9000.0)]
    parts = Ladder(3.0, with_numerics([others[0], chips, others[1]])).parts
    assert [(c.part, c.images_per_s) for c in parts[:2]] == [
        ("the simulator's numerics on this CPU", 150.0),
        ("chips", 664.0),
    ]
    fast = [replace(chips, interface_per_s=160.0)]
    assert with_numerics(fast) == fast


def test_delays_are_read_from_words() -> None:
    assert parse_injection("") == StandIns()
    assert parse_injection("read-ms=20, rank-ms=0.5") == StandIns(read_ms=20, rank_ms=0.5)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("reed-ms=1", "unknown delay in --inject 'reed-ms', did you mean 'read-ms'? known: rank-ms, read-ms"),
        ("read-ms", "--inject 'read-ms': needed milliseconds, such as read-ms=5"),
        ("read-ms=-1", "--inject 'read-ms=-1': needed 0 to 10000 milliseconds"),
    ],
)
def test_delays_that_cannot_be_read_are_refused(text: str, message: str) -> None:
    with pytest.raises(ConfigError) as refused:
        parse_injection(text)
    assert str(refused.value) == message
