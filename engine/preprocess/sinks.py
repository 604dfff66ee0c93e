"""Where preprocessed images go: a `.bin` file each, or their places in one packed file. Each is whole or absent."""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from engine.names import NameTable, sample_key
from engine.sources.packed_format import HASH_BYTES, PackedLayout, hash_bytes
from kernels.spec import TensorFormat

Array = npt.NDArray[Any]


class Sink(Protocol):
    """Takes one sample's row at a time, in one worker process."""

    def put(self, sample: int, row: Array) -> None:
        """Store the row; whatever kills this process, the sample is then complete or not there."""


class Destination(Protocol):
    """Where rows go, and which are there already. Small and picklable: it travels to each worker."""

    @property
    def tensor(self) -> TensorFormat:
        """The format of the rows."""

    def open(self, names: NameTable, worker: int) -> Sink:
        """The sink, in the worker's process."""


def tensor_name(name: str) -> str:
    """Where the tensor of the image called `name` lies, as the guide's script names it: cut at the first dot."""
    folder = name.rpartition("/")[0]
    file = f"{sample_key(name)}.bin"
    return f"{folder}/{file}" if folder else file


@dataclass(frozen=True)
class BinFolder:
    """One `.bin` file per image, in folders as the images are."""

    folder: Path
    tensor: TensorFormat

    def open(self, names: NameTable, worker: int) -> BinSink:
        return BinSink(self.folder, names, worker)


class BinSink:
    """Writes each row to a temporary file of this worker's and renames it."""

    def __init__(self, folder: Path, names: NameTable, worker: int) -> None:
        self._folder = folder
        self._names = names
        self._temporary = temporary_file(folder, worker)

    def put(self, sample: int, row: Array) -> None:
        try:
            fd = os.open(self._temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o666)
            try:
                write_all(fd, row, 0)
            finally:
                os.close(fd)
            os.rename(self._temporary, self._folder / tensor_name(self._names.name(sample)))
        except OSError:
            with contextlib.suppress(OSError):
                os.unlink(self._temporary)
            raise


def temporary_file(folder: Path, worker: int) -> Path:
    """The file that a worker writes before it is renamed: hidden, and the same in every run."""
    return folder / f".engine-preprocess-{worker}.tmp"


@dataclass(frozen=True)
class PackedPart:
    """The growing packed file: crops first, their hashes after them."""

    path: Path
    layout: PackedLayout

    @property
    def tensor(self) -> TensorFormat:
        return TensorFormat("uint8", "NHWC")

    def open(self, names: NameTable, worker: int) -> PackedSink:
        return PackedSink(self)


class PackedSink:
    """Writes crops to their places. A crop whose hash is there is complete; a wrong hash is written again."""

    def __init__(self, part: PackedPart) -> None:
        self._layout = part.layout
        self._fd = os.open(part.path, os.O_RDWR | os.O_CLOEXEC)

    def put(self, sample: int, row: Array) -> None:
        write_all(self._fd, row, self._layout.crop_at(sample))
        write_all(self._fd, np.array([hash_bytes(row.reshape(-1))], "<u8"), self._layout.hash_at(sample))

    def is_complete(self, sample: int, expected: int) -> bool:
        """Whether the crop is the one that the hash says."""
        if not expected:
            return False
        crop = os.pread(self._fd, self._layout.crop_bytes, self._layout.crop_at(sample))
        return len(crop) == self._layout.crop_bytes and hash_bytes(crop) == expected

    def hashes(self) -> list[int]:
        """The hashes that are there, 0 where there is none."""
        data = os.pread(self._fd, HASH_BYTES * self._layout.n, self._layout.hashes_at)
        hashes = np.zeros(self._layout.n, "<u8")
        found = np.frombuffer(data[: len(data) // HASH_BYTES * HASH_BYTES], "<u8")
        hashes[: len(found)] = found
        values: list[int] = hashes.tolist()
        return values

    def close(self) -> None:
        os.close(self._fd)


def write_all(fd: int, row: Array, offset: int) -> None:
    """Write the whole array at `offset`; OSError where the disk is full."""
    data = memoryview(np.ascontiguousarray(row).reshape(-1).view(np.uint8))  # type: ignore[arg-type]
    while data:
        n_bytes = os.pwrite(fd, data, offset)
        data, offset = data[n_bytes:], offset + n_bytes
