"""Files opened and announced to the kernel before their turn: the disk reads the next ones while one is decoded."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Sequence
from contextlib import suppress

from engine.names import NameTable

#: Files that are open ahead of the one that is read.
DEPTH = 16


def announce(fd: int, offset: int = 0, n_bytes: int = 0) -> None:
    """Have the kernel begin to read these bytes; 0 bytes: to the end. Nothing for what is in its cache or no file."""
    with suppress(OSError):
        os.posix_fadvise(fd, offset, n_bytes, os.POSIX_FADV_WILLNEED)


class FilesAhead:
    """Opens the files of the samples that are expected, some ahead.

    Threads that read ahead would also hide how long opening takes, but cost a tenth of a decode per image where all
    files are in the page cache; this costs nothing there.
    """

    def __init__(self, names: NameTable) -> None:
        self._names = names
        self._coming: deque[int] = deque()
        self._opened: deque[tuple[int, int | None]] = deque()

    def expect(self, samples: Sequence[int]) -> None:
        """The next calls of `open` are for these samples, in this order."""
        while self._opened:
            _, fd = self._opened.popleft()
            if fd is not None:
                os.close(fd)
        self._coming = deque(samples)
        self._open_more()

    def open(self, sample: int) -> int:
        """A descriptor of the sample's file, which the caller closes. Raises OSError."""
        fd = None
        if self._opened and self._opened[0][0] == sample:
            _, fd = self._opened.popleft()
            self._open_more()
        return self._open(sample) if fd is None else fd

    def _open_more(self) -> None:
        while self._coming and len(self._opened) < DEPTH:
            sample, fd = self._coming.popleft(), None
            with suppress(OSError):  # opened again when it is its turn, and what is wrong then is told
                fd = self._open(sample)
                announce(fd)
            self._opened.append((sample, fd))

    def _open(self, sample: int) -> int:
        # a pipe without a writer must not block
        return os.open(self._names.path(sample), os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
