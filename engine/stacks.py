"""Python stacks of other processes of the engine, also of one that hangs in a call: written by a signal handler in C.

Every process writes into one nameless memory, so that nothing is left behind and nothing reaches the terminal.
"""

from __future__ import annotations

import contextlib
import faulthandler
import fcntl
import os
import signal
import time

#: Asks a process for its stacks.
DUMP_SIGNAL = signal.SIGUSR1
#: A process that runs writes them within milliseconds.
DUMP_WITHIN_S = 1.0
_POLL_S = 0.01


def create_stacks_fd() -> int:
    """Descriptor of a memory that all processes append to."""
    fd = os.memfd_create("engine-stacks", os.MFD_CLOEXEC)
    fcntl.fcntl(fd, fcntl.F_SETFL, fcntl.fcntl(fd, fcntl.F_GETFL) | os.O_APPEND)
    return fd


def leave_stacks_in(fd: int) -> None:
    """From now on this process leaves its stacks in `fd` when it is asked, and when it crashes."""
    faulthandler.enable(fd, all_threads=True)
    faulthandler.register(DUMP_SIGNAL, fd, all_threads=True, chain=False)


def stacks_of(pid: int, fd: int) -> str:
    """The stacks of all threads of a process that has called `leave_stacks_in`; "" if it does not answer."""
    begin = os.fstat(fd).st_size
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, DUMP_SIGNAL)
    deadline, size = time.monotonic() + DUMP_WITHIN_S, begin
    while time.monotonic() < deadline:
        time.sleep(_POLL_S)
        before, size = size, os.fstat(fd).st_size
        if size == before > begin:
            break
    return text_since(begin, fd)


def own_stacks(fd: int) -> str:
    """The stacks of all threads of this process."""
    begin = os.fstat(fd).st_size
    faulthandler.dump_traceback(fd, all_threads=True)
    return text_since(begin, fd)


def text_since(begin: int, fd: int) -> str:
    """What was written from this offset on."""
    return os.pread(fd, os.fstat(fd).st_size - begin, begin).decode(errors="replace")
