"""Several feeders, lost and failing chips: the work goes on, each sample is scored once, and the exit code tells."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from engine.pipeline import spread
from tests.backends.conftest import Faulty
from tests.conftest import DataSet, run_engine


@pytest.mark.parametrize(
    ("n_chips", "n_feeders", "expected"),
    [(4, 1, [(0, 1, 2, 3)]), (4, 2, [(0, 1), (2, 3)]), (5, 2, [(0, 1), (2, 3, 4)]), (2, 8, [(0,), (1,)])],
)
def test_neighbours_share_a_feeder(n_chips: int, n_feeders: int, expected: list[tuple[int, ...]]) -> None:
    assert spread(tuple(range(n_chips)), n_feeders) == expected


@pytest.mark.parametrize("feeders", [1, 2, 4])
def test_a_chip_lost_in_the_middle_costs_no_sample(feeders: int, faulty: Faulty, right_sha256: str) -> None:
    """Exit code 14, the same predictions, and a line that says which chip was lost, when and why."""
    run = faulty("--feeders", feeders, "--sim-faults", "acl.mdl.execute_async:10/2=lost507033")
    assert run.code == 14, run.errors
    assert run.is_complete()
    assert run.document["predictions_sha256"] == right_sha256
    assert list(run.lost) == [2]
    assert re.fullmatch(
        r"after \d+\.\d s and \d+ images: acl\.mdl\.execute_async failed on chip 2: RT_DEV_SETUP_ERROR \(507033\).*",
        run.lost[2],
    )
    assert run.errors.splitlines()[-1].startswith("engine: chip 2 was lost after")


def test_more_chips_than_a_card_has_on_several_feeders(faulty: Faulty, right_sha256: str) -> None:
    run = faulty("--devices", "0-7", "--sim-chips", 8, "--feeders", 3)
    assert run.code == 0, run.errors
    assert run.document["predictions_sha256"] == right_sha256
    assert len(run.document["devices"]) == 8


def test_a_chip_that_cannot_be_opened_ends_the_run_before_the_first_image(faulty: Faulty) -> None:
    run = faulty("--sim-faults", "acl.rt.create_context:2=507033")
    assert run.code == 5
    assert "acl.rt.create_context failed on chip 1: RT_DEV_SETUP_ERROR (507033)" in run.errors
    assert "run: started" not in run.errors


def test_the_work_goes_by_speed(faulty: Faulty) -> None:
    """Chip 1 at half speed gets about half as many images as the others."""
    run = faulty("--sim-slow", "1=0.5", "--repeat", 40)
    assert run.code == 0, run.errors
    images = [device["n_images"] for device in run.document["devices"]]
    assert images[1] == pytest.approx(sum(images) / 7, rel=0.15)
    rates = [device["interface_per_s"] for device in run.document["devices"]]
    assert rates[1] == pytest.approx(rates[0] / 2, rel=0.01)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--sim-faults", "malloc:1=5"], "--sim-faults: fault rule 'malloc:1=5' is not CALL:WHICH=WHAT"),
        (["--sim-faults", "absent.toml"], "--sim-faults: fault file absent.toml cannot be read: No such file"),
        (["--sim-slow", "1=fast"], "--sim-slow: speed '1=fast' is not CHIP=FACTOR, e.g. 2=0.5"),
        (["--sim-slow", "1=0"], "--sim-slow: speed '1=0': needed a factor of 0.001 to 1000"),
        (["--backend", "null", "--sim-slow", "1=1"], "--sim-faults and --sim-slow are for simulated chips"),
    ],
)
def test_faults_that_cannot_be_read_are_refused(options: list[str], message: str, faulty: Faulty) -> None:
    run = faulty(*options)
    assert run.code == 2
    assert message in run.errors


@pytest.fixture(scope="module")
def crops(small_data: DataSet, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The images as a packed file: this host is busy with nothing else than the chips."""
    path = tmp_path_factory.mktemp("crops") / "crops"
    done = run_engine("preprocess", small_data.folder, path, "--format", "packed", "--labels", small_data.labels)
    assert done.returncode == 0, done.stderr
    return path


@pytest.mark.heavy
def test_one_of_four_chips_at_half_speed_gives_seven_eighths(crops: Path, tmp_path: Path) -> None:
    """The rate over the steady state is 3.5 / 4 of the same run with four equal chips, within 2 %."""
    profile = tmp_path / "slow.toml"
    profile.write_text('model = "m"\nsoc = "Ascend310"\nsource = "a test"\n[execute]\nms = { "4" = 50.0 }\n')
    rates = []
    for speeds in ("", "1=0.5"):
        flags = ["--data", crops, "--backend", "sim", "--model", "fingerprint", "--batch", 4, "--repeat", 45]
        done = run_engine("run", *flags, "--profile", profile, "--sim-slow", speeds, "--out", tmp_path / "out")
        assert done.returncode == 0, done.stderr
        document = json.loads((tmp_path / "out" / "run.json").read_text())
        rates.append(document["steady"]["images_per_s"])
    assert rates[1] / rates[0] == pytest.approx(3.5 / 4, rel=0.02)
