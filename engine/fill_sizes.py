"""How many images the next slot gets: few where chips are the bound, many where the host is, fewer towards the end.

What a slot costs the hub hardly depends on what is in it (about 100 us, four messages), so slots of many images leave
the decoders more of a busy host. Slots of few images come through sooner and spread evenly over the chips.
"""

from __future__ import annotations

from dataclasses import dataclass, field

#: Of what is left to hand out, a slot gets at most one in so many for each chip (or decoder, if those are more): guided
#: self-scheduling (Polychronopoulos and Kuck, IEEE Transactions on Computers C-36, 1987) with so many rounds to spare.
ROUNDS_LEFT = 4
#: Slots for each chip (or decoder) that must have come too late for slots to become larger: more than fill all windows
#: at the start of a run that the chips bound.
SLOTS_BEFORE_GROWTH = 4
#: A slot that had to wait for a chip counts against so many that did not.
WAITING_WEIGHT = 4
#: Slots that come so rarely cost the hub about 1 % of a core: larger ones would gain nothing.
RARE_NS = 8_000_000
#: So rare, smaller slots cost nothing, and what they hold is ready sooner.
VERY_RARE_NS = 4 * RARE_NS


@dataclass
class FillSizes:
    """Decides by what it hears of the slots before; no clock of its own, so that the same story has the same end.

    batch             : images of a batch
    smallest, largest : batches of a slot while there is enough to do
    n_sharing         : chips or decoders, whichever are more
    """

    batch: int
    smallest: int
    largest: int
    n_sharing: int
    _n_batches: int = field(init=False)
    _score: int = field(init=False, default=0)
    _filled_ns: int = field(init=False, default=0)

    def __post_init__(self) -> None:
        self._n_batches = self.smallest

    def most_batches(self, n_images: int) -> int:
        """The most batches that a slot of a run of so many images gets, or as many as a small one has."""
        return max(min(self.largest, self._share(n_images)), self.smallest)

    def next_size(self, n_left: int | None) -> int:
        """Images for the next slot, whole batches. n_left : images to hand out; None where more will follow"""
        n_batches = self._n_batches
        if n_left is not None:
            n_batches = min(n_batches, self._share(n_left))
        return n_batches * self.batch

    def _share(self, n_left: int) -> int:
        return max(1, n_left // (self.batch * ROUNDS_LEFT * self.n_sharing))

    def filled(self, is_awaited: bool, at_ns: int) -> None:
        """A slot was filled at that time. is_awaited : no other was ready, and a chip had room for it"""
        gap_ns, self._filled_ns = at_ns - self._filled_ns, at_ns
        if not is_awaited or gap_ns > VERY_RARE_NS:
            self._score -= WAITING_WEIGHT
        elif gap_ns <= RARE_NS:
            self._score += 1
        enough = SLOTS_BEFORE_GROWTH * self.n_sharing
        if abs(self._score) >= enough:
            wanted = self._n_batches * 2 if self._score > 0 else self._n_batches // 2
            self._n_batches = min(max(wanted, self.smallest), self.largest)
            self._score = 0
