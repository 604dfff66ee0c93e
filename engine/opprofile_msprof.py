"""Operators of an .om on a chip, by CANN's msprof around `engine bench`."""

from __future__ import annotations

import csv
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from engine.errors import ConfigError, DeviceError
from engine.opprofile import OpStatistic

#: Where CANN's toolkit has it, below ASCEND_TOOLKIT_HOME or the usual folder, when set_env.sh was not sourced.
TOOLKIT = "/usr/local/Ascend/ascend-toolkit/latest"
IN_TOOLKIT = ("tools/profiler/bin/msprof", "toolkit/tools/profiler/bin/msprof", "bin/msprof")
STATISTIC, SUMMARY = "op_statistic*.csv", "op_summary*.csv"


def find_msprof() -> str:
    """Path of msprof; ConfigError says what to do where there is none."""
    found = shutil.which("msprof")
    root = Path(os.environ.get("ASCEND_TOOLKIT_HOME", TOOLKIT))
    candidates = [found, *(str(root / path) for path in IN_TOOLKIT if (root / path).is_file())]
    for candidate in candidates:
        if candidate:
            return candidate
    raise ConfigError(
        "profiling an .om needs CANN's msprof, which is not here: source the toolkit's set_env.sh (such as "
        f"{TOOLKIT}/../set_env.sh) on the machine with the chip, or profile the ONNX instead"
    )


def bench_command(model: str, batch: int, device: int, rounds: int) -> list[str]:
    """The program that msprof watches: one chip, pure inference."""
    words = ["--model", model, "--batch", str(batch), "--devices", str(device), "--rounds", str(rounds)]
    return [sys.executable, "-m", "engine.cli", "bench", "--backend", "cann", *words, "--input", "random"]


def run_msprof(application: list[str], out: Path, say: Callable[[str], None]) -> tuple[Path, Path | None]:
    """Run msprof around `application`; (op_statistic, op_summary) of its output. Its command line is said first.

    Raises DeviceError with the tool's last words where it fails or leaves no statistics.
    """
    msprof = find_msprof()
    raw = out / "msprof"
    raw.mkdir(parents=True, exist_ok=True)
    tail = _run(
        [msprof, f"--output={raw}", f"--application={shlex.join([*application, '--out', str(raw / 'bench')])}"], say
    )
    if not list(raw.rglob(STATISTIC)):  # older releases parse only when they are asked to
        tail = _run([msprof, "--export=on", f"--output={raw}"], say)
    found = [max(raw.rglob(pattern), key=_changed, default=None) for pattern in (STATISTIC, SUMMARY)]
    if found[0] is None:
        raise DeviceError(f"msprof left no {STATISTIC} in {raw}: {tail or 'it printed nothing'}")
    return found[0], found[1]


def _changed(path: Path) -> float:
    return path.stat().st_mtime


def _run(command: list[str], say: Callable[[str], None]) -> str:
    """The last line that the command printed."""
    say(shlex.join(command))
    finished = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
    lines = [line for line in (finished.stdout + finished.stderr).splitlines() if line.strip()]
    tail = lines[-1].strip() if lines else ""
    if finished.returncode:
        raise DeviceError(f"msprof ended with exit code {finished.returncode}: {tail or 'it printed nothing'}")
    return tail


def read_statistic(path: Path) -> list[OpStatistic]:
    """msprof's op_statistic, of any release, the greatest first; DeviceError for another file."""
    rows = []
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            for row in csv.DictReader(file):
                times = (float(row["Total Time(us)"]), float(row["Min Time(us)"]), float(row["Max Time(us)"]))
                core, count = row.get("Core Type") or "AI Core", int(row["Count"])
                rows.append(OpStatistic(row["OP Type"], core, count, *times, float(row["Ratio(%)"])))
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise DeviceError(f"{path} is no op_statistic of msprof: {type(error).__name__} {error}") from error
    if not rows:
        raise DeviceError(f"{path} lists no operators")
    return sorted(rows, key=lambda row: -row.total_us)
