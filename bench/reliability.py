"""What does the engine promise when things go wrong, and what did the last run of each check find?

Runs the checks that are named (all without arguments) and writes docs/reliability.md from their figures, those of
checks that were not run again being kept in docs/reliability.json.

    python -m bench.reliability [CHECK ...] [--runs 200] [--seed 1] [--made NAME=FILE ...]
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

from bench.fuzz import damaged_files
from bench.mutants import judge
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
| an image that kills, hangs or bloats its decoder, or meets a defect of it | handed out alone, then FAILED by name |
| a process that dies again and again | more than one death per eight images done, 8 (feeders: 4) ahead: code 7 |
| a closed terminal, a service manager's stop | as Ctrl-C: drained, written, resumable; a second one ends at once |
| a signal at any moment, also while processes start, is obeyed | held back for the start of a child, then handed on |
| nothing is left behind | nameless memory and sockets, locks that end with their process, files renamed into place |
| an `--out` that is removed or renamed during a run | is made again and gets the results; that is said |
| two runs of the same write the same files | but for the fields `MEASURED` in tests/crash/test_determinism.py |
| too little memory, disk or descriptors | refused beforehand with need, have and the option to lower (exit code 6) |

| check | what is done | last figures | when, where |
|---|---|---|---|
"""


def summaries(name: str, module: str, arguments: list[object], options: argparse.Namespace) -> list[Figures]:
    """What runs of a bench module that were made before wrote (``--made NAME=FILE``), or what one made now writes."""
    made = [Path(word.partition("=")[2]) for word in options.made if word.partition("=")[0] == name]
    if made:
        return [json.loads(path.read_text()) for path in made]
    with tempfile.NamedTemporaryFile(suffix=".json") as file:
        command = [sys.executable, "-m", module, *map(str, arguments), "--json", file.name]
        subprocess.run(command, cwd=ROOT, check=False)
        return [json.loads(Path(file.name).read_text())]


def total_of(parts: list[Figures]) -> Counter[str]:
    """Sums of the numbers in several summaries."""
    total: Counter[str] = Counter()
    for part in parts:
        total.update({name: value for name, value in part.items() if isinstance(value, int)})
    return total


def run_chaos(options: argparse.Namespace) -> Figures:
    """Random signals at random moments, with resumes."""
    total = total_of(summaries("chaos", "bench.chaos", ["--runs", options.runs, "--seed", options.seed], options))
    return {
        "what": "`bench.chaos`: signals to drawn processes at drawn moments, resumed until complete",
        "found": f"{total['runs']} runs, {total['signals']} signals, {total['resumed']} completed from a journal: "
        f"{total['HANG']} hangs, {total['DIFFERENT']} different predictions, {total['processes left']} with processes "
        f"left, {total['left in /dev/shm']} with shared memory left; {total['complained']} runs not as they should be",
    }


def run_resumes(options: argparse.Namespace) -> Figures:
    """The hub killed at a random moment, then --resume."""
    parts = summaries("resumes", "bench.resumes", ["--seed", options.seed], options)
    total = total_of(parts)
    shares = [part["done_percent_min_median_max"] for part in parts]
    return {
        "what": "`bench.resumes`: SIGKILL of the hub at a drawn moment, then `--resume`, half of them with other sizes",
        "found": f"{total['runs']} runs, killed with {min(share[0] for share in shares)} to "
        f"{max(share[2] for share in shares)} % done: {total['DIFFERENT']} different predictions, "
        f"{total['NOT ONLY THE REST']} did other than the rest; "
        f"{total['complained']} runs not as they should be",
    }


def run_soak(options: argparse.Namespace) -> Figures:
    """10^6 images through simulated chips."""
    runs = [part["soak"] for part in summaries("soak", "bench.soak", ["--index", 0], options)]
    return {
        "what": "`bench.soak`: memory, descriptors and rate of a long run, after its first fifth; the rate drifts with "
        "whatever else the host does",
        "found": "; ".join(
            f"{found['images']} images, backend {found['backend']}, {found['images_per_s']} images/s: at most "
            f"{found['worst_mib_per_100_000']:.2f} MiB more per 100,000 images in any process, descriptors of the hub "
            f"{' to '.join(map(str, found['descriptors']['hub']))}, drift of the rate {found['drift_percent']:+.2f} %"
            for found in runs
        ),
    }


