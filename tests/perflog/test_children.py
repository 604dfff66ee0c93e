"""Runs that another command measures."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import psutil

from tests.conftest import DataSet

MEASURE = """
import sys
from pathlib import Path
from engine.perflog.children import ChildRun, run_child
run_child(ChildRun(sys.argv[2:], out=Path(sys.argv[1])))
"""


def test_a_run_ends_when_the_command_that_measures_it_is_killed(small_data: DataSet, tmp_path: Path) -> None:
    endless = ["--model", "fingerprint", "--backend", "null", "--min-duration", "3600"]
    arguments = [tmp_path / "out", "--data", small_data.folder, "--labels", small_data.labels, *endless]
    parent = subprocess.Popen([sys.executable, "-c", MEASURE, *map(str, arguments)])
    processes: list[psutil.Process] = []
    try:
        deadline = time.monotonic() + 60
        while not any(process.name().startswith("engine-decoder") for process in processes):
            assert time.monotonic() < deadline, processes
            time.sleep(0.02)
            processes = psutil.Process(parent.pid).children(recursive=True)
    finally:
        parent.kill()
        parent.wait()
    assert psutil.wait_procs(processes, timeout=60)[1] == []
