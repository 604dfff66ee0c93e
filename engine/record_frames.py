"""The bytes of record files: frames, and how they are found again in a damaged file.

A file is a row of frames, and nothing else:

    tag       4 bytes      HEADER_TAG or RECORD_TAG
    length    uint32 LE    bytes of the payload
    check     uint32 LE    CRC-32 of the payload
    seal      uint32 LE    CRC-32 of the three fields above and of the frame's offset in the file (uint64 LE)
    payload   msgpack      a map with text keys for the header, any value for a record

The first frame is the header: ``{"kind": text, "version": int, ...}``. A process that dies while it writes leaves a
torn tail; readers report it, and the next writer cuts it off. Damage elsewhere costs the records that it hits: the seal
finds the next frame, and since it covers the offset, bytes of a payload that look like a frame are none.
Reading is linear in the file's size for any content, and never holds more than one frame beside the records.
"""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO, Any, NamedTuple

import msgpack

HEADER_TAG = b"\xe5HDR"
RECORD_TAG = b"\xe5REC"
_PREFIX = struct.Struct("<4sII")
_OFFSET = struct.Struct("<Q")
_SEAL = struct.Struct("<I")
FRAME_BYTES = _PREFIX.size + _SEAL.size
#: Read at once while the next frame is looked for.
CHUNK_BYTES = 1 << 20


@dataclass(frozen=True)
class RecordLimits:
    """What a reader accepts; larger records are skipped like damaged ones, more records are an error."""

    max_record_bytes: int = 4 << 20  # Python makes up to 56 bytes of one: of the smallest lists
    max_records: int = 50_000_000


class Frame(NamedTuple):
    tag: bytes
    value: Any
    end: int


def frame_of(tag: bytes, payload: bytes, offset: int) -> bytes:
    """The frame that stands at `offset` of its file."""
    prefix = _PREFIX.pack(tag, len(payload), zlib.crc32(payload))
    return prefix + _SEAL.pack(_seal(prefix, offset)) + payload


def payload_of(value: Any) -> bytes:
    payload: bytes = msgpack.packb(value, unicode_errors="surrogateescape")
    return payload


def frames_of(file: IO[bytes], start: int, limits: RecordLimits) -> Iterator[tuple[Frame, int]]:
    """Each whole frame from offset `start` on, and its length."""
    position = start
    while True:
        file.seek(position)
        head = file.read(FRAME_BYTES)
        fields = _open_head(head, position)
        if fields is None:
            found = _next_tag(file, position + 1)
            if found is None:
                return
            position = found
            continue
        tag, length, check = fields
        end = position + FRAME_BYTES + length  # the seal vouches for the length, so what follows is never scanned twice
        if end > os.fstat(file.fileno()).st_size:
            return
        if length <= limits.max_record_bytes:
            frame = _decode(tag, file.read(length), length, check, end)
            if frame is not None:
                yield frame, end - position
        position = end


def _open_head(head: bytes, offset: int) -> tuple[bytes, int, int] | None:
    """(tag, length, check) of a frame that starts with `head`; None where none does."""
    if len(head) < FRAME_BYTES or head[:4] not in (HEADER_TAG, RECORD_TAG):
        return None
    prefix = head[: _PREFIX.size]
    if _SEAL.unpack(head[_PREFIX.size :])[0] != _seal(prefix, offset):
        return None
    tag, length, check = _PREFIX.unpack(prefix)
    return tag, length, check


def _seal(prefix: bytes, offset: int) -> int:
    return zlib.crc32(_OFFSET.pack(offset), zlib.crc32(prefix))


def _decode(tag: bytes, payload: bytes, length: int, check: int, end: int) -> Frame | None:
    if len(payload) != length or zlib.crc32(payload) != check:
        return None
    try:
        value = msgpack.unpackb(payload, unicode_errors="surrogateescape")
    except (ValueError, msgpack.UnpackException, RecursionError):
        return None
    if tag == HEADER_TAG and not isinstance(value, dict):
        return None
    return Frame(tag, value, end)


def _next_tag(file: IO[bytes], position: int) -> int | None:
    """Offset of the next bytes that may start a frame, from `position` on."""
    overlap = len(HEADER_TAG) - 1
    file.seek(position)
    buffer = b""
    while True:
        chunk = file.read(CHUNK_BYTES)
        if not chunk:
            return None
        buffer += chunk
        found = [at for at in (buffer.find(HEADER_TAG), buffer.find(RECORD_TAG)) if at >= 0]
        if found:
            return position + min(found)
        position += len(buffer) - overlap
        buffer = buffer[-overlap:]
