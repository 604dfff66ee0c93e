"""``acl.rt``: streams, events, synchronisation (reference section 1)."""

from __future__ import annotations

from dataclasses import dataclass

from engine.pyacl_stubs.codes import SUCCESS, AclError, Code, Outcome
from engine.pyacl_stubs.entry import entry, with_zero
from engine.pyacl_stubs.process import PROCESS, Context
from engine.pyacl_stubs.schedule import Record, Stream
from engine.pyacl_stubs.work import raise_first_error, record_on, stream_of, wait_for

#: Flags of create_event_with_flag: synchronise, stream wait, time line; they may be joined.
TIME_LINE = 0x8
EVENT_FLAGS = 0x1F
LEAST_PRIORITY = 7
NS_PER_MS = 1_000_000


@dataclass(eq=False)
class Event:
    """An event: its latest record, None before the first and after a reset."""

    context: Context
    handle: int
    origin: str
    flag: int
    record: Record | None = None
    stream: Stream | None = None

    def __str__(self) -> str:
        return f"event {self.handle:#x} of device {self.context.device.id}"


# --- streams -------------------------------------------------------------------------------------------------------
@entry("acl.rt.create_stream", with_zero)
def create_stream() -> tuple[int, int]:
    """A stream of the current context."""
    return _new_stream(0), SUCCESS


@entry("acl.rt.create_stream_with_config", with_zero)
def create_stream_with_config(priority: int, flag: int, /) -> tuple[int, int]:
    """A stream with a priority, which one compute queue has no use for."""
    if not 0 <= priority <= LEAST_PRIORITY:
        raise AclError(Code.INVALID_PARAM, f"priority {priority} is not 0..{LEAST_PRIORITY}")
    return _new_stream(priority), SUCCESS


def _new_stream(priority: int) -> int:
    context = PROCESS.context()
    stream = Stream(context, PROCESS.new_handle(), PROCESS.origin(), priority)
    context.streams.add(stream)
    PROCESS.register(stream.handle, stream)
    return stream.handle


@entry("acl.rt.destroy_stream")
def destroy_stream(stream: int, /) -> int:
    """End a stream; its work should be synchronised before."""
    context = PROCESS.context()
    if stream == 0:
        raise AclError(Code.INVALID_PARAM, "the default stream ends with its context")
    known = stream_of(stream, context)
    if any(not task.is_done for task in known.pending_tasks()):
        PROCESS.complain(
            "acl.rt.destroy_stream", f"{known}, created at {known.origin}, has work that is not synchronised"
        )
    drain(known)
    known.is_live = False
    context.streams.discard(known)
    PROCESS.forget(stream, "acl.rt.destroy_stream")
    return SUCCESS


def drain(stream: Stream) -> None:
    """Wait for what a stream can still complete; what it holds back behind a hang is dropped."""
    if not stream.is_held:
        wait_for(record_on(stream), stream.context.device.chip)


@entry("acl.rt.synchronize_stream")
def synchronize_stream(stream: int, /) -> int:
    """Block until everything queued in the stream is done; tells its errors. Releases the GIL."""
    _synchronize_stream(stream, -1)
    return SUCCESS


@entry("acl.rt.synchronize_stream_with_timeout")
def synchronize_stream_with_timeout(stream: int, timeout_ms: int, /) -> int:
    """The same, for at most a time; -1 is forever."""
    _check_timeout(timeout_ms)
    _synchronize_stream(stream, timeout_ms)
    return SUCCESS


def _synchronize_stream(handle: int, timeout_ms: int) -> None:
    context = PROCESS.context()
    stream = stream_of(handle, context)
    if not wait_for(record_on(stream), context.device.chip, timeout_ms):
        raise Outcome(PROCESS.settings.stream_timeout_code, f"{stream} was not done after {timeout_ms} ms")
    raise_first_error(stream)


