"""The packed file: one file of uint8 crops with their names and labels. docs/data.md describes it for others.

    0            header, 64 bytes, little-endian, in a page of its own
    4096         n uint64: the hash of each crop, 0 where there is none
    crops_at     n crops of side x side x 3 uint8, RGB, in sample order; starts on a page
    index_at     index: a msgpack map

Hashes are `kernels.reference.fingerprint_hash` of the bytes as uint64 words, filled with zeros to whole words.
"""

from __future__ import annotations

import os
import struct
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgpack
import numpy as np
import numpy.typing as npt

from engine.errors import DataError
from engine.layout import PAGE_BYTES, round_up
from engine.names import NameTable
from kernels.fingerprint import fingerprint_hash
from kernels.reference import as_words

MAGIC = b"ENGPACK\n"
VERSION = 1
#: magic, version, side, n, index_at, index_bytes, index_hash, reserved; then the hash of these 56 bytes.
HEADER = struct.Struct("<8sIIQQQQQ")
HEADER_BYTES = HEADER.size + 8
HASH_BYTES = 8
#: An index is names and labels: more than this is no index but a damaged header.
MOST_INDEX_BYTES = 1 << 34


@dataclass(frozen=True)
class PackedLayout:
    """Where things lie in a packed file of `n` crops of this side."""

    n: int
    side: int

    @property
    def crop_bytes(self) -> int:
        return 3 * self.side * self.side

    @property
    def hashes_at(self) -> int:
        return PAGE_BYTES

    @property
    def crops_at(self) -> int:
        return round_up(self.hashes_at + HASH_BYTES * self.n, PAGE_BYTES)

    @property
    def index_at(self) -> int:
        return self.crops_at + self.n * self.crop_bytes

    def hash_at(self, sample: int) -> int:
        return self.hashes_at + HASH_BYTES * sample

    def crop_at(self, sample: int) -> int:
        return self.crops_at + sample * self.crop_bytes


@dataclass(frozen=True)
class PackedIndex:
    """What is known of the crops.

    spec   : how they were cropped, as PreprocessSpec's fields        preset : its name
    names  : names of the images, relative to where they were
    labels : (n,) int32, or None where they were packed without
    failed : {sample: why it has no crop}
    inputs : hash of what they were made from: names, sizes and times of the images, and the spec
    """

    preset: str
    spec: dict[str, Any]
    names: NameTable
    labels: npt.NDArray[np.int32] | None
    inputs: int
    failed: dict[int, str] = field(default_factory=dict)

    def encode(self) -> bytes:
        """The index as it is in the file."""
        fields = {
            "preset": self.preset,
            "spec": self.spec,
            "name_ends": self.names.ends.astype("<i8").tobytes(),
            "name_blob": self.names.blob.tobytes(),
            "labels": None if self.labels is None else self.labels.astype("<i4").tobytes(),
            "inputs": self.inputs,
            "failed": self.failed,
        }
        packed: bytes = msgpack.packb(fields)
        return packed

    @classmethod
    def decode(cls, root: Path, data: Any) -> PackedIndex:
        """Of the bytes of `encode`. Raises all kinds of errors for others."""
        fields = msgpack.unpackb(data, strict_map_key=False)
        names = NameTable(
            root, np.frombuffer(fields.pop("name_ends"), "<i8"), np.frombuffer(fields.pop("name_blob"), np.uint8)
        )
        labels = fields.pop("labels")
        return cls(names=names, labels=None if labels is None else np.frombuffer(labels, "<i4"), **fields)

    def contradiction(self, layout: PackedLayout) -> str:
        """What cannot be true of a file of this layout; empty where all can."""
        ends, n = self.names.ends, layout.n
        if len(ends) != n or (self.labels is not None and len(self.labels) != n):
            return f"{n} crops, {len(ends)} names, {'no' if self.labels is None else len(self.labels)} labels"
        if n and (ends[0] < 0 or ends[-1] != len(self.names.blob) or (np.diff(ends) < 0).any()):
            return "names outside of their blob"
        if self.labels is not None and n and int(self.labels.min()) < 0:
            return f"a class of {self.labels.min()}"
        wanted = {"preset": str, "spec": dict, "inputs": int, "failed": dict}
        if wrong := [name for name, kind in wanted.items() if not isinstance(getattr(self, name), kind)]:
            return f"its {wrong[0]} is of another kind"
        is_sound = (type(at) is int and 0 <= at < n and isinstance(why, str) for at, why in self.failed.items())
        return "" if all(is_sound) else "failed images that are none of its crops"


