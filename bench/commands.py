"""Commands of the engine that are waited for, for benchmarks: each in a process of its own."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

from engine.errors import PerfError
from engine.perflog.children import ChildRun, run_child
from engine.perflog.log import why_invalid


def finished(*words: object) -> tuple[int, str]:
    """Exit code of a command, and all that it said."""
    command = [sys.executable, "-m", "engine.cli", *map(str, words)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout + done.stderr


def must(*words: object) -> None:
    """Run a command; SystemExit with what it said if it fails."""
    code, said = finished(*words)
    if code:
        raise SystemExit(f"engine {' '.join(map(str, words))} ended with {code}: {said}")


def measured(*options: object) -> dict[str, Any]:
    """run.json of a fresh `engine run`; SystemExit where nothing may be concluded from it."""
    try:
        document = run_child(ChildRun([str(option) for option in options]))
    except PerfError as error:
        raise SystemExit(str(error)) from error
    why = why_invalid(document)
    if why:
        raise SystemExit(f"engine run {' '.join(map(str, options))}: {why}")
    return document
