"""The names of the samples as flat arrays.

Never pickled lists: names lie in one blob, so that ten million samples cost tens of bytes each and every process can
map the same copy.
"""

from __future__ import annotations

import mmap
import os
import re
from array import array
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

#: Entries of an array that are converted at once.
PART = 1 << 16
_DIGITS = re.compile(r"([0-9]+)")


def parts_of(array: npt.NDArray[Any]) -> Iterator[npt.NDArray[Any]]:
    """The array in parts, for what would double it if it were done at once."""
    return (array[start : start + PART] for start in range(0, len(array), PART))


def natural_key(name: str) -> tuple[list[tuple[int, str]], str]:
    """Sort key that orders ``img2`` before ``img10``, whatever the listing's order and the locale."""
    parts = _DIGITS.split(name)
    return [(int(part), "") if i % 2 else (0, part) for i, part in enumerate(parts)], name


def sample_key(name: str) -> str:
    """What a sample is called in every source: the file's name without folders, up to its first dot.

    The guide's scripts cut there: ``a/x.JPEG``, ``x.bin`` and the dump of ``x`` are the same sample.
    """
    return name.rpartition("/")[2].partition(".")[0]


def order_key(name: str) -> tuple[Any, ...]:
    """Sort key of samples: natural order of folder, then of `sample_key`, so that every source has the same order."""
    folder, _, file = name.rpartition("/")
    stem, _, rest = file.partition(".")
    return natural_key(folder), natural_key(stem), natural_key(rest)


@dataclass(frozen=True)
class NameTable:
    """File names relative to a root, as one blob.

    ends : (n,) int64, where each name ends in `blob`        blob : (bytes,) uint8, UTF-8 with surrogate escapes
    """

    root: Path
    ends: npt.NDArray[np.int64]
    blob: npt.NDArray[np.uint8]

    @classmethod
    def of(cls, root: Path, names: Iterable[str]) -> NameTable:
        blob, lengths = bytearray(), array("q")
        for name in names:
            encoded = os.fsencode(name)
            blob += encoded
            lengths.append(len(encoded))
        ends = np.frombuffer(lengths, np.int64)
        np.cumsum(ends, out=ends)
        return cls(root, ends, np.frombuffer(blob, np.uint8))

    def __len__(self) -> int:
        return len(self.ends)

    def name(self, sample: int) -> str:
        """The sample's file name, relative to the root."""
        start = int(self.ends[sample - 1]) if sample else 0
        return os.fsdecode(self.blob[start : int(self.ends[sample])].tobytes())

    def path(self, sample: int) -> str:
        """The sample's path."""
        return os.path.join(self.root, self.name(sample))

    def share(self) -> int:
        """Descriptor of a nameless shared memory with this table, for `NameTable.mapped` in other processes.

        From then on this process reads it there, too: ten million names are some hundred megabytes.
        """
        fd = os.memfd_create("engine-index", os.MFD_CLOEXEC)
        with open(fd, "wb", buffering=0, closefd=False) as file:
            for column in (np.array([len(self.ends)], np.int64), self.ends, self.blob):
                left: Any = np.ascontiguousarray(column).view(np.uint8).data
                while left:
                    left = left[file.write(left) :]
        there = NameTable.mapped(self.root, fd)
        object.__setattr__(self, "ends", there.ends)  # the same numbers, elsewhere
        object.__setattr__(self, "blob", there.blob)
        return fd

    @classmethod
    def mapped(cls, root: Path, fd: int) -> NameTable:
        """The table that `share` put into this memory."""
        memory = mmap.mmap(fd, 0, prot=mmap.PROT_READ)
        n = int(np.frombuffer(memory, np.int64, 1)[0])
        ends = np.frombuffer(memory, np.int64, n, offset=8)
        return cls(root, ends, np.frombuffer(memory, np.uint8, int(ends[-1]), offset=8 + 8 * n))
