"""Faults on request: at the call, deferred, slow, wrong, hanging, lost."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from engine import pyacl_stubs
from engine.pyacl_stubs import Settings
from engine.pyacl_stubs.faults import FaultError, parse
from tests.simulator.conftest import Start
from tests.simulator.pipeline import Pipeline
from tests.simulator.test_time import Bench

EXECUTE = "acl.mdl.execute_async"


def bench_with(start: Start, om: str, faults: str) -> Bench:
    """A bench under a fault script."""
    return Bench(start(strictness="documented", faults=faults), om)


def test_the_nth_call_fails(start: Start) -> None:
    """Only that one."""
    acl = start(strictness="documented", faults="acl.rt.malloc:2=207001")
    assert [acl.rt.malloc(64, 0)[1] for _ in range(3)] == [0, 207001, 0]


def test_a_deferred_error_surfaces_at_synchronise(start: Start, tiny_om: Callable[..., str]) -> None:
    """The call itself succeeds; the code is told once."""
    bench = bench_with(start, tiny_om(), f"{EXECUTE}:2=507011@queue")
    stream = bench.stream()
    for _ in range(3):
        bench.execute(stream)
    assert bench.acl.rt.synchronize_stream(stream) == 507011
    assert bench.acl.rt.synchronize_stream(stream) == 0


def test_a_slow_chip_takes_ten_times_as_long(start: Start, tiny_om: Callable[..., str]) -> None:
    """From the call on."""
    bench = bench_with(start, tiny_om(), f"{EXECUTE}:2+=slow10")
    stream = bench.stream()
    marks = [bench.mark(stream)]
    for _ in range(2):
        bench.execute(stream)
        marks.append(bench.mark(stream))
    assert bench.acl.rt.synchronize_stream(stream) == 0
    assert bench.ms(marks[1], marks[2]) == pytest.approx(10 * bench.ms(marks[0], marks[1]))


def test_a_lost_chip_fails_every_call_and_the_others_go_on(start: Start, tiny_om: Callable[..., str]) -> None:
    """507033 on one device only."""
    bench = bench_with(start, tiny_om(), f"{EXECUTE}:1/0=lost507033")
    rt, stream = bench.acl.rt, bench.stream()
    assert bench.acl.mdl.execute_async(bench.models[0], *bench.sets, stream) == 507033
    assert rt.synchronize_stream(stream) == 507033
    assert rt.malloc(64, 0) == (0, 507033)
    assert rt.set_device(0) == 507033
    assert rt.set_device(1) == 0
    assert rt.malloc(64, 0)[1] == 0


def test_a_hang_ends_in_a_timeout(start: Start, tiny_om: Callable[..., str]) -> None:
    """What is behind it never completes."""
    bench = bench_with(start, tiny_om(), f"{EXECUTE}:1=hang")
    stream = bench.stream()
    bench.execute(stream)
    assert bench.acl.rt.synchronize_stream_with_timeout(stream, 30) == 507046
    event = bench.mark(stream)
    assert bench.acl.rt.query_event_status(event) == (0, 0)
    assert bench.acl.rt.synchronize_event_with_timeout(event, 30) == 507047


def test_wrong_outputs_are_wrong(start: Start, tiny_om: Callable[..., str]) -> None:
    """One batch of six differs."""
    good = Pipeline(start(), tiny_om())
    good.run()
    pyacl_stubs.reset()
    bad = Pipeline(start(faults=f"{EXECUTE}:3=wrong"), tiny_om())
    bad.run()
    same = [bool((a == b).all()) for a, b in zip(good.results, bad.results, strict=True)]
    assert same == [True, True, False, True, True, True]


def test_seeded_faults_repeat(start: Start) -> None:
    """The same calls fail for the same seed."""
    seen = []
    for seed in (5, 5, 6):
        pyacl_stubs.reset()
        acl = start(strictness="documented", seed=seed, faults="acl.rt.malloc:p0.3=207001")
        seen.append([acl.rt.malloc(64, 0)[1] for _ in range(40)])
    assert seen[0] == seen[1] != seen[2]
    assert 3 < np.count_nonzero(seen[0]) < 25


@pytest.mark.parametrize("script", ["acl.rt.malloc", "acl.rt.malloc:x=1", "acl.rt.malloc:1=", "malloc:1=5"])
def test_a_script_that_cannot_be_read_is_refused(script: str) -> None:
    """With the rule."""
    with pytest.raises(FaultError, match="fault rule"):
        parse(script)
    with pytest.raises(FaultError, match="fault rule"):
        pyacl_stubs.configure(Settings(faults=script))


def test_settings_refuse_nonsense() -> None:
    """Before anything is simulated."""
    for wrong in ({"strictness": "lax"}, {"n_devices": 0}, {"clock": "wall"}, {"pageable_async": "no"}):
        with pytest.raises(ValueError):
            Settings(**wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[[fault]]\ncall = 'acl.rt.malloc'\nncode = 3\n", "fault 1: unknown key 'ncode'; known: call, nth"),
        ("[[fault]]\ncall = 'malloc'\ncode = 3\n", "fault 1: needed call = .acl..... and an action of fail, queue"),
        ("[[fault]]\ncall = 'acl.rt.malloc'\n", "fault 1: action fail needs a code"),
        ("[[fault]]\ncall = 'acl.rt.malloc'\naction = 'slow'\n", "fault 1: action slow needs a factor"),
        ("[[fault]]\ncall = 'acl.rt.malloc'\ncode = true\n", "fault 1: code = True is no int"),
        ("faults = 3\n", "holds a seed and .*fault.* tables, not faults"),
        ("[[fault]\n", "is not TOML"),
    ],
)
def test_a_fault_file_that_cannot_be_used_is_refused(text: str, message: str, tmp_path: Path) -> None:
    """With the fault's number and what is wrong with it."""
    path = tmp_path / "faults.toml"
    path.write_text(text)
    with pytest.raises(FaultError, match=message):
        parse(str(path))


def test_a_rule_of_the_first_process_does_not_hold_in_its_successor(start: Start) -> None:
    """Unless it says so."""
    codes = []
    for number in (0, 1):
        pyacl_stubs.reset()
        script = "acl.rt.malloc:1=207001; acl.rt.malloc:2=207018*"
        acl = start(strictness="documented", process_number=number, faults=script)
        codes.append([acl.rt.malloc(64, 0)[1] for _ in range(3)])
    assert codes == [[207001, 207018, 0], [0, 207018, 0]]
