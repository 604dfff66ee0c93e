"""Hosts and chips as formulas: what a run of given options would measure, for sweeps without processes.

Each scenario has another bottleneck; together they hold the traps that real ones have: cliffs of the batch size,
plateaus, decoders that slow each other down, windows that matter only for small batches, options that need each other.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from engine.sweep.space import AUTO, Params, Space, key_of

VALUES: dict[str, tuple[int | str, ...]] = {
    "batch": (1, 4, 8, 16, 32),
    "workers": (1, 2, 3, 4),
    "window": (1, 2, 3),
    "slots": (AUTO, 4, 8),
}
SPACE = Space(VALUES)


@dataclass(frozen=True)
class Scenario:
    """interface : images/s of the chips by batch size        per_decoder : images/s of one decoder alone

    n_cores : decoders beyond them share what there is, and each costs `crowding` of it
    overlap : share of a batch's time that a window of 1 cannot hide
    """

    name: str
    interface: Mapping[int, float]
    per_decoder: float
    n_cores: int = 4
    crowding: float = 0.05
    overlap: float = 0.2

    def rate(self, params: Params) -> float:
        """Images per second without noise."""
        batch, workers, window = int(params["batch"]), int(params["workers"]), int(params["window"])
        chips = self.interface[batch] * {1: 1 - self.overlap, 2: 1.0, 3: 1.0 if batch >= 8 else 1.03}[window]
        crowd = max(0, workers - self.n_cores)
        host = self.per_decoder * min(workers, self.n_cores) * (1 - self.crowding * crowd)
        slots = params.get("slots", AUTO)
        room = 1.0 if slots == AUTO else min(1.0, int(slots) / (window * 2 + workers))
        # A soft minimum: near the balance of both each makes the other wait.
        return float((chips**-8 + host**-8) ** (-1 / 8) * room)


SCENARIOS = (
    Scenario("chips with a cliff at 32", {1: 430, 4: 560, 8: 640, 16: 664, 32: 430}, 600),
    Scenario("fast chips, decoders limit", {1: 2000, 4: 2900, 8: 3200, 16: 3300, 32: 3400}, 420),
    Scenario("two cores", {1: 500, 4: 800, 8: 950, 16: 1000, 32: 1010}, 480, n_cores=2, crowding=0.12),
    Scenario("the window matters", {1: 900, 4: 1000, 8: 1020, 16: 1030, 32: 1035}, 700, overlap=0.45),
    Scenario("small batches are best", {1: 700, 4: 690, 8: 640, 16: 600, 32: 500}, 900),
    Scenario("balance of chips and host", {1: 600, 4: 900, 8: 1100, 16: 1200, 32: 1250}, 300, crowding=0.2),
)


def measure_on(
    scenario: Scenario, noise: float = 0.0, seed: int = 0, calls: list[str] | None = None
) -> Callable[[Params, Callable[[], bool] | None], Mapping[str, Any]]:
    """`Measure` of the sweep's driver. The noise depends on the seed and on which run it is, not on the order."""
    counts: dict[str, int] = {}

    def measure(params: Params, should_stop: Callable[[], bool] | None) -> Mapping[str, Any]:
        key = key_of(params)
        if calls is not None:
            calls.append(key)
        counts[key] = counts.get(key, 0) + 1
        rng = np.random.default_rng(zlib.crc32(f"{seed} {key} {counts[key]}".encode()))
        return document_of(scenario, params, scenario.rate(params) * float(np.exp(rng.normal(0, noise))))

    return measure


def document_of(scenario: Scenario, params: Params, rate: float) -> dict[str, Any]:
    """As much of run.json as a sweep reads."""
    workers, batch = int(params["workers"]), int(params["batch"])
    stage = {"images_per_s": scenario.per_decoder * workers, "n_parallel": workers}
    return {
        "config": {"data": "val", "backend": "sim", "devices": [0, 1], **params},
        "environment": {"n_cores": scenario.n_cores},
        "throughput": {"end_to_end_per_s": rate, "interface_per_s": scenario.interface[batch], "wall_s": 1000 / rate},
        "stages": {"decode": stage},
        "latency_ms": {"p99": 1e3 * batch * int(params["window"]) / rate},
        "dataset": {"n_samples": 1000},
        "cpu_s": 10.0 * workers,
        "accuracy": {"top1": 0.5},
        "predictions_sha256": "same",
        "interrupted": False,
        "error": None,
    }
