"""What a pure-inference benchmark says: the old tool's files, a table, JSON, and where the rate falls off."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engine import __version__, host
from engine.files import atomic_write, write_report
from engine.purebench import PERCENTILES, BatchBench

STAGES = ("h2d", "execute", "d2h")
#: A larger batch that is slower per image than a smaller one by more than this is a cliff. The guide's ResNeXt101
#: falls by 35 % from batch 16 to 32; its batches from 4 to 16 differ by 1 %.
CLIFF_PERCENT = 10.0
#: Chips of one kind that differ by more than this are worth a look.
SKEW_PERCENT = 5.0
#: Below this part of the chips' own rate, the host's clock measures something else than the chips.
HOST_BOUND = 0.8


@dataclass(frozen=True)
class Cliff:
    """`batch` is slower per image than `best_batch`, which is smaller. Rates are images/s per chip."""

    batch: int
    rate_per_s: float
    best_batch: int
    best_per_s: float

    @property
    def percent(self) -> float:
        return 100 * (1 - self.rate_per_s / self.best_per_s)


def mean_rate_per_s(bench: BatchBench) -> float:
    """Images/s per chip, mean over the chips."""
    return sum(bench.rate_per_s(chip) for chip in bench.chips) / len(bench.chips)


def find_cliffs(benches: Sequence[BatchBench]) -> list[Cliff]:
    """Batch sizes that are much slower per image than the best smaller one."""
    cliffs = []
    rates = {bench.batch: mean_rate_per_s(bench) for bench in benches}
    for batch, rate in sorted(rates.items()):
        smaller = {other: rates[other] for other in rates if other < batch}
        if smaller:
            best = max(smaller, key=smaller.__getitem__)
            if rate < (1 - CLIFF_PERCENT / 100) * smaller[best]:
                cliffs.append(Cliff(batch, rate, best, smaller[best]))
    return cliffs


def pure_infer_line(bench: BatchBench, chip: int) -> str:
    """The content of the old tool's file: 6 significant digits, units glued on."""
    return f"ave_throughputRate = {bench.rate_per_s(chip):.6g}samples/s, ave_latency = {bench.latency_ms(chip):.6g}ms\n"


def write_pure_infer(bench: BatchBench, stem: str, out: Path) -> list[Path]:
    """``PureInfer_perf_of_<stem>_in_device_<d>.txt`` of each chip."""
    paths = []
    for chip in bench.chips:
        paths.append(out / f"PureInfer_perf_of_{stem}_in_device_{chip}.txt")
        atomic_write(paths[-1], pure_infer_line(bench, chip).encode())
    return paths


def table(benches: Sequence[BatchBench]) -> list[str]:
    """One line per batch size, for 80 columns; times are ms per batch."""
    n_chips = len(benches[0].chips)
    lines = [
        "       execute, ms per batch             h2d     d2h   images/s    images/s",
        f"batch      p50     p90     p95     p99   p50     p50   per chip  {n_chips} at once",
    ]
    for bench in benches:
        execute = bench.percentiles_ms("execute")
        times = " ".join(f"{execute[percent]:7.2f}" for percent in PERCENTILES)
        copies = f"{bench.percentiles_ms('h2d')[50]:6.2f} {bench.percentiles_ms('d2h')[50]:7.2f}"
        lines.append(f"{bench.batch:5}  {times} {copies} {mean_rate_per_s(bench):10.2f} {bench.interface_per_s:11.2f}")
    return lines


def cliff_lines(cliffs: Sequence[Cliff], model: str) -> list[str]:
    """What to look at."""
    lines = []
    for cliff in cliffs:
        lines += [
            f"CLIFF at batch {cliff.batch}: {cliff.rate_per_s:.2f} images/s per chip, {cliff.percent:.0f} % below "
            f"batch {cliff.best_batch} ({cliff.best_per_s:.2f})",
            f"  run with --batch {cliff.best_batch}; which operators grow faster than the batch:",
            f"  engine profile --model {model} --batch {cliff.batch} --against {cliff.best_batch}",
            "  rule out a busy chip (npu-smi info: AICore must be 0 % before) and a hot one (temperature)",
        ]
    return lines


def skew_lines(benches: Sequence[BatchBench]) -> list[str]:
    """Said where a chip is slower than the fastest one beside it."""
    lines = []
    for bench in benches:
        rates = {chip: bench.rate_per_s(chip) for chip in bench.chips}
        best = max(rates.values())
        slow = {chip: rate for chip, rate in rates.items() if rate < (1 - SKEW_PERCENT / 100) * best}
        if slow:
            which = ", ".join(f"chip {chip} {rate:.2f}" for chip, rate in slow.items())
            lines.append(
                f"SLOW at batch {bench.batch}: {which} images/s, the fastest {best:.2f}: busy, hot, or throttled?"
            )
    return lines


def host_bound_lines(benches: Sequence[BatchBench]) -> list[str]:
    """Said where the host's clock shows far less than the chips' own."""
    slow = [bench for bench in benches if bench.wall_per_s < HOST_BOUND * bench.interface_per_s]
    if not slow:
        return []
    rates = ", ".join(f"batch {bench.batch}: {bench.wall_per_s:.1f}" for bench in slow)
    why = (
        "this CPU computes the simulated chips' numbers; their execute times are the profile's"
        if slow[0].simulated
        else "copies or the host hold the chips back: compare h2d with execute"
    )
    return [f"by the host's clock the chips reach less (images/s, {rates}): {why}"]


def remarks(benches: Sequence[BatchBench], model: str) -> list[str]:
    """What there is to say below the table."""
    return [*skew_lines(benches), *host_bound_lines(benches), *cliff_lines(find_cliffs(benches), model)]


def document(benches: Sequence[BatchBench], rounds: int, warm_up: int) -> dict[str, Any]:
    """Everything, for JSON. Rates are images/s, times ms."""
    first = benches[0]
    return {
        "engine_version": __version__,
        "environment": host.environment(),
        "device_name": first.device_name,
        "simulated": first.simulated,
        "profile": first.profile,
        "input": first.input,
        "rounds": rounds,
        "warm_up": warm_up,
        "batches": [_batch_document(bench) for bench in benches],
        "cliffs": [{**vars(cliff), "percent": cliff.percent} for cliff in find_cliffs(benches)],
    }


def _batch_document(bench: BatchBench) -> dict[str, Any]:
    return {
        "batch": bench.batch,
        "model": bench.model,
        "interface_per_s": bench.interface_per_s,
        "wall_per_s": bench.wall_per_s,
        **{f"{stage}_ms": {f"p{p}": ms for p, ms in bench.percentiles_ms(stage).items()} for stage in STAGES},
        "chips": [
            {"device": chip, "rate_per_s": bench.rate_per_s(chip), "latency_ms": bench.latency_ms(chip)}
            for chip in bench.chips
        ],
    }


def write_json(benches: Sequence[BatchBench], path: Path, rounds: int, warm_up: int) -> None:
    """The document as a file."""
    write_report(path, (json.dumps(document(benches, rounds, warm_up), indent=2) + "\n").encode())
