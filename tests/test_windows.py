"""Which chip gets the next slot, against the batches that it would execute meanwhile."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from engine.windows import Windows


@given(window=st.integers(1, 6), sizes=st.lists(st.integers(1, 8), min_size=1, max_size=30))
def test_a_chip_holds_what_covers_its_window_once_its_oldest_slot_is_done_and_no_more(
    window: int, sizes: list[int]
) -> None:
    """Slots of any sizes: room ends with the slot that makes the batches behind the oldest fill the window."""
    windows, held = Windows(window), dict[int, int]()
    windows.open(0)
    for slot, n_batches in enumerate(sizes):
        assert (0 not in windows.full) == (not held or sum(list(held.values())[1:]) < window - 1)
        if 0 in windows.full:
            assert windows.next_chip() is None
            oldest = next(iter(held))
            windows.done(0, oldest)
            del held[oldest]
            assert (0 not in windows.full) or sum(list(held.values())[1:]) >= window - 1
        if 0 not in windows.full:
            windows.sent(0, slot, n_batches)
            held[slot] = n_batches
        assert (0 in windows.idle) == (not held)


@given(window=st.integers(1, 5), n_chips=st.integers(1, 5), n=st.integers(1, 40))
def test_slots_of_one_batch_fill_all_windows_in_turn(window: int, n_chips: int, n: int) -> None:
    windows = Windows(window)
    for chip in range(n_chips):
        windows.open(chip)
    got = []
    for slot in range(n):
        if (next_chip := windows.next_chip()) is not None:
            windows.sent(next_chip, slot, 1)
            got.append(next_chip)
    assert got == [slot % n_chips for slot in range(min(n, window * n_chips))]
    assert windows.have_room == (n < window * n_chips)


def test_the_chip_with_the_fewest_batches_is_next() -> None:
    windows = Windows(3)
    for chip in (7, 3):
        windows.open(chip)
    windows.sent(7, slot=0, n_batches=2)
    windows.sent(3, slot=1, n_batches=1)
    assert windows.next_chip() == 3
    windows.sent(3, slot=2, n_batches=2)
    assert windows.next_chip() == 7
    windows.done(3, slot=1)
    assert windows.next_chip() == 7  # both hold two, it has waited longer


def test_a_chip_whose_feeder_is_gone_gets_nothing_and_begins_anew() -> None:
    windows = Windows(2)
    windows.open(0)
    windows.sent(0, slot=5, n_batches=1)
    windows.close(0)
    windows.close(0)
    assert windows.next_chip() is None
    assert not windows.have_room
    assert list(windows) == []
    assert not windows.idle | windows.full
    windows.open(0)
    assert windows.idle == {0}
    assert not windows.full
