"""Who holds what: the state of every slot and of every position. No input or output happens here.

    slot      FREE -> FILLING -> READY -> IN_FLIGHT -> FREE
    position  PENDING -> SCORED or FAILED, once

A position is a sample in one pass over the data: ``position = pass * n_samples + sample``.
"""

from __future__ import annotations

from collections import Counter, deque
from dataclasses import dataclass, field
from enum import Enum

import numpy as np
import numpy.typing as npt

#: A position over which this many decoders died is decoded in a slot of its own ...
DEATHS_BEFORE_ISOLATION = 2
#: ... and is FAILED after this many: two deaths alone in a slot are not somebody's `kill` that happened to hit it.
DEATHS_BEFORE_FAILURE = 2 * DEATHS_BEFORE_ISOLATION


class SlotState(Enum):
    FREE = "free"
    FILLING = "filling"
    READY = "ready"
    IN_FLIGHT = "in flight"


PENDING, SCORED, FAILED = 0, 1, 2


class LedgerError(AssertionError):
    """A slot was in two hands or a position was settled twice: a defect of the engine."""


@dataclass
class SlotRecord:
    """One slot: its state, who holds it (a decoder's or chip's id) and the positions in its rows."""

    state: SlotState = SlotState.FREE
    holder: int = -1
    turn: int = 0  # when it was handed out, counted over all slots
    positions: list[int] = field(default_factory=list)


