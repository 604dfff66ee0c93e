"""Removes what an earlier run left in ``--out``, so that the files there always belong to one run."""

from __future__ import annotations

from pathlib import Path

from engine.files import abandoned
from engine.journal import JOURNAL

DUMPS = "dumpOutput_device[0-9]*"
DUMP_FILES = "*_1.*"
RESULT_FILES = ("run.json", "result.json", "predictions.csv")
PERF_FILES = "perf_vision_batchsize_*_device_*.txt"


def remove_dumps(out: Path) -> None:
    """Remove the dumps of an earlier run; a folder that holds anything else stays, with that."""
    for folder in out.glob(DUMPS):
        for path in folder.glob(DUMP_FILES):
            path.unlink(missing_ok=True)
        if not any(folder.iterdir()):
            folder.rmdir()


def remove_results(out: Path) -> None:
    """Remove the result files of an earlier run, run.json first: it stands for a complete set.

    So are those that it was killed over, under their temporary names: `out` is this run's alone.
    """
    for name in (*RESULT_FILES, PERF_FILES):
        for path in out.glob(name):
            path.unlink(missing_ok=True)
    for name in (*RESULT_FILES, PERF_FILES, JOURNAL):
        for path in out.glob(abandoned(name)):
            path.unlink(missing_ok=True)
