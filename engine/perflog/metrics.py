"""The metrics of a log entry: where they are, which way is better, how they are written."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import accumulate, pairwise
from typing import Any

from engine.perflog.fingerprint import lookup

#: Parts that a run is cut into, at most, and batches of every chip that each must have.
MOST_PARTS = 20
BATCHES_PER_PART = 2


@dataclass(frozen=True)
class Metric:
    """One number of an entry. `is_rate`: higher is better; otherwise it is a time."""

    name: str
    title: str
    unit: str
    is_rate: bool
    path: str = ""

    def value(self, entry: Mapping[str, Any]) -> float | None:
        """The number, positive and finite; None where the entry has none."""
        return number(entry, self.path)

    def rate(self, entry: Mapping[str, Any]) -> float | None:
        """The same as a rate: higher is better."""
        value = self.value(entry)
        if value is None:
            return None
        return value if self.is_rate else 1 / value


class PerCpuSecond(Metric):
    """Images over CPU seconds of all processes."""

    def value(self, entry: Mapping[str, Any]) -> float | None:
        images, seconds = number(entry, "dataset.n_samples"), number(entry, "cpu_s")
        return images / seconds if images and seconds else None


@dataclass(frozen=True)
class Part:
    """A part of a run, in seconds from its first read."""

    begin_s: float
    end_s: float
    images_per_s: float


#: In the order of tables; the first one that both sides have decides.
METRICS = (
    Metric("end_to_end", "end-to-end", "images/s", True, "throughput.end_to_end_per_s"),
    Metric("interface", "interface", "images/s", True, "throughput.interface_per_s"),
    Metric("host_ceiling", "host ceiling", "images/s", True, "throughput.host_ceiling_per_s"),
    PerCpuSecond("images_per_cpu_s", "images per CPU second", "images/s", True),
    Metric("latency_p50", "latency p50", "ms", False, "latency_ms.p50"),
    Metric("latency_p99", "latency p99", "ms", False, "latency_ms.p99"),
)
BY_NAME = {metric.name: metric for metric in METRICS}


def number(entry: Mapping[str, Any], path: str) -> float | None:
    """The positive finite number at a dotted path; None for anything else."""
    value = lookup(entry, path)
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    return float(value) if math.isfinite(value) and value > 0 else None


def own_half_width(entry: Mapping[str, Any]) -> float:
    """Half of the 95 % interval that a run gives for its steady rate, as a share of it; 0 where it gives none."""
    rate, bounds = number(entry, "steady.images_per_s"), lookup(entry, "steady.interval_95_percent")
    if rate is None or not isinstance(bounds, list) or len(bounds) != 2:
        return 0.0
    try:
        half = (float(bounds[1]) - float(bounds[0])) / 2 / rate
    except (TypeError, ValueError):
        return 0.0
    return half if half >= 0 else 0.0


def samples_inside(entry: Mapping[str, Any], metric: Metric) -> list[float]:
    """Rates of the intervals of a run, or of the rounds of a bench; empty where the metric has none."""
    if metric.name == "end_to_end":
        return interval_rates(entry)
    rounds = entry.get("interface_samples_per_s") if metric.name == "interface" else None
    if not isinstance(rounds, list):
        return []
    return [float(rate) for rate in rounds if isinstance(rate, (int, float)) and math.isfinite(rate) and rate > 0]


def interval_rates(entry: Mapping[str, Any]) -> list[float]:
    """Images per second of successive parts of a run, from its first result on; empty where none were kept."""
    return [part.images_per_s for part in parts_of(entry, MOST_PARTS, BATCHES_PER_PART)]


def parts_of(entry: Mapping[str, Any], most: int, n_batches: int) -> list[Part]:
    """At most `most` successive parts of a run, from its first result to its last.

    Results come in batches, and intervals of the timeline may be shorter than a batch takes: each part begins and ends
    with a result and has `n_batches` batches of every chip or more.
    """
    counts, interval_ms = lookup(entry, "timeline.images"), number(entry, "timeline.interval_ms")
    if not isinstance(counts, list) or interval_ms is None:
        return []
    ends = [at for at, n in enumerate(counts) if isinstance(n, (int, float)) and n > 0]
    known = list(accumulate(counts[at] for at in ends))
    chips = lookup(entry, "config.devices")
    a_round = (number(entry, "config.batch") or 1) * (len(chips) if isinstance(chips, list) and chips else 1)
    n_parts = min(most, int((known[-1] - known[0]) / (n_batches * a_round))) if known else 0
    cuts = [bisect_left(known, known[0] + (known[-1] - known[0]) * k / n_parts) for k in range(n_parts)]
    cuts = sorted({*cuts, len(known) - 1}) if n_parts else []
    step_s = interval_ms / 1e3
    return [
        Part((ends[a] + 1) * step_s, (ends[b] + 1) * step_s, (known[b] - known[a]) / ((ends[b] - ends[a]) * step_s))
        for a, b in pairwise(cuts)
    ]
