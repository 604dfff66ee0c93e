"""Latencies of any number of images in a few kilobytes: a histogram with buckets of equal ratio."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from engine.messages import IMAGE_TIMES, IMAGE_TIMES_BYTES

#: Buckets per factor of two: an image's latency is known to 1.1 %.
PER_OCTAVE = 64
#: 2**40 ns are 18 minutes; what is later is counted in the last bucket.
OCTAVES = 40

#: Slots whose latencies are counted at once: one by one they would cost 33 us each.
KEPT = 64

I64 = npt.NDArray[np.int64]


@dataclass
class Latencies:
    """Bucket i begins at 2**(i / PER_OCTAVE) ns."""

    max_ns: int = 0
    _counts: I64 = field(default_factory=lambda: np.zeros(OCTAVES * PER_OCTAVE, np.int64))
    _new: list[tuple[bytes, int]] = field(default_factory=list)

    @property
    def counts(self) -> I64:
        """(OCTAVES * PER_OCTAVE,) int64, images per bucket."""
        if self._new:
            begun_ns = np.frombuffer(b"".join(times for times, _ in self._new), np.int64)[:: len(IMAGE_TIMES)]
            n_images = [len(times) // IMAGE_TIMES_BYTES for times, _ in self._new]
            latencies_ns = np.repeat([ended_ns for _, ended_ns in self._new], n_images) - begun_ns
            self._new = []
            buckets = (np.log2(np.maximum(latencies_ns, 1)) * PER_OCTAVE).astype(np.int64)
            last = len(self._counts) - 1
            self._counts += np.bincount(np.minimum(buckets, last), minlength=last + 1)
            self.max_ns = max(self.max_ns, int(latencies_ns.max(initial=0)))
        return self._counts

    def add(self, times: bytes, ended_ns: int) -> None:
        """times : rows of `messages.IMAGE_TIMES`, one per image that was ranked then; kept until they are counted"""
        self._new.append((times, ended_ns))
        if len(self._new) >= KEPT:
            _ = self.counts

    def since(self, before: Latencies) -> Latencies:
        """What was added since `before`; the maximum is that of the whole."""
        counts = self.counts - before.counts
        return Latencies(self.max_ns, counts)

    def percentile_ns(self, percent: float) -> float:
        """The latency that `percent` of the images did not exceed, to the middle of its bucket; 0 without images."""
        n = int(self.counts.sum())
        if n == 0:
            return 0.0
        bucket = int(np.searchsorted(np.cumsum(self.counts), max(1, np.ceil(n * percent / 100))))
        return min(float(2 ** ((bucket + 0.5) / PER_OCTAVE)), float(self.max_ns))

    def histogram(self, per_octave: int) -> tuple[list[float], list[int]]:
        """(edges in ns, counts): the buckets in use, merged to `per_octave` per factor of two."""
        merged = self.counts.reshape(-1, PER_OCTAVE // per_octave).sum(axis=1)
        used = np.flatnonzero(merged)
        if not len(used):
            return [], []
        low, high = int(used[0]), int(used[-1]) + 1
        edges = [float(2 ** (i / per_octave)) for i in range(low, high + 1)]
        return edges, [int(count) for count in merged[low:high]]
