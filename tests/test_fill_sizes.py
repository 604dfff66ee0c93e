"""How many images slots get, told by stories of who waited for whom."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from engine.fill_sizes import RARE_NS, ROUNDS_LEFT, SLOTS_BEFORE_GROWTH, VERY_RARE_NS, WAITING_WEIGHT, FillSizes

OFTEN_NS = RARE_NS // 4
SIZES = FillSizes(batch=8, smallest=1, largest=4, n_sharing=4)
ENOUGH = SLOTS_BEFORE_GROWTH * SIZES.n_sharing


def told(sizes: FillSizes, is_awaited: bool, n_slots: int, gap_ns: int = OFTEN_NS) -> int:
    """The size for much work after so many more slots."""
    for _ in range(n_slots):
        sizes.filled(is_awaited, sizes._filled_ns + gap_ns)
    return sizes.next_size(None)


def test_slots_grow_while_chips_wait_for_them_and_shrink_when_they_wait_for_chips() -> None:
    sizes = replace(SIZES)
    assert told(sizes, True, ENOUGH - 1) == 8
    assert told(sizes, True, 1) == 16
    assert told(sizes, True, ENOUGH) == 32
    assert told(sizes, True, 5 * ENOUGH) == 32
    assert told(sizes, False, ENOUGH // WAITING_WEIGHT) == 16
    assert told(sizes, False, ENOUGH) == 8


def test_slots_stay_small_where_one_in_four_waits_for_a_chip() -> None:
    sizes = replace(SIZES)
    for _ in range(10 * ENOUGH):
        assert told(sizes, True, WAITING_WEIGHT - 1) == 8
        assert told(sizes, False, 1) == 8


def test_slots_that_come_rarely_do_not_grow_and_shrink_when_they_come_very_rarely() -> None:
    """A slow disk: the hub's work is nothing beside it, and large slots would take long."""
    sizes = replace(SIZES)
    assert told(sizes, True, 10 * ENOUGH, gap_ns=RARE_NS + 1) == 8
    assert told(sizes, True, 2 * ENOUGH) == 32
    assert told(sizes, True, 10 * ENOUGH, gap_ns=VERY_RARE_NS) == 32
    assert told(sizes, True, ENOUGH, gap_ns=VERY_RARE_NS + 1) == 8


def test_chips_that_have_all_to_be_filled_at_the_start_are_no_sign() -> None:
    """Four chips with windows of two and of three batches."""
    assert told(replace(SIZES), True, 2 * 4) == told(replace(SIZES), True, 3 * 4) == 8


@given(
    batch=st.integers(1, 40),
    smallest=st.integers(1, 4),
    more=st.integers(0, 31),
    n_sharing=st.integers(1, 70),
    n_images=st.integers(1, 20_000),
    data=st.data(),
)
def test_all_images_are_handed_out_in_whole_batches_that_get_fewer_towards_the_end(
    batch: int, smallest: int, more: int, n_sharing: int, n_images: int, data: st.DataObject
) -> None:
    """Never nothing, never more than a slot has rows for; what is left is spread over all who share it."""
    sizes = FillSizes(batch, smallest, smallest + more, n_sharing)
    sizes.largest = sizes.most_batches(n_images)
    stories = st.lists(st.tuples(st.booleans(), st.integers(1, 20)), max_size=6)
    for is_awaited, n in data.draw(stories):
        told(sizes, is_awaited, n * n_sharing)
    left, slots = n_images, list[int]()
    while left:
        size = sizes.next_size(left)
        assert size > 0
        assert size % batch == 0
        assert size <= sizes.largest * batch
        assert size <= max(batch, left // (ROUNDS_LEFT * n_sharing))
        slots.append(min(size, left))
        left -= slots[-1]
    assert sum(slots) == n_images
    assert slots == sorted(slots, reverse=True)
    assert all(size == batch for size in slots[-n_sharing:-1])
    assert sizes.next_size(None) >= slots[0] or slots[0] == n_images


def test_a_short_run_has_no_rows_that_it_never_fills() -> None:
    assert [SIZES.most_batches(n) for n in (1, 160, 300, 500, 10_000)] == [1, 1, 2, 3, 4]
    assert FillSizes(1, 4, 32, 4).most_batches(10) == 4
