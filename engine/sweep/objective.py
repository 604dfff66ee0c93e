"""What a sweep looks for, as one number per run: higher is better."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from engine.errors import PerfError
from engine.perflog.metrics import BY_NAME, number
from engine.suggest import unknown

OBJECTIVES = {"throughput": "end_to_end", "images-per-cpu-s": "images_per_cpu_s"}


@dataclass(frozen=True)
class Objective:
    """`name` of OBJECTIVES; `max_latency_ms` bounds the 99th percentile of the latency (None: no bound)."""

    name: str = "throughput"
    max_latency_ms: float | None = None

    def __post_init__(self) -> None:
        if self.name not in OBJECTIVES:
            raise unknown("objective", self.name, OBJECTIVES)
        if self.max_latency_ms is not None and not self.max_latency_ms > 0:
            raise PerfError(f"--max-latency {self.max_latency_ms:g} ms: needed more than 0")

    @property
    def unit(self) -> str:
        return BY_NAME[OBJECTIVES[self.name]].unit

    def value(self, document: Mapping[str, Any]) -> float | None:
        """The number; None where the run has none."""
        return BY_NAME[OBJECTIVES[self.name]].value(document)

    def is_within(self, document: Mapping[str, Any]) -> bool:
        """Whether the latency bound is kept; a run without latencies keeps none."""
        if self.max_latency_ms is None:
            return True
        latency_ms = number(document, "latency_ms.p99")
        return latency_ms is not None and latency_ms <= self.max_latency_ms

    def title(self) -> str:
        """For tables."""
        bound = "" if self.max_latency_ms is None else f", p99 latency at most {self.max_latency_ms:g} ms"
        return f"{self.name}, {self.unit}{bound}"
