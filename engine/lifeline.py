"""A run that another command measures ends with that command, however it ends.

The command holds one end of a pipe and the run the other; the kernel closes the first when the command dies. Without
it the run of a killed sweep would go on, and disturb those of the sweep that is resumed.
"""

from __future__ import annotations

import os
import select
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

#: Tells the run which descriptor its end is.
VARIABLE = "ENGINE_LIFELINE_FD"


@contextmanager
def lifeline() -> Iterator[int]:
    """The run's end of the pipe, to be passed on, with its number in `VARIABLE`; while this lasts, so may the run."""
    theirs, ours = os.pipe()
    try:
        yield theirs
    finally:
        os.close(theirs)
        os.close(ours)


def end_with_measuring_command() -> None:
    """In the run: once that command is gone, end as after SIGTERM. Nothing where no command measures it."""
    number = os.environ.pop(VARIABLE, "")  # not for its own children
    if not number:
        return
    fd = int(number)
    os.set_inheritable(fd, False)

    def watch() -> None:
        poll = select.poll()
        poll.register(fd, 0)  # no event but that the other end is closed
        poll.poll()
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch, name="lifeline", daemon=True).start()
