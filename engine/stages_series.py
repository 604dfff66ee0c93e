"""What happened when, in a bounded number of intervals of equal length."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from engine.ledger import SlotState

#: More intervals are merged in pairs: enough for a picture, and little enough for run.json.
MOST_INTERVALS = 600
#: Length of the first intervals: 600 of them are 12 s.
FIRST_INTERVAL_NS = 20_000_000
STATES = tuple(SlotState)

I64 = npt.NDArray[np.int64]


@dataclass
class Series:
    """Sums per interval since `began_ns`.

    Its columns are numbers of Python: a slot's trip adds to eight of them, and each item of an array would cost 100 ns.
    """

    began_ns: int = 0
    interval_ns: int = FIRST_INTERVAL_NS
    _images: list[int] = field(default_factory=lambda: [0] * MOST_INTERVALS)
    _last_result_ns: list[int] = field(default_factory=lambda: [0] * MOST_INTERVALS)
    _slots: list[list[int]] = field(default_factory=lambda: [[0] * len(STATES) for _ in range(MOST_INTERVALS)])

    @property
    def images(self) -> I64:
        """(n,) int64, images ranked."""
        return np.array(self._images, np.int64)

    @property
    def last_result_ns(self) -> I64:
        """(n,) int64, when the last of them was, 0 without."""
        return np.array(self._last_result_ns, np.int64)

    @property
    def slots(self) -> I64:
        """(n, 4) int64, slot-nanoseconds in each state of `SlotState`."""
        return np.array(self._slots, np.int64)

    def add_images(self, now_ns: int, n: int) -> None:
        """`n` images were ranked now."""
        at = self._index(now_ns)
        self._images[at] += n
        self._last_result_ns[at] = now_ns

    def add_slots(self, from_ns: int, to_ns: int, n_slots: tuple[int, ...]) -> None:
        """From then until then so many slots were in each state; times never go back."""
        last = self._index(to_ns)
        while from_ns < to_ns:
            at = min(self._index(from_ns), last)
            end_ns = to_ns if at == last else self.began_ns + (at + 1) * self.interval_ns
            row, span_ns = self._slots[at], end_ns - from_ns
            for state, n in enumerate(n_slots):
                if n:
                    row[state] += n * span_ns
            from_ns = end_ns

    def n_whole(self, to_ns: int) -> int:
        """Intervals that were over at that time."""
        return min(max(to_ns - self.began_ns, 0) // self.interval_ns, MOST_INTERVALS)

    def _index(self, now_ns: int) -> int:
        at = max(now_ns - self.began_ns, 0) // self.interval_ns
        while at >= MOST_INTERVALS:
            self._merge()
            at //= 2
        return at

    def _merge(self) -> None:
        """Neighbours become one; the second half is empty again."""
        half = MOST_INTERVALS // 2
        empty = [0] * (MOST_INTERVALS - half)
        self._images = [a + b for a, b in zip(self._images[0::2], self._images[1::2], strict=True)] + empty
        self._last_result_ns = [*map(max, self._last_result_ns[0::2], self._last_result_ns[1::2]), *empty]
        joined = [[a + b for a, b in zip(*rows, strict=True)] for rows in zip(*[iter(self._slots)] * 2, strict=True)]
        self._slots = joined + [[0] * len(STATES) for _ in range(MOST_INTERVALS - half)]
        self.interval_ns *= 2
