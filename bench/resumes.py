"""Does a run that was killed at any moment and resumed do the rest, only the rest, and end with the same predictions?

Method: runs of 48 images x 60 through simulated chips, with drawn sizes. The hub of each is killed (SIGKILL) at a drawn
moment of its work; what its journal then holds is counted from its records. `engine run --resume` must end with 0, with
the predictions of an undisturbed run, must have taken over exactly what was counted, and decoded exactly what was not.
Last answer: see docs/reliability.md. Not shown: a host that loses power (the journal is handed to the kernel, not to
the disk, until the run ends).

    python -m bench.resumes [--runs 50] [--seed 1] [--json FILE]
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bench.running import Running
from bench.seeded import (
    DIFFERENT,
    N_IMAGES,
    Scene,
    Verdict,
    count_of,
    end_of,
    judge_result,
    judge_runs,
    parser_of,
)
from engine.journal import JOURNAL
from engine.ledger import FAILED
from engine.records import records_of

REPEAT = 60
#: The work lasts about this long on a host of its own: the drawn moments are of it.
WORK_S = 4.5


@dataclass
class Resumed(Verdict):
    """One run. n_done : positions in the journal when it was killed"""

    n_done: int = 0
    was_complete: bool = False

    @property
    def is_counted(self) -> bool:
        return not self.was_complete


def settled_in(journal: Path) -> tuple[int, int]:
    """(scored, failed) positions that a journal holds, counted from its records."""
    n_scored = n_failed = 0
    for record in records_of(journal):
        if record[0] == FAILED:
            n_failed += 1
        else:
            n_scored += sum(record[1][1::2])
    return n_scored, n_failed


def one_run(scene: Scene, seed: int) -> Resumed:
    """Begin, kill, resume, judge."""
    rng, verdict = np.random.default_rng(seed), Resumed(seed)
    with tempfile.TemporaryDirectory(prefix="engine-resumes-") as folder:
        out, log = Path(folder) / "out", Path(folder) / "log.txt"
        command = Running(log, "run", *scene.options(rng, out))
        command.wait_until_working()
        with contextlib.suppress(subprocess.TimeoutExpired):
            command.process.wait(rng.uniform(0.0, WORK_S))
        os.kill(command.process.pid, signal.SIGKILL)
        command.process.wait()
        if not (out / JOURNAL).exists():
            verdict.was_complete = True
            return verdict
        done = settled_in(out / JOURNAL)
        verdict.n_done = sum(done)
        resumed = Running(log, "run", "--resume", out, "--no-log", *resumed_sizes(rng))
        code = end_of(resumed, verdict)
        if code:
            verdict.complaints.append(f"exit code {code}: {resumed.log[-800:]}")
        else:
            judge(scene, verdict, done, json.loads((out / "run.json").read_text()))
    return verdict


def resumed_sizes(rng: np.random.Generator) -> list[object]:
    """Other sizes for the second part, half of the time."""
    if rng.random() < 0.5:
        return []
    return ["--batch", rng.choice([2, 5, 16]), "--workers", rng.integers(1, 4), "--devices", "0-1"]


def judge(scene: Scene, verdict: Resumed, done: tuple[int, int], document: dict[str, object]) -> None:
    """The second part's run.json against what was done before."""
    dataset, paths = document["dataset"], document["decode_paths"]
    assert isinstance(dataset, dict)
    assert isinstance(paths, dict)
    judge_result(scene, verdict, document)
    if dataset["n_restored"] != sum(done):
        verdict.complaints.append(f"{dataset['n_restored']} taken over of {sum(done)} in the journal")
    if sum(paths.values()) != dataset["n_scored"] - done[0]:
        verdict.complaints.append(
            f"NOT ONLY THE REST: {sum(paths.values())} decoded, {dataset['n_scored'] - done[0]} left"
        )


def summary(verdicts: list[Resumed]) -> dict[str, object]:
    """Counts over all runs."""
    killed = [verdict for verdict in verdicts if verdict.is_counted]
    shares = [100 * verdict.n_done / (N_IMAGES * REPEAT) for verdict in killed] or [0.0]
    return {
        "runs": len(killed),
        "complete_before_the_kill": len(verdicts) - len(killed),
        "done_percent_min_median_max": [round(float(np.percentile(shares, p)), 1) for p in (0, 50, 100)],
        DIFFERENT: count_of(verdicts, DIFFERENT),
        "NOT ONLY THE REST": count_of(verdicts, "NOT ONLY"),
        "complained": sum(bool(verdict.complaints) for verdict in verdicts),
    }


def main() -> int:
    """Exit status 1 if anything is not as it should be."""
    return judge_runs(parser_of(__doc__, n_runs=50).parse_args(), REPEAT, one_run, summary)


if __name__ == "__main__":
    sys.exit(main())
