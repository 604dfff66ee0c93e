"""When things happen on the chips: lanes, streams, events. Pure arithmetic on simulated nanoseconds.

Every call that queues work is placed on the timeline at once, from the time of the call: a task starts when its stream
is ready, the events it waits for are complete, and its lane (compute queue or copy engine) has room. A busy host
therefore does not slow a simulated chip. Only what cannot be known yet parks in its stream: work behind a callback that
is not back, behind an event whose own stream is parked, or behind a hang.

What a task does to memory is separate, see `tasks`.
"""

from __future__ import annotations

import threading
from bisect import bisect_left
from collections import deque
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

from engine.pyacl_stubs.codes import AclError
from engine.pyacl_stubs.tasks import Task


class Lane:
    """One queue of a chip that does one thing at a time; a gap that is long enough is used."""

    def __init__(self) -> None:
        self._starts: list[int] = []
        self._ends: list[int] = []

    def reserve(self, ready_ns: int, duration_ns: int, now_ns: int) -> int:
        """Take the first free `duration_ns` at or after `ready_ns`; its start."""
        starts, ends = self._starts, self._ends
        if ends and ends[-1] == ready_ns:  # the usual case: right behind the last
            ends[-1] = ready_ns + duration_ns
            return ready_ns
        self._forget_before(now_ns)
        at = bisect_left(ends, ready_ns)
        start_ns = ready_ns
        while at < len(starts) and starts[at] < start_ns + duration_ns:
            start_ns = max(start_ns, ends[at])
            at += 1
        self._insert(at, start_ns, start_ns + duration_ns)
        return start_ns

    def _insert(self, at: int, start_ns: int, end_ns: int) -> None:
        """Add an interval before position `at`, merged with the one that ends where it starts."""
        if at > 0 and self._ends[at - 1] == start_ns:
            self._ends[at - 1] = end_ns
        else:
            self._starts.insert(at, start_ns)
            self._ends.insert(at, end_ns)

    def _forget_before(self, now_ns: int) -> None:
        if self._ends and self._ends[0] < now_ns:
            n_past = bisect_left(self._ends, now_ns)
            del self._starts[:n_past]
            del self._ends[:n_past]


class Record:
    """One recording of an event, or the end of a stream as a synchronise sees it."""

    time_ns: int | None = None
    tasks: tuple[Task, ...] = ()
    waiters: tuple[Stream, ...] = ()
    #: A query has told the worker that these effects are wanted.
    is_pushed = False
    #: What is ordered before this record, for the race check of strict mode.
    known: Any = None

    @property
    def is_done(self) -> bool:
        """The effects before this record are done."""
        return all(task.is_done for task in self.tasks)

    def finish(self) -> None:
        """Have the effects before this record done when this returns."""
        for task in self.tasks:
            task.finish()
        self.tasks = ()


class Stream:
    """Work in order. `handle` is what the program sees; the default stream of a context has 0."""

    def __init__(self, context: Any, handle: int, origin: str, priority: int = 0) -> None:
        self.context = context
        self.handle = handle
        self.origin = origin
        self.priority = priority
        self.tail_ns = 0
        self.last: Task | None = None
        self.joined: list[Task] = []
        self.is_held = False
        self.parked: deque[Callable[[int], None]] = deque()
        self.errors: deque[AclError] = deque()
        self.is_live = True
        self.subscriber: Any = None
        self.clock: Any = None

    def fail(self, call: str, error: AclError) -> None:
        """Keep the error of a queued task for the next synchronise."""
        self.errors.append(type(error)(error.code, f"{call}: {error.reason}"))

    def take_error(self) -> AclError | None:
        """The oldest error that no synchronise has reported."""
        return self.errors.popleft() if self.errors else None

    def pending_tasks(self) -> tuple[Task, ...]:
        """Tasks that the next one stands on."""
        last = self.last
        if not self.joined:
            return () if last is None or last.is_done else (last,)
        tasks = [task for task in self.joined if not task.is_done]
        if last is not None and not last.is_done:
            tasks.append(last)
        return tuple(tasks)

    def __str__(self) -> str:
        name = f"stream {self.handle:#x}" if self.handle else "the default stream"
        return f"{name} of device {self.context.device.id}"


