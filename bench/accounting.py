"""What do the accounting and a trace cost?

Method: pairs of fresh processes run the same pipeline for some seconds, one with and one without, in alternating order.
`accounting`: real JPEGs into a null device, so that the host is the bound; without it, the hub only counts images (the
decoders' clocks, about ten readings of 50 ns per image, stay). `trace`: four SIMULATED chips, decoders as the bound.
Reported: the median of the ratios with / without of images per second, and of images per CPU second of all processes,
which other programs on the host disturb less, each with its quartiles; and by what the hub's own CPU time per image
differs, to the nanosecond, as a share of the CPU time of all processes: the hub does the accounting, and the trace.
`calls` times the calls that one slot of 16 images costs the hub, one after the other without a pipeline: the least of
many rounds.

Answer: see the end of docs/measurement.md, with host and date. What may not be concluded: anything from a pair count
whose quartiles are wider than the cost in question, or about batches whose slots pass much faster than a decoder fills
one (a slot costs the hub's accounting about 100 us, whatever is in it).

usage: python -m bench.accounting [--what accounting|trace|calls] [--pairs N] [--seconds S] [--data DIR --labels FILE]
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import click
import numpy as np

import engine.pipeline
from bench.inputs import images_or_demo
from engine.config import RunConfig
from engine.crew import Crew, Member
from engine.hub import Bounds, Watcher
from engine.ledger import Ledger
from engine.messages import IMAGE_TIMES, Done, Filled
from engine.pipeline import run_pipeline
from engine.run import null_plan, prepare
from engine.stages_filled import FilledSlot
from engine.tally import RunTally
from engine.trace import Trace
from engine.windows import Windows

VARIANTS = ("with", "without")


class TimedTally(RunTally):
    """Knows the hub's CPU time from when all processes were started to the last result."""

    hub_cpu_ns = 0

    def begin(self, crew: Crew, ledger: Ledger) -> None:
        super().begin(crew, ledger)
        TimedTally.hub_cpu_ns = -time.process_time_ns()

    def finish(self) -> None:
        TimedTally.hub_cpu_ns += time.process_time_ns()
        super().finish()


class BareTally(TimedTally):
    """Counts images and nothing else."""

    def observe(self, windows: Windows, crew: Crew) -> None:
        """Nothing."""

    def sent_fill(self, slot: int) -> None:
        """Nothing."""

    def sent_run(self, slot: FilledSlot) -> None:
        """Nothing."""

    def take_filled(self, decoder: Member, filled: Filled) -> FilledSlot:
        self.first_read_ns = self.first_read_ns or filled.began_ns
        return FilledSlot(filled, 0, 0)

    def take_done(self, feeder: Member, done: Done, slot: FilledSlot, rows: list[int], taken_up_ns: int) -> None:
        self.stages.n_ranked += len(rows)
        self.last_result_ns = time.perf_counter_ns()


@dataclass(frozen=True)
class Sample:
    """One run."""

    images_per_s: float
    images_per_cpu_s: float
    hub_us_per_image: float


def run_once(what: str, variant: str, data: Path, labels: Path, seconds: float) -> Sample:
    """In this process: run the pipeline and look at the clock and at the CPU time of all processes."""
    with tempfile.TemporaryDirectory() as out:
        config = RunConfig(data, labels, "fingerprint", devices=(0, 1, 2, 3), out=Path(out), journal=False)
        plan = replace(prepare(config, lambda _: None).plan, bounds=Bounds(seconds, seconds), is_scored=False)
        if what == "trace":
            plan = replace(plan, device_job=replace(plan.device_job, is_traced=variant == "with"))
        else:
            plan = replace(null_plan(plan), bounds=Bounds(seconds, seconds))
        is_bare = what == "accounting" and variant == "without"
        engine.pipeline.RunTally = BareTally if is_bare else TimedTally  # type: ignore[attr-defined]
        outcome = run_pipeline(plan, Watcher(lambda n_done, n_top1: None, print))
    if outcome.error is not None:
        raise outcome.error
    tally = outcome.tally
    cpu_ns = sum(process.usage.since(process.usage_before).cpu_ns for process in tally.processes.by_pid.values())
    hub_us = TimedTally.hub_cpu_ns / 1e3 / tally.stages.n_ranked
    return Sample(tally.end_to_end_per_s, tally.stages.n_ranked / (cpu_ns / 1e9), hub_us)


