"""Hashes of a data set's content: which bytes a certificate is about."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from engine.errors import DataError
from engine.index import DataIndex
from engine.journal import index_sha256

CHUNK_BYTES = 1 << 20


@dataclass(frozen=True)
class DataHashes:
    """names : over the samples' names and classes, in order        content : over the bytes of all files, in order"""

    n_images: int
    n_bytes: int
    names: str
    content: str


@dataclass(frozen=True)
class FilesHash:
    """content : sha256 over the bytes and sizes of some files, in order"""

    n_bytes: int
    content: str


def hash_data(data: Path, index: DataIndex) -> DataHashes:
    """Read every file of a data set once."""
    files = hash_files(_files(data, index))
    return DataHashes(len(index), files.n_bytes, index_sha256(index), files.content)


def hash_files(paths: Iterable[Path]) -> FilesHash:
    """Read the files. One that cannot be read counts as empty: whoever needs it says so."""
    digest, n_bytes = hashlib.sha256(), 0
    for path in paths:
        size = 0
        try:
            with path.open("rb") as file:
                while chunk := file.read(CHUNK_BYTES):
                    digest.update(chunk)
                    size += len(chunk)
        except OSError:
            size = 0
        digest.update(size.to_bytes(8, "little"))
        n_bytes += size
    return FilesHash(n_bytes, digest.hexdigest())


def _files(data: Path, index: DataIndex) -> Iterator[Path]:
    """One file per sample, or the container that holds them all."""
    first = Path(index.names.path(0))
    if first.is_file():
        for sample in range(len(index)):
            yield Path(index.names.path(sample))
        return
    containers = [data] if data.is_file() else sorted(path for path in data.rglob("*") if path.is_file())
    if not containers:
        raise DataError(f"{data} holds no files to hash")
    yield from containers
