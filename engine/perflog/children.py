"""`engine run` in a process of its own: what every measurement of the perf log and of sweeps is made of."""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engine.errors import PerfError
from engine.lifeline import VARIABLE, lifeline

#: Lines of a failed run's standard error that are shown.
SHOWN_LINES = 3
POLL_S = 0.1
#: A run that is told to stop finishes the slots it has; after this long it is killed.
STOP_SECONDS = 20.0


@dataclass(frozen=True)
class ChildRun:
    """One run to make. `arguments` are those of `engine run`; --out and --no-log are added."""

    arguments: Sequence[str]
    python: str = sys.executable
    out: Path | None = None


def run_child(run: ChildRun, should_stop: Callable[[], bool] | None = None) -> dict[str, Any]:
    """The content of its run.json. Raises PerfError with what the run said where it left none.

    should_stop : asked ten times a second; True sends SIGINT, and the partial run.json says ``interrupted``
    """
    with tempfile.TemporaryDirectory(prefix="engine-run-") as folder:
        out = run.out or Path(folder)
        (out / "run.json").unlink(missing_ok=True)
        command = [run.python, "-m", "engine.cli", "run", *run.arguments, "--out", str(out), "--no-log"]
        with lifeline() as theirs:
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                pass_fds=[theirs],
                env={**os.environ, VARIABLE: str(theirs)},
            )
            said = _wait(process, should_stop)
        try:
            document: dict[str, Any] = json.loads((out / "run.json").read_text("utf-8"))
        except (OSError, ValueError):
            last = " / ".join(said.strip().splitlines()[-SHOWN_LINES:]) or "nothing was said"
            raise PerfError(
                f"engine run {shlex.join(run.arguments)} ended with {process.returncode} and left no result: {last}"
            ) from None
        return document


def _wait(process: subprocess.Popen[bytes], should_stop: Callable[[], bool] | None) -> str:
    """Wait for the end, stop it on request; what it said on standard error."""
    try:
        while should_stop is not None and not should_stop():
            said = _said_within(process, POLL_S)
            if said is not None:
                return said
        if should_stop is None:
            return _text(process.communicate()[1])
    except BaseException:
        _stop(process)
        raise
    return _stop(process)


def _stop(process: subprocess.Popen[bytes]) -> str:
    process.send_signal(signal.SIGINT)
    said = _said_within(process, STOP_SECONDS)
    if said is None:
        process.kill()
        said = _text(process.communicate()[1])
    return said


def _said_within(process: subprocess.Popen[bytes], seconds: float) -> str | None:
    try:
        return _text(process.communicate(timeout=seconds)[1])
    except subprocess.TimeoutExpired:
        return None


def _text(said: bytes) -> str:
    return said.decode("utf-8", "replace")


def split_arguments(text: str) -> list[str]:
    """Options as typed in a shell; PerfError for an open quote or an option that this needs for itself."""
    try:
        words = shlex.split(text)
    except ValueError as error:
        raise PerfError(f"options {text!r}: {error}") from error
    for word in words:
        name = word.partition("=")[0]
        if name in ("--out", "--no-log", "--log"):
            raise PerfError(f"options {text!r}: {name} is set for each run; leave it out")
    return words
