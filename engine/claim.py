"""One run per folder: a lock on ``--out`` that the kernel lets go of when its process ends, however it ends."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from engine.errors import InUseError


@contextmanager
def claimed(out: Path, say: Callable[[str], None]) -> Iterator[None]:
    """Hold `out` (which exists) for this process. The lock is on the folder itself: no file is left behind.

    Raises InUseError while another process holds it. Where the file system cannot lock, that is said.
    """
    fd = os.open(out, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise InUseError(f"another run is writing into --out {out}: wait for it or choose another folder") from None
        except OSError as error:
            say(f"--out {out} cannot be locked ({error.strerror}): make sure that no other run writes into it")
        yield
    finally:
        os.close(fd)
