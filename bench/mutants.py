"""Does the whole engine keep its ledger, its processes and Pillow's opinion on damaged images of every kind?

Method: rounds of a thousand damaged files (half JPEGs of all layouts, half of the kinds of tests/images/zoo.py: other
coding processes, colour spaces and formats) go through `engine run`, `engine check-data` and `engine verify`. Every
image is scored or FAILED, none twice; check-data fails the same for the same reasons; all predictions are Pillow's.
Last answer: docs/reliability.md. Not shown: files larger than some hundred pixels.

    python -m bench.mutants [--minutes 10] [--seed 1] [--json FILE]
"""

from __future__ import annotations

import argparse
import csv
import json
import re
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from bench.commands import finished
from bench.fuzz import damage, damaged_files
from tests.images.zoo import zoo

FILES_PER_ROUND = 1_000
#: A file that ends a decoder is FAILED for that; check-data has workers of its own, with their own words.
ENDED_ITS_PROCESS = ("its decoder ", "its worker ")


def files_of_round(seed: int, n: int) -> Iterator[bytes]:
    """Half damaged JPEGs, half damaged files of the zoo."""
    yield from damaged_files(n // 2, seed)
    rng, corpus = np.random.default_rng(seed), list(zoo().values())
    for _ in range(n - n // 2):
        yield damage(rng, corpus[rng.integers(len(corpus))])


def judge(files: Iterator[bytes], root: Path) -> tuple[Counter[str], list[str]]:
    """Counts of one round in an empty folder, and what is not as it should be."""
    counts, complaints = Counter[str](), list[str]()
    (root / "val").mkdir()
    with (root / "labels.txt").open("w") as labels:
        for i, data in enumerate(files):
            (root / "val" / f"m{i}.JPEG").write_bytes(data)
            labels.write(f"m{i}.JPEG {i % 1000}\n")
            counts["files"] += 1
    sizes = ["--labels", root / "labels.txt", "--backend", "sim", "--model", "fingerprint"]
    more = ["--max-failed-percent", "100", "--no-log", "--out", root / "out"]
    code, said = finished("run", "--data", root / "val", *sizes, *more)
    if code or "Traceback" in said:
        return counts, [f"engine run ended with {code}: {said}"]
    failed, counts["scored"] = _statuses(root / "out")
    counts["failed"] = len(failed)
    counts["ended a process"] = sum(reason.startswith(ENDED_ITS_PROCESS) for reason in failed.values())
    if counts["scored"] + counts["failed"] != counts["files"]:
        complaints.append(f"{counts['scored']} scored + {counts['failed']} failed of {counts['files']}")
    code, said = finished("check-data", root / "val", "--quarantine", root / "list.txt")
    lines = (root / "list.txt").read_text().splitlines() if (root / "list.txt").exists() else []
    quarantined = dict(line.split("\t", 1) for line in lines)
    if code != (8 if failed else 0) or "Traceback" in said:
        complaints.append(f"engine check-data ended with {code}: {said}")
    differ = [name for name in {*failed, *quarantined} if not _agree(failed.get(name), quarantined.get(name))]
    counts["check-data differs"] = len(differ)
    complaints += [f"{name}: run {failed.get(name)!r}, check-data {quarantined.get(name)!r}" for name in differ]
    code, said = finished("verify", root / "out")
    counts["identical"] = int(found[1]) if (found := re.search(r"(\d+) of \d+ predictions identical", said)) else 0
    if code or counts["identical"] != counts["files"]:
        complaints.append(f"engine verify ended with {code}: {said}")
    return counts, complaints


def _agree(in_run: str | None, in_check: str | None) -> bool:
    if in_run is None or in_check is None:
        return in_run == in_check
    both_ended = in_run.startswith(ENDED_ITS_PROCESS) and in_check.startswith(ENDED_ITS_PROCESS)
    return in_run == in_check or both_ended


def _statuses(out: Path) -> tuple[dict[str, str], int]:
    """Reasons of the failed ones, and how many were scored."""
    with (out / "predictions.csv").open(newline="") as file:
        statuses = {row["sample"]: row["status"] for row in csv.DictReader(file)}
    failed = {name: status for name, status in statuses.items() if status.startswith("FAILED: ")}
    n_scored = sum(status == "SCORED" for status in statuses.values())
    return {name: status.removeprefix("FAILED: ") for name, status in failed.items()}, n_scored


def main() -> int:
    """Rounds until the time is over; exit status 1 if anything is not as it should be."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    began_s, total, seed = time.monotonic(), Counter[str](), options.seed
    while time.monotonic() - began_s < 60 * options.minutes:
        with tempfile.TemporaryDirectory(prefix="engine-mutants-") as folder:
            counts, complaints = judge(files_of_round(seed, FILES_PER_ROUND), Path(folder))
        total += counts
        total["rounds"] += 1
        total["complaints"] += len(complaints)
        for complaint in complaints:
            print(f"seed {seed}: {complaint}", flush=True)
        seed += 1
    minutes = (time.monotonic() - began_s) / 60
    print(f"{minutes:.1f} minutes: " + ", ".join(f"{count} {name}" for name, count in total.items()))
    if options.json:
        options.json.write_text(json.dumps({**total, "seed": options.seed, "minutes": round(minutes, 1)}))
    return int(total["complaints"] > 0)


if __name__ == "__main__":
    sys.exit(main())
