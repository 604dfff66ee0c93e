"""Calls in a process of their own: results and errors come back, deaths are told, nothing is left."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import psutil
import pytest

from engine.errors import DataError, WorkerError
from engine.isolated import call_isolated


def add(a: int, b: int) -> tuple[int, int]:
    return a + b, os.getpid()


def fail(kind: str) -> None:
    if kind == "ours":
        raise DataError("no images here")
    if kind == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    if kind == "exit":
        os._exit(7)
    raise ValueError("unforeseen")


def test_the_result_comes_from_another_process() -> None:
    total, pid = call_isolated(add, 2, 3)
    assert total == 5
    assert pid != os.getpid()
    assert not psutil.pid_exists(pid)


@pytest.mark.parametrize(
    ("kind", "error", "text"),
    [
        ("ours", DataError, r"no images here"),
        ("killed", WorkerError, r"the process of fail died of SIGKILL"),
        ("exit", WorkerError, r"the process of fail died with exit code 7"),
        ("other", WorkerError, r"fail: ValueError in test_isolated\.py:\d+: unforeseen"),
    ],
)
def test_errors_come_back(kind: str, error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text):
        call_isolated(fail, kind)


def sleep_for_ever() -> None:
    time.sleep(3600)


def test_a_killed_parent_leaves_no_process() -> None:
    code = "from tests.bench_command.test_isolated import *; call_isolated(sleep_for_ever)"
    parent = subprocess.Popen([sys.executable, "-c", code])
    try:
        process = psutil.Process(parent.pid)
        children: list[psutil.Process] = []
        deadline = time.monotonic() + 60
        while not any("spawn_main" in " ".join(child.cmdline()) for child in children):
            assert time.monotonic() < deadline
            children = process.children(recursive=True)
            time.sleep(0.05)
    finally:
        parent.kill()
        parent.wait()
    _, alive = psutil.wait_procs(children, timeout=30)
    assert alive == []
