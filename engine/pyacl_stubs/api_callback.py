"""``acl.rt``: callbacks in streams (reference section 4)."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from engine.pyacl_stubs.codes import SUCCESS, AclError, Code, Outcome
from engine.pyacl_stubs.entry import entry
from engine.pyacl_stubs.process import PROCESS, Device
from engine.pyacl_stubs.schedule import Record, Stream
from engine.pyacl_stubs.work import record_on, stream_of, wait_for

NO_BLOCK, BLOCK = 0, 1
#: Threads that one process may subscribe on a 310.
MAX_THREADS = 128


@dataclass(eq=False)
class Callback:
    """A queued function. record : what is done before it."""

    function: Callable[[Any], Any]
    user_data: Any
    stream: Stream
    record: Record


@dataclass(eq=False)
class Subscriber:
    """A thread that runs callbacks of streams of one device."""

    thread_id: int
    device: Device
    streams: set[Stream] = field(default_factory=set)
    due: deque[Callback] = field(default_factory=deque)
    changed: threading.Condition = field(default_factory=threading.Condition)


@entry("acl.rt.subscribe_report")
def subscribe_report(tid: int, stream: int, /) -> int:
    """Let a thread run the callbacks of a stream."""
    context = PROCESS.context()
    known = stream_of(stream, context)
    subscriber = PROCESS.subscribers.get(tid)
    if known.subscriber is not None:
        code = Code.RT_THREAD_SUBSCRIBE if known.subscriber is subscriber else Code.RT_STREAM_SUBSCRIBE
        raise AclError(code, f"{known} has a thread already")
    if subscriber is None:
        if len(PROCESS.subscribers) >= MAX_THREADS:
            raise AclError(Code.RT_OVER_LIMIT, f"more than {MAX_THREADS} threads are subscribed")
        subscriber = PROCESS.subscribers[tid] = Subscriber(tid, context.device)
    if subscriber.device is not context.device:
        raise AclError(Code.RT_THREAD_SUBSCRIBE, f"thread {tid} serves device {subscriber.device.id} already")
    subscriber.streams.add(known)
    known.subscriber = subscriber
    return SUCCESS


@entry("acl.rt.unsubscribe_report")
def unsubscribe_report(tid: int, stream: int, /) -> int:
    """Undo subscribe_report."""
    known = stream_of(stream, PROCESS.context())
    if known.subscriber is None:
        raise AclError(Code.RT_STREAM_SUBSCRIBE, f"{known} has no thread")
    if known.subscriber.thread_id != tid:
        raise AclError(Code.RT_THREAD_SUBSCRIBE, f"{known} is served by thread {known.subscriber.thread_id}")
    subscriber = known.subscriber
    subscriber.streams.discard(known)
    known.subscriber = None
    if not subscriber.streams:
        del PROCESS.subscribers[tid]
        with subscriber.changed:
            subscriber.changed.notify_all()
    return SUCCESS


@entry("acl.rt.launch_callback")
def launch_callback(fn: Any, user_data: Any, block_type: int, stream: int, /) -> int:
    """Queue ``fn(user_data)``; the stream goes on when it has returned."""
    known = stream_of(stream, PROCESS.context())
    if not callable(fn):
        raise TypeError(f"acl.rt.launch_callback() argument 1 must be callable, not {type(fn).__name__}")
    if block_type not in (NO_BLOCK, BLOCK):
        raise AclError(Code.INVALID_PARAM, f"unknown block type {block_type}")
    if block_type == NO_BLOCK and PROCESS.profile.soc == "Ascend310":
        raise AclError(Code.RT_FEATURE_NOT_SUPPORT, "callbacks that do not block (0) are not there on a 310: use 1")
    if known.subscriber is None:
        raise AclError(PROCESS.settings.unsubscribed_code, f"no thread is subscribed to {known}")
    callback = Callback(fn, user_data, known, record_on(known))
    if block_type == BLOCK:
        PROCESS.schedule.queue_hold(known, lambda time_ns: _deliver(callback))
    else:
        PROCESS.schedule.queue_call(known, lambda time_ns: _deliver(callback))
    return SUCCESS


def _deliver(callback: Callback) -> None:
    """Hand a callback whose place in the stream is reached in the schedule to its thread."""
    subscriber = callback.stream.subscriber
    if subscriber is None:
        return
    with subscriber.changed:
        subscriber.due.append(callback)
        subscriber.changed.notify()


@entry("acl.rt.process_report")
def process_report(timeout_ms: int, /) -> int:
    """Run one callback of the calling thread's streams, in simulated time. Releases the GIL while it waits."""
    if timeout_ms == 0 or timeout_ms < -1:
        raise AclError(Code.INVALID_PARAM, f"a timeout is -1 or positive, got {timeout_ms}")
    subscriber = PROCESS.subscribers.get(threading.get_ident())
    if subscriber is None:
        raise Outcome(Code.RT_THREAD_SUBSCRIBE, "this thread is not subscribed to any stream")
    callback = _next_callback(subscriber, timeout_ms)
    if callback is None:
        raise Outcome(PROCESS.settings.report_timeout_code, f"no callback within {timeout_ms} ms")
    _run(callback)
    return SUCCESS


def _next_callback(subscriber: Subscriber, timeout_ms: int) -> Callback | None:
    """The next callback, once everything before it is done; None at the timeout."""
    timeout_s = None if timeout_ms < 0 else timeout_ms / 1000
    with subscriber.changed:
        subscriber.changed.wait_for(lambda: subscriber.due or not subscriber.streams, timeout_s)
        if not subscriber.due:
            return None
        callback = min(subscriber.due, key=lambda due: due.record.time_ns or 0)
        if timeout_s is not None and (callback.record.time_ns or 0) > PROCESS.clock.now_ns() + timeout_ms * 1_000_000:
            late = True
        else:
            late = False
            subscriber.due.remove(callback)
    if late:
        PROCESS.clock.wait_until(PROCESS.clock.now_ns() + timeout_ms * 1_000_000)
        return None
    return callback


def _run(callback: Callback) -> None:
    """Call the function; what it raises is swallowed, as the vendor's wrapper does."""
    try:
        wait_for(callback.record, callback.stream.context.device.chip)
        if PROCESS.races is not None:
            PROCESS.races.enter_callback(callback.stream, callback.record)
        callback.function(callback.user_data)
    except Exception as error:
        PROCESS.complain("acl.rt.process_report", f"the callback raised {error!r}, which a real card does not tell")
    finally:
        if PROCESS.races is not None:
            PROCESS.races.leave_callback()
        if callback.stream.is_held:
            PROCESS.schedule.release(callback.stream)
