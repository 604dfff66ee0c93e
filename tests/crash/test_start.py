"""Signals while the processes are started: none is lost, and none hits a child before its first line."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from bench.running import Running
from engine.forkserver import helper_pids, interrupts_held_back, start_fork_server
from tests.conftest import DataSet
from tests.crash.conftest import arguments

BLOCKED = "import signal; print(*sorted(signal.pthread_sigmask(signal.SIG_BLOCK, [])))"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_while_a_child_is_started_comes_afterwards(number: signal.Signals) -> None:
    came: list[int] = []
    before = signal.signal(number, lambda got, _frame: came.append(got))
    try:
        with interrupts_held_back():
            os.kill(os.getpid(), number)
            in_child = subprocess.run([sys.executable, "-c", BLOCKED], capture_output=True, text=True, check=True)
            assert not came
    finally:
        signal.signal(number, before)
    assert came == [number]
    assert in_child.stdout.split() == [
        str(int(n)) for n in (signal.SIGHUP, signal.SIGINT, signal.SIGUSR1, signal.SIGTERM)
    ]
    assert not signal.pthread_sigmask(signal.SIG_BLOCK, [])


@pytest.mark.parametrize("method", ["forkserver", pytest.param("spawn", marks=pytest.mark.heavy)])
@pytest.mark.parametrize("number", [signal.SIGINT, pytest.param(signal.SIGTERM, marks=pytest.mark.heavy)])
def test_an_interrupt_while_the_processes_start_ends_the_run(
    number: signal.Signals, method: str, small_data: DataSet, running: list[Running], tmp_path: Path
) -> None:
    """Sent to the whole group as soon as the first child is there, which is still importing."""
    command = Running(tmp_path / "stderr.txt", *arguments(small_data, tmp_path), "--start-method", method)
    running.append(command)
    command.wait_for(lambda: any(f"multiprocessing.{method}" in command_line(pid) for pid in command.all_pids()))
    os.killpg(command.process.pid, number)
    assert command.finish() == (130, "\nengine: interrupted\n")


def command_line(pid: int) -> str:
    with contextlib.suppress(psutil.NoSuchProcess):
        return " ".join(psutil.Process(pid).cmdline())
    return ""


def test_a_fork_server_that_was_killed_is_replaced_and_leaves_no_descriptor_and_no_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a temporary folder whose path is longer than a socket's may be."""
    folder = tmp_path / ("long" * 30)
    folder.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(folder))
    start_fork_server()
    first, n_descriptors = helper_pids()[0], len(os.listdir("/proc/self/fd"))
    os.kill(first, signal.SIGKILL)
    os.waitid(os.P_PID, first, os.WEXITED | os.WNOWAIT)  # Python is to see its end itself
    start_fork_server()
    assert helper_pids()[0] != first
    assert len(os.listdir("/proc/self/fd")) == n_descriptors
    assert not os.listdir(folder)
