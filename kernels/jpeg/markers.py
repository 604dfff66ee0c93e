"""The header: every segment up to the start of the scan (T.81 B.2).

Accepted is what nearly all files are: 8-bit sequential Huffman, gray or YCbCr, one scan of all components. The rest
is UNSUPPORTED, and so is any segment that Pillow's own parser stumbles over, because then Pillow refuses the file.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from kernels.jit import inner
from kernels.jpeg.frame import (
    AC_TABLE,
    CORRUPT,
    DC_TABLE,
    GRAY,
    HEIGHT,
    LAYOUT,
    MAX_PIXELS,
    MCUS_ACROSS,
    MCUS_DOWN,
    N_COMPONENTS,
    N_TABLES,
    OK,
    QUANT_TABLE,
    RESTART_INTERVAL,
    SCAN_START,
    TABLE_BYTES,
    UNSUPPORTED,
    WIDTH,
    YUV420,
    YUV422,
    YUV440,
    YUV444,
)

_SOF0, _SOF1, _DHT, _SOS, _DQT, _DRI, _APP0, _APP1, _APP2, _APP13, _APP14, _COM = (
    0xC0, 0xC1, 0xC4, 0xDA, 0xDB, 0xDD, 0xE0, 0xE1, 0xE2, 0xED, 0xEE, 0xFE,
)  # fmt: skip

# Slots of `seen`, (16,) int64: what the header has shown so far. Component ids take three slots.
HAS_FRAME, IS_JFIF, ADOBE_TRANSFORM, QUANT_SEEN, COMPONENT_ID = 0, 1, 2, 3, 4


def zigzag() -> Any:
    """(64,) int64: natural position ``8 * row + column`` of each coefficient in coded order (T.81 figure A.6)."""
    order = []
    for diagonal in range(15):
        rows = range(max(0, diagonal - 7), min(diagonal, 7) + 1)
        order += [row * 8 + diagonal - row for row in (rows if diagonal % 2 else reversed(rows))]
    return np.array(order, np.int64)


ZIGZAG = zigzag()


@inner
def parse_header(data: Any, frame: Any, quant: Any, codes: Any, has_code: Any, seen: Any) -> int:
    """Read all segments up to the scan.

    data  : (n,) uint8, the file                    frame    : see kernels.jpeg.frame
    quant : (4, 64) int16, natural order            codes    : (8, 272) uint8, counts and symbols
    has_code : (8,) uint8                           seen     : (16,) int64, scratch

    Every read is of ``data[i]`` with i below the segment's end, and that is at most n (checked first).
    """
    n = data.shape[0]
    if n < 4 or data[0] != 0xFF or data[1] != 0xD8:
        return UNSUPPORTED
    has_code[:] = 0
    seen[:] = 0
    seen[ADOBE_TRANSFORM] = -1
    frame[RESTART_INTERVAL] = 0
    i = 2
    while i + 4 <= n and data[i] == 0xFF:
        marker = np.int64(data[i + 1])
        if marker == 0xFF:  # fill byte
            i += 1
            continue
        length = _u16(data, i + 2)
        start, end = i + 4, i + 2 + length
        if length < 2 or end > n:
            return CORRUPT
        if marker == _SOS:
            return _scan_header(data, start, end, frame, has_code, seen)
        code = _segment(data, marker, start, end, frame, quant, codes, has_code, seen)
        if code != OK:
            return code
        i = end
    return CORRUPT


@inner
def _u16(data: Any, i: int) -> Any:
    return (np.int64(data[i]) << 8) | np.int64(data[i + 1])


@inner
def _segment(
    data: Any, marker: int, start: int, end: int, frame: Any, quant: Any, codes: Any, has_code: Any, seen: Any
) -> int:
    if marker == _DQT:
        return _quant_tables(data, start, end, quant, seen)
    if marker == _DHT:
        return _huffman_tables(data, start, end, codes, has_code)
    if marker in (_SOF0, _SOF1):
        return _frame_header(data, start, end, frame, seen)
    if marker == _DRI:
        if end - start != 2:
            return CORRUPT
        frame[RESTART_INTERVAL] = _u16(data, start)
        return OK
    if marker == _COM or _APP0 <= marker <= _APP0 + 15:
        return _application(data, marker, start, end, seen)
    return UNSUPPORTED


@inner
def _starts_with(data: Any, start: int, end: int, text: Any) -> bool:
    if end - start < len(text):
        return False
    for j in range(len(text)):  # noqa: SIM110
        if data[start + j] != text[j]:
            return False
    return True


_JFIF = (0x4A, 0x46, 0x49, 0x46)
_ADOBE = (0x41, 0x64, 0x6F, 0x62, 0x65)
_MPF = (0x4D, 0x50, 0x46, 0)
_ICC = (0x49, 0x43, 0x43, 0x5F)


@inner
def _application(data: Any, marker: int, start: int, end: int, seen: Any) -> int:
    """Which colours the file has; short segments on which Pillow's parser raises are left to Pillow."""
    n = end - start
    if marker == _APP0 and _starts_with(data, start, end, _JFIF):
        if n < 14:
            return UNSUPPORTED
        seen[IS_JFIF] = data[start + 4] == 0
    elif marker == _APP14 and _starts_with(data, start, end, _ADOBE):
        if n < 12:
            return UNSUPPORTED
        seen[ADOBE_TRANSFORM] = data[start + 11]
    elif marker == _APP2 and (
        _starts_with(data, start, end, _MPF) or (_starts_with(data, start, end, _ICC) and n < 14)
    ):
        return UNSUPPORTED
    return OK