class Schedule:
    """Places work of all chips of the process on their timelines. One lock: its sections are short."""

    def __init__(self, now_ns: Callable[[], int]) -> None:
        self._now_ns = now_ns
        self._lock = threading.RLock()
        self._changed = threading.Condition(self._lock)
        self._n_waiting = 0

    def queue_task(self, task: Task, lane: Lane, duration_ns: int, placed: Callable[[Task], None]) -> None:
        """Queue work that occupies a lane. `placed` is called once its times are known."""
        with self._lock:
            if task.stream.is_held:
                task.stream.parked.append(partial(self._place_task, task, lane, duration_ns, placed))
            else:
                self._place_task(task, lane, duration_ns, placed, self._now_ns())

    @staticmethod
    def _place_task(task: Task, lane: Lane, duration_ns: int, placed: Callable[[Task], None], now_ns: int) -> None:
        stream = task.stream
        ready_ns = now_ns if now_ns > stream.tail_ns else stream.tail_ns
        task.start_ns = start_ns = lane.reserve(ready_ns, duration_ns, now_ns)
        task.end_ns = stream.tail_ns = start_ns + duration_ns
        task.before = stream.pending_tasks()
        stream.joined.clear()
        stream.last = task
        placed(task)

    def queue_record(self, record: Record, stream: Stream) -> None:
        """Give `record` the time at which everything queued so far is complete."""
        with self._lock:
            if stream.is_held:
                stream.parked.append(partial(self._place_record, record, stream))
                return
            record.tasks = stream.pending_tasks()  # nobody waits for it yet
            now_ns = self._now_ns()
            record.time_ns = now_ns if now_ns > stream.tail_ns else stream.tail_ns

    def _place_record(self, record: Record, stream: Stream, now_ns: int) -> None:
        record.tasks = stream.pending_tasks()
        record.time_ns = now_ns if now_ns > stream.tail_ns else stream.tail_ns
        if self._n_waiting:
            self._changed.notify_all()
        for waiter in record.waiters:
            self._join(waiter, record)
            self._resume(waiter, now_ns)

    def queue_wait(self, record: Record, stream: Stream) -> None:
        """Let what is queued later in `stream` start after `record`."""
        with self._lock:
            if stream.is_held:
                stream.parked.append(partial(self._place_wait, record, stream))
            else:
                self._place_wait(record, stream, 0)

    def _place_wait(self, record: Record, stream: Stream, now_ns: int) -> None:
        if record.time_ns is None:
            record.waiters += (stream,)
            stream.is_held = True
        else:
            self._join(stream, record)

    def queue_hold(self, stream: Stream, begin: Callable[[int], None]) -> None:
        """Stop the stream at this point until `release`. `begin` is told the time at which the point is reached."""

        def place(now_ns: int) -> None:
            stream.is_held = True
            begin(max(now_ns, stream.tail_ns))

        self._place_or_park(stream, place)

    def queue_call(self, stream: Stream, call: Callable[[int], None]) -> None:
        """Run something short at this point of the stream, without holding it."""
        self._place_or_park(stream, lambda now_ns: call(max(now_ns, stream.tail_ns)))

    def release(self, stream: Stream) -> None:
        """Let a held stream go on, from now."""
        with self._lock:
            now_ns = self._now_ns()
            stream.tail_ns = max(stream.tail_ns, now_ns)
            self._resume(stream, now_ns)

    def wait_known(self, record: Record, timeout_s: float | None) -> bool:
        """Wait until the time of `record` is known; False when `timeout_s` has passed before."""
        if record.time_ns is not None:
            return True
        with self._changed:
            self._n_waiting += 1
            try:
                return self._changed.wait_for(lambda: record.time_ns is not None, timeout_s)
            finally:
                self._n_waiting -= 1

    def _place_or_park(self, stream: Stream, place: Callable[[int], None]) -> None:
        with self._lock:
            if stream.is_held:
                stream.parked.append(place)
            else:
                place(self._now_ns())

    @staticmethod
    def _join(stream: Stream, record: Record) -> None:
        assert record.time_ns is not None
        stream.tail_ns = max(stream.tail_ns, record.time_ns)
        stream.joined.extend(task for task in record.tasks if not task.is_done)

    @staticmethod
    def _resume(stream: Stream, now_ns: int) -> None:
        stream.is_held = False
        while stream.parked and not stream.is_held:
            stream.parked.popleft()(now_ns)


def finish_all(tasks: Iterable[Task]) -> None:
    """Have the effects of these tasks done when this returns."""
    for task in tasks:
        task.finish()
