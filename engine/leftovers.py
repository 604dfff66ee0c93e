"""Removes what an earlier run left in ``--out``, so that the files there always belong to one run."""

from __future__ import annotations

from pathlib import Path

DUMPS = "dumpOutput_device[0-9]*"
DUMP_FILES = "*_1.*"
PERF_FILES = "perf_vision_batchsize_*_device_*.txt"


def remove_dumps(out: Path) -> None:
    """Remove the dumps of an earlier run; a folder that holds anything else stays, with that."""
    for folder in out.glob(DUMPS):
        for path in folder.glob(DUMP_FILES):
            path.unlink(missing_ok=True)
        if not any(folder.iterdir()):
            folder.rmdir()


def remove_results(out: Path) -> None:
    """Remove the result files of an earlier run, run.json first: it stands for a complete set."""
    for path in (out / "run.json", out / "result.json", out / "predictions.csv", *out.glob(PERF_FILES)):
        path.unlink(missing_ok=True)
