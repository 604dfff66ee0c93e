"""Parts of the pipeline that are slower than they are, or not there at all: to test the verdict and to find ceilings.

A run with a stand-in is not a measurement of this host, and says so.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from engine.collector import Collector
from engine.errors import ConfigError
from engine.names import NameTable
from engine.sources.base import Array, Source, Store
from engine.suggest import unknown
from kernels.spec import PreprocessSpec, TensorFormat

#: Bytes of stored samples that one decoder keeps in memory when reads are cached.
CACHE_BYTES = 256 << 20
LONGEST_DELAY_MS = 10_000.0
DELAYS = ("read-ms", "rank-ms")


@dataclass(frozen=True)
class StandIns:
    """What is replaced.

    read_ms : each sample's read takes so much longer      rank_ms : so does the ranking of each slot
    is_read_cached : a sample is read once per decoder     is_row_ready : no read and no decode, rows stay as they are
    is_unranked : nothing is ranked
    """

    read_ms: float = 0.0
    rank_ms: float = 0.0
    is_read_cached: bool = False
    is_row_ready: bool = False
    is_unranked: bool = False

    def store(self, store: Store) -> Store:
        """`store`, or what stands in for it."""
        is_real = not (self.read_ms or self.is_read_cached or self.is_row_ready)
        return store if is_real else StandInStore(store, self)

    def collector(self, labels: npt.NDArray[np.int32]) -> Collector:
        """A collector, or what stands in for it."""
        collector = Collector.of(labels)
        if not (self.rank_ms or self.is_unranked):
            return collector
        return StandInCollector(labels, collector.predictions, delay_s=self.rank_ms / 1e3, is_null=self.is_unranked)


def parse_injection(text: str) -> StandIns:
    """Delays from ``read-ms=20,rank-ms=5``; ConfigError for anything else."""
    found: dict[str, float] = {}
    for part in filter(None, text.split(",")):
        name, _, value = part.strip().partition("=")
        if name not in DELAYS:
            raise unknown("delay in --inject", name, DELAYS)
        try:
            ms = float(value)
        except ValueError:
            raise ConfigError(f"--inject {part!r}: needed milliseconds, such as {name}=5") from None
        if not 0 <= ms <= LONGEST_DELAY_MS:
            raise ConfigError(f"--inject {part!r}: needed 0 to {LONGEST_DELAY_MS:.0f} milliseconds")
        found[name] = ms
    return StandIns(read_ms=found.get("read-ms", 0.0), rank_ms=found.get("rank-ms", 0.0))


@dataclass(frozen=True)
class StandInStore:
    """Opens a source that stands in for the store's."""

    plural: ClassVar[str] = "samples"
    is_cut_at_first_dot: ClassVar[bool] = False

    store: Store
    stand_ins: StandIns

    def check(self, names: NameTable, spec: PreprocessSpec) -> None:
        self.store.check(names, spec)

    def open(self, names: NameTable, spec: PreprocessSpec, tensor: TensorFormat) -> Source:
        if self.stand_ins.is_row_ready:
            return ReadyRows()
        source = self.store.open(names, spec, tensor)
        return CachedReads(source) if self.stand_ins.is_read_cached else SlowReads(source, self.stand_ins.read_ms / 1e3)


class ReadyRows:
    """Rows are taken for written: whatever is in the slot goes to the chips."""

    resample_ns = 0

    def expect(self, samples: Sequence[int]) -> None:
        pass

    def read(self, sample: int) -> None:
        return None

    def write(self, data: None, row: Array) -> str:
        return "ready"


class SlowReads:
    """Reads as from a disk that takes `delay_s` longer for each."""

    def __init__(self, source: Source, delay_s: float) -> None:
        self._source = source
        self._delay_s = delay_s

    @property
    def resample_ns(self) -> int:
        return self._source.resample_ns

    def expect(self, samples: Sequence[int]) -> None:
        self._source.expect(samples)

    def read(self, sample: int) -> Any:
        time.sleep(self._delay_s)
        return self._source.read(sample)

    def write(self, data: Any, row: Array) -> str:
        return self._source.write(data, row)


class CachedReads:
    """Reads each sample once; what does not fit into the cache is read again."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._kept: dict[int, Any] = {}
        self._n_bytes = 0

    @property
    def resample_ns(self) -> int:
        return self._source.resample_ns

    def expect(self, samples: Sequence[int]) -> None:
        self._source.expect([sample for sample in samples if sample not in self._kept])

    def read(self, sample: int) -> Any:
        data = self._kept.get(sample)
        if data is None:
            data = self._source.read(sample)
            n_bytes = memoryview(data).nbytes
            if self._n_bytes + n_bytes <= CACHE_BYTES:
                data = data.copy() if isinstance(data, np.ndarray) else data  # an array may be the source's own buffer
                self._kept[sample] = data
                self._n_bytes += n_bytes
        return data

    def write(self, data: Any, row: Array) -> str:
        return self._source.write(data, row)


@dataclass
class StandInCollector(Collector):
    """Ranks late, or not at all."""

    delay_s: float = 0.0
    is_null: bool = False

    def score(self, outputs: npt.NDArray[np.float32], samples: npt.NDArray[np.int64]) -> None:
        if self.delay_s:
            time.sleep(self.delay_s)
        if not self.is_null:
            super().score(outputs, samples)