def in_fresh_process(what: str, variant: str, data: Path, labels: Path, seconds: float) -> Sample:
    options = ["--what", what, "--only", variant, "--data", data, "--labels", labels, "--seconds", seconds]
    command = [sys.executable, "-m", "bench.accounting", *map(str, options)]
    finished = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return Sample(**json.loads(finished.stdout.splitlines()[-1]))


def slot_us(n_rounds: int = 200, n_slots: int = 50, is_traced: bool = False) -> float:
    """Microseconds of all calls of the tally for one trip of a slot; the least of the rounds."""
    member: Any = SimpleNamespace(role="decoder", number=0, pid=os.getpid(), is_started=True, n_held=1)
    crew: Any = SimpleNamespace(members=[member], decoders=[member, member], waited_ns=0)
    ledger, windows = Ledger(1 << 20, 18, 16), Windows(2)
    for chip, n_held in enumerate((2, 0, 1, 2)):
        windows.open(chip)
        for number in range(n_held):
            windows.sent(chip, number, n_batches=1)
    tally = RunTally.of((0, 1, 2, 3))
    tally.begin(crew, ledger)
    now_ns = time.perf_counter_ns()
    times = np.full((16, len(IMAGE_TIMES)), now_ns, np.int64).tobytes()
    filled = Filled(0, {}, {"kernel": 16}, now_ns, now_ns, times, [1, 1, 1], 0, [1, 1, 1, now_ns])
    done = Done(0, 0, 1, 16, now_ns, now_ns, 1, 1, 1, [1, 1, 1, now_ns], [])
    rows, best_ns = list(range(16)), 1 << 62
    for _ in range(n_rounds):
        tally.trace = Trace() if is_traced else None
        began_ns = time.perf_counter_ns()
        for _ in range(n_slots):
            tally.sent_fill(0)
            slot = tally.take_filled(member, filled)
            tally.sent_run(slot)
            tally.take_done(member, done, slot, rows, now_ns)
            for _ in range(2):  # as often the hub wakes
                tally.observe(windows, crew)
        best_ns = min(best_ns, time.perf_counter_ns() - began_ns)
    return best_ns / n_slots / 1e3


def line(name: str, ratios: list[float]) -> str:
    """Median and quartiles of a ratio, as the cost in percent."""
    low, middle, high = (100 * (1 - q) for q in statistics.quantiles(ratios, n=4))
    return f"{name:24} costs {middle:+.2f} %  (quartiles {high:+.2f} .. {low:+.2f})"


@click.command()
@click.option("--what", default="accounting", type=click.Choice(["accounting", "trace", "calls"]))
@click.option("--pairs", default=10, show_default=True)
@click.option("--seconds", default=5.0, show_default=True)
@click.option("--data", type=click.Path(path_type=Path), help="Flat folder of JPEGs; the demo's images if not given.")
@click.option("--labels", type=click.Path(path_type=Path))
@click.option("--only", type=click.Choice(VARIANTS), hidden=True)
def main(what: str, pairs: int, seconds: float, data: Path | None, labels: Path | None, only: str | None) -> None:
    """Interleaved runs with and without the accounting, or a trace."""
    data, labels = images_or_demo(data, labels)
    if only is not None:
        click.echo(json.dumps(vars(run_once(what, only, data, labels, seconds))))
        return
    if what == "calls":
        click.echo(
            f"the hub's accounting of a slot of 16 images: {slot_us():.1f} us, {slot_us(is_traced=True):.1f} traced"
        )
        return
    found: dict[str, list[Sample]] = {variant: [] for variant in VARIANTS}
    for pair in range(pairs):
        for variant in VARIANTS if pair % 2 else VARIANTS[::-1]:
            found[variant].append(in_fresh_process(what, variant, data, labels, seconds))
    click.echo(f"{what}, {pairs} pairs of {seconds:.0f} s")
    for name in ("images_per_s", "images_per_cpu_s"):
        ratios = [getattr(a, name) / getattr(b, name) for a, b in zip(found["with"], found["without"], strict=True)]
        click.echo(line(name, ratios))
    spent = [
        (with_.hub_us_per_image - without.hub_us_per_image) * without.images_per_cpu_s / 1e6
        for with_, without in zip(found["with"], found["without"], strict=True)
    ]
    each = " and ".join(f"{statistics.median(s.hub_us_per_image for s in found[v]):.1f} us {v}" for v in VARIANTS)
    click.echo(line("the hub", [1 - share for share in spent]) + f"; CPU time an image: {each}")


if __name__ == "__main__":
    main()