def run_index(options: argparse.Namespace) -> Figures:
    """10^7 samples."""
    found = summaries("index", "bench.soak", ["--images", 0], options)[0]["index"]
    return {
        "what": "`bench.soak`: a packed file of that many crops; bytes of the hub while it writes the results",
        "found": f"{found['samples']} samples: first slots handed out after {found['start_s']:.2f} s "
        f"(1,000 samples: {found['start_of_1000_s']:.2f} s); {found['bytes_per_sample']} bytes a sample",
    }


def run_deaths(_: argparse.Namespace) -> Figures:
    """Every way to die in every state of decoder and feeder."""
    return {
        "what": "`tests/crash/test_every_death.py`: SIGKILL, SIGSEGV, SIGSTOP, `_exit`, MemoryError and a defect, each "
        "in 6 states of decoder and feeder",
        "found": run_pytest("tests/crash/test_every_death.py", "-m", "heavy or not heavy"),
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
        found, complaints = judge(damaged_files(N_MUTANTS, options.seed), Path(folder))
    return {
        "what": f"{N_MUTANTS} damaged JPEGs (seed {options.seed}) through `engine run`, `check-data` and `verify`",
        "found": f"{found['scored']} scored + {found['failed']} FAILED of {found['files']}; check-data: "
        f"{found['check-data differs']} differ; {found['identical']} predictions identical; "
        f"{len(complaints)} not as it should be",
    }


def run_fuzz(options: argparse.Namespace) -> Figures:
    """Damaged images of every kind for ten minutes through `engine run`, `check-data` and `verify`."""
    parts = summaries("fuzz", "bench.mutants", ["--seed", options.seed], options)
    found, minutes = total_of(parts), sum(part["minutes"] for part in parts)
    return {
        "what": "`bench.mutants`: rounds of damaged images of every kind through `engine run`, `check-data` and "
        "`verify`",
        "found": f"{found['files']} files in {minutes:.0f} minutes: {found['scored']} scored + {found['failed']} "
        f"FAILED, {found['ended a process']} of them ended their process; check-data: {found['check-data differs']} "
        f"differ; {found['identical']} predictions identical; {found['complaints']} not as it should be",
    }


def run_tests(_: argparse.Namespace) -> Figures:
    """tests/crash, tests/images and the hostile files, by pytest."""
    return {
        "what": "`pytest tests/crash tests/images tests/test_hostile_files.py`: deaths, stops, stalls, signals, "
        "resources, odd images, hostile files",
        "found": run_pytest("tests/crash", "tests/images", "tests/test_hostile_files.py"),
    }


def run_pytest(*arguments: str) -> str:
    """The last line of a run of pytest."""
    command = [sys.executable, "-m", "pytest", "-q", *arguments]
    finished = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    return finished.stdout.strip().splitlines()[-1]


CHECKS = {
    "ledger": run_ledger,
    "deaths": run_deaths,
    "chaos": run_chaos,
    "resumes": run_resumes,
    "mutants": run_mutants,
    "fuzz": run_fuzz,
    "soak": run_soak,
    "index": run_index,
    "tests": run_tests,
}


def write_page(figures: Figures) -> None:
    """The table, from the figures of all checks."""
    columns = "| {name} | {what} | {found} | {when}, {where} |\n"
    rows = [columns.format(name=name, **figures[name]) for name in CHECKS if name in figures]
    absent = [f"| {name} | {run.__doc__} | not run yet | |\n" for name, run in CHECKS.items() if name not in figures]
    PAGE.write_text(INTRODUCTION + "".join(rows + absent))


def main() -> None:
    """Run the checks, keep their figures, write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checks", nargs="*", choices=[[], *CHECKS], help="[default: all]")
    parser.add_argument("--runs", type=int, default=200, help="of the chaos runner")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--made", nargs="*", default=[], help="NAME=FILE: summaries that bench modules wrote before")
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
