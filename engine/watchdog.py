"""Notices what does not die but does not move either: a stopped process, a chip that never answers, a stall of all.

Time counts only while the hub itself is awake: a job that was suspended as a whole (Ctrl-Z, a paused machine) has not
stalled.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable

from engine.crew import Crew, Death, Member
from engine.errors import StallError
from engine.forkserver import kill_stopped_helpers
from engine.process import ProcessState, process_state
from engine.stacks import own_stacks, stacks_of

NS_PER_S = 1_000_000_000
#: Between two looks at the processes: a look costs about 20 us each.
LOOK_EVERY_NS = NS_PER_S // 2
#: A feeder that computes on the host and used this share of one core since the last look is at work.
WORKING_SHARE = 0.1
#: The hub's guard looks this often, and leaves the hub so much longer than the stall limit to end by itself.
GUARD_EVERY_S = 1.0
GUARD_GRACE_S = 15.0


class Watchdog:
    """Looks at the crew while the hub waits. `incident` keeps a text for the user and returns where."""

    def __init__(self, crew: Crew, notice: Callable[[str], None], incident: Callable[[str], str]) -> None:
        self._crew = crew
        self._limits = crew.limits
        self._notice = notice
        self._incident = incident
        self._awake_ns = 0
        self._looked_ns = time.perf_counter_ns()
        self._moved_ns = 0  # awake time of the last movement, as all below
        self._chips: dict[int, int] = {}  # with work: since when it has not answered
        self._stopped: dict[int, int] = {}  # by pid: since when
        self._cpu_ns: dict[int, int] = {}
        self.n_looks = 0  # grows as long as the hub goes around its loop

    def moved(self) -> None:
        """A slot was filled or done, or a process came up."""
        self._moved_ns = self._awake_ns

    def chip_got_work(self, device: int) -> None:
        self._chips.setdefault(device, self._awake_ns)

    def chip_answered(self, device: int, is_idle: bool) -> None:
        """It has completed a slot. is_idle : it holds none now"""
        self._chips[device] = self._awake_ns
        if is_idle:
            del self._chips[device]

    def chip_is_free(self, device: int) -> None:
        """What it held was taken back."""
        self._chips.pop(device, None)

    def died(self, member: Member, death: Death) -> None:
        """A process has ended. The traceback of an error that nobody foresaw is kept."""
        if death.broken is not None:
            self._incident(f"==== {_now()}: {member.title} failed\n{death.broken.trace}\n")

    def look(self, describe: Callable[[], str]) -> list[int]:
        """Look, if it is time: kill what has been stopped for too long, and return the chips that do not answer.

        describe : the state of the hub, for the report
        Raises StallError, after a report of all processes, where nothing has moved.
        """
        self.n_looks += 1
        now_ns = time.perf_counter_ns()
        gap_ns = now_ns - self._looked_ns
        if gap_ns < LOOK_EVERY_NS:
            return []
        self._looked_ns = now_ns
        self._awake_ns += min(gap_ns, 4 * LOOK_EVERY_NS)
        states = {member.pid: process_state(member.pid) for member in self._crew.members}
        for member in self._crew.members:
            self._look_at(member, states[member.pid], gap_ns)
        if self._awake_ns - self._moved_ns > self._limits.stall_s * NS_PER_S:
            where = self._incident(self._report("nothing moved", describe()))
            raise StallError(
                f"nothing moved for {self._limits.stall_s:g} s (--stall-timeout): the run is stopped; "
                f"the stacks of all processes are in {where}"
            )
        limit_ns = self._limits.stall_s * NS_PER_S / 2
        hung = [device for device, since_ns in self._chips.items() if self._awake_ns - since_ns > limit_ns]
        if hung:
            self._incident(self._report(f"chips {hung} do not answer", describe()))
        return hung

    def _look_at(self, member: Member, state: ProcessState, gap_ns: int) -> None:
        used_ns = state.cpu_ns - self._cpu_ns.get(member.pid, state.cpu_ns)
        self._cpu_ns[member.pid] = state.cpu_ns
        if member.role == "feeder" and self._crew.computes_on_host and used_ns > WORKING_SHARE * gap_ns:
            self.moved()
            for device in set(member.devices) & set(self._chips):
                self._chips[device] = self._awake_ns
        if not state.is_stopped:
            self._stopped.pop(member.pid, None)
        elif member.pid not in self._stopped:
            self._stopped[member.pid] = self._awake_ns
            self._notice(
                f"{member.title} is stopped by a signal: replaced if it is so for {self._limits.stopped_s:g} s"
            )
        elif self._awake_ns - self._stopped[member.pid] > self._limits.stopped_s * NS_PER_S:
            self._incident(self._report(f"{member.title} was stopped by a signal and is killed", ""))
            member.kill()
            del self._stopped[member.pid]

    def _report(self, title: str, described: str) -> str:
        """Time, state and stacks of every process."""
        parts = [f"==== {_now()}: {title}", described]
        parts.append(f"-- hub (pid {os.getpid()})\n{own_stacks(self._crew.stacks_fd)}")
        for member in self._crew.members:
            letter = process_state(member.pid).letter
            stacks = "" if letter in "TtZ?" else stacks_of(member.pid, self._crew.stacks_fd)
            parts.append(f"-- {member.title}, state {letter}, in kernel: {_kernel_call(member.pid)}\n{stacks}")
        return "\n".join(parts) + "\n"


def _now() -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S %z")


def _kernel_call(pid: int) -> str:
    """The kernel function in which it sleeps, where the kernel tells."""
    try:
        with open(f"/proc/{pid}/wchan") as file:
            return file.read().strip() or "-"
    except OSError:
        return "-"


class HubGuard:
    """Ends the run if the hub itself is stuck, which can only be in a call that never returns (a dead disk, a driver).

    Its thread looks whether the hub still asks its watchdog; awake time only, as above. A helper of Python that
    somebody has stopped is killed: the hub may be waiting for the fork server's answer, and starts another one.
    """

    def __init__(self, crew: Crew, watchdog: Watchdog, incident: Callable[[str], str]) -> None:
        self._crew = crew
        self._watchdog = watchdog
        self._incident = incident
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="hub-guard", daemon=True)

    def __enter__(self) -> HubGuard:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_over.set()
        self._thread.join()

    def _watch(self) -> None:
        n_seen, n_still = -1, 0
        while not self._is_over.wait(GUARD_EVERY_S):
            kill_stopped_helpers()
            n_still = n_still + 1 if self._watchdog.n_looks == n_seen else 0
            n_seen = self._watchdog.n_looks
            if n_still * GUARD_EVERY_S > self._crew.limits.stall_s + GUARD_GRACE_S:
                self._give_up()

    def _give_up(self) -> None:
        where = self._incident(f"==== the hub is stuck\n{own_stacks(self._crew.stacks_fd)}\n")
        self._crew.kill()
        os.write(2, f"engine: the hub is stuck in a call (--stall-timeout): its stack is in {where}\n".encode())
        os._exit(StallError.exit_code)
