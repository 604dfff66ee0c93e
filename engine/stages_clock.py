"""What one thread does with its time: busy, starved (waiting for input) or blocked (waiting for room)."""

from __future__ import annotations

import time

BUSY, STARVED, BLOCKED = range(3)


class LapClock:
    """Sums of nanoseconds by state, without gaps: each lap ends where the next begins. For one thread."""

    def __init__(self) -> None:
        self._sums = [0, 0, 0]
        self._since_ns = time.perf_counter_ns()

    def lap(self, state: int) -> int:
        """The time since the last lap was spent in `state`; gives the time at which it ended."""
        now_ns = time.perf_counter_ns()
        self._sums[state] += now_ns - self._since_ns
        self._since_ns = now_ns
        return now_ns

    def move(self, ns: int, source: int, target: int) -> None:
        """`ns` of what was counted as `source` belong to `target`."""
        self._sums[source] -= ns
        self._sums[target] += ns

    def reading(self) -> list[int]:
        """[busy, starved, blocked, time of the last lap], nanoseconds."""
        return [*self._sums, self._since_ns]
