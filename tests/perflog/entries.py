"""Log entries as runs make them, with rates of the tests' choice."""

from __future__ import annotations

import contextlib
import copy
import io
import itertools
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from unittest.mock import patch

from engine import cli
from engine.perflog.log import append

_NUMBERS = itertools.count()

DOCUMENT: dict[str, Any] = {
    "config": {"data": "val", "labels": None, "model": "fingerprint", "backend": "sim", "devices": [0, 1], "batch": 8},
    "environment": {
        "cpu": "Some CPU",
        "n_cores": 2,
        "governor": "performance",
        "os": "Linux",
        "python": "3.11.2",
        "libraries": {"numpy": "2.0.0", "numba": "0.60"},
        "engine_git": {"revision": "a" * 40, "is_dirty": False},
    },
    "simulated": True,
    "profile": "resnext101_32x8d-310",
    "model": {"name": "fingerprint", "sha256": "11"},
    "dataset": {"sha256": "22", "n_samples": 100, "n_inconsistent": 0},
    "accuracy": {"top1": 1.0},
    "throughput": {"end_to_end_per_s": 600.0, "interface_per_s": None},
    "interrupted": False,
    "error": None,
    "predictions_sha256": "33",
}


def entry(rate: float, **changes: Any) -> dict[str, Any]:
    """One run at `rate` images/s. `changes` are dotted paths with __ for dots."""
    number = next(_NUMBERS)
    made = copy.deepcopy(DOCUMENT)
    made |= {"type": "run", "id": f"{number:010x}", "at": "2026-01-01T00:00:00Z", "command": "run", "label": ""}
    made |= {"at_ns": time.time_ns() + number, "chip": "310", "pair": None}
    made["throughput"]["end_to_end_per_s"] = rate
    made["timeline"] = {"interval_ms": 100.0, "images": [rate * 0.1 * (1 + 0.001 * (i % 5)) for i in range(20)]}
    for path, value in changes.items():
        target = made
        *parents, last = path.split("__")
        for name in parents:
            target = target[name]
        target[last] = value
    return made


def write_log(path: Path, entries: Sequence[dict[str, Any]]) -> list[str]:
    """Append `entries`; their ids."""
    append(entries, path)
    return [made["id"] for made in entries]


def call_engine(*arguments: object) -> subprocess.CompletedProcess[str]:
    """A command that only reads files, in this process: its exit code and what it printed."""
    words = ["engine", *map(str, arguments)]
    out, err, code = io.StringIO(), io.StringIO(), 0
    with patch.object(sys, "argv", words), contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            cli.main()
        except SystemExit as ended:
            code = int(ended.code or 0)
    return subprocess.CompletedProcess(words, code, out.getvalue(), err.getvalue())
