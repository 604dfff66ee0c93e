"""What each process did with its time and took of the machine.

States come from the processes' own clocks (`LapClock`); CPU, memory and context switches are read from /proc by the hub
every two seconds, so that they are known of a process that was killed, too.
"""

from __future__ import annotations

import contextlib
import os
from copy import copy
from dataclasses import dataclass, field

from engine.crew import Member

#: Between two readings of all processes: 0.1-0.3 ms each, once a second they were a fifth of what the accounting cost.
SAMPLE_EVERY_NS = 2_000_000_000
#: The proportional memory is read after 2, 22, 242 ... seconds and at the end only: the kernel walks all pages of the
#: process for it, 2-5 ms each.
PSS_RARER = 10
TICK_NS = 1_000_000_000 // os.sysconf("SC_CLK_TCK")
KIB = 1024
#: The files of /proc that are read have 0.3 to 2 KB.
LONGEST_BYTES = 16384


@dataclass
class Usage:
    """Of one process since it started. Memory in bytes; `rss_peak` is the kernel's own high water."""

    cpu_ns: int = 0
    rss_peak_bytes: int = 0
    pss_peak_bytes: int = 0
    n_voluntary_switches: int = 0
    n_forced_switches: int = 0
    _switches: dict[str, tuple[int, int]] = field(default_factory=dict, repr=False)  # by thread

    def since(self, before: Usage) -> Usage:
        """What was used since; the peaks are those of the whole."""
        return Usage(
            self.cpu_ns - before.cpu_ns,
            self.rss_peak_bytes,
            self.pss_peak_bytes,
            self.n_voluntary_switches - before.n_voluntary_switches,
            self.n_forced_switches - before.n_forced_switches,
        )

    def sample(self, pid: int, with_pss: bool) -> None:
        """Read /proc; a process that is gone keeps what was read last."""
        with contextlib.suppress(OSError, ValueError, LookupError):  # a zombie has a file without memory
            proc = f"/proc/{pid}"
            fields = _read(f"{proc}/stat").rpartition(b")")[2].split()
            self.cpu_ns = (int(fields[11]) + int(fields[12])) * TICK_NS  # utime and stime of all threads
            self.rss_peak_bytes = _number(_read(f"{proc}/status"), b"VmHWM") * KIB
            self._sample_switches(f"{proc}/task")
            if with_pss:
                pss = _number(_read(f"{proc}/smaps_rollup"), b"Pss") * KIB
                self.pss_peak_bytes = max(self.pss_peak_bytes, pss)

    def _sample_switches(self, tasks: str) -> None:
        """/proc/PID/status counts those of the first thread only; a thread that has ended keeps what was read last."""
        for task in os.listdir(tasks):
            with contextlib.suppress(OSError, LookupError, ValueError):  # it ended meanwhile
                text = _read(f"{tasks}/{task}/status")
                self._switches[task] = (
                    _number(text, b"voluntary_ctxt_switches"),
                    _number(text, b"nonvoluntary_ctxt_switches"),
                )
        self.n_voluntary_switches, self.n_forced_switches = map(sum, zip(*self._switches.values(), strict=True))


