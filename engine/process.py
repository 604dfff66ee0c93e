"""What every process of the engine does at its start and at its end."""

from __future__ import annotations

import gc
import os
import select
import signal
import threading
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

from engine.channel import Channel
from engine.errors import EngineError
from engine.limits import EXIT_BROKEN, EXIT_NO_MEMORY
from engine.messages import Broken, Failed
from engine.stacks import DUMP_SIGNAL, leave_stacks_in

#: How a child ends when its hub is gone: nobody is left to read a reason.
EXIT_ORPHANED = 1
#: Characters of an error's text, and of its traceback's end: an error may hold a whole file.
MOST_TEXT, MOST_TRACE = 500, 20_000
#: Signals that a child ignores.
FOR_THE_HUB = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
#: Signals that are blocked in a child until it has arranged for them.
SHIELDED = (*FOR_THE_HUB, DUMP_SIGNAL)


def begin(role: str, stacks_fd: int | None = None) -> None:
    """Take the name ``engine-<role>`` in process lists, and leave signals to the hub.

    Ctrl-C, a closed terminal and a service manager's SIGTERM reach the whole group of processes; only the hub decides
    what they mean, and while it finishes what is in flight it needs the others.
    stacks_fd : where the stacks of this process go when its hub asks for them; None where it never does
    """
    # What it begins with stays: looking for garbage there took a feeder 32 to 50 ms at its start and a decoder 94 to
    # 170 ms half a minute later, and copied 4 to 6 MiB of pages that they share with the fork server.
    gc.freeze()
    if stacks_fd is not None:
        leave_stacks_in(stacks_fd)
    with suppress(OSError), open("/proc/self/comm", "w") as comm:
        comm.write(f"engine-{role}")
    for number in FOR_THE_HUB:
        signal.signal(number, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, FOR_THE_HUB if stacks_fd is None else SHIELDED)


def end_with_hub(hub: Channel) -> None:
    """End this process as soon as its hub is gone, also while it is busy with something long (loading a model)."""

    def watch() -> None:
        poll = select.poll()
        poll.register(hub.fileno(), 0)  # no event but that the other end is closed
        poll.poll()
        os._exit(EXIT_ORPHANED)

    threading.Thread(target=watch, name="end-with-hub", daemon=True).start()


@contextmanager
def failures_reported(hub: Channel, role: str) -> Iterator[None]:
    """Send what makes this process fail to the hub, then end the process.

    An EngineError ends the run with its own text. Any other one is a defect, of ours or of this host (a full memory, a
    failing disk): the hub repairs it as it repairs a death.
    """
    try:
        yield
    except EngineError as error:
        _last_words(hub, Failed(type(error).__name__, str(error)), EXIT_ORPHANED)
    except (BrokenPipeError, EOFError):
        os._exit(EXIT_ORPHANED)
    except Exception as error:
        cause = error.__cause__ if isinstance(error, ImageInHand) else error
        code = EXIT_NO_MEMORY if isinstance(cause, MemoryError) else EXIT_BROKEN
        try:
            _last_words(hub, broken(error, role), code)
        finally:
            os._exit(code)  # also where there is no memory for words


class ImageInHand(Exception):
    """Raised ``from`` an error that nobody foresaw: which image this process had in hand."""

    def __init__(self, slot: int, row: int) -> None:
        super().__init__(slot, row)
        self.slot = slot
        self.row = row


def broken(error: BaseException, role: str) -> Broken:
    """What the hub is told of an error that nobody foresaw."""
    slot = row = -1
    if isinstance(error, ImageInHand):
        assert error.__cause__ is not None
        slot, row, error = error.slot, error.row, error.__cause__
    frame = traceback.extract_tb(error.__traceback__)[-1]
    said = " ".join(str(error).split()) or "no text"
    text = f"{type(error).__name__} in {os.path.basename(frame.filename)}:{frame.lineno}: {said}"
    trace = "".join(traceback.format_exception(error))
    return Broken(text[:MOST_TEXT], f"{role}: {trace}"[-MOST_TRACE:], slot, row)


def _last_words(hub: Channel, message: Failed | Broken, code: int) -> None:
    try:
        hub.send(message)
    finally:
        os._exit(code)


@dataclass(frozen=True)
class ProcessState:
    """From /proc/PID/stat. letter : R running, S sleeping, D in the kernel, T or t stopped, Z dead, ? gone"""

    letter: str
    cpu_ns: int

    @property
    def is_stopped(self) -> bool:
        return self.letter in "Tt"


def process_state(pid: int) -> ProcessState:
    """State and CPU time of a process."""
    try:
        with open(f"/proc/{pid}/stat") as file:
            fields = file.read().rpartition(")")[2].split()
    except OSError:
        return ProcessState("?", 0)
    ticks = int(fields[11]) + int(fields[12])
    return ProcessState(fields[0], ticks * 1_000_000_000 // os.sysconf("SC_CLK_TCK"))