def _check_timeout(timeout_ms: int) -> None:
    if timeout_ms < -1 or timeout_ms == 0:
        raise AclError(Code.INVALID_PARAM, f"a timeout is -1 or positive, got {timeout_ms}")


@entry("acl.rt.stream_query", with_zero)
def stream_query(stream: int, /) -> tuple[int, int]:
    """0: everything queued in the stream is complete; 1: not yet."""
    context = PROCESS.context()
    known = stream_of(stream, context)
    is_busy = known.is_held or PROCESS.clock.now_ns() < known.tail_ns
    if not is_busy:
        wait_for(record_on(known), context.chip)
    return int(is_busy), SUCCESS


@entry("acl.rt.device_get_stream_priority_range", lambda code: (0, 0, code))
def device_get_stream_priority_range() -> tuple[int, int, int]:
    """Least and greatest priority: the smaller the number, the higher."""
    PROCESS.context()
    return LEAST_PRIORITY, 0, SUCCESS


@entry("acl.rt.synchronize_device")
def synchronize_device() -> int:
    """Block until every stream of the current device is done. Releases the GIL."""
    context = PROCESS.context()
    contexts = [c for c in list(PROCESS.handles.values()) if isinstance(c, Context) and c.device is context.device]
    streams = [stream for c in contexts for stream in list(c.streams)]
    for stream in streams:
        wait_for(record_on(stream), context.device.chip)
    raise_first_error(*streams)
    return SUCCESS


# --- events --------------------------------------------------------------------------------------------------------
@entry("acl.rt.create_event", with_zero)
def create_event() -> tuple[int, int]:
    """An event that streams and threads can wait for, with a time."""
    return _new_event(TIME_LINE), SUCCESS


@entry("acl.rt.create_event_with_flag", with_zero)
def create_event_with_flag(flag: int, /) -> tuple[int, int]:
    """An event for what the flag says; elapsed times need 0x8."""
    if not 0 < flag <= EVENT_FLAGS:
        raise AclError(Code.INVALID_PARAM, f"unknown event flag {flag:#x}")
    return _new_event(flag), SUCCESS


def _new_event(flag: int) -> int:
    event = Event(PROCESS.context(), PROCESS.new_handle(), PROCESS.origin(), flag)
    PROCESS.register(event.handle, event)
    return event.handle


def _event(handle: int) -> Event:
    event = PROCESS.handles.get(handle)
    return event if type(event) is Event else PROCESS.get(handle, Event, Code.RT_INVALID_HANDLE)


@entry("acl.rt.destroy_event")
def destroy_event(event: int, /) -> int:
    """End an event."""
    PROCESS.context()
    _event(event)
    PROCESS.forget(event, "acl.rt.destroy_event")
    return SUCCESS


@entry("acl.rt.record_event")
def record_event(event: int, stream: int, /) -> int:
    """Let the event be complete when what is queued in the stream so far is. Holds the GIL."""
    known = _event(event)
    queue = stream_of(stream, PROCESS.context())
    known.record = record_on(queue)
    known.stream = queue
    return SUCCESS


@entry("acl.rt.reset_event")
def reset_event(event: int, stream: int, /) -> int:
    """Make the event unrecorded, once the stream gets there."""
    known = _event(event)
    queue = stream_of(stream, PROCESS.context())
    old = known.record

    if not queue.is_held:
        known.record = None
        return SUCCESS

    def reset(time_ns: int) -> None:
        if known.record is old:
            known.record = None

    PROCESS.schedule.queue_call(queue, reset)
    return SUCCESS


@entry("acl.rt.stream_wait_event")
def stream_wait_event(stream: int, event: int, /) -> int:
    """Let what is queued in the stream later wait for the event's latest record."""
    queue = stream_of(stream, PROCESS.context())
    known = _event(event)
    if known.record is None:
        PROCESS.complain("acl.rt.stream_wait_event", f"{known}, created at {known.origin}, was never recorded: no wait")
        return SUCCESS
    if PROCESS.races is not None:
        PROCESS.races.on_wait(known.record, queue)
    PROCESS.schedule.queue_wait(known.record, queue)
    return SUCCESS


