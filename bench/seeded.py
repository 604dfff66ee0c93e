"""Runs that are disturbed as a seed says, and judged: what `bench.chaos` and `bench.resumes` have in common.

All runs of a benchmark go over the same 48 images, one of them cut off on purpose, with sizes that the seed draws. Each
must predict what an undisturbed run does and settle every position once; what is not as it should be is printed with
the run's seed, and makes the exit status 1.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from PIL import Image

from bench.running import Running

N_IMAGES = 48
#: A part of a run that takes longer hangs: undisturbed it takes some seconds, on a busy host half a minute.
HANGS_AFTER_S = 180.0
#: The undisturbed runs, which also compile the kernels.
PREPARED_WITHIN_S = 300.0
#: Seeds of neighbouring --seed lie so far apart.
SEEDS_APART = 1_000_003
#: How the complaints about other predictions, and about a run that does not end, begin.
DIFFERENT, HUNG = "DIFFERENT", "HANG"


@dataclass
class Verdict:
    """How one run went. complaints : what was not as it should be"""

    seed: int
    complaints: list[str] = field(default_factory=list)

    @property
    def is_counted(self) -> bool:
        """False where the disturbance came too late to be one."""
        return True

    @property
    def story(self) -> str:
        """What was done to it, for a complaint."""
        return f"seed {self.seed}"


V = TypeVar("V", bound=Verdict)


@dataclass(frozen=True)
class Scene:
    """What all runs share. repeat : passes over the images   undisturbed_s : of a whole command, kernels compiled"""

    root: Path
    repeat: int
    expected_sha256: str = ""
    undisturbed_s: float = 0.0

    @property
    def data(self) -> list[object]:
        return ["--data", self.root / "val", "--labels", self.root / "val_label.txt"]

    def options(self, rng: np.random.Generator, out: Path) -> list[object]:
        """Of one run, with sizes as they are drawn. 1 of 48 images is cut off on purpose."""
        batch, workers, feeders = rng.choice([1, 3, 4, 8]), rng.integers(1, 4), rng.integers(1, 3)
        sizes = ["--batch", batch, "--workers", workers, "--feeders", feeders, "--repeat", self.repeat]
        fixed = ["--backend", "sim", "--model", "fingerprint", "--max-failed-percent", 5, "--no-log"]
        return [*self.data, *fixed, *sizes, "--out", out]


def make_images(root: Path, n: int) -> None:
    """A flat folder `val` of small noisy JPEGs, one of them cut off, and `val_label.txt`."""
    rng = np.random.default_rng(0)
    (root / "val").mkdir(parents=True)
    with (root / "val_label.txt").open("w") as labels:
        for i in range(n):
            pixels = rng.integers(0, 256, (9, 9, 3), np.uint8)
            path = root / "val" / f"img_{i}.JPEG"
            Image.fromarray(pixels).resize((300 + 5 * i, 280), Image.Resampling.BICUBIC).save(path, "JPEG")
            labels.write(f"{path.name} {7 * i % 1000}\n")
    cut = root / "val" / "img_7.JPEG"
    cut.write_bytes(cut.read_bytes()[:900])


def prepare(root: Path, repeat: int) -> Scene:
    """Images, and what an undisturbed run says of them."""
    make_images(root, N_IMAGES)
    scene = Scene(root, repeat)
    _undisturbed(scene, root / "first")  # compiles the kernels: its time is no measure for the runs to come
    began_s = time.monotonic()
    document = _undisturbed(scene, root / "out")
    return Scene(root, repeat, document["predictions_sha256"], time.monotonic() - began_s)


def _undisturbed(scene: Scene, out: Path) -> Mapping[str, Any]:
    command = Running(scene.root / "log.txt", "run", *scene.options(np.random.default_rng(0), out))
    code = command.process.wait(PREPARED_WITHIN_S)
    if code:
        raise SystemExit(f"the undisturbed run ended with {code}: {command.log}")
    document: Mapping[str, Any] = json.loads((out / "run.json").read_text())
    return document


def end_of(command: Running, verdict: Verdict) -> int:
    """Its exit code; a command that hangs is a complaint, and is killed."""
    try:
        return int(command.process.wait(HANGS_AFTER_S))
    except subprocess.TimeoutExpired:
        verdict.complaints.append(f"{HUNG}: {command.log[-500:]}")
        command.kill()
        return int(command.process.returncode)


def judge_result(scene: Scene, verdict: Verdict, document: Mapping[str, Any]) -> None:
    """run.json of a run that is complete: the undisturbed predictions, and each position settled."""
    dataset = document["dataset"]
    if document["predictions_sha256"] != scene.expected_sha256:
        verdict.complaints.append(f"{DIFFERENT} predictions")
    if dataset["n_scored"] + dataset["n_failed"] != N_IMAGES * scene.repeat:
        verdict.complaints.append(f"{dataset['n_scored']} scored + {dataset['n_failed']} failed")


def count_of(verdicts: list[V], word: str) -> int:
    """Runs with a complaint that has this word in it."""
    return sum(any(word in text for text in verdict.complaints) for verdict in verdicts)


def parser_of(description: str | None, n_runs: int) -> argparse.ArgumentParser:
    """The options that these benchmarks have in common. n_runs : the default of --runs"""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=n_runs, help=f"that count (default: {n_runs})")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", type=Path, help="write the summary there")
    return parser


def judge_runs(
    options: argparse.Namespace,
    repeat: int,
    one_run: Callable[[Scene, int], V],
    summary: Callable[[list[V]], dict[str, object]],
) -> int:
    """Run until as many count as --runs asks, print complaints and summary; 1 if anything is not as it should be."""
    verdicts: list[V] = []
    with tempfile.TemporaryDirectory(prefix="engine-seeded-") as folder:
        scene = prepare(Path(folder), repeat)
        while sum(verdict.is_counted for verdict in verdicts) < options.runs:
            verdict = one_run(scene, options.seed * SEEDS_APART + len(verdicts))
            verdicts.append(verdict)
            for complaint in verdict.complaints:
                print(f"run {len(verdicts) - 1} ({verdict.story}): {complaint}", flush=True)
            if options.json:
                options.json.write_text(json.dumps(summary(verdicts), indent=2) + "\n")
    print(json.dumps(summary(verdicts), indent=2))
    return int(any(verdict.complaints for verdict in verdicts))
