"""Real processes, real signals: what a kill costs, and what is left behind."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.conftest import DataSet, engine_command, run_engine

#: Images: about three seconds on four simulated chips at batch 4.
REPEAT = 60
STARTED_WITHIN_S = 60


@pytest.fixture(scope="module")
def undisturbed(small_data: DataSet, tmp_path_factory: pytest.TempPathFactory) -> dict[str, object]:
    out = tmp_path_factory.mktemp("undisturbed")
    finished = run_engine(*arguments(small_data, out, repeat=1))
    assert finished.returncode == 0, finished.stderr
    return read_run(out)


def arguments(data: DataSet, out: Path, repeat: int = REPEAT, backend: str = "sim") -> list[object]:
    model = ["--model", "fingerprint"] if backend == "sim" else []
    sizes = ["--batch", 4, "--workers", 2, "--repeat", repeat]
    return ["run", "--data", data.folder, "--labels", data.labels, "--backend", backend, *model, *sizes, "--out", out]


def read_run(out: Path) -> dict[str, object]:
    document: dict[str, object] = json.loads((out / "run.json").read_text())
    return document


class Running:
    """A command in the background, with its processes by role."""

    def __init__(self, log: Path, *command: object) -> None:
        self._log = log
        with log.open("w") as errors:
            self.process = subprocess.Popen(
                engine_command(*command), stdout=subprocess.DEVNULL, stderr=errors, start_new_session=True
            )

    def wait_until_working(self) -> None:
        """Until the pipeline is up and says so."""
        self._poll(lambda: "run: started" in self._log.read_text())

    def pid_of(self, role: str) -> int:
        """The process of this role, once it has started."""
        return self._poll(lambda: self._find(role))

    def all_pids(self) -> list[int]:
        return [child.pid for child in psutil.Process(self.process.pid).children(recursive=True)]

    def finish(self) -> tuple[int, str]:
        self.process.wait(timeout=120)
        return self.process.returncode, self._log.read_text()

    def _find(self, role: str) -> int:
        for pid in self.all_pids():
            with contextlib.suppress(OSError):
                if Path(f"/proc/{pid}/comm").read_text().strip() == f"engine-{role}":
                    return pid
        return 0

    def _poll(self, find: object) -> int:
        deadline = time.monotonic() + STARTED_WITHIN_S
        while time.monotonic() < deadline and self.process.poll() is None:
            if found := find():  # type: ignore[operator]
                return int(found)
            time.sleep(0.01)
        raise AssertionError(f"no such process; the command said: {self.finish()}")


@pytest.fixture
def running(request: pytest.FixtureRequest) -> Iterator[list[Running]]:
    """Commands put into this list are killed at the end of the test, whatever happened."""
    commands: list[Running] = []
    yield commands
    for command in commands:
        if command.process.poll() is None:
            os.killpg(command.process.pid, signal.SIGKILL)
        command.process.wait()


@pytest.mark.parametrize("role", ["decoder", "feeder"])
@pytest.mark.parametrize("is_working", [False, True], ids=["starting", "working"])
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
    """SIGKILL of the hub: no process after 5 s, nothing new in /dev/shm."""
    before = set(os.listdir("/dev/shm"))
    command = Running(tmp_path / "stderr.txt", *arguments(small_data, tmp_path, repeat=100_000, backend="null"))
    running.append(command)
    command.wait_until_working()
    children = command.all_pids()
    assert len(children) >= 4
    os.kill(command.process.pid, signal.SIGKILL)
    _, alive = psutil.wait_procs([psutil.Process(pid) for pid in children if psutil.pid_exists(pid)], timeout=5)
    assert not [process for process in alive if process.status() != psutil.STATUS_ZOMBIE]
    assert set(os.listdir("/dev/shm")) <= before


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
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
