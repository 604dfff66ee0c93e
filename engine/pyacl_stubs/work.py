"""Queue work on a stream: checks of the stream, the task, its duration, its effect on memory."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from engine.pyacl_stubs.chip import Chip
from engine.pyacl_stubs.codes import AclError, Code, Outcome
from engine.pyacl_stubs.memory import Span
from engine.pyacl_stubs.process import PROCESS, Context
from engine.pyacl_stubs.schedule import Lane, Record, Stream
from engine.pyacl_stubs.tasks import Task


def stream_of(handle: int, context: Context) -> Stream:
    """The stream of a handle, 0 being the default one. Raises AclError 107003 where it is another context's."""
    if handle == 0:
        return context.default_stream
    stream = PROCESS.handles.get(handle)
    if type(stream) is not Stream:
        stream = PROCESS.get(handle, Stream, Code.RT_INVALID_HANDLE)
    if stream.context is not context:
        raise AclError(
            Code.RT_STREAM_CONTEXT,
            f"{stream}, created at {stream.origin}, belongs to {stream.context}, this thread is in {context}",
        )
    return stream


def queue_task(
    task: Task,
    lane: Lane,
    duration_ns: int,
    accesses: tuple[Sequence[Span], Sequence[Span]],
    chip: Chip,
    is_cheap: bool = True,
) -> None:
    """Queue a task; fault scripts may fail or hang it.

    accesses : spans that it reads, spans that it writes        is_cheap : its effect needs no thread of its own
    """
    if PROCESS.faults is not None:
        _apply_fault(task)
    if PROCESS.races is not None:
        PROCESS.races.on_task(task, *accesses)
    placed = chip.on_copy_placed if is_cheap else chip.on_execute_placed
    PROCESS.schedule.queue_task(task, lane, duration_ns, placed)


def _apply_fault(task: Task) -> None:
    assert PROCESS.faults is not None
    if PROCESS.faults.due("hang") is not None:
        PROCESS.schedule.queue_hold(task.stream, lambda time_ns: None)
    failure = PROCESS.faults.due("queue")
    if failure is not None:
        task.effect = _failing(int(failure.number))


def _failing(code: int) -> Callable[[], None]:
    def effect() -> None:
        raise Outcome(code, "injected fault")

    return effect


def record_on(stream: Stream) -> Record:
    """A record of everything queued in the stream so far."""
    record = Record()
    if PROCESS.races is not None:
        PROCESS.races.on_record(record, stream)
    PROCESS.schedule.queue_record(record, stream)
    return record


def wait_for(record: Record, chip: Chip, timeout_ms: int = -1) -> bool:
    """Block until the record's time has come and its effects are done; False at the timeout. Releases the GIL."""
    clock = PROCESS.clock
    if record.time_ns is not None and record.time_ns <= clock.now_ns() and not chip.lost_code:
        return _is_reached(record)
    limit_ns = None if timeout_ms < 0 else clock.now_ns() + timeout_ms * 1_000_000
    while not PROCESS.schedule.wait_known(record, _slice_s(timeout_ms)):
        check_alive(chip)
        if limit_ns is not None:
            clock.wait_until(limit_ns)
            return False
    assert record.time_ns is not None
    if limit_ns is not None and record.time_ns > limit_ns:
        clock.wait_until(limit_ns)
        return False
    clock.wait_until(record.time_ns)
    check_alive(chip)
    return _is_reached(record)


def _is_reached(record: Record) -> bool:
    """True, once the effects before the record are done too."""
    if record.tasks:
        record.finish()
    if PROCESS.races is not None:
        PROCESS.races.on_host_wait(record)
    return True


def hold_or_wait(time_ns: int) -> None:
    """Block until a time, with the GIL where pyACL keeps it."""
    if PROCESS.settings.hold_gil:
        PROCESS.clock.hold_until(time_ns)
    else:
        PROCESS.clock.wait_until(time_ns)


def _slice_s(timeout_ms: int) -> float:
    """How long to wait for an unknown time at once: short enough to see a chip that is lost meanwhile."""
    return 0.05 if timeout_ms < 0 else timeout_ms / 1000


def check_alive(chip: Chip) -> None:
    """Raise AclError once the chip is lost."""
    if chip.lost_code:
        raise Outcome(chip.lost_code, f"device {chip.id} is lost")


def raise_first_error(*streams: Stream) -> None:
    """Raise the oldest error of queued work that no synchronise has told yet."""
    for stream in streams:
        error = stream.take_error()
        if error is not None:
            raise error
