"""Sums of what the stages did. The sums of a part of a run are those at its end minus those at its begin."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TypeVar

NS_PER_S = 1e9
NS_PER_MS = 1e6
SUMS = TypeVar("SUMS", bound="Sums")


def per_second(count: float, ns: float) -> float:
    """`count` per second over `ns` nanoseconds; 0 where no time passed."""
    return count * NS_PER_S / ns if ns > 0 else 0.0


@dataclass
class Sums:
    """Integer fields that only grow."""

    def since(self: SUMS, before: SUMS) -> SUMS:
        """What was added since `before`."""
        return type(self)(**{f.name: getattr(self, f.name) - getattr(before, f.name) for f in fields(self)})


@dataclass
class ChipSums(Sums):
    """One chip. Copies and executes are in device time; an idle chip holds no slot, a full one as many as it may.

    n_rows : images executed, padding included
    pressed_ns : full while a slot was ready: a larger window would have taken it
    """

    n_images: int = 0
    n_batches: int = 0
    n_rows: int = 0
    h2d_ns: int = 0
    execute_ns: int = 0
    d2h_ns: int = 0
    idle_ns: int = 0
    full_ns: int = 0
    pressed_ns: int = 0

    def interface_per_s(self) -> float:
        """Images per second of the chip alone: batch x executions / execute time, as the old tool defines it.

        A dynamic model's part batch counts as what was executed, so that a short run is not flattered by it.
        """
        return per_second(self.n_rows, self.execute_ns)


@dataclass
class StageSums(Sums):
    """Nanoseconds of the stages outside the chips, summed over images (read, decode, resample) or slots (the others).

    hand_over : a decoder tells the hub of a slot
    fill_wait : sent to a decoder, until it begins       fill : until its last image is written
    slot_wait : until a chip's thread takes it up        device : until the host knows that it is complete
    result_wait : until the hub takes it up              rank : until it is free again
    free, filling, ready, in_flight : slots x time in each state, as the hub saw it; at a mark and at the end
    """

    n_decoded: int = 0
    n_ranked: int = 0
    n_slots: int = 0
    read_ns: int = 0
    decode_ns: int = 0
    resample_ns: int = 0
    hand_over_ns: int = 0
    fill_wait_ns: int = 0
    fill_ns: int = 0
    slot_wait_ns: int = 0
    device_ns: int = 0
    result_wait_ns: int = 0
    rank_ns: int = 0
    hub_busy_ns: int = 0
    free_ns: int = 0
    filling_ns: int = 0
    ready_ns: int = 0
    in_flight_ns: int = 0
