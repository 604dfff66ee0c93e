"""Reference section 1: streams, events, synchronisation."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from tests.contract.conftest import HOST_TO_DEVICE, Card

N_BYTES = 1 << 20
TIME_LINE = 8


@dataclass(frozen=True)
class Work:
    """A stream and something to queue on it."""

    card: Card
    stream: int
    device: int
    host: int

    def queue(self) -> None:
        """One asynchronous copy of a MiB."""
        ret = self.card.acl.rt.memcpy_async(self.device, N_BYTES, self.host, N_BYTES, HOST_TO_DEVICE, self.stream)
        assert ret == 0


@pytest.fixture
def work(card: Card) -> Iterator[Work]:
    rt = card.acl.rt
    made = Work(card, card.ok(rt.create_stream()), card.ok(rt.malloc(N_BYTES, 0)), card.ok(rt.malloc_host(N_BYTES)))
    yield made
    assert rt.synchronize_device() == 0
    assert rt.destroy_stream(made.stream) == 0
    assert rt.free(made.device) == 0
    assert rt.free_host(made.host) == 0


@pytest.fixture
def events(work: Work) -> Iterator[tuple[int, int]]:
    rt = work.card.acl.rt
    pair = work.card.ok(rt.create_event_with_flag(TIME_LINE)), work.card.ok(rt.create_event())
    yield pair
    for event in pair:
        assert rt.destroy_event(event) == 0


def test_the_three_queries_of_an_event(work: Work, events: tuple[int, int]) -> None:
    """Section 1: query_event 0 is complete; query_event_status the other way round; wait_status 0 is complete."""
    rt, (event, _) = work.card.acl.rt, events
    work.queue()
    assert rt.record_event(event, work.stream) == 0
    assert rt.query_event(event) == (1, 0)
    assert rt.query_event_status(event) == (0, 0)
    assert rt.query_event_wait_status(event) == (1, 0)
    assert rt.synchronize_event(event) == 0
    assert rt.query_event(event) == (0, 0)
    assert rt.query_event_status(event) == (1, 0)
    assert rt.query_event_wait_status(event) == (0, 0)


def test_elapsed_time_is_in_milliseconds(work: Work, events: tuple[int, int]) -> None:
    """Section 1: event_elapsed_time(start, end) is (float, ret); a wrong order or no record are codes."""
    rt, (start, end) = work.card.acl.rt, events
    assert rt.event_elapsed_time(start, end)[1] == 107006
    assert rt.record_event(start, work.stream) == 0
    work.queue()
    assert rt.record_event(end, work.stream) == 0
    assert rt.event_elapsed_time(start, end)[1] == 507006
    assert rt.synchronize_stream(work.stream) == 0
    elapsed = work.card.ok(rt.event_elapsed_time(start, end))
    assert isinstance(elapsed, float)
    assert 0.01 < elapsed < 1000
    assert rt.event_elapsed_time(end, start)[1] == 107007


def test_an_event_without_time_line_has_no_time(work: Work) -> None:
    """Section 1: flag 0x8 is needed for elapsed time."""
    rt = work.card.acl.rt
    event = work.card.ok(rt.create_event_with_flag(1))
    assert rt.record_event(event, work.stream) == 0
    assert rt.synchronize_event(event) == 0
    assert rt.event_elapsed_time(event, event)[1] == 107006
    assert rt.destroy_event(event) == 0


def test_a_stream_waits_for_an_event(work: Work, events: tuple[int, int]) -> None:
    """Section 1: stream_wait_event(stream, event), in this order; reset_event lets it serve again."""
    rt, (first, second) = work.card.acl.rt, events
    other = work.card.ok(rt.create_stream())
    work.queue()
    assert rt.record_event(first, work.stream) == 0
    assert rt.stream_wait_event(other, first) == 0
    assert rt.reset_event(first, other) == 0
    assert rt.record_event(second, other) == 0
    assert rt.query_event_status(second) == (0, 0)
    assert rt.synchronize_event(second) == 0
    assert rt.stream_wait_event(first, other) != 0
    assert rt.destroy_stream(other) == 0


def test_synchronise_with_a_timeout(work: Work, events: tuple[int, int]) -> None:
    """Section 1: -1 is forever, 0 is refused, in time it is 0."""
    rt, (event, _) = work.card.acl.rt, events
    work.queue()
    assert rt.record_event(event, work.stream) == 0
    assert rt.synchronize_stream_with_timeout(work.stream, 0) != 0
    assert rt.synchronize_event_with_timeout(event, 10_000) == 0
    assert rt.synchronize_stream_with_timeout(work.stream, -1) == 0
    assert rt.synchronize_device() == 0


def test_destroyed_things_are_refused(card: Card) -> None:
    """Section 1: a destroyed stream or event is an error, not a crash."""
    rt = card.acl.rt
    stream, event = card.ok(rt.create_stream()), card.ok(rt.create_event())
    assert rt.destroy_stream(stream) == 0
    assert rt.destroy_event(event) == 0
    assert rt.synchronize_stream(stream) != 0
    assert rt.record_event(event, 0) != 0
    assert rt.destroy_event(event) != 0


def test_a_stream_with_a_priority(card: Card) -> None:
    """Section 1: create_stream_with_config, where it is there."""
    if not hasattr(card.acl.rt, "create_stream_with_config"):
        pytest.skip("this CANN has no create_stream_with_config")
    stream = card.ok(card.acl.rt.create_stream_with_config(0, 0))
    assert card.acl.rt.destroy_stream(stream) == 0
