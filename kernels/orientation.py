"""The orientation that a JPEG's header tells, without a library, and pixels turned upright.

Reads only what is plain: one EXIF segment, its first directory, the tag as one short. Whatever is not so is UNKNOWN,
and Pillow reads it (`kernels.reference.upright`).
"""

from __future__ import annotations

import struct
from typing import Any

import numpy.typing as npt

from kernels.reference import ORIENTATION

Array = npt.NDArray[Any]

UNKNOWN, UPRIGHT = 0, 1
_SOI, _EXIF, _XMP = b"\xff\xd8", b"Exif\0\0", b"http://ns.adobe.com/xap/1.0/\0"
_APP1, _SOS = 0xE1, 0xDA
_SHORT, _ENTRY_BYTES = 3, 12
#: TIFF's byte order and version.
_ORDERS = {b"II*\0": "<", b"MM\0*": ">"}


def orientation(data: bytes | memoryview) -> int:
    """1..8 as EXIF counts them, 1 also where nothing is said; UNKNOWN if Pillow must tell."""
    if bytes(data[:2]) != _SOI:
        return UNKNOWN
    found: bytes | None = None
    has_xmp, at, n = False, 2, len(data)
    while True:
        if at + 4 > n or data[at] != 0xFF:
            return UNKNOWN
        marker = data[at + 1]
        if marker == _SOS:
            break
        end = at + 2 + (data[at + 2] << 8 | data[at + 3])
        if marker < 0xC0 or marker == 0xFF or 0xD0 <= marker <= 0xD9 or end < at + 4 or end > n:
            return UNKNOWN
        if marker == _APP1:
            head = bytes(data[at + 4 : at + 4 + len(_XMP)])
            has_xmp |= head == _XMP
            if head.startswith(_EXIF):
                if found is not None:
                    return UNKNOWN
                found = bytes(data[at + 10 : end])
        at = end
    turn = UPRIGHT if found is None else _of_tiff(found)
    return UNKNOWN if turn == UPRIGHT and has_xmp else turn


def _of_tiff(tiff: bytes) -> int:
    """Of EXIF's first directory."""
    order = _ORDERS.get(tiff[:4])
    if order is None or len(tiff) < 10:
        return UNKNOWN
    at = struct.unpack_from(order + "I", tiff, 4)[0]
    if at < 8 or at + 2 > len(tiff):
        return UNKNOWN
    n_entries = struct.unpack_from(order + "H", tiff, at)[0]
    if at + 2 + n_entries * _ENTRY_BYTES > len(tiff):
        return UNKNOWN
    turn = UPRIGHT
    for entry in range(n_entries):
        tag, kind, count, value = struct.unpack_from(order + "HHIH", tiff, at + 2 + entry * _ENTRY_BYTES)
        if tag == ORIENTATION:
            if kind != _SHORT or count != 1 or turn != UPRIGHT:
                return UNKNOWN
            turn = value if 1 <= value <= 8 else UPRIGHT
    return turn


def turned(rgb: Array, turn: int) -> Array:
    """(H, W, 3) as stored -> a view of it as it is to be seen; turn : 1..8"""
    if turn >= 5:  # columns are the rows of what is to be seen
        rgb = rgb.transpose(1, 0, 2)
    flips_rows, flips_columns = turn in (3, 4, 7, 8), turn in (2, 3, 6, 7)
    return rgb[:: -1 if flips_rows else 1, :: -1 if flips_columns else 1]