def hash_bytes(data: bytes | npt.NDArray[np.uint8]) -> int:
    """The hash of any bytes."""
    return int(fingerprint_hash(as_words(np.frombuffer(data, np.uint8))))


def encode_header(layout: PackedLayout, index: bytes) -> bytes:
    """The header of a complete file."""
    head = HEADER.pack(MAGIC, VERSION, layout.side, layout.n, layout.index_at, len(index), hash_bytes(index), 0)
    return head + hash_bytes(head).to_bytes(HASH_BYTES, "little")


def is_packed(path: Path) -> bool:
    """Whether the file says that it is a packed file."""
    try:
        with path.open("rb") as file:
            return file.read(len(MAGIC)) == MAGIC
    except OSError:
        return False


def read_packed(path: Path) -> tuple[PackedLayout, PackedIndex]:
    """Layout and index of a packed file. DataError where it is damaged, cut short or of another version."""
    try:
        with path.open("rb") as file:
            layout, index_bytes, index_hash = _decode_header(path, file.read(HEADER_BYTES))
            size, needed = os.fstat(file.fileno()).st_size, layout.index_at + index_bytes
            if size != needed:
                raise damaged(path, f"it has {size} bytes but needs {needed} for {layout.n} crops")
            words = np.zeros(-(-index_bytes // HASH_BYTES), np.uint64)  # hashed in place: it may be half a gigabyte
            index = words.view(np.uint8)[:index_bytes].data
            file.seek(layout.index_at)
            if file.readinto(index) != index_bytes:
                raise damaged(path, "it was cut short while it was read")
    except OSError as error:
        raise DataError(f"packed file {path} cannot be read: {error.strerror}") from error
    if int(fingerprint_hash(words)) != index_hash:
        raise damaged(path, "the hash of its index is wrong")
    try:
        found = PackedIndex.decode(path.parent, index)
    except (KeyError, TypeError, ValueError, RecursionError, msgpack.UnpackException) as error:
        raise damaged(path, f"its index makes no sense ({type(error).__name__}: {error})") from error
    if why := found.contradiction(layout):
        raise damaged(path, f"its index makes no sense ({why})")
    return layout, found


def _decode_header(path: Path, data: bytes) -> tuple[PackedLayout, int, int]:
    if len(data) < HEADER_BYTES:
        raise damaged(path, f"its header has {len(data)} of {HEADER_BYTES} bytes")
    head, checksum = data[: HEADER.size], int.from_bytes(data[HEADER.size :], "little")
    magic, version, side, n, index_at, index_bytes, index_hash, _ = HEADER.unpack(head)
    if magic == MAGIC and version != VERSION:
        raise DataError(
            f"packed file {path} has version {version} but this engine reads version {VERSION}: pack the images again"
        )
    if magic != MAGIC or hash_bytes(head) != checksum:
        raise damaged(path, "the hash of its header is wrong")
    layout = PackedLayout(n, side)
    if index_at != layout.index_at or index_bytes > MOST_INDEX_BYTES:
        raise damaged(path, "its header contradicts itself")
    return layout, index_bytes, index_hash


def damaged(path: Path, why: str) -> DataError:
    """The error of a file that is not as it was written."""
    return DataError(f"packed file {path} is damaged or incomplete: {why}; make it again with engine preprocess")
