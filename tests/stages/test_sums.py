"""The accounting's parts against slow, obvious twins."""

from __future__ import annotations

import os
import threading
import time

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.messages import IMAGE_TIMES
from engine.stages_latency import PER_OCTAVE, Latencies
from engine.stages_processes import ThreadSums, Usage
from engine.stages_series import FIRST_INTERVAL_NS, MOST_INTERVALS, Series

MS = 1_000_000
ENDED_NS = 1 << 50


def times_of(latencies_ns: npt.NDArray[np.int64]) -> bytes:
    """As a decoder tells them of images that were ranked at ENDED_NS."""
    times = np.full((len(latencies_ns), len(IMAGE_TIMES)), 77, np.int64)
    times[:, 0] = ENDED_NS - latencies_ns
    return times.tobytes()


@given(st.lists(st.integers(1, 2**39), min_size=1, max_size=200), st.sampled_from([1, 50, 90, 99, 100]))
def test_percentiles_are_those_of_the_sorted_latencies_to_one_bucket(latencies: list[int], percent: int) -> None:
    histogram = Latencies()
    for part in np.array_split(np.array(latencies, np.int64), 3):
        if len(part):
            histogram.add(times_of(part), ENDED_NS)
    exact = sorted(latencies)[max(1, -(-len(latencies) * percent // 100)) - 1]
    assert histogram.percentile_ns(percent) == pytest.approx(exact, rel=2 ** (1 / PER_OCTAVE) - 1, abs=1)
    assert histogram.max_ns == max(latencies)


@given(st.lists(st.integers(1, 2**39), min_size=1, max_size=50), st.integers(0, 50))
def test_latencies_since_a_mark_are_those_added_after_it(latencies: list[int], n_before: int) -> None:
    before, whole, after = Latencies(), Latencies(), Latencies()
    for at, latency in enumerate(latencies):
        one = times_of(np.array([latency], np.int64))
        whole.add(one, ENDED_NS)
        (before if at < n_before else after).add(one, ENDED_NS)
    assert (whole.since(before).counts == after.counts).all()


def test_the_histogram_counts_every_image_between_its_edges() -> None:
    histogram = Latencies()
    histogram.add(times_of(np.array([1000, 1500, 4000], np.int64)), ENDED_NS)
    edges, counts = histogram.histogram(8)
    assert len(edges) == len(counts) + 1
    assert sum(counts) == 3
    assert edges[0] <= 1000 < edges[1]
    assert edges[-2] <= 4000 < edges[-1]


@given(st.lists(st.tuples(st.integers(1, 900 * MS), st.integers(0, 3), st.integers(0, 9)), min_size=1, max_size=150))
def test_a_series_keeps_every_image_and_slot_nanosecond_however_long_the_run(steps: list[tuple[int, int, int]]) -> None:
    """Against sums over the steps themselves; the number of intervals stays bounded."""
    series = Series(began_ns=17)
    now_ns, slot_ns, n_images = 17, 0, 0
    for span_ns, n_free, n in steps:
        series.add_slots(now_ns, now_ns + span_ns, (n_free, 5 - n_free, 0, 0))
        now_ns += span_ns
        series.add_images(now_ns, n)
        slot_ns += 5 * span_ns
        n_images += n
    assert int(series.images.sum()) == n_images
    assert int(series.slots.sum()) == slot_ns
    assert series.interval_ns * MOST_INTERVALS > now_ns - 17
    n = series.n_whole(now_ns)
    assert (series.slots[:n].sum(axis=1) == 5 * series.interval_ns).all()


def test_a_series_merges_neighbours_when_it_is_full() -> None:
    series = Series()
    for at in range(MOST_INTERVALS + 1):
        series.add_images(at * FIRST_INTERVAL_NS, at)
    assert series.interval_ns == 2 * FIRST_INTERVAL_NS
    assert series.images[0] == 0 + 1
    assert series.images[299] == 598 + 599
    assert series.images[300] == 600
    assert series.last_result_ns[299] == 599 * FIRST_INTERVAL_NS


def test_waiting_is_blocked_as_far_as_the_hub_saw_no_room_and_starved_otherwise() -> None:
    thread = ThreadSums.since(100)
    thread.take([30, 70, 0, 150], run_began_ns=100)  # its clock started at 50: the 50 before the run were waiting
    assert (thread.busy_ns, thread.starved_ns, thread.blocked_ns) == (30, 20, 0)
    thread.room_ns = 40
    thread.take([60, 170, 0, 280], run_began_ns=100)
    assert (thread.busy_ns, thread.starved_ns, thread.blocked_ns) == (60, 80, 40)
    thread.room_ns = 40
    thread.take([90, 180, 5, 325], run_began_ns=100)  # it waited 10 only, and was blocked 5 by its own count
    assert (thread.busy_ns, thread.starved_ns, thread.blocked_ns) == (90, 80, 55)
    thread.finish(400)
    assert thread.starved_ns == 80 + 75
    assert thread.busy_ns + thread.starved_ns + thread.blocked_ns == 400 - 100


def test_a_thread_that_started_during_the_run_is_accounted_from_there() -> None:
    thread = ThreadSums.since(900)
    thread.take([10, 20, 0, 600], run_began_ns=100)
    assert thread.began_ns == 570
    assert (thread.busy_ns, thread.starved_ns) == (10, 20)


def test_switches_of_a_thread_that_has_ended_stay_counted() -> None:
    """Sums over the threads that live would go down, and a run could have fewer than none."""
    ended, usage = threading.Event(), Usage()

    def sleep_often() -> None:
        for _ in range(50):
            time.sleep(0.0002)
        ended.set()
        released.wait(10)

    released = threading.Event()
    thread = threading.Thread(target=sleep_often)
    thread.start()
    assert ended.wait(10)
    usage.sample(os.getpid(), with_pss=False)
    before = usage.n_voluntary_switches
    released.set()
    thread.join(10)
    usage.sample(os.getpid(), with_pss=False)
    assert usage.n_voluntary_switches >= before >= 50
