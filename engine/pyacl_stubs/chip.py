"""One simulated chip: its memory, its lanes, and the worker that runs the effects of its tasks when they are due."""

from __future__ import annotations

import heapq
import random
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from engine.pyacl_stubs.clock import Clock
from engine.pyacl_stubs.memory import DeviceMemory
from engine.pyacl_stubs.profile import Profile
from engine.pyacl_stubs.schedule import Lane
from engine.pyacl_stubs.tasks import Task

#: What nobody has waited for is done about this long after its end; what somebody needs is done by who needs it.
GRACE_NS = 500_000_000
#: Numbers that take less than this, or than a sixteenth of their execution, are computed by who waits for them: waking
#: a thread for them costs more.
CHEAP_NS = 300_000


@dataclass
class Chip:
    """A chip of the card. It exists as long as the process; contexts and streams come and go."""

    id: int
    profile: Profile
    memory: DeviceMemory
    clock: Clock
    seed: int
    jitter: float
    compute: Lane = field(default_factory=Lane)
    copy_in: Lane = field(default_factory=Lane)
    copy_out: Lane = field(default_factory=Lane)
    copy_within: Lane = field(default_factory=Lane)
    #: Code that every call returns once the chip is lost.
    lost_code: int = 0
    #: Execute times are multiplied by this (speeds, fault scripts).
    slowness: float = 1.0

    def __post_init__(self) -> None:
        self._execute_ns: dict[tuple[str, int], int] = {}
        self._random = random.Random(self.seed * 1009 + self.id)
        self.worker = Worker(self.clock) if self.clock.has_worker else None

    def open(self) -> None:
        """Start the worker, before the first work that must not wait for a thread to start."""
        if self.worker is not None:
            self.worker.start()

    def lane(self, direction: str) -> Lane:
        """The copy engine of a direction: "h2d", "d2h" or "d2d"."""
        return {"h2d": self.copy_in, "d2h": self.copy_out}.get(direction, self.copy_within)

    def execute_ns(self, profile: Profile, batch: int) -> int:
        """Duration of one batch, with jitter."""
        published_ns = self._execute_ns.get((profile.name, batch))
        if published_ns is None:
            published_ns = self._execute_ns[profile.name, batch] = profile.execute_ns(batch)
        jitter = max(0.5, 1.0 + self._random.gauss(0.0, self.jitter)) if self.jitter else 1.0
        return round(published_ns * jitter * self.slowness)

    def on_execute_placed(self, task: Task) -> None:
        """An execute has its time: its numbers are computed when it starts."""
        if self.worker is not None:
            self.worker.note(task)
            self.worker.expect(task.start_ns, task)

    def on_copy_placed(self, task: Task) -> None:
        """A copy, or a cheap execute, has its time."""
        if self.worker is not None:
            self.worker.note(task)

    def settle(self) -> None:
        """Have everything done that the chip has completed by now, before a synchronous call looks at memory."""
        if self.worker is not None:
            self.worker.finish_ended()

    def close(self) -> None:
        """End the worker."""
        if self.worker is not None:
            self.worker.close()


class Worker:
    """Runs the effects of tasks on a thread of its own, each not before it is due.

    It wakes once per execute that takes long to compute: between one and the end of the compute queue nothing can be
    due that a caller would not do itself. What no caller has done a while after its end, it sweeps up.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._heap: list[tuple[int, int, Task]] = []
        self._lock = threading.Lock()
        self._wake = threading.Condition(self._lock)
        self._wake_ns: int | None = 0
        self._noted: deque[Task] = deque()
        self._sweep_ns: int | None = None
        self._is_closed = False
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Start the thread, unless it runs."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="acl simulator chip", daemon=True)
            self._thread.start()

    def expect(self, due_ns: int, task: Task) -> None:
        """Finish `task` at `due_ns`."""
        with self._lock:
            heapq.heappush(self._heap, (due_ns, task.sequence, task))
            if self._wake_ns is None or due_ns < self._wake_ns:
                self._wake.notify()

    def note(self, task: Task) -> None:
        """Remember a task until it is done. No lock: this is once per call of the program."""
        noted = self._noted
        while noted and noted[0].is_done:
            noted.popleft()
        noted.append(task)
        if self._sweep_ns is None:
            with self._lock:
                self._sweep_ns = self._clock.now_ns() + GRACE_NS
                self._wake.notify()

    def finish_ended(self) -> None:
        """Finish every task whose simulated end has passed, on the calling thread."""
        now_ns = self._clock.now_ns()
        ended = [task for task in tuple(self._noted) if not task.is_done and task.end_ns <= now_ns]
        for task in sorted(ended, key=lambda task: task.sequence):
            task.finish()

    def close(self) -> None:
        """Finish nothing more."""
        with self._wake:
            self._is_closed = True
            self._heap.clear()
            self._wake.notify()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join(timeout=5.0)

    def _run(self) -> None:
        while (due := self._next_due()) is not None:
            due()

    def _sweep(self) -> None:
        """Finish what is left of work that ended; come back while there is work."""
        self.finish_ended()
        with self._lock:
            self._sweep_ns = self._clock.now_ns() + GRACE_NS if any(not t.is_done for t in tuple(self._noted)) else None

    def _next_due(self) -> Callable[[], None] | None:
        """Wait for what is due next; None when closed."""
        with self._wake:
            idle_until_ns = 0
            while not self._is_closed:
                now_ns = self._clock.now_ns()
                while self._heap and self._heap[0][2].is_done:
                    idle_until_ns = max(idle_until_ns, heapq.heappop(self._heap)[2].end_ns)
                if self._heap and self._heap[0][0] <= now_ns:
                    return self._heap[0][2].finish
                if self._sweep_ns is not None and self._sweep_ns <= now_ns:
                    return self._sweep
                self._wake_ns = self._heap[0][0] if self._heap else idle_until_ns if idle_until_ns > now_ns else None
                if self._sweep_ns is not None and (self._wake_ns is None or self._sweep_ns < self._wake_ns):
                    self._wake_ns = self._sweep_ns
                self._wake.wait(None if self._wake_ns is None else (self._wake_ns - now_ns) / 1e9)
            return None
