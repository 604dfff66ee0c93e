"""The hub's processes: starting them, hearing from them, and noticing at once when one dies."""

from __future__ import annotations

import atexit
import contextlib
import multiprocessing
import os
import select
import selectors
import signal
import socket
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from multiprocessing.process import BaseProcess
from multiprocessing.reduction import DupFd
from pathlib import Path

from engine.backends.base import DeviceJob
from engine.channel import Channel
from engine.decoder import DecoderJob, decoder_main
from engine.errors import WorkerError
from engine.feeder import FeederJob, feeder_main
from engine.forkserver import interrupts_held_back, kill_stopped_helpers, start_fork_server
from engine.limits import DEFAULT_LIMITS, EXIT_BROKEN, EXIT_NO_MEMORY, TIME_LIMIT_SIGNAL, Limits
from engine.messages import Broken, Message, Stop
from engine.process import process_state
from engine.sources.base import Store
from engine.stacks import create_stacks_fd
from kernels.spec import PreprocessSpec

#: A process that was told to stop gets this long before it is killed.
STOP_PATIENCE_S = 10.0
#: Of that, until it is seen that a process is stopped and will not end by itself.
LOOK_AGAIN_S = 0.5
#: A process whose pipe has ended gets this long to end itself.
CLOSED_PIPE_PATIENCE_S = 1.0
#: The kernel ends a killed process within milliseconds, unless it waits for a broken disk or driver.
KILLED_WITHIN_S = 5.0
#: A fork server that is killed while it is asked takes some milliseconds to be gone, and only then is replaced.
START_ATTEMPTS = 6
FIRST_PAUSE_S = 0.005
#: The fork server tells an exit code within milliseconds.
EXIT_CODE_WITHIN_S = 0.5


@dataclass
class Member:
    """One process: its role, its number among its kind, and its pipes."""

    role: str
    number: int
    process: BaseProcess
    channel: Channel
    is_started: bool = False
    n_held: int = 0  # slots that it holds
    devices: tuple[int, ...] = ()  # chips that it drives
    is_dismissed: bool = False

    def __post_init__(self) -> None:
        self.pid = self.process.pid or 0
        # `process` hears of its end from the fork server, which may itself have been killed; this always knows
        self._pid_fd = os.pidfd_open(self.pid)

    def kill(self) -> None:
        if self._pid_fd >= 0:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._pid_fd, signal.SIGKILL)

    def has_ended(self, within_s: float) -> bool:
        """Wait for its end."""
        ended, _, _ = select.select([self._pid_fd], [], [], within_s)
        return bool(ended)

    def bury(self, patience_s: float) -> int | None:
        """Kill it unless it ends by itself, release what it held here; its exit code, None where it was killed now."""
        has_ended = self.has_ended(patience_s)
        if not has_ended:
            self.kill()
            self.has_ended(KILLED_WITHIN_S)
        self.process.join(EXIT_CODE_WITHIN_S)
        if self.process.exitcode is None:  # or Python would wait for it at its exit, for ever
            kill_stopped_helpers()
            self.process.join(EXIT_CODE_WITHIN_S)
        os.close(self._pid_fd)
        self._pid_fd = -1
        self.channel.close()
        return self.process.exitcode if has_ended else None

    @property
    def title(self) -> str:
        return f"{self.role} {self.number} (pid {self.process.pid})"

    def send(self, message: Message) -> None:
        """Send; a process that has died shows as the end of its pipe, where its work is taken back."""
        with contextlib.suppress(OSError):
            self.channel.send(message)


@dataclass(frozen=True)
class Death:
    """A member's pipe ended.

    cause      : "was killed by SIGKILL", "exited with 3", "failed: KeyError in x.py:3: 7"
    is_certain : it broke a limit of ours over what it had in hand: no stranger's signal
    broken     : its last words, where it met an error that nobody foresaw
    """

    cause: str
    is_certain: bool = False
    broken: Broken | None = None

    @property
    def each_time(self) -> str:
        """The cause, of an image that was alone in its decoder."""
        return f"{self.cause} each time" if self.broken is None else f"failed each time: {self.broken.text}"


