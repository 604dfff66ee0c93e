"""What every process of the engine does at its start and at its end."""

from __future__ import annotations

import os
import signal
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from engine.channel import Channel
from engine.errors import EngineError
from engine.messages import Failed

#: How a child ends when its hub is gone: nobody is left to read a reason.
EXIT_ORPHANED = 1


def begin(role: str) -> None:
    """Take the name ``engine-<role>`` in process lists, and leave signals to the hub.

    Ctrl-C reaches the whole process group; only the hub decides what it means.
    """
    with suppress(OSError), open("/proc/self/comm", "w") as comm:
        comm.write(f"engine-{role}")
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)


@contextmanager
def failures_reported(hub: Channel, role: str) -> Iterator[None]:
    """Send what makes this process fail to the hub, as one line and its class, then end the process."""
    try:
        yield
    except EngineError as error:
        _last_words(hub, Failed(type(error).__name__, str(error)))
    except (BrokenPipeError, EOFError):
        os._exit(EXIT_ORPHANED)
    except Exception as error:
        frame = traceback.extract_tb(error.__traceback__)[-1]
        text = f"{role}: {type(error).__name__} in {os.path.basename(frame.filename)}:{frame.lineno}: {error}"
        _last_words(hub, Failed("WorkerError", text))


def _last_words(hub: Channel, failed: Failed) -> None:
    try:
        hub.send(failed)
    finally:
        os._exit(EXIT_ORPHANED)
