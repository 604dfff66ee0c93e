"""What each chip holds: slots of different sizes, and whether it has room for another one."""

from __future__ import annotations

from collections.abc import Iterator


class _Held:
    """One chip's slots, oldest first, and their batches."""

    __slots__ = ("by_slot", "n_batches")

    def __init__(self) -> None:
        self.by_slot: dict[int, int] = {}
        self.n_batches = 0


class Windows:
    """Which chip gets the next slot. Chips are here while their feeder is up; iterating gives their numbers.

    A chip has room when it holds nothing, or when the batches behind its oldest slot do not fill its window: it
    executes those while the hub hears that the oldest is done and sends another one. A window of 1 holds one slot.
    """

    def __init__(self, window: int) -> None:
        """window : batches in flight per chip"""
        self._n_behind = window - 1
        self._chips: dict[int, _Held] = {}
        self.idle: set[int] = set()  # those that hold no slot
        self.full: set[int] = set()  # those without room

    def __iter__(self) -> Iterator[int]:
        return iter(self._chips)

    def __len__(self) -> int:
        return len(self._chips)

    def open(self, chip: int) -> None:
        """The chip takes slots; it holds none."""
        self._chips[chip] = _Held()
        self._changed(chip)

    def close(self, chip: int) -> None:
        """The chip takes no more, and holds nothing."""
        self._chips.pop(chip, None)
        self.idle.discard(chip)
        self.full.discard(chip)

    @property
    def have_room(self) -> bool:
        """Some chip has room."""
        return len(self.full) < len(self._chips)

    def next_chip(self) -> int | None:
        """The chip with room that holds the fewest batches, the longest waiting of them first; None without room."""
        with_room = (chip for chip in self._chips if chip not in self.full)
        return min(with_room, key=lambda chip: self._chips[chip].n_batches, default=None)

    def sent(self, chip: int, slot: int, n_batches: int) -> None:
        """The chip holds this slot now."""
        held = self._chips[chip] = self._chips.pop(chip)  # to the end of those with as many batches
        held.by_slot[slot] = n_batches
        held.n_batches += n_batches
        self._changed(chip)

    def done(self, chip: int, slot: int) -> None:
        """The chip has completed this slot."""
        held = self._chips[chip]
        held.n_batches -= held.by_slot.pop(slot)
        self._changed(chip)

    def _changed(self, chip: int) -> None:
        held = self._chips[chip]
        self.idle.discard(chip)
        self.full.discard(chip)
        if not held.by_slot:
            self.idle.add(chip)
        elif held.n_batches - next(iter(held.by_slot.values())) >= self._n_behind:
            self.full.add(chip)