@inner
def _quant_tables(data: Any, start: int, end: int, quant: Any, seen: Any) -> int:
    while start < end:
        table = np.int64(data[start])
        if table > 3:  # 16-bit entries, or no such table
            return UNSUPPORTED
        if start + 65 > end:
            return CORRUPT
        for j in range(64):
            quant[table, ZIGZAG[j]] = data[start + 1 + j]
        seen[QUANT_SEEN] |= 1 << table
        start += 65
    return OK


@inner
def _huffman_tables(data: Any, start: int, end: int, codes: Any, has_code: Any) -> int:
    while start < end:
        kind, destination = np.int64(data[start] >> 4), np.int64(data[start] & 15)
        if kind > 1 or destination > 3 or start + 17 > end:
            return CORRUPT
        n_symbols = 0
        for j in range(16):
            n_symbols += np.int64(data[start + 1 + j])
        if n_symbols > 256 or start + 17 + n_symbols > end:
            return CORRUPT
        table = kind * 4 + destination
        codes[table, :] = 0
        for j in range(16 + n_symbols):
            codes[table, j] = data[start + 1 + j]
        has_code[table] = 1
        start += 17 + n_symbols
    return OK


@inner
def _layout(data: Any, start: int, n_components: int) -> int:
    """Chroma layout of the frame's sampling factors, or -1. A single component is not interleaved: 1 x 1."""
    luma = data[start + 7]
    if n_components == 1:
        return GRAY if luma == 0x11 else -1
    if data[start + 10] != 0x11 or data[start + 13] != 0x11:
        return -1
    if luma == 0x11:
        return YUV444
    if luma == 0x21:
        return YUV422
    if luma == 0x12:
        return YUV440
    return YUV420 if luma == 0x22 else -1


@inner
def luma_blocks(layout: int) -> Any:
    """Luma blocks of an MCU, across and down."""
    return (2 if layout in (YUV422, YUV420) else 1), (2 if layout in (YUV440, YUV420) else 1)


@inner
def _frame_header(data: Any, start: int, end: int, frame: Any, seen: Any) -> int:
    if seen[HAS_FRAME] != 0 or end - start < 9:
        return CORRUPT
    height, width, n = _u16(data, start + 1), _u16(data, start + 3), np.int64(data[start + 5])
    if data[start] != 8 or (n != 1 and n != 3):
        return UNSUPPORTED
    if end - start != 6 + 3 * n:
        return CORRUPT
    # below 8 pixels libjpeg upsamples differently, and the planes' edges need at least one whole block
    if width < 8 or height < 8 or width * height > MAX_PIXELS:
        return UNSUPPORTED
    layout = _layout(data, start, n)
    if layout < 0:
        return UNSUPPORTED
    for j in range(n):
        seen[COMPONENT_ID + j] = data[start + 6 + 3 * j]
        frame[QUANT_TABLE + j] = data[start + 8 + 3 * j]
        if frame[QUANT_TABLE + j] > 3:
            return CORRUPT
    across, down = luma_blocks(layout)
    frame[WIDTH], frame[HEIGHT], frame[N_COMPONENTS], frame[LAYOUT] = width, height, n, layout
    frame[MCUS_ACROSS] = (width + 8 * across - 1) // (8 * across)
    frame[MCUS_DOWN] = (height + 8 * down - 1) // (8 * down)
    seen[HAS_FRAME] = 1
    return OK


@inner
def _is_ycc(seen: Any) -> bool:
    """libjpeg's guess of the colours of three components: YCbCr for certain?"""
    if seen[IS_JFIF] != 0:
        return True
    if seen[ADOBE_TRANSFORM] >= 0:
        return bool(seen[ADOBE_TRANSFORM] == 1)
    return bool(seen[COMPONENT_ID] == 1 and seen[COMPONENT_ID + 1] == 2 and seen[COMPONENT_ID + 2] == 3)


@inner
def _scan_header(data: Any, start: int, end: int, frame: Any, has_code: Any, seen: Any) -> int:
    if seen[HAS_FRAME] == 0 or end == start:
        return CORRUPT
    n = frame[N_COMPONENTS]
    if data[start] != n or end - start != 4 + 2 * n:  # several scans, or nonsense
        return UNSUPPORTED
    first, second, third = seen[COMPONENT_ID], seen[COMPONENT_ID + 1], seen[COMPONENT_ID + 2]
    if n == 3 and (first in (second, third) or second == third or not _is_ycc(seen)):
        return UNSUPPORTED
    for j in range(n):
        if data[start + 1 + 2 * j] != seen[COMPONENT_ID + j]:
            return UNSUPPORTED
        dc, ac = np.int64(data[start + 2 + 2 * j] >> 4), np.int64(data[start + 2 + 2 * j] & 15)
        if dc > 3 or ac > 3 or has_code[dc] == 0 or has_code[4 + ac] == 0:
            return UNSUPPORTED
        if not (seen[QUANT_SEEN] >> frame[QUANT_TABLE + j]) & 1:
            return CORRUPT
        frame[DC_TABLE + j], frame[AC_TABLE + j] = dc, ac
    if data[end - 3] != 0 or data[end - 2] != 63 or data[end - 1] != 0:  # spectral selection, approximation
        return UNSUPPORTED
    frame[SCAN_START] = end
    return OK


assert TABLE_BYTES == 16 + 256
assert N_TABLES == 8
