"""Rates of a model on a chip, from a file in ``profiles/``.

    model = "ResNeXt101_32x8d"      soc = "Ascend310"       source = "where the numbers are published"
    [execute]                       images/s of one chip by batch size; or ``ms``: milliseconds per batch
    images_per_s = { "1" = 144.766, "16" = 165.952 }
    jitter = 0.0                    relative standard deviation of an execute
    [copy]                          gigabytes (1e9) per second, and microseconds before the first byte
    h2d_pinned_gb_per_s, h2d_pageable_gb_per_s, d2h_pinned_gb_per_s, d2h_pageable_gb_per_s, d2d_gb_per_s, latency_us
    [memory]
    total_mib, reserve_mib

Batch sizes between two published ones are interpolated in milliseconds per batch, which is what a chip's time is
nearly linear in; below the first and above the last the nearest published time per image holds.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engine.files import parse_toml

PROFILES = Path(__file__).with_name("profiles")
NS_PER_MS = 1_000_000


class ProfileError(ValueError):
    """A profile that is not there or does not say what is needed."""


@dataclass(frozen=True)
class CopyRates:
    """Bytes per nanosecond (= GB/s) by direction and kind of host memory, and the fixed cost of a copy."""

    h2d_pinned_gb_per_s: float = 2.75
    h2d_pageable_gb_per_s: float = 0.42
    d2h_pinned_gb_per_s: float = 2.75
    d2h_pageable_gb_per_s: float = 0.42
    d2d_gb_per_s: float = 20.0
    latency_us: float = 10.0

    def duration_ns(self, n_bytes: int, direction: str, is_pinned: bool) -> int:
        """Time on the copy engine. direction : "h2d", "d2h" or "d2d"."""
        if direction == "h2d":
            rate = self.h2d_pinned_gb_per_s if is_pinned else self.h2d_pageable_gb_per_s
        elif direction == "d2h":
            rate = self.d2h_pinned_gb_per_s if is_pinned else self.d2h_pageable_gb_per_s
        else:
            rate = self.d2d_gb_per_s
        return round(self.latency_us * 1000 + n_bytes / rate)


@dataclass(frozen=True)
class Profile:
    """One model on one kind of chip.

    execute_ms : (batch, milliseconds per batch), ascending in batch
    """

    name: str
    model: str
    soc: str
    source: str
    execute_ms: tuple[tuple[int, float], ...]
    copy: CopyRates
    jitter: float = 0.0
    total_mib: int = 8192
    reserve_mib: int = 433

    @property
    def memory_bytes(self) -> int:
        """Device memory that programs can have."""
        return (self.total_mib - self.reserve_mib) << 20

    def execute_ns(self, batch: int) -> int:
        """Time of one batch on the compute queue, without jitter."""
        return round(_interpolated_ms(self.execute_ms, batch) * NS_PER_MS)


def _interpolated_ms(points: tuple[tuple[int, float], ...], batch: int) -> float:
    """Milliseconds per batch: exact at the published sizes, linear between, proportional outside."""
    sizes = [size for size, _ in points]
    at = bisect_left(sizes, batch)
    if at == len(points):
        size, ms = points[-1]
        return ms * batch / size
    right_size, right_ms = points[at]
    if at == 0:
        return right_ms * batch / right_size
    left_size, left_ms = points[at - 1]
    return left_ms + (right_ms - left_ms) * (batch - left_size) / (right_size - left_size)


def profile_names() -> list[str]:
    """Names of the profiles that are shipped."""
    return sorted(path.stem for path in PROFILES.glob("*.toml"))


def load_profile(name: str) -> Profile:
    """Read a profile by its name, or by a path that ends in ``.toml``."""
    path = Path(name) if name.endswith(".toml") else PROFILES / f"{name}.toml"
    try:
        table = parse_toml(path)
    except FileNotFoundError:
        raise ProfileError(f"no profile {name!r}; shipped: {', '.join(profile_names())}") from None
    except ValueError as error:
        raise ProfileError(f"profile {path} is not TOML: {error}") from None
    try:
        return _profile_of(path.stem, table)
    except (KeyError, TypeError, ValueError) as error:
        raise ProfileError(f"profile {path} cannot be used: {error!r}") from None


def _profile_of(name: str, table: Mapping[str, Any]) -> Profile:
    memory = table.get("memory", {})
    return Profile(
        name=name,
        model=table["model"],
        soc=table["soc"],
        source=table["source"],
        execute_ms=_execute_points(table["execute"]),
        copy=CopyRates(**{key: float(value) for key, value in table.get("copy", {}).items()}),
        jitter=float(table["execute"].get("jitter", 0.0)),
        total_mib=int(memory.get("total_mib", 8192)),
        reserve_mib=int(memory.get("reserve_mib", 433)),
    )


def _execute_points(execute: Mapping[str, Any]) -> tuple[tuple[int, float], ...]:
    if "ms" in execute:
        points = {int(batch): float(ms) for batch, ms in execute["ms"].items()}
    else:
        points = {int(batch): 1000.0 * int(batch) / rate for batch, rate in execute["images_per_s"].items()}
    if not points or min(points) < 1 or min(points.values()) <= 0:
        raise ValueError("[execute] needs positive batch sizes and times")
    return tuple(sorted(points.items()))
