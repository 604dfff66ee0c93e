"""Every fault of a simulated chip ends in recovery or in a distinct exit code; what was scored is right, and once."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.backends.conftest import Faulty

EXECUTE = "acl.mdl.execute_async"


@dataclass(frozen=True)
class Expected:
    """Exit code, chips that are lost, and what the user is told."""

    code: int
    lost: tuple[int, ...] = ()
    said: str = ""


SCRIPTS = {
    "an execution fails once": (
        f"{EXECUTE}:9/1=507011@queue",
        Expected(0, said="is restarted because chip 1 failed (acl.rt.synchronize_event failed on chip 1: RT_MODEL_EX"),
    ),
    "an execution fails in every process": (f"{EXECUTE}:9/1=507011@queue*", Expected(14, (1,), "RT_MODEL_EXECUTE")),
    "a copy fails at the call": ("acl.rt.memcpy_async:9/3=507013", Expected(0, said="RT_SYS_DMA (507013)")),
    "a heartbeat is lost": (f"{EXECUTE}:9/0=lost507010", Expected(14, (0,), "RT_LOST_HEARTBEAT (507010)")),
    "a card disconnects while it is waited for": (
        "acl.rt.synchronize_event:9/2=lost507901",
        Expected(14, (2,), "RT_SOCKET_CLOSE (507901)"),
    ),
    "wrong use of one chip": (f"{EXECUTE}:9/2=107003", Expected(14, (2,), "RT_STREAM_CONTEXT (107003)")),
    "two chips are lost": (f"{EXECUTE}:9/0=lost507033; {EXECUTE}:9/3=lost507899", Expected(14, (0, 3))),
    "no memory for the second batch in flight": (
        "acl.rt.malloc:4=207001",
        Expected(0, said="chip 0 has memory for 1 batches in flight, not --window 2"),
    ),
    "no memory at first": ("acl.rt.malloc:1=207001", Expected(0, said="RT_MEMORY_ALLOCATION (207001)")),
    "no memory ever": ("acl.rt.malloc:1=207001*", Expected(5, said="RT_MEMORY_ALLOCATION (207001)")),
    "the driver does not answer": (
        "acl.rt.get_device_count:1=507899",
        Expected(5, said="acl.rt.get_device_count failed: RT_DRV_INTERNAL_ERROR"),
    ),
    "a chip becomes slow": (f"{EXECUTE}:5+/1=slow10", Expected(0)),
}


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_fault_ends_in_recovery_or_in_its_exit_code(name: str, faulty: Faulty, right_sha256: str) -> None:
    script, expected = SCRIPTS[name]
    run = faulty("--sim-faults", script)
    assert run.code == expected.code, run.errors
    assert expected.said in run.errors
    if expected.code in (0, 14):
        assert run.is_complete()
        assert run.document["predictions_sha256"] == right_sha256
        assert tuple(run.lost) == expected.lost


def test_when_all_chips_are_lost_what_was_scored_is_written(faulty: Faulty) -> None:
    """Exit code 5, the chips in the order of their loss, and the rows that were scored."""
    run = faulty("--sim-faults", "; ".join(f"{EXECUTE}:{9 + chip}/{chip}=lost507010" for chip in range(4)))
    assert run.code == 5, run.errors
    assert "no chip is left; the last one: acl.mdl.execute_async failed on chip" in run.errors
    dataset = run.document["dataset"]
    assert 0 < dataset["n_scored"] < dataset["n_samples"]
    assert sorted(run.lost) == [0, 1, 2, 3]


def test_wrong_scores_show_in_a_second_pass(faulty: Faulty) -> None:
    """A chip that computes wrongly once: passes over the same images disagree, exit code 9."""
    run = faulty("--sim-faults", f"{EXECUTE}:15/1=wrong")
    assert run.code == 9, run.errors
    assert "results of later passes differ from the first pass" in run.errors


def test_faults_come_from_a_file_too(faulty: Faulty, right_sha256: str, tmp_path: Path) -> None:
    """The same kinds as TOML, seeded ones among them."""
    path = tmp_path / "faults.toml"
    path.write_text(
        'seed = 3\n[[fault]]\ncall = "acl.mdl.execute_async"\nnth = 9\ndevice = 2\naction = "lost"\ncode = 507010\n'
        "every_process = true\n"
        '[[fault]]\ncall = "acl.mdl.execute_async"\nprobability = 0.3\ndevice = 1\naction = "queue"\ncode = 507015\n'
        '[[fault]]\ncall = "acl.mdl.execute_async"\nfrom = 3\ndevice = 0\naction = "slow"\nfactor = 2.0\n'
    )
    run = faulty("--sim-faults", path)
    assert run.code == 14, run.errors
    assert run.is_complete()
    assert run.document["predictions_sha256"] == right_sha256
    assert "RT_AICORE_EXCEPTION (507015)" in run.errors
    assert list(run.lost) == [2]
