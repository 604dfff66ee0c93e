"""Reference section 4: callbacks, threads."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from tests.contract.conftest import Card

BLOCK, NO_BLOCK = 1, 0


@pytest.fixture(autouse=True)
def keep_sigint() -> Iterator[None]:
    """start_thread resets the handler of SIGINT, as documented."""
    handler = signal.getsignal(signal.SIGINT)
    yield
    signal.signal(signal.SIGINT, handler)


class Reporter:
    """A callback thread, as the vendor's samples have it."""

    def __init__(self, card: Card) -> None:
        self.card = card
        self.is_ended = False
        self.context = card.ok(card.acl.rt.get_context())
        self.tid = card.ok(card.acl.util.start_thread(self._loop, [self.context, 20]))

    def _loop(self, args: list[int]) -> None:
        context, timeout_ms = args
        self.card.acl.rt.set_context(context)
        idle = threading.Event()
        while not self.is_ended:
            if self.card.acl.rt.process_report(timeout_ms) != 0:
                idle.wait(0.001)

    def end(self) -> None:
        """Stop the thread."""
        self.is_ended = True
        assert self.card.acl.util.stop_thread(self.tid) == 0


@pytest.fixture
def reporter(card: Card) -> Iterator[Reporter]:
    made = Reporter(card)
    yield made
    made.end()


def test_callbacks_run_in_order_and_hold_their_stream(card: Card, reporter: Reporter) -> None:
    """Section 4: launch_callback with block type 1, one argument, after all earlier work."""
    stream = card.ok(card.acl.rt.create_stream())
    assert card.acl.rt.subscribe_report(reporter.tid, stream) == 0
    seen: list[Any] = []
    for i in range(5):
        assert card.acl.rt.launch_callback(seen.append, (i, "data"), BLOCK, stream) == 0
    assert card.acl.rt.synchronize_stream(stream) == 0
    assert seen == [(i, "data") for i in range(5)]
    assert card.acl.rt.unsubscribe_report(reporter.tid, stream) == 0
    assert card.acl.rt.destroy_stream(stream) == 0


def test_a_python_thread_serves_as_well(card: Card) -> None:
    """Section 4: the id of a threading.Thread."""
    seen: list[int] = []
    ready, done = threading.Event(), threading.Event()

    def loop() -> None:
        ready.wait(10)
        assert card.acl.rt.process_report(10_000) == 0
        done.set()

    thread = threading.Thread(target=loop)
    thread.start()
    assert card.acl.rt.subscribe_report(thread.ident, 0) == 0
    ready.set()
    assert card.acl.rt.launch_callback(seen.append, 3, BLOCK, 0) == 0
    assert card.acl.rt.synchronize_stream(0) == 0
    assert done.wait(10)
    thread.join(10)
    assert card.acl.rt.unsubscribe_report(thread.ident, 0) == 0
    assert seen == [3]


def test_subscriptions_are_checked(card: Card, reporter: Reporter) -> None:
    """Section 4: 107011 and 107012, and a launch without subscription."""
    rt = card.acl.rt
    assert rt.launch_callback(print, None, BLOCK, 0) in (107015, 107011)
    assert rt.unsubscribe_report(reporter.tid, 0) == 107011
    assert rt.subscribe_report(reporter.tid, 0) == 0
    assert rt.subscribe_report(reporter.tid, 0) == 107012
    assert rt.subscribe_report(12345, 0) == 107011
    assert rt.unsubscribe_report(12345, 0) == 107012
    assert rt.unsubscribe_report(reporter.tid, 0) == 0


def test_a_310_has_only_blocking_callbacks(card: Card, reporter: Reporter) -> None:
    """Section 4: block type 0 is refused on a 310."""
    if card.acl.get_soc_name() != "Ascend310":
        pytest.skip("only on an Ascend 310")
    assert card.acl.rt.subscribe_report(reporter.tid, 0) == 0
    assert card.acl.rt.launch_callback(print, None, NO_BLOCK, 0) != 0
    assert card.acl.rt.unsubscribe_report(reporter.tid, 0) == 0


def test_process_report_without_subscription_returns_at_once(card: Card) -> None:
    """Section 4: 107012, it does not wait; a timeout of 0 is not allowed."""
    assert card.acl.rt.process_report(60_000) == 107012
    assert card.acl.rt.process_report(0) != 0


def test_exceptions_of_callbacks_are_swallowed(card: Card, reporter: Reporter) -> None:
    """Section 4: the stream goes on."""
    assert card.acl.rt.subscribe_report(reporter.tid, 0) == 0
    assert card.acl.rt.launch_callback(lambda _: 1 // 0, None, BLOCK, 0) == 0
    assert card.acl.rt.synchronize_stream(0) == 0
    assert card.acl.rt.unsubscribe_report(reporter.tid, 0) == 0


def test_stop_thread_raises_what_the_function_raised(card: Card) -> None:
    """Section 4: RuntimeError."""
    tid = card.ok(card.acl.util.start_thread(lambda args: 1 // args[0], [0]))
    with pytest.raises(RuntimeError):
        card.acl.util.stop_thread(tid)
    assert signal.getsignal(signal.SIGINT) == signal.SIG_DFL
