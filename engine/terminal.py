"""Lines for the user. A reader that goes away (``| head``) must not end a run."""

from __future__ import annotations

import errno
import os
import signal
import sys

#: A pipe without a reader, a terminal that was closed.
READER_GONE = (errno.EPIPE, errno.EIO)


def say(text: str) -> None:
    """One or more lines on standard output."""
    _print(text, 1)


def warn(text: str) -> None:
    """One line on standard error."""
    _print(text, 2)


def _print(text: str, fd: int) -> None:
    stream = sys.stdout if fd == 1 else sys.stderr
    try:
        print(text, file=stream, flush=True)
    except OSError as error:
        if error.errno not in READER_GONE:
            raise
        os.dup2(os.open(os.devnull, os.O_WRONLY), fd)  # this line is lost, and all that follow go nowhere


def ending_signals() -> list[signal.Signals]:
    """Signals that end a run: Ctrl-C, a service manager's SIGTERM, a closed terminal (not under `nohup`)."""
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    return [number for number in numbers if number == signal.SIGINT or signal.getsignal(number) != signal.SIG_IGN]


def interrupt_on_signals() -> None:
    """All of them end this process as Ctrl-C does, wherever nothing else is arranged."""
    for number in ending_signals():
        signal.signal(number, signal.default_int_handler)


def ignore_signals() -> None:
    """None of them does anything any more."""
    for number in ending_signals():
        signal.signal(number, signal.SIG_IGN)


def open_standard_streams() -> None:
    """Give descriptors 0 to 2 a target where the caller has closed them: a file of ours must not take their place."""
    while (fd := os.open(os.devnull, os.O_RDWR)) <= 2:  # always the lowest that is free
        pass
    os.close(fd)
