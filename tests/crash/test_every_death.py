"""Every way to die, in every state of every role: seen at once, repaired, same predictions, nothing left."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from engine.limits import Limits
from engine.pipeline import Outcome, Plan, run_pipeline
from engine.results import predictions_sha256
from tests.conftest import DataSet
from tests.crash.dying import HOWS, STATES, ArmedStore, Trip
from tests.crash.inprocess import PASSES, Told, make_plan

#: Of a death, until the user is told; a process that is stopped is given this long to go on.
SEEN_WITHIN_NS = 1_000_000_000
STOPPED_S = 0.2
SAID = {
    "SIGKILL": "was killed by SIGKILL",
    "SIGSEGV": "was killed by SIGSEGV",
    "SIGSTOP": "was killed by SIGKILL",
    "_exit": "exited with 3",
    "MemoryError": "failed: MemoryError in dying.py",
    "KeyError": "failed: KeyError in dying.py",
}
#: What a process says whose hub does not listen any more.
SAID_UNHEARD = {**SAID, "MemoryError": "could get no more memory", "KeyError": "failed by an error that nobody foresaw"}


@pytest.fixture(scope="module")
def plan(small_data: DataSet, tmp_path_factory: pytest.TempPathFactory) -> Plan:
    return replace(make_plan(small_data, tmp_path_factory.mktemp("deaths")), limits=Limits(stopped_s=STOPPED_S))


@pytest.fixture(scope="module")
def undisturbed_sha256(plan: Plan) -> str:
    outcome = run_pipeline(plan, Told().watcher())
    assert outcome.n_scored == len(plan.index) * PASSES
    return predictions_sha256(plan.index, outcome.collector.predictions)


@pytest.mark.timeout(60)
@pytest.mark.parametrize("role", ["decoder", "feeder"])
@pytest.mark.parametrize("shift", [0, *(pytest.param(n, marks=pytest.mark.heavy) for n in range(1, len(HOWS)))])
def test_deaths_in_every_state_cost_nothing_but_time(
    role: str, shift: int, plan: Plan, undisturbed_sha256: str, tmp_path: Path
) -> None:
    """One process after the other dies, each in the next state and in another way; all shifts are all pairs of both."""
    trip, told = Trip(role, (*HOWS[shift:], *HOWS[:shift]), tmp_path), Told()
    outcome = run_armed(plan, trip, told)
    assert outcome.error is None
    assert (outcome.n_scored, outcome.n_failed) == (len(plan.index) * PASSES, 0)
    assert outcome.collector.n_inconsistent == 0
    assert predictions_sha256(plan.index, outcome.collector.predictions) == undisturbed_sha256
    assert not [name for name in os.listdir("/dev/shm") if "engine" in name]
    for state, how in zip(STATES, trip.hows, strict=True):
        check_repair(state, how, trip, told)


def check_repair(state: str, how: str, trip: Trip, told: Told) -> None:
    """The user was told in time of who died and how, and the process is gone."""
    died_ns, pid = trip.died(state)
    is_heard = state != "shutting down"
    seen_ns = told.when(f"{trip.role} 0 (pid {pid}) {(SAID if is_heard else SAID_UNHEARD)[how]}")
    assert not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    if how != "SIGSTOP":
        assert seen_ns - died_ns < SEEN_WITHIN_NS
    elif state not in ("starting", "shutting down"):
        told.when(f"(pid {pid}) is stopped by a signal: replaced if it is so for {STOPPED_S:g} s")
        assert any(f"(pid {pid}) was stopped by a signal and is killed" in report for report in told.incidents)


def run_armed(plan: Plan, trip: Trip, told: Told) -> Outcome:
    store = ArmedStore(trip) if trip.role == "decoder" else plan.index.store
    options = {**plan.device_job.options, **({"trip": trip} if trip.role == "feeder" else {})}
    index = replace(plan.index, store=store)
    armed = replace(plan, index=index, device_job=replace(plan.device_job, options=options))
    return run_pipeline(armed, told.watcher())


INTERRUPTED_CLOSE = """
import os, signal, sys
from pathlib import Path
from engine.crew import Crew, Member
from engine.pipeline import run_pipeline
from tests.conftest import DataSet
from tests.crash.inprocess import Told, make_plan

def interrupt(member, within_s):
    os.kill(member.pid, signal.SIGSTOP)
    Member.has_ended = has_ended
    raise KeyboardInterrupt

def close(crew):
    Member.has_ended = interrupt
    return whole_close(crew)

if __name__ == "__main__":
    has_ended, whole_close = Member.has_ended, Crew.close
    Crew.close = close
    run_pipeline(make_plan(DataSet(Path(sys.argv[1]), Path(sys.argv[2]), 37), Path(sys.argv[3])), Told().watcher())
"""


def test_an_interrupt_while_a_stopped_process_is_waited_for_ends_the_hub(small_data: DataSet, tmp_path: Path) -> None:
    """Python waits at its exit for every process that it has started: none must be left, however the end came."""
    script = tmp_path / "script.py"
    script.write_text(INTERRUPTED_CLOSE)
    finished = subprocess.run(
        [sys.executable, script, small_data.folder, small_data.labels, tmp_path],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert finished.stderr.splitlines()[-1] == "KeyboardInterrupt", finished.stderr
