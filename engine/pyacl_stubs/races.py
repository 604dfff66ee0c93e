"""Strict mode: two uses of the same memory that nothing orders.

Every stream and the host have a vector clock: how far each stream is known to be done. A record of an event takes its
stream's clock along, a wait or a synchronise merges it. Two accesses that overlap, one of them a write, must be ordered
by these clocks; that a chip happens to be busy long enough does not count. All threads of the host are one: what one
has waited for, all know (the simulator cannot see how they talk to each other).
"""

from __future__ import annotations

import threading
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from engine.pyacl_stubs.memory import Block, Span
from engine.pyacl_stubs.report import caller
from engine.pyacl_stubs.schedule import Record, Stream
from engine.pyacl_stubs.tasks import Task

VectorClock = dict[Stream, int]
Complain = Callable[[str, str], None]


@dataclass(frozen=True)
class Access:
    """One queued use of a part of a block."""

    stream: Stream
    tick: int
    start: int
    end: int
    is_write: bool
    text: str

    def conflicts(self, span: Span, is_write: bool) -> bool:
        """The bytes overlap, and one of the two writes."""
        overlaps = self.start < span.address + span.n_bytes and span.address < self.end
        return overlaps and (self.is_write or is_write)


class Races:
    """The clocks of one process. complain : is told the call and the text of each race."""

    def __init__(self, complain: Complain) -> None:
        self._complain = complain
        self._host: VectorClock = {}
        self._clocks: dict[Stream, VectorClock] = {}
        self._lock = threading.Lock()
        self._callback = threading.local()

    def enter_callback(self, stream: Stream, record: Record) -> None:
        """This thread runs a blocking callback: what was queued behind it in the stream cannot have begun."""
        self._callback.place = (stream, record.known.get(stream, 0))

    def leave_callback(self) -> None:
        """The callback has returned."""
        self._callback.place = None

    def on_task(self, task: Task, reads: Sequence[Span], writes: Sequence[Span]) -> None:
        """Work is queued: check it against all that uses the same memory, and remember it."""
        stream = task.stream
        with self._lock:
            clock = self._clock(stream)
            clock[stream] = tick = clock.get(stream, 0) + 1
            text = f"{task.name} at {caller()} on {stream}"
            for is_write, spans in ((False, reads), (True, writes)):
                for span in spans:
                    self._use(span, is_write, clock, text, task.name)
                    if span.block is not None:
                        end = span.address + span.n_bytes
                        span.block.accesses.append(Access(stream, tick, span.address, end, is_write, text))

    def on_record(self, record: Record, stream: Stream) -> None:
        """An event, or a synchronise, takes what the stream knows."""
        with self._lock:
            record.known = dict(self._clock(stream))

    def on_wait(self, record: Record, stream: Stream) -> None:
        """What is queued in `stream` from here on comes after `record`."""
        with self._lock:
            _merge(self._clock(stream), record.known)

    def on_host_wait(self, record: Record) -> None:
        """The host has waited for `record`."""
        with self._lock:
            _merge(self._host, record.known)

    def on_host_access(self, call: str, reads: Sequence[Span], writes: Sequence[Span]) -> None:
        """A synchronous call uses memory now."""
        with self._lock:
            for is_write, spans in ((False, reads), (True, writes)):
                for span in spans:
                    self._use(span, is_write, self._host, call, call)

    def pending_user(self, block: Block) -> str | None:
        """Queued work on a block that the host has not waited for."""
        with self._lock:
            pending = [access for access in block.accesses or () if not _knows(self._host, access)]
            return pending[-1].text if pending else None

    def _clock(self, stream: Stream) -> VectorClock:
        """The stream's clock; what the host has waited for is before all that it queues."""
        clock = self._clocks.setdefault(stream, {})
        _merge(clock, self._host)
        return clock

    def _use(self, span: Span, is_write: bool, clock: VectorClock, text: str, call: str) -> None:
        block = span.block
        if block is None:
            return
        block.accesses = [access for access in block.accesses or () if not _knows(self._host, access)]
        for access in block.accesses:
            if access.conflicts(span, is_write) and not _knows(clock, access) and not self._is_behind_callback(access):
                verb = "writes" if is_write else "reads"
                self._complain(
                    call,
                    f"race: {text} {verb} {block}, allocated at {block.origin}, not ordered after {access.text}: "
                    "an event wait or a synchronise is missing",
                )

    def _is_behind_callback(self, access: Access) -> bool:
        """The access waits for the callback that this thread is in."""
        stream, tick = getattr(self._callback, "place", None) or (None, 0)
        return access.stream is stream and access.tick > tick


def _knows(clock: VectorClock, access: Access) -> bool:
    return clock.get(access.stream, 0) >= access.tick


def _merge(clock: VectorClock, other: VectorClock) -> None:
    for stream, tick in other.items():
        if clock.get(stream, 0) < tick:
            clock[stream] = tick


def watched_source(source: Span, complain: Complain) -> Callable[[], None]:
    """A check to run when a copy from host memory executes: the bytes must be those of the call."""
    before, where = _checksum(source), caller()

    def check() -> None:
        if source.block is not None and source.block.is_live and _checksum(source) != before:
            complain(
                "acl.rt.memcpy_async",
                f"{source.block}, allocated at {source.block.origin}, was changed between the call at {where} and "
                "the copy: synchronise before it is filled again",
            )

    return check


def _checksum(span: Span) -> int:
    return zlib.crc32(span.view())