@entry("acl.rt.synchronize_event")
def synchronize_event(event: int, /) -> int:
    """Block until the event is complete; tells errors of its stream. Releases the GIL."""
    _synchronize_event(event, -1)
    return SUCCESS


@entry("acl.rt.synchronize_event_with_timeout")
def synchronize_event_with_timeout(event: int, timeout_ms: int, /) -> int:
    """The same, for at most a time; -1 is forever."""
    _check_timeout(timeout_ms)
    _synchronize_event(event, timeout_ms)
    return SUCCESS


def _synchronize_event(handle: int, timeout_ms: int) -> None:
    context = PROCESS.context()
    event = _event(handle)
    if event.record is None or event.stream is None:
        PROCESS.complain("acl.rt.synchronize_event", f"{event}, created at {event.origin}, was never recorded: no wait")
        return
    if not wait_for(event.record, context.device.chip, timeout_ms):
        raise Outcome(Code.RT_EVENT_SYNC_TIMEOUT, f"{event} was not complete after {timeout_ms} ms")
    if event.stream.errors and PROCESS.settings.event_sync_tells_errors:
        raise_first_error(event.stream)


def _is_complete(event: Event) -> bool:
    """The time has come and the effects are done; a record whose effects are late is pushed on."""
    record = event.record
    if record is None:
        return True
    if record.time_ns is None or PROCESS.clock.now_ns() < record.time_ns:
        return False
    worker = event.context.device.chip.worker
    if worker is None:
        record.finish()
    elif not record.is_done:
        if not record.is_pushed:
            record.is_pushed = True
            for task in record.tasks:
                worker.expect(record.time_ns, task)
        return False
    if PROCESS.races is not None:
        PROCESS.races.on_host_wait(record)
    return True


@entry("acl.rt.query_event", with_zero)
def query_event(event: int, /) -> tuple[int, int]:
    """Deprecated: 0 is complete, 1 is not."""
    PROCESS.context()
    return int(not _is_complete(_event(event))), SUCCESS


@entry("acl.rt.query_event_status", with_zero)
def query_event_status(event: int, /) -> tuple[int, int]:
    """The other way round: 0 is not complete, 1 is."""
    PROCESS.context()
    return int(_is_complete(_event(event))), SUCCESS


@entry("acl.rt.query_event_wait_status", with_zero)
def query_event_wait_status(event: int, /) -> tuple[int, int]:
    """0: what waits for the event may go on; 1: not yet."""
    PROCESS.context()
    return int(not _is_complete(_event(event))), SUCCESS


@entry("acl.rt.event_elapsed_time", lambda code: (0.0, code))
def event_elapsed_time(start: int, end: int, /) -> tuple[float, int]:
    """Milliseconds of simulated time between two complete events."""
    PROCESS.context()
    start_ns, end_ns = _time_ns(start), _time_ns(end)
    if end_ns < start_ns:
        raise AclError(Code.RT_EVENT_TIMESTAMP_REVERSAL, "the end event was complete before the start event")
    return (end_ns - start_ns) / NS_PER_MS, SUCCESS


def _time_ns(handle: int) -> int:
    event = _event(handle)
    if not event.flag & TIME_LINE or event.record is None:
        why = "has no time: create it with flag 0x8" if event.record else "was never recorded"
        raise AclError(Code.RT_EVENT_TIMESTAMP_INVALID, f"{event}, created at {event.origin}, {why}")
    time_ns = event.record.time_ns
    if time_ns is None or PROCESS.clock.now_ns() < time_ns:
        raise Outcome(Code.RT_EVENT_NOT_COMPLETE, f"{event} is not complete yet")
    return time_ns