class Ledger:
    """Hands positions out, takes them back when their holder dies, and settles each exactly once."""

    def __init__(self, n_positions: int, n_slots: int, images_per_slot: int) -> None:
        self.n_positions = n_positions
        self._images_per_slot = images_per_slot
        self._slots = [SlotRecord() for _ in range(n_slots)]
        self._n_in_state = dict.fromkeys(SlotState, 0) | {SlotState.FREE: n_slots}
        self._free = deque(range(n_slots))
        self._ready: deque[int] = deque()
        self._next = 0
        self._turn = 0
        self._returned: deque[list[int]] = deque()
        self._n_returned = 0
        self._deaths: Counter[int] = Counter()
        self._settled = np.zeros(n_positions, np.uint8)
        self.n_scored = 0
        self.n_failed = 0
        self.is_stopping = False  # hand nothing more out: finish what is in the slots

    @property
    def n_free(self) -> int:
        return len(self._free)

    @property
    def n_ready(self) -> int:
        return len(self._ready)

    def extend(self, n_positions: int) -> None:
        """So many more positions are to be done."""
        self.n_positions += n_positions
        self._settled = np.concatenate([self._settled, np.zeros(n_positions, np.uint8)])

    @property
    def n_in_state(self) -> tuple[int, ...]:
        """Slots in each `SlotState`, in its order."""
        return tuple(self._n_in_state.values())

    @property
    def is_drained(self) -> bool:
        """Nothing is left to hand out, and every slot is free."""
        return not self.has_work and len(self._free) == len(self._slots)

    @property
    def has_work(self) -> bool:
        """There are positions to hand out."""
        return not self.is_stopping and (bool(self._returned) or self._next < self.n_positions)

    @property
    def n_left(self) -> int:
        """Positions to hand out."""
        return self._n_returned + self.n_positions - self._next

    def positions(self, slot: int) -> list[int]:
        """The positions in the slot's rows."""
        return self._slots[slot].positions

    def fill(self, decoder: int, most: int) -> int | None:
        """FREE -> FILLING: a slot for this decoder, with positions; None when no slot is free or no work is left.

        most : positions that it gets, unless fewer are left or together; up to the rows of a slot
        """
        if not 0 < most <= self._images_per_slot:
            raise LedgerError(f"{most} positions for a slot of {self._images_per_slot} rows")
        if not self._free or not self.has_work:
            return None
        slot = self._free.popleft()
        self._move(slot, SlotState.FREE, SlotState.FILLING, decoder)
        self._turn += 1
        self._slots[slot].turn = self._turn
        self._slots[slot].positions = self._take(most)
        return slot

    def filled(self, slot: int, decoder: int) -> None:
        """FILLING -> READY."""
        self._expect_holder(slot, decoder)
        self._move(slot, SlotState.FILLING, SlotState.READY, -1)
        self._ready.append(slot)

    def next_ready(self, device: int) -> int | None:
        """READY -> IN_FLIGHT: the slot that has been ready longest; None when there is none."""
        if not self._ready:
            return None
        slot = self._ready.popleft()
        self._move(slot, SlotState.READY, SlotState.IN_FLIGHT, device)
        return slot

    def done(self, slot: int, device: int) -> None:
        """IN_FLIGHT -> FREE. The rows must have been scored."""
        self._expect_holder(slot, device)
        self._move(slot, SlotState.IN_FLIGHT, SlotState.FREE, -1)
        self._release(slot)

    def skip(self, slot: int) -> None:
        """READY -> FREE, for a slot none of whose images could be decoded. Call it right after `filled`."""
        self._ready.remove(slot)
        self._move(slot, SlotState.READY, SlotState.FREE, -1)
        self._release(slot)

    def settle(self, position: int, outcome: int) -> None:
        """PENDING -> SCORED or FAILED."""
        if self._settled[position] != PENDING:
            raise LedgerError(f"position {position} was settled twice")
        self._settled[position] = outcome
        if outcome == SCORED:
            self.n_scored += 1
        else:
            self.n_failed += 1

    def restore(self, positions: npt.NDArray[np.int64], outcome: int) -> None:
        """Settle what an earlier part of this run has settled, before anything is handed out; then call `resume`."""
        if (self._settled[positions] != PENDING).any():
            raise LedgerError(f"a position of {positions[0]}..{positions[-1]} was settled twice")
        self._settled[positions] = outcome
        if outcome == SCORED:
            self.n_scored += len(positions)
        else:
            self.n_failed += len(positions)

    def resume(self) -> None:
        """Hand out only what `restore` has not settled."""
        settled = np.flatnonzero(self._settled)
        self._next = int(settled[-1]) + 1 if len(settled) else 0
        holes = np.flatnonzero(self._settled[: self._next] == PENDING).tolist()
        step = self._images_per_slot
        for start in range(0, len(holes), step):
            self._return(holes[start : start + step])

    def decoder_died(
        self, decoder: int, is_certain: bool = False, culprit: int | None = None
    ) -> tuple[list[int], list[int]]:
        """Take back what a dead decoder held.

        is_certain : a limit of ours ended it over one of its positions, half as many deaths prove it
        culprit    : the position over which it died, where it could tell; else all of its slot are suspected

        Returns the positions that will be decoded again, and those to be FAILED: alone in their slot, they killed
        decoders again. Only the slot handed out first is held against its positions: the decoder was working on it.
        """
        again: list[int] = []
        poison: list[int] = []
        held = [s for s, r in enumerate(self._slots) if r.state is SlotState.FILLING and r.holder == decoder]
        held.sort(key=lambda slot: self._slots[slot].turn)
        for slot in held:
            positions = self._slots[slot].positions
            if slot == held[0]:
                suspects = positions if culprit is None else [culprit]
                self._deaths.update(suspects * (DEATHS_BEFORE_ISOLATION if is_certain else 1))
            if len(positions) == 1 and self._deaths[positions[0]] >= DEATHS_BEFORE_FAILURE:
                poison += positions
            else:
                again += positions
                self._give_back(positions)
            self._move(slot, SlotState.FILLING, SlotState.FREE, -1)
            self._release(slot)
        return again, poison

    def describe(self) -> str:
        """Counts, and one line per slot that somebody holds."""
        n_left = self.n_positions - self.n_scored - self.n_failed
        lines = [f"{self.n_scored} scored, {self.n_failed} failed, {n_left} of {self.n_positions} to do"]
        for number, record in enumerate(self._slots):
            if record.state is not SlotState.FREE:
                ends = f"{record.positions[0]}..{record.positions[-1]}"
                lines.append(f"slot {number}: {record.state.value}, held by {record.holder}, positions {ends}")
        return "\n".join(lines)

    def device_died(self, device: int) -> int:
        """IN_FLIGHT -> READY for all slots of this chip: their inputs are still there. Returns how many."""
        lost = [s for s, r in enumerate(self._slots) if r.state is SlotState.IN_FLIGHT and r.holder == device]
        for slot in lost:
            self._move(slot, SlotState.IN_FLIGHT, SlotState.READY, -1)
            self._ready.appendleft(slot)
        return len(lost)

    def _take(self, most: int) -> list[int]:
        if self._returned:
            positions = self._returned.popleft()
            self._n_returned -= len(positions)
            if len(positions) > most:
                self._return(positions[most:], at_the_front=True)
            return positions[:most]
        first = self._next
        self._next = min(first + most, self.n_positions)
        return list(range(first, self._next))

    def _return(self, positions: list[int], at_the_front: bool = False) -> None:
        """To be handed out again, together as far as they fit."""
        self._n_returned += len(positions)
        if at_the_front:
            self._returned.appendleft(positions)
        else:
            self._returned.append(positions)

    def _give_back(self, positions: list[int]) -> None:
        """The others together, suspects alone and after them."""
        others = [position for position in positions if self._deaths[position] < DEATHS_BEFORE_ISOLATION]
        if others:
            self._return(others)
        for position in positions:
            if position not in others:
                self._return([position])

    def _expect_holder(self, slot: int, holder: int) -> None:
        if self._slots[slot].holder != holder:
            raise LedgerError(f"slot {slot} was given back by {holder} but is held by {self._slots[slot].holder}")

    def _move(self, slot: int, before: SlotState, after: SlotState, holder: int) -> None:
        record = self._slots[slot]
        if record.state is not before:
            raise LedgerError(f"slot {slot} is {record.state.value}, not {before.value}")
        record.state, record.holder = after, holder
        self._n_in_state[before] -= 1
        self._n_in_state[after] += 1

    def _release(self, slot: int) -> None:
        self._slots[slot].positions = []
        self._free.append(slot)
