"""A command of the engine in the background, with its processes by role: for tests and benchmarks that disturb it."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import psutil

STARTED_WITHIN_S = 60.0
FINISHED_WITHIN_S = 120.0
POLL_S = 0.01
ROLES = ("decoder", "feeder")
HEARD = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

Found = TypeVar("Found")


class Running:
    """`python -m engine.cli ARGUMENTS` in a session of its own; standard error goes to `log`."""

    def __init__(self, log: Path, *arguments: object, **options: object) -> None:
        """options : of `subprocess.Popen`. It hears the usual signals, also where whoever started us ignores them."""
        self._log = log
        command = [sys.executable, "-m", "engine.cli", *map(str, arguments)]
        then = options.pop("preexec_fn", None)

        def prepare() -> None:
            for number in HEARD:  # `nohup` and a shell's background jobs ignore some, and children inherit that
                signal.signal(number, signal.SIG_DFL)
            if callable(then):
                then()

        with log.open("w") as errors:
            options = {"stdout": subprocess.DEVNULL, "stderr": errors, "start_new_session": True} | options
            self.process = subprocess.Popen(command, preexec_fn=prepare, **options)  # type: ignore[call-overload]

    @property
    def log(self) -> str:
        """What it has said on standard error so far."""
        return self._log.read_text(errors="replace")

    def wait_until_working(self) -> None:
        """Until the pipeline is up and says so."""
        self.wait_for(lambda: "run: started" in self.log)

    def wait_until_said(self, text: str) -> None:
        """Until `text` is in the log."""
        self.wait_for(lambda: text in self.log)

    def pid_of(self, role: str) -> int:
        """The first process of this role, once it has started."""
        return self.wait_for(lambda: self.pids_of(role))[0]

    def pids_of(self, role: str) -> list[int]:
        """All processes of this role, now."""
        return [pid for pid in self.all_pids() if _name(pid) == f"engine-{role}"]

    def all_pids(self) -> list[int]:
        """All processes that the command has started and that are there."""
        with contextlib.suppress(psutil.NoSuchProcess):
            return [child.pid for child in psutil.Process(self.process.pid).children(recursive=True)]
        return []

    def finish(self) -> tuple[int, str]:
        """Exit code and log, once it has ended; TimeoutExpired if it does not."""
        self.process.wait(timeout=FINISHED_WITHIN_S)
        return self.process.returncode, self.log

    def kill(self) -> None:
        """End whatever is left of it."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def wait_for(self, find: Callable[[], Found]) -> Found:
        """What `find` returns once that is true; AssertionError if the command ends before."""
        deadline = time.monotonic() + STARTED_WITHIN_S
        while time.monotonic() < deadline and self.process.poll() is None:
            if found := find():
                return found
            time.sleep(POLL_S)
        raise AssertionError(f"never came; exit code {self.process.poll()}, the command said: {self.log}")


def _name(pid: int) -> str:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/comm").read_text().strip()
    return ""