@dataclass(frozen=True)
class CrewPlan:
    """What the processes are started with."""

    start_method: str
    arena_fd: int
    names_fd: int
    root: Path
    store: Store
    spec: PreprocessSpec
    backend: str
    device_job: DeviceJob
    limits: Limits


class Crew:
    """All child processes of one pipeline. Closing it leaves none behind."""

    def __init__(self, plan: CrewPlan) -> None:
        self._plan = plan
        self.limits = plan.limits
        self.computes_on_host = plan.backend == "onnxruntime"
        self.stacks_fd = create_stacks_fd()
        self._context = multiprocessing.get_context(plan.start_method)
        self._selector = selectors.DefaultSelector()
        self._alarm, alarm_in = socket.socketpair()
        self._alarm.setblocking(False)
        alarm_in.setblocking(False)
        self._alarm_in = alarm_in
        self._selector.register(self._alarm, selectors.EVENT_READ)
        self.decoders: list[Member] = []
        self.feeders: list[Member] = []
        self._n_feeders: Counter[int] = Counter()  # started, by number
        self.waited_ns = 0  # in `wait`, for a message
        self._is_killed = False
        atexit.register(self.kill)  # Python waits for every process at its exit, also for one that is stopped

    def start_decoder(self, number: int) -> Member:
        plan = self._plan
        arena, names, stacks = (DupFdLater(fd) for fd in (plan.arena_fd, plan.names_fd, self.stacks_fd))
        job = DecoderJob(arena, names, plan.root, plan.store, plan.spec, stacks, plan.limits.image_s)
        member = self._start("decoder", number, decoder_main, job)
        self.decoders.append(member)
        return member

    def start_feeder(self, number: int, devices: tuple[int, ...]) -> Member:
        """A feeder that drives these chips."""
        device_job = replace(self._plan.device_job, devices=devices, process_number=self._n_feeders[number])
        self._n_feeders[number] += 1
        stacks = DupFdLater(self.stacks_fd)
        job = FeederJob(DupFdLater(self._plan.arena_fd), self._plan.backend, device_job, stacks)
        member = self._start("feeder", number, feeder_main, job)
        member.devices = devices
        self.feeders.append(member)
        return member

    def dismiss(self, member: Member) -> None:
        """Kill a process that can do no more work; nothing that it still has to say is heard."""
        member.is_dismissed = True
        member.kill()
        self._bury(member)

    @property
    def alarm_fd(self) -> int:
        """For `signal.set_wakeup_fd`: a signal ends `wait`."""
        return self._alarm_in.fileno()

    def wait(self, timeout_s: float | None) -> Iterator[tuple[Member, Message | Death]]:
        """At most one message, or the death, of each member that has one; empty after the timeout or a signal."""
        began_ns = time.perf_counter_ns()
        ready = self._selector.select(timeout_s)
        self.waited_ns += time.perf_counter_ns() - began_ns
        for key, _ in ready:
            if key.fileobj is self._alarm:
                with contextlib.suppress(BlockingIOError):
                    self._alarm.recv(64)
                continue
            member: Member = key.data
            if member.is_dismissed:
                continue
            try:
                message = member.channel.receive()
            except (EOFError, OSError):
                yield member, self._bury(member)
            else:
                yield member, self._bury(member, message) if isinstance(message, Broken) else message

    @property
    def members(self) -> list[Member]:
        """All that live."""
        return [*self.decoders, *self.feeders]

    def of(self, role: str) -> list[Member]:
        """All decoders, or all feeders, that live."""
        return self.feeders if role == "feeder" else self.decoders

    def kill(self) -> None:
        """End every process at once; then `close`."""
        self._is_killed = True
        for member in self.members:
            member.kill()

    def close(self) -> list[str]:
        """End every process: decoders by closing their pipes, feeders by asking; whoever stays or is stopped is killed.

        Returns a line for each that did not end well, unless all were killed. Interrupted, it kills them all.
        """
        try:
            ends = self._end_members()
        except BaseException:
            self.kill()
            raise
        atexit.unregister(self.kill)
        self.decoders, self.feeders = [], []
        kill_stopped_helpers()
        os.close(self.stacks_fd)
        self._selector.close()
        self._alarm.close()
        self._alarm_in.close()
        if self._is_killed:
            return []
        hows = (
            (title, "had to be killed" if code is None else describe_exit(code, self.limits))
            for title, code in ends
            if code != 0
        )
        return [f"{title} {how} while it was ending: its work was done" for title, how in hows]

    def _end_members(self) -> list[tuple[str, int | None]]:
        """Title and exit code of each, None where it had to be killed."""
        for feeder in self.feeders:
            feeder.send(Stop())
        for decoder in self.decoders:
            decoder.channel.close()
        deadline_s = time.monotonic() + STOP_PATIENCE_S
        while time.monotonic() < deadline_s and not all(member.has_ended(LOOK_AGAIN_S) for member in self.members):
            for member in self.members:
                if process_state(member.pid).is_stopped:
                    member.kill()
        return [(member.title, member.bury(0.0)) for member in self.members]

    def _start(self, role: str, number: int, target: object, job: object) -> Member:
        for attempt in range(START_ATTEMPTS - 1):
            with contextlib.suppress(EOFError, OSError):
                return self._try_start(role, number, target, job)
            time.sleep(FIRST_PAUSE_S * 2**attempt)
        try:
            return self._try_start(role, number, target, job)
        except (EOFError, OSError) as error:
            raise WorkerError(f"{role} {number} cannot be started ({error or type(error).__name__})") from error

    def _try_start(self, role: str, number: int, target: object, job: object) -> Member:
        if self._plan.start_method == "forkserver":
            start_fork_server()
        channel, ends = Channel.pair(self._context)
        process = self._context.Process(target=target, args=(ends, job), name=f"engine-{role}-{number}", daemon=True)  # type: ignore[attr-defined]
        with interrupts_held_back():
            process.start()
        ends.close()
        member = Member(role, number, process, channel)
        self._selector.register(channel, selectors.EVENT_READ, member)
        return member

    def _bury(self, member: Member, broken: Broken | None = None) -> Death:
        self._selector.unregister(member.channel)
        exitcode = member.bury(CLOSED_PIPE_PATIENCE_S)
        self.of(member.role).remove(member)
        if broken is not None:
            return Death(f"failed: {broken.text}", broken.slot >= 0, broken)
        return Death(describe_exit(exitcode, self.limits), exitcode in (-TIME_LIMIT_SIGNAL, EXIT_NO_MEMORY))


class DupFdLater:
    """A descriptor that is duplicated into the child at the moment its `Process` is started."""

    def __init__(self, fd: int) -> None:
        self._fd = fd

    def __reduce__(self) -> tuple[object, ...]:
        return _received, (DupFd(self._fd),)


def _received(dup: object) -> object:
    return dup


def describe_exit(exitcode: int | None, limits: Limits = DEFAULT_LIMITS) -> str:
    """How a process ended, in words."""
    if exitcode is None:
        return "closed its pipe"
    if exitcode == -TIME_LIMIT_SIGNAL:
        return f"took longer than {limits.image_s:g} s over one image (--image-timeout)"
    if exitcode == EXIT_NO_MEMORY:
        return "could get no more memory"
    if exitcode == EXIT_BROKEN:
        return "failed by an error that nobody foresaw"
    if exitcode < 0:
        names = {number.value: number.name for number in signal.Signals}
        return f"was killed by {names.get(-exitcode, f'signal {-exitcode}')}"
    return f"exited with {exitcode}"
