"""What the stages did: sums of times and counts, per stage and per chip, taken from the messages."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from engine.messages import Done, Filled

NS_PER_S = 1e9
NS_PER_MS = 1e6


def per_second(count: float, ns: float) -> float:
    """`count` per second over `ns` nanoseconds; 0 where no time passed."""
    return count * NS_PER_S / ns if ns > 0 else 0.0


@dataclass
class ChipTally:
    """One chip. Durations are sums over its batches, in device time; times of day are `perf_counter_ns`."""

    n_images: int = 0
    n_batches: int = 0
    h2d_ns: int = 0
    execute_ns: int = 0
    d2h_ns: int = 0
    first_submitted_ns: int = 0
    last_read_ns: int = 0
    last_filled_ns: int = 0
    last_done_ns: int = 0

    def add(self, done: Done, filled: Filled, n_images: int) -> None:
        self.n_images += n_images
        self.n_batches += done.n_batches
        self.h2d_ns += done.h2d_ns
        self.execute_ns += done.execute_ns
        self.d2h_ns += done.d2h_ns
        self.first_submitted_ns = min(self.first_submitted_ns or done.submitted_ns, done.submitted_ns)
        self.last_read_ns = max(self.last_read_ns, filled.read_ended_ns)
        self.last_filled_ns = max(self.last_filled_ns, filled.ended_ns)
        self.last_done_ns = max(self.last_done_ns, done.done_ns)

    def interface_per_s(self, batch: int) -> float:
        """Images per second of the chip alone: batch x executions / execute time, as the old tool defines it."""
        return per_second(self.n_batches * batch, self.execute_ns)


@dataclass
class RunTally:
    """The whole run.

    first_read_ns : the first byte was read        last_result_ns : the last row was ranked
    read_ns, decode_ns : summed over decoders       rank_ns : of the hub's thread
    """

    chips: dict[int, ChipTally]
    first_read_ns: int = 0
    last_result_ns: int = 0
    read_ns: int = 0
    decode_ns: int = 0
    rank_ns: int = 0
    n_decoded: int = 0
    n_ranked: int = 0
    decode_paths: Counter[str] = field(default_factory=Counter)

    @classmethod
    def of(cls, devices: tuple[int, ...]) -> RunTally:
        return cls({number: ChipTally() for number in devices})

    def add_filled(self, filled: Filled, n_samples: int) -> None:
        self.first_read_ns = min(self.first_read_ns or filled.began_ns, filled.began_ns)
        self.read_ns += filled.read_ns
        self.decode_ns += filled.decode_ns
        self.n_decoded += n_samples
        self.decode_paths.update(filled.paths)

    @property
    def wall_ns(self) -> int:
        """From the first byte read to the last result."""
        return max(self.last_result_ns - self.first_read_ns, 0)

    @property
    def end_to_end_per_s(self) -> float:
        """Images per second from the first byte read to the last result, failed ones included in neither."""
        return per_second(self.n_ranked, self.wall_ns)

    def interface_per_s(self, batch: int) -> float:
        """Images per second of all chips alone, measured on all at once."""
        return sum(chip.interface_per_s(batch) for chip in self.chips.values())
