"""What does the engine promise when things go wrong, and what did the last run of each check find?

Runs the checks that are named (all without arguments) and writes docs/reliability.md from their figures, those of
checks that were not run again being kept in docs/reliability.json.

    python -m bench.reliability [chaos] [ledger] [mutants] [tests] [--runs 200] [--seed 1] [--chaos-json FILE ...]
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

from bench.fuzz import damaged_files
from engine.host import cpu_model, n_cores

ROOT = Path(__file__).parents[1]
FIGURES, PAGE = ROOT / "docs" / "reliability.json", ROOT / "docs" / "reliability.md"
N_MUTANTS = 2_000
#: Examples of 60 steps each.
LEDGER_EXAMPLES = 2_000
Figures = dict[str, Any]

INTRODUCTION = """# Reliability

Written by `python -m bench.reliability`; the figures are those of the last run of each check.

| promise | how it is kept |
|---|---|
| nothing is lost or scored twice | one process owns all state; the ledger settles each position once |
| a dead process costs time only | its slots go to others; deaths without work between them end the run (code 7) |
| a stopped process, a silent chip | noticed by the watchdog, reported in `incidents.txt`, killed, replaced |
| nothing hangs | `--stall-timeout` (exit code 15), `--image-timeout`, a guard on the hub itself |
| a run goes on where it was | a journal in `--out`; `--resume DIR` refuses other data, models, options |
| an image that kills, hangs or bloats its decoder | handed out alone, then FAILED by name |
| nothing is left behind | nameless shared memory, locks that end with their process, files written aside and renamed |
| too little memory, disk or descriptors | refused beforehand with need, have and the option to lower (exit code 6) |

| check | what is done | last figures | when, where |
|---|---|---|---|
"""


def run_chaos(options: argparse.Namespace) -> Figures:
    """Random signals at random moments, with resumes."""
    parts = [json.loads(path.read_text()) for path in options.chaos_json]
    if not parts:
        with tempfile.NamedTemporaryFile(suffix=".json") as file:
            command = ["bench.chaos", "--runs", str(options.runs), "--seed", str(options.seed), "--json", file.name]
            subprocess.run([sys.executable, "-m", *command], check=False)
            parts = [json.loads(Path(file.name).read_text())]
    total: Counter[str] = Counter()
    for part in parts:
        total.update({name: value for name, value in part.items() if isinstance(value, int)})
    return {
        "what": "`bench.chaos`: signals to drawn processes at drawn moments, resumed until complete",
        "found": f"{total['runs']} runs, {total['signals']} signals, {total['resumed']} completed from a journal: "
        f"{total['HANG']} hangs, {total['DIFFERENT']} different predictions, {total['processes left']} with processes "
        f"left, {total['left in /dev/shm']} with shared memory left; {total['complained']} runs not as they should be",
    }


def run_ledger(_: argparse.Namespace) -> Figures:
    """The state machine of tests/test_ledger.py, for longer."""
    from hypothesis import HealthCheck, settings
    from hypothesis.stateful import run_state_machine_as_test

    from tests.test_ledger import LedgerMachine

    class Counted(LedgerMachine):
        n_steps = 0

        def check_invariants(self, *arguments: Any, **options: Any) -> None:
            Counted.n_steps += 1
            super().check_invariants(*arguments, **options)

    run_state_machine_as_test(
        Counted,
        settings=settings(
            max_examples=LEDGER_EXAMPLES,
            stateful_step_count=60,
            deadline=None,
            database=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
    return {
        "what": "the ledger as a state machine: random fills, runs, deaths, resumes, small arenas",
        "found": f"{Counted.n_steps} steps: no slot in two hands, each position settled exactly once",
    }


def run_mutants(options: argparse.Namespace) -> Figures:
    """Damaged JPEGs through the whole engine, then every prediction against Pillow and NumPy."""
    with tempfile.TemporaryDirectory(prefix="engine-mutants-") as folder:
        root = Path(folder)
        (root / "val").mkdir()
        with (root / "labels.txt").open("w") as labels:
            for i, data in enumerate(damaged_files(N_MUTANTS, options.seed)):
                (root / "val" / f"m{i}.JPEG").write_bytes(data)
                labels.write(f"m{i}.JPEG {i % 1000}\n")
        sizes = ["--data", root / "val", "--labels", root / "labels.txt", "--backend", "sim", "--model", "fingerprint"]
        more = ["--max-failed-percent", "100", "--no-log", "--out", root / "out"]
        code, _ = _engine("run", *sizes, *more)
        if code:
            raise SystemExit(f"the run over {N_MUTANTS} damaged images ended with {code}")
        dataset = json.loads((root / "out" / "run.json").read_text())["dataset"]
        verified, said = _engine("verify", root / "out")
    identical = re.search(r"(\d+) of (\d+) predictions identical", said)
    return {
        "what": f"{N_MUTANTS} damaged JPEGs (seed {options.seed}) through `engine run`, then `engine verify`",
        "found": f"exit code 0; {dataset['n_scored']} scored + {dataset['n_failed']} FAILED of {dataset['n_samples']}; "
        f"{identical[0] if identical else said}; exit code of verify {verified}",
    }


def run_tests(_: argparse.Namespace) -> Figures:
    """tests/crash and tests/images, by pytest."""
    command = [sys.executable, "-m", "pytest", "tests/crash", "tests/images", "-q"]
    finished = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    return {
        "what": "`pytest tests/crash tests/images`: deaths, stops, stalls, signals, resources, odd images",
        "found": finished.stdout.strip().splitlines()[-1],
    }


CHECKS = {"chaos": run_chaos, "ledger": run_ledger, "mutants": run_mutants, "tests": run_tests}


def _engine(*arguments: object) -> tuple[int, str]:
    command = [sys.executable, "-m", "engine.cli", *map(str, arguments)]
    finished = subprocess.run(command, capture_output=True, text=True, check=False)
    return finished.returncode, finished.stdout + finished.stderr


def write_page(figures: Figures) -> None:
    """The table, from the figures of all checks."""
    columns = "| {name} | {what} | {found} | {when}, {where} |\n"
    rows = [columns.format(name=name, **row) for name, row in figures.items()]
    absent = [f"| {name} | {run.__doc__} | not run yet | |\n" for name, run in CHECKS.items() if name not in figures]
    PAGE.write_text(INTRODUCTION + "".join(rows + absent))


def main() -> None:
    """Run the checks, keep their figures, write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checks", nargs="*", choices=[[], *CHECKS], help="[default: all]")
    parser.add_argument("--runs", type=int, default=200, help="of the chaos runner")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--chaos-json", type=Path, nargs="*", default=[], help="summaries of chaos runs made before")
    options = parser.parse_args()
    figures: Figures = json.loads(FIGURES.read_text()) if FIGURES.exists() else {}
    for name in options.checks or CHECKS:
        row = CHECKS[name](options)
        figures[name] = row | {"when": time.strftime("%Y-%m-%d"), "where": f"{cpu_model()}, {n_cores()} cores"}
        FIGURES.write_text(json.dumps(figures, indent=2) + "\n")
        print(f"{name}: {row['found']}", flush=True)
    write_page(figures)


if __name__ == "__main__":
    main()
