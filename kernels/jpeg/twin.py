"""The decoder's slow, obvious twin: plain Python and NumPy, bit by bit, every index checked by the language.

It starts from what `JpegDecoder.header` read, decodes the whole image, and must give the same return code and pixels as
the kernels. Sources: ITU-T T.81 annex F for the entropy coding; jidctint.c, jdsample.c and jdcolor.c of libjpeg for the
arithmetic, with the 16-bit wraps and saturations of libjpeg-turbo's vector code.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from kernels.jpeg.decoder import JpegDecoder
from kernels.jpeg.frame import (
    AC_TABLE,
    AT_CODES,
    AT_QUANT,
    CORRUPT,
    DC_TABLE,
    GRAY,
    HEIGHT,
    LAYOUT,
    MCUS_ACROSS,
    MCUS_DOWN,
    N_COMPONENTS,
    OK,
    QUANT_TABLE,
    RESTART_INTERVAL,
    SCAN_START,
    UNSUPPORTED,
    WIDTH,
    YUV420,
    YUV422,
    YUV440,
)
from kernels.jpeg.markers import ZIGZAG

Array = npt.NDArray[Any]


class _Corrupt(Exception):
    """The data make no image."""


def decode(decoder: JpegDecoder, data: bytes) -> tuple[int, Array]:
    """Return code and pixels, (H, W, 3) uint8, of the image whose header `decoder` has just read."""
    frame: list[int] = decoder.frame.tolist()
    try:
        blocks = _scan(decoder, frame, _segments(data, frame[SCAN_START], frame[RESTART_INTERVAL]))
    except _Corrupt:
        return CORRUPT, np.zeros((0, 0, 3), np.uint8)
    planes, is_exact = [], True
    for c, coefficients in enumerate(blocks):
        scaled = coefficients * decoder.array(AT_QUANT)[frame[QUANT_TABLE + c]].reshape(8, 8)  # int16: wraps
        is_exact &= bool((np.abs(scaled[:, :, 0, :].astype(np.int32)) <= 8191).all())
        planes.append(_samples(scaled))
    if not is_exact:
        return UNSUPPORTED, np.zeros((0, 0, 3), np.uint8)
    return OK, _to_rgb(planes, frame)


def _segments(data: bytes, start: int, interval: int) -> list[bytes]:
    """The scan without stuffing, cut at restart markers; it must end in EOI."""
    segments, current, i = [], bytearray(), start
    while i + 1 < len(data):
        if data[i] != 0xFF:
            current.append(data[i])
            i += 1
            continue
        marker = data[i + 1]
        i += 2
        if marker == 0:
            current.append(0xFF)
            continue
        segments.append(bytes(current))
        current = bytearray()
        if marker == 0xD9:
            return segments
        if interval == 0 or marker != 0xD0 + (len(segments) - 1) % 8:
            break
    raise _Corrupt


class _Bits:
    """Bits of a segment, most significant first."""

    def __init__(self, segment: bytes) -> None:
        self.segment, self.place = segment, 0

    def take(self, n: int) -> int:
        value = 0
        for _ in range(n):
            byte, bit = divmod(self.place, 8)
            if byte >= len(self.segment):
                raise _Corrupt
            value = value << 1 | (self.segment[byte] >> (7 - bit)) & 1
            self.place += 1
        return value

    def symbol(self, code: dict[tuple[int, int], int]) -> int:
        value = 0
        for length in range(1, 17):
            value = value << 1 | self.take(1)
            if (length, value) in code:
                return code[length, value]
        raise _Corrupt

    def signed(self, size: int) -> int:
        """T.81 F.2.2.1: RECEIVE and EXTEND."""
        value = self.take(size)
        return value if size == 0 or value >= 1 << (size - 1) else value - (1 << size) + 1


def _code(table: Array) -> dict[tuple[int, int], int]:
    """(length, code) -> symbol (T.81 annex C)."""
    code, value, at = {}, 0, 16
    for length in range(1, 17):
        for _ in range(int(table[length - 1])):
            code[length, value] = int(table[at])
            value += 1
            at += 1
        value <<= 1
    return code


def _block(bits: _Bits, dc: dict[tuple[int, int], int], ac: dict[tuple[int, int], int], predictor: int) -> list[int]:
    """64 coefficients in natural order."""
    block = [0] * 64
    block[0] = predictor + bits.signed(bits.symbol(dc))
    k = 0
    while k < 63:
        run, size = divmod(bits.symbol(ac), 16)
        if size == 0 and run != 15:
            break
        k += run + 1
        value = bits.signed(size)
        if k > 63:
            raise _Corrupt
        block[int(ZIGZAG[k])] = value
    return block


def _scan(decoder: JpegDecoder, frame: list[int], segments: list[bytes]) -> list[Array]:
    """Each component's coefficients, (rows, columns, 8, 8) int16, in blocks."""
    luma = {YUV420: (2, 2), YUV422: (1, 2), YUV440: (2, 1)}.get(frame[LAYOUT], (1, 1))
    shapes = [luma if c == 0 else (1, 1) for c in range(frame[N_COMPONENTS])]
    down, across = frame[MCUS_DOWN], frame[MCUS_ACROSS]
    out = [np.zeros((down * v, across * h, 64), np.int16) for v, h in shapes]
    codes = [
        (_code(decoder.array(AT_CODES)[frame[DC_TABLE + c]]), _code(decoder.array(AT_CODES)[4 + frame[AC_TABLE + c]]))
        for c in range(len(shapes))
    ]
    interval = frame[RESTART_INTERVAL] or down * across
    for mcu in range(down * across):
        if mcu % interval == 0:
            if mcu // interval >= len(segments):
                raise _Corrupt
            bits, predictors = _Bits(segments[mcu // interval]), [0] * len(shapes)
        row, column = divmod(mcu, across)
        for c, (v, h) in enumerate(shapes):
            for y in range(v):
                for x in range(h):
                    block = _block(bits, *codes[c], predictors[c])
                    predictors[c] = block[0]
                    out[c][row * v + y, column * h + x] = np.array(block, np.int64).astype(np.int16)
    return [blocks.reshape(*blocks.shape[:2], 8, 8) for blocks in out]


def _idct_pass(x: list[Array], shift: int) -> list[Array]:
    """jidctint.c's one-dimensional transform of 8 int16 arrays, saturated to int16."""
    z3, z4 = (x[7] + x[3]).astype(np.int32), (x[5] + x[1]).astype(np.int32)  # wraps, as the next two
    total, difference = (x[0] + x[4]).astype(np.int32), (x[0] - x[4]).astype(np.int32)
    x1, x2, x3, x5, x6, x7 = (x[i].astype(np.int32) for i in (1, 2, 3, 5, 6, 7))
    t3, t2 = x2 * (4433 + 6270) + x6 * 4433, x2 * 4433 + x6 * (4433 - 15137)
    t0, t1 = total * 8192, difference * 8192
    z3, z4 = z3 * (9633 - 16069) + z4 * 9633, z3 * 9633 + z4 * (9633 - 3196)
    a0, a3 = x7 * (2446 - 7373) - x1 * 7373, -x7 * 7373 + x1 * (12299 - 7373)
    a1, a2 = x5 * (16819 - 20995) - x3 * 20995, -x5 * 20995 + x3 * (25172 - 20995)
    even, odd = [t0 + t3, t1 + t2, t1 - t2, t0 - t3], [a3 + z4, a2 + z3, a1 + z4, a0 + z3]
    sums = [e + o for e, o in zip(even, odd, strict=True)]
    differences = [e - o for e, o in zip(even, odd, strict=True)]
    rounded = [(v + (1 << (shift - 1))) >> shift for v in (*sums, *reversed(differences))]
    return [np.clip(v, -32768, 32767).astype(np.int16) for v in rounded]


def _samples(scaled: Array) -> Array:
    """Dequantised blocks (rows, columns, 8, 8) int16 -> a plane of uint8."""
    columns = np.stack(_idct_pass([scaled[:, :, i, :] for i in range(8)], 11), axis=2)
    pixels = np.stack(_idct_pass([columns[:, :, :, j] for j in range(8)], 18), axis=3)
    rows, across = scaled.shape[:2]
    plane: Array = np.clip(pixels.astype(np.int32) + 128, 0, 255).transpose(0, 2, 1, 3).reshape(8 * rows, 8 * across)
    return plane


def _upsample(plane: Array, frame: list[int]) -> Array:
    """libjpeg's fancy upsampling of a chroma plane to (H, W)."""
    height, width = frame[HEIGHT], frame[WIDTH]
    across = (width + 1) // 2
    y = np.arange(height)
    near = y >> 1
    far = np.clip(near + np.where(y & 1, 1, -1), 0, (height + 1) // 2 - 1)
    if frame[LAYOUT] == YUV440:
        return (3 * plane[near, :width] + plane[far, :width] + 1 + (y & 1)[:, None]) >> 2  # type: ignore[no-any-return]
    if frame[LAYOUT] == YUV420:
        sums, roundings, shift = 3 * plane[near, :across] + plane[far, :across], (8, 7), 4
    else:
        sums, roundings, shift = plane[:height, :across], (1, 2), 2
    padded = np.pad(sums, ((0, 0), (1, 1)), "edge")
    even = (3 * sums + padded[:, :-2] + roundings[0]) >> shift
    odd = (3 * sums + padded[:, 2:] + roundings[1]) >> shift
    wide: Array = np.stack((even, odd), axis=2).reshape(height, -1)[:, :width]
    return wide


def _to_rgb(planes: list[Array], frame: list[int]) -> Array:
    """Whole planes -> (H, W, 3) uint8 (jdcolor.c)."""
    height, width = frame[HEIGHT], frame[WIDTH]
    y = planes[0][:height, :width]
    if frame[LAYOUT] == GRAY:
        return np.repeat(y[:, :, None], 3, axis=2).astype(np.uint8)
    if frame[LAYOUT] in (YUV420, YUV422, YUV440):
        cb, cr = (_upsample(plane, frame) - 128 for plane in planes[1:])
    else:
        cb, cr = (plane[:height, :width] - 128 for plane in planes[1:])
    red = y + ((91881 * cr + 32768) >> 16)
    green = y + ((-22554 * cb - 46802 * cr + 32768) >> 16)
    blue = y + ((116130 * cb + 32768) >> 16)
    rgb: Array = np.clip(np.stack((red, green, blue), axis=2), 0, 255).astype(np.uint8)
    return rgb
