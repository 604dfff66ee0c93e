"""Hashes of a data set's content: which bytes a certificate is about."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
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


def hash_data(data: Path, index: DataIndex) -> DataHashes:
    """Read every file once. DataError for one that cannot be read is left to the run: it counts as empty here."""
    digest, n_bytes = hashlib.sha256(), 0
    for path in _files(data, index):
        size = 0
        try:
            with path.open("rb") as file:
                while chunk := file.read(CHUNK_BYTES):
                    digest.update(chunk)
                    size += len(chunk)
        except OSError:
            size = 0  # the run says which image failed and why
        digest.update(size.to_bytes(8, "little"))
        n_bytes += size
    return DataHashes(len(index), n_bytes, index_sha256(index), digest.hexdigest())


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
