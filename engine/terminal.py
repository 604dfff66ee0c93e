"""Lines for the user. A reader that goes away (``| head``) must not end a run."""

from __future__ import annotations

import errno
import os
import re
import signal
import sys
from typing import TextIO

from engine.errors import ResourceError

#: A pipe without a reader, a terminal that was closed.
READER_GONE = (errno.EPIPE, errno.EIO)
#: What a terminal acts on instead of showing it, and bytes of file names that are no text.
_CONTROLS = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff]")
_CONTROLS_IN_LINE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]")


def say(text: str) -> None:
    """One or more lines on standard output."""
    _print(text, 1)


def warn(text: str) -> None:
    """One line on standard error."""
    _print(text, 2)


def printable(name: str) -> str:
    """A file name on one line: line breaks, what a terminal acts on, and bytes that are no text are spelled out."""
    return _CONTROLS.sub(_spelled, name)


def _spelled(found: re.Match[str]) -> str:
    code = ord(found[0])
    if 0xDC80 <= code <= 0xDCFF:  # how Python holds a byte that is no text
        code -= 0xDC00
    return {0x0A: "\\n", 0x0D: "\\r", 0x09: "\\t"}.get(code, f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}")


def shown(text: str, stream: TextIO) -> str:
    """What can be printed there, whatever the text holds: names have any bytes, and an encoding may lack letters."""
    encoding = getattr(stream, "encoding", None) or "utf-8"
    return _CONTROLS_IN_LINE.sub(_spelled, text).encode(encoding, "backslashreplace").decode(encoding)


def _print(text: str, fd: int) -> None:
    stream = sys.stdout if fd == 1 else sys.stderr
    try:
        print(shown(text, stream), file=stream, flush=True)
    except OSError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), fd)  # what it still holds is lost, and all that follows goes nowhere
        if error.errno not in READER_GONE and fd == 1:
            raise ResourceError(
                f"standard output cannot be written ({error.strerror}): make room or send it elsewhere"
            ) from error


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
    for fd, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is None:  # Python found it closed
            setattr(sys, name, open(fd, "w" if fd else "r", closefd=False))  # noqa: SIM115 it stays open
