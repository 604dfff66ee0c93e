"""Real processes, real signals: what a kill costs, and what is left behind."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import psutil
import pytest

from bench.running import Running
from tests.conftest import DataSet
from tests.crash.conftest import REPEAT, arguments, read_run


@pytest.mark.parametrize("role", ["decoder", "feeder"])
@pytest.mark.parametrize(
    "is_working", [pytest.param(False, id="starting", marks=pytest.mark.heavy), pytest.param(True, id="working")]
)
def test_a_killed_process_costs_no_sample(
    role: str,
    is_working: bool,
    small_data: DataSet,
    undisturbed: dict[str, object],
    running: list[Running],
    tmp_path: Path,
) -> None:
    """SIGKILL while it starts or while it works: the run completes with the predictions of an undisturbed one."""
    command = Running(tmp_path / "stderr.txt", *arguments(small_data, tmp_path))
    running.append(command)
    victim = command.pid_of(role)
    if is_working:
        command.wait_until_working()
    os.kill(victim, signal.SIGKILL)
    code, errors = command.finish()
    assert code == 0, errors
    assert f"(pid {victim}) was killed by SIGKILL" in errors
    document = read_run(tmp_path)
    assert document["predictions_sha256"] == undisturbed["predictions_sha256"]
    dataset = document["dataset"]
    assert isinstance(dataset, dict)
    assert dataset["n_scored"] == dataset["n_samples"] == small_data.n_images * REPEAT


def test_a_killed_hub_leaves_nothing(small_data: DataSet, running: list[Running], tmp_path: Path) -> None:
    """SIGKILL of the hub: no process after 5 s, nothing new in /dev/shm, no temporary folder."""
    before = set(os.listdir("/dev/shm"))
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    command = Running(
        tmp_path / "stderr.txt",
        *arguments(small_data, tmp_path, repeat=100_000, backend="null"),
        env=os.environ | {"TMPDIR": str(temporary)},
    )
    running.append(command)
    command.wait_until_working()
    children = command.all_pids()
    assert len(children) >= 4
    os.kill(command.process.pid, signal.SIGKILL)
    _, alive = psutil.wait_procs([psutil.Process(pid) for pid in children if psutil.pid_exists(pid)], timeout=5)
    assert not [process for process in alive if process.status() != psutil.STATUS_ZOMBIE]
    assert set(os.listdir("/dev/shm")) <= before
    assert not os.listdir(temporary)


@pytest.mark.parametrize("number", [signal.SIGINT, pytest.param(signal.SIGTERM, marks=pytest.mark.heavy)])
def test_an_interrupt_gives_a_partial_report(
    number: signal.Signals, small_data: DataSet, running: list[Running], tmp_path: Path
) -> None:
    """The signal goes to the whole group, as a terminal sends it: what is in flight is finished and written."""
    command = Running(tmp_path / "stderr.txt", *arguments(small_data, tmp_path, repeat=100_000, backend="null"))
    running.append(command)
    command.wait_until_working()
    os.killpg(command.process.pid, number) if number == signal.SIGINT else os.kill(command.process.pid, number)
    code, errors = command.finish()
    assert code == 130, errors
    assert "Traceback" not in errors
    document = read_run(tmp_path)
    dataset = document["dataset"]
    assert isinstance(dataset, dict)
    assert document["interrupted"] is True
    assert 0 < dataset["n_scored"] < dataset["n_samples"]