def _read(path: str) -> bytes:
    """Without a buffered file around it, which would take longer than the kernel does."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return os.read(fd, LONGEST_BYTES)
    finally:
        os.close(fd)


def _number(text: bytes, name: bytes) -> int:
    """The number behind this name among "Name:  number" lines; ValueError where there is none."""
    begin = text.index(b"\n" + name + b":") + len(name) + 2
    return int(text[begin : text.index(b"\n", begin)].split()[0])


@dataclass
class ThreadSums:
    """States of one thread that takes work from the hub: a decoder, or the thread of a feeder that submits to a chip.

    room_ns : since the last reading, the hub had work for it but no room to give it
    """

    began_ns: int
    as_of_ns: int
    busy_ns: int = 0
    starved_ns: int = 0
    blocked_ns: int = 0
    room_ns: int = 0
    _reading: tuple[int, int, int] | None = None

    @classmethod
    def since(cls, began_ns: int) -> ThreadSums:
        return cls(began_ns, began_ns)

    def take(self, reading: list[int], run_began_ns: int) -> None:
        """A `LapClock.reading`. What it waited is split by what the hub knows: blocked, or starved."""
        busy, waited, blocked, as_of_ns = reading
        if as_of_ns < run_began_ns:
            return  # its laps ended before the run began
        if self._reading is None:
            started_ns = as_of_ns - busy - waited - blocked
            self.began_ns = max(started_ns, run_began_ns)
            self._reading = (0, self.began_ns - started_ns, 0)  # before the run it could only wait
        before, self._reading = self._reading, (busy, waited, blocked)
        self._add(busy - before[0], waited - before[1], blocked - before[2])
        self.as_of_ns = as_of_ns

    def finish(self, end_ns: int) -> None:
        """From its last lap to the end it waited."""
        if end_ns > self.as_of_ns:
            self._add(0, end_ns - self.as_of_ns, 0)
            self.as_of_ns = end_ns

    def _add(self, busy_ns: int, waited_ns: int, blocked_ns: int) -> None:
        lacked_room_ns = min(self.room_ns, waited_ns)
        self.busy_ns += busy_ns
        self.blocked_ns += blocked_ns + lacked_room_ns
        self.starved_ns += waited_ns - lacked_room_ns
        self.room_ns = 0


@dataclass
class ProcessTally:
    """One process. threads : by chip for a feeder, {-1: ...} for a decoder, none for the hub."""

    role: str
    number: int
    pid: int
    threads: dict[int, ThreadSums] = field(default_factory=dict)
    usage: Usage = field(default_factory=Usage)
    usage_before: Usage = field(default_factory=Usage)  # when the run began
    ended: str | None = None  # how, where it died during the run
    is_of_the_first: bool = False  # it lived when the run began


@dataclass
class Processes:
    """All processes that worked in a run, those that died included, by process id."""

    began_ns: int = 0
    by_pid: dict[int, ProcessTally] = field(default_factory=dict)
    _hub_pid: int = field(default_factory=os.getpid)
    _next_sample_ns: int = 0
    _next_pss_ns: int = 0

    def begin(self, now_ns: int, members: list[Member]) -> None:
        """The run begins: what was used until now is not the run's."""
        self.began_ns = now_ns
        self.by_pid[self._hub_pid] = ProcessTally("hub", 0, self._hub_pid)
        for member in members:
            self._of(member)
        for process in self.by_pid.values():
            process.is_of_the_first = True
            process.usage.sample(process.pid, with_pss=False)
            process.usage_before = copy(process.usage)
        self._next_sample_ns = self._next_pss_ns = now_ns + SAMPLE_EVERY_NS

    def thread(self, member: Member, chip: int, now_ns: int) -> ThreadSums:
        """The thread of that member that serves this chip; -1 for a decoder."""
        threads = self._of(member).threads
        if chip not in threads:
            threads[chip] = ThreadSums.since(now_ns)
        return threads[chip]

    def sample(self, now_ns: int) -> None:
        """Read /proc where it is time."""
        if now_ns < self._next_sample_ns:
            return
        with_pss = now_ns >= self._next_pss_ns
        if with_pss:
            self._next_pss_ns = now_ns + PSS_RARER * (now_ns - self.began_ns)
        self._next_sample_ns = now_ns + SAMPLE_EVERY_NS
        self.sample_all(with_pss)

    def sample_all(self, with_pss: bool) -> None:
        """Read /proc for every process that lives."""
        for process in self.by_pid.values():
            if process.ended is None:
                process.usage.sample(process.pid, with_pss)

    def died(self, member: Member, cause: str) -> None:
        """What it did since its last message was for nothing: it is not counted."""
        self._of(member).ended = cause

    def finish(self, end_ns: int) -> None:
        """The run is over: read everything once more."""
        self.sample_all(with_pss=True)
        for process in self.by_pid.values():
            for thread in process.threads.values():
                if process.ended is None:
                    thread.finish(end_ns)

    def hub(self) -> ThreadSums:
        """The hub's own thread: it waits for messages, never for room."""
        threads = self.by_pid[self._hub_pid].threads
        if -1 not in threads:
            threads[-1] = ThreadSums.since(self.began_ns)
        return threads[-1]

    def spans(self, before: Processes | None = None) -> list[ProcessSpan]:
        """What each process did, since `before` where that is given."""
        earlier = {} if before is None else before.by_pid
        return [_span(process, earlier.get(pid)) for pid, process in self.by_pid.items() if process.threads]

    def _of(self, member: Member) -> ProcessTally:
        process = self.by_pid.get(member.pid)
        if process is None:
            process = self.by_pid[member.pid] = ProcessTally(member.role, member.number, member.pid)
        return process


@dataclass(frozen=True)
class ProcessSpan:
    """A process over a part of the run. Times are sums over its threads, `covered_ns` is what their clocks cover."""

    tally: ProcessTally
    n_threads: int
    covered_ns: int
    busy_ns: int
    starved_ns: int
    blocked_ns: int
    usage: Usage

    @property
    def name(self) -> str:
        return "hub" if self.tally.role == "hub" else f"{self.tally.role} {self.tally.number}"

    def percent(self, ns: int) -> float:
        """Of the time that its clocks cover."""
        return 100 * ns / self.covered_ns if self.covered_ns else 0.0


def _span(process: ProcessTally, before: ProcessTally | None) -> ProcessSpan:
    covered = busy = starved = blocked = 0
    for chip, thread in process.threads.items():
        earlier = before.threads.get(chip) if before is not None else None
        if earlier is None:
            earlier = ThreadSums.since(thread.began_ns)
        covered += thread.as_of_ns - earlier.as_of_ns
        busy += thread.busy_ns - earlier.busy_ns
        starved += thread.starved_ns - earlier.starved_ns
        blocked += thread.blocked_ns - earlier.blocked_ns
    usage = process.usage.since(process.usage_before if before is None else before.usage)
    return ProcessSpan(process, len(process.threads), covered, busy, starved, blocked, usage)
