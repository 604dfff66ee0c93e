"""Lines for the user. A reader that goes away (``| head``) must not end a run."""

from __future__ import annotations

import os
import sys


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
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), fd)  # this line is lost, and all that follow go nowhere
