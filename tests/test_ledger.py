"""The ledger as a state machine: no slot in two hands, each position settled exactly once, whatever dies when."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from engine.ledger import DEATHS_BEFORE_FAILURE, FAILED, SCORED, Ledger, LedgerError

N_DECODERS = 3
N_CHIPS = 2


class LedgerMachine(RuleBasedStateMachine):
    """A hub that hands out, takes back and buries at random; `held` is what the ledger must agree with."""

    @initialize(n_positions=st.integers(1, 40), n_slots=st.integers(2, 5), per_slot=st.integers(1, 6))
    def start(self, n_positions: int, n_slots: int, per_slot: int) -> None:
        self.ledger = Ledger(n_positions, n_slots, per_slot)
        self.n_slots, self.per_slot = n_slots, per_slot
        self.outcomes: dict[int, int] = {}
        self.filling: dict[int, int] = {}
        self.ready: list[int] = []
        self.in_flight: dict[int, int] = {}
        self.settled: Counter[int] = Counter()

    @rule(decoder=st.integers(0, N_DECODERS - 1), data=st.data())
    def fill(self, decoder: int, data: st.DataObject) -> None:
        self.fill_with(decoder, data.draw(st.integers(1, self.per_slot)))

    def fill_with(self, decoder: int, most: int) -> None:
        n_left = self.ledger.n_left
        slot = self.ledger.fill(decoder, most)
        if slot is not None:
            n = len(self.ledger.positions(slot))
            assert 1 <= n <= most
            assert self.ledger.n_left == n_left - n
            assert slot not in self.filling
            assert slot not in self.ready
            assert slot not in self.in_flight
            self.filling[slot] = decoder

    @rule(data=st.data())
    def filled(self, data: st.DataObject) -> None:
        if self.filling:
            slot = data.draw(st.sampled_from(sorted(self.filling)))
            self.ledger.filled(slot, self.filling.pop(slot))
            self.ready.append(slot)

    @rule(data=st.data())
    def skip_the_newest(self, data: st.DataObject) -> None:
        if self.ready:
            slot = self.ready.pop()
            for position in self.ledger.positions(slot):
                self.settle(position, FAILED)
            self.ledger.skip(slot)

    @rule(chip=st.integers(0, N_CHIPS - 1))
    def run(self, chip: int) -> None:
        slot = self.ledger.next_ready(chip)
        assert (slot is None) == (not self.ready)
        if slot is not None:
            self.ready.remove(slot)
            self.in_flight[slot] = chip

    @rule(data=st.data())
    def done(self, data: st.DataObject) -> None:
        if self.in_flight:
            slot = data.draw(st.sampled_from(sorted(self.in_flight)))
            for position in self.ledger.positions(slot):
                self.settle(position, SCORED)
            self.ledger.done(slot, self.in_flight.pop(slot))

    @rule()
    def resume_from_a_journal(self) -> None:
        """A kill of all: what is settled is restored into a new ledger, the rest is to do again."""
        ledger = Ledger(self.ledger.n_positions, self.n_slots, self.per_slot)
        for outcome in (SCORED, FAILED):
            of_it = sorted(position for position, was in self.outcomes.items() if was == outcome)
            if of_it:
                ledger.restore(np.array(of_it, np.int64), outcome)
        ledger.resume()
        assert (ledger.n_scored, ledger.n_failed) == (self.ledger.n_scored, self.ledger.n_failed)
        self.ledger, self.filling, self.ready, self.in_flight = ledger, {}, [], {}

    @rule(decoder=st.integers(0, N_DECODERS - 1), is_certain=st.booleans())
    def decoder_dies(self, decoder: int, is_certain: bool) -> None:
        held = {slot for slot, holder in self.filling.items() if holder == decoder}
        positions = sorted(p for slot in held for p in self.ledger.positions(slot))
        again, poison = self.ledger.decoder_died(decoder, is_certain)
        assert sorted(again + poison) == positions
        for position in poison:
            self.settle(position, FAILED)
        self.filling = {slot: holder for slot, holder in self.filling.items() if slot not in held}

    @rule(chip=st.integers(0, N_CHIPS - 1))
    def chip_dies(self, chip: int) -> None:
        lost = [slot for slot, holder in self.in_flight.items() if holder == chip]
        assert self.ledger.device_died(chip) == len(lost)
        self.ready += lost
        self.in_flight = {slot: holder for slot, holder in self.in_flight.items() if holder != chip}

    def settle(self, position: int, outcome: int) -> None:
        self.ledger.settle(position, outcome)
        self.settled[position] += 1
        self.outcomes[position] = outcome

    @invariant()
    def every_slot_is_in_one_hand(self) -> None:
        if hasattr(self, "ledger"):
            n_held = len(self.filling) + len(self.ready) + len(self.in_flight)
            assert self.ledger.n_free + n_held == self.n_slots

    @invariant()
    def what_is_neither_settled_nor_held_is_left(self) -> None:
        if hasattr(self, "ledger"):
            held = {position for slot in self.all_held() for position in self.ledger.positions(slot)}
            assert self.ledger.n_left == self.ledger.n_positions - len(held | self.outcomes.keys())
            assert self.ledger.has_work == (self.ledger.n_left > 0)

    def all_held(self) -> list[int]:
        return [*self.filling, *self.ready, *self.in_flight]

    def teardown(self) -> None:
        """Finish without further deaths: every position is settled once."""
        if not hasattr(self, "ledger"):
            return
        while not self.ledger.is_drained:
            self.fill_with(0, self.per_slot)
            for slot in list(self.filling):
                self.ledger.filled(slot, self.filling.pop(slot))
                self.ready.append(slot)
            self.run(0)
            for slot in list(self.in_flight):
                for position in self.ledger.positions(slot):
                    self.settle(position, SCORED)
                self.ledger.done(slot, self.in_flight.pop(slot))
        assert self.settled == Counter(range(self.ledger.n_positions))
        assert self.ledger.n_scored + self.ledger.n_failed == self.ledger.n_positions


LedgerMachine.TestCase.settings = settings(max_examples=150, stateful_step_count=60, deadline=None)
TestLedger = LedgerMachine.TestCase


def test_a_position_that_kills_its_decoder_alone_is_given_up_and_its_neighbours_are_not() -> None:
    """Position 2 of 4 kills every decoder that works on it."""
    ledger = Ledger(4, 2, 4)
    poison: list[int] = []
    scored: set[int] = set()
    for decoder in range(2 * DEATHS_BEFORE_FAILURE + 4):
        slot = ledger.fill(decoder, 4)
        if slot is None:
            break
        if 2 in ledger.positions(slot):
            poison += ledger.decoder_died(decoder)[1]
            continue
        scored |= set(ledger.positions(slot))
        ledger.filled(slot, decoder)
        assert ledger.next_ready(0) == slot
        ledger.done(slot, 0)
    assert poison == [2]
    assert scored == {0, 1, 3}


def test_settling_twice_and_giving_back_somebody_elses_slot_are_defects() -> None:
    ledger = Ledger(2, 2, 2)
    slot = ledger.fill(0, 2)
    assert slot is not None
    with pytest.raises(LedgerError, match="slot 0 was given back by 1 but is held by 0"):
        ledger.filled(slot, 1)
    ledger.settle(0, SCORED)
    with pytest.raises(LedgerError, match="position 0 was settled twice"):
        ledger.settle(0, FAILED)


@pytest.mark.parametrize("most", [0, 3])
def test_a_slot_cannot_get_more_positions_than_it_has_rows_or_none(most: int) -> None:
    with pytest.raises(LedgerError, match=f"{most} positions for a slot of 2 rows"):
        Ledger(9, 2, 2).fill(0, most)


def test_what_was_given_back_is_handed_out_first_in_order_in_slots_of_any_size() -> None:
    """A decoder dies over 0..5 in a slot; the next slots are smaller."""
    ledger = Ledger(9, 2, 6)
    assert ledger.fill(0, 6) is not None
    ledger.decoder_died(0)
    found = []
    for most in (2, 3, 6, 6):
        slot = ledger.fill(1, most)
        assert slot is not None
        found.append(ledger.positions(slot))
        ledger.filled(slot, 1)
        ledger.skip(slot)
    assert found == [[0, 1], [2, 3, 4], [5], [6, 7, 8]]


def test_after_stop_nothing_more_is_handed_out_and_the_rest_drains() -> None:
    ledger = Ledger(10, 3, 2)
    slot = ledger.fill(0, 2)
    assert slot is not None
    ledger.is_stopping = True
    assert ledger.fill(0, 2) is None
    assert not ledger.is_drained
    ledger.filled(slot, 0)
    assert ledger.next_ready(1) == slot
    ledger.done(slot, 1)
    assert ledger.is_drained
