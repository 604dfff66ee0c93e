"""Time of the simulator: the machine's, or a virtual one that a wait moves forward."""

from __future__ import annotations

import ctypes
import threading
import time
from typing import Protocol

#: Waiting threads ask the kernel for this timer slack; the default of 50 us would add that to every wait.
TIMER_SLACK_NS = 1_000
PR_SET_TIMERSLACK = 29

_libc = ctypes.CDLL(None, use_errno=True)
#: The same library called without releasing the GIL.
_libc_holding_gil = ctypes.PyDLL(None)
_slack = threading.local()


class Clock(Protocol):
    """Nanoseconds since an arbitrary start."""

    #: A worker thread may run ahead of the callers; in virtual time only the callers move the clock.
    has_worker: bool

    def now_ns(self) -> int: ...
    def wait_until(self, time_ns: int) -> None: ...  # releases the GIL
    def hold_until(self, time_ns: int) -> None: ...  # holds the GIL, as some calls of pyACL do


def _tighten_timer_slack() -> None:
    """Make this thread's sleeps end within a few microseconds. Once per thread."""
    if not getattr(_slack, "is_tight", False):
        _libc.prctl(PR_SET_TIMERSLACK, TIMER_SLACK_NS, 0, 0, 0)
        _slack.is_tight = True


class RealClock:
    """The machine's monotonic clock. Waits sleep; they never spin."""

    has_worker = True
    now_ns = staticmethod(time.perf_counter_ns)

    def wait_until(self, time_ns: int) -> None:
        """Sleep until `time_ns`, never shorter, usually less than 20 us longer."""
        remaining_ns = time_ns - time.perf_counter_ns()
        if remaining_ns <= 0:
            return
        _tighten_timer_slack()
        while remaining_ns > 0:
            time.sleep(remaining_ns / 1e9)
            remaining_ns = time_ns - time.perf_counter_ns()

    def hold_until(self, time_ns: int) -> None:
        """Sleep until `time_ns` without letting another Python thread run."""
        _tighten_timer_slack()
        while (remaining_ns := time_ns - time.perf_counter_ns()) > 0:
            _libc_holding_gil.usleep(max(1, remaining_ns // 1000))


class VirtualClock:
    """A clock that stands still but for waits, which move it at once: order and durations without waiting."""

    has_worker = False

    def __init__(self) -> None:
        self._now_ns = 0
        self._lock = threading.Lock()

    def now_ns(self) -> int:
        """The virtual time."""
        return self._now_ns

    def wait_until(self, time_ns: int) -> None:
        """Move the clock to `time_ns` unless it is past it."""
        with self._lock:
            self._now_ns = max(self._now_ns, time_ns)

    def hold_until(self, time_ns: int) -> None:
        """The same: there is nothing to hold."""
        self.wait_until(time_ns)
