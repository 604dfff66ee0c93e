"""The decoder's slow, obvious twin: plain loops, bit by bit, compiled with every index checked.

It starts from what `JpegDecoder.header` read, decodes the whole image, and must give the same return code and pixels as
the kernels. Sources: ITU-T T.81 annex F for the entropy coding; jidctint.c, jdsample.c and jdcolor.c of libjpeg for the
arithmetic, with the 16-bit wraps and saturations of libjpeg-turbo's vector code. With NUMBA_DISABLE_JIT=1 it is plain
Python.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from kernels.jit import checked
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
from kernels.jpeg.idct import MAX_BETWEEN
from kernels.jpeg.markers import ZIGZAG

Array = npt.NDArray[Any]
_NONE = -1
_MOST_BETWEEN = 1 << 15 if MAX_BETWEEN is None else MAX_BETWEEN
_EOI = 0xD9


def decode(decoder: JpegDecoder, data: bytes) -> tuple[int, Array]:
    """Return code and pixels, (H, W, 3) uint8, of the image whose header `decoder` has just read."""
    frame = decoder.frame.copy()
    luma = {YUV420: (2, 2), YUV422: (1, 2), YUV440: (2, 1)}.get(int(frame[LAYOUT]), (1, 1))
    blocks, shapes = [], np.ones((3, 2), np.int64)
    shapes[0] = luma
    for c in range(3):
        down, across = frame[MCUS_DOWN] * shapes[c, 0], frame[MCUS_ACROSS] * shapes[c, 1]
        blocks.append(np.zeros((down, across, 64) if c < frame[N_COMPONENTS] else (0, 0, 64), np.int16))
    scan = np.zeros(len(data), np.uint8)
    segments = np.zeros((len(data) + 1, 2), np.int64)
    codes = decoder.array(AT_CODES).copy()
    n_segments = cut(np.frombuffer(data, np.uint8).copy(), frame, scan, segments)
    if n_segments < 0 or not scan_mcus(frame, shapes, codes, scan, segments[:n_segments], *blocks):
        return CORRUPT, np.zeros((0, 0, 3), np.uint8)
    planes, is_exact = [], True
    for c, coefficients in enumerate(blocks):
        steps = decoder.array(AT_QUANT)[frame[QUANT_TABLE + c] if c < frame[N_COMPONENTS] else 0].copy()
        plane = np.zeros((8 * coefficients.shape[0], 8 * coefficients.shape[1]), np.uint8)
        is_exact &= bool(samples(coefficients, steps, plane))
        planes.append(plane)
    if not is_exact:
        return UNSUPPORTED, np.zeros((0, 0, 3), np.uint8)
    rgb = np.zeros((int(frame[HEIGHT]), int(frame[WIDTH]), 3), np.uint8)
    to_rgb(frame, planes[0], planes[1], planes[2], rgb)
    return OK, rgb


@checked
def cut(data: Array, frame: Array, scan: Array, segments: Array) -> Any:
    """The scan without stuffing, cut at restart markers; it must end in EOI. Returns the number of segments, or -1."""
    i, o, n = frame[SCAN_START], 0, 0
    segments[0, 0] = 0
    while i + 1 < len(data):
        if data[i] != 0xFF or data[i + 1] == 0:
            scan[o] = data[i]
            o += 1
            i += 2 if data[i] == 0xFF else 1
            continue
        segments[n, 1] = o
        n += 1
        if data[i + 1] == _EOI:
            return n
        if frame[RESTART_INTERVAL] == 0 or data[i + 1] != 0xD0 + (n - 1) % 8:
            return _NONE
        segments[n, 0] = o
        i += 2
    return _NONE


@checked
def take(scan: Array, reader: Array, n: int) -> Any:
    """The next n bits, most significant first; -1 beyond the end. reader : (2,) int64, next bit and end in bits"""
    if reader[0] + n > reader[1]:
        return _NONE
    value = 0
    for _ in range(n):
        value = value << 1 | (np.int64(scan[reader[0] >> 3]) >> (7 - (reader[0] & 7))) & 1
        reader[0] += 1
    return value


@checked
def symbol(scan: Array, reader: Array, table: Array) -> Any:
    """The next symbol (T.81 annex C), or -1. table : (272,) uint8, numbers of codes by length, then the symbols"""
    value, code, at = 0, 0, 16  # `code`: the first of this length
    for length in range(16):
        bit = take(scan, reader, 1)
        if bit < 0:
            return _NONE
        value = value << 1 | bit
        n = np.int64(table[length])
        if value - code < n:
            return np.int64(table[at + value - code])
        code = (code + n) << 1
        at += n
    return _NONE


@checked
def signed(scan: Array, reader: Array, size: int) -> Any:
    """T.81 F.2.2.1: RECEIVE and EXTEND; -1 << 40 beyond the end."""
    value = take(scan, reader, size)
    if value < 0:
        return -1 << 40
    return value if size == 0 or value >= 1 << (size - 1) else value - (1 << size) + 1


@checked
def block_into(scan: Array, reader: Array, dc: Array, ac: Array, predictor: int, out: Array) -> Any:
    """64 coefficients in natural order; returns the DC coefficient, or -1 << 40."""
    size = symbol(scan, reader, dc)
    difference = signed(scan, reader, size) if size >= 0 else -1 << 40
    if difference == -1 << 40:
        return -1 << 40
    out[0] = np.int16((predictor + difference) & 0xFFFF)
    k = 0
    while k < 63:
        run_size = symbol(scan, reader, ac)
        if run_size < 0:
            return -1 << 40
        run, size = run_size >> 4, run_size & 15
        if size == 0 and run != 15:
            break
        k += run + 1
        value = signed(scan, reader, size)
        if k > 63 or value == -1 << 40:
            return -1 << 40
        out[ZIGZAG[k]] = np.int16(value & 0xFFFF)
    return predictor + difference


@checked
def scan_mcus(
    frame: Array, shapes: Array, codes: Array, scan: Array, segments: Array, y_: Array, cb: Array, cr: Array
) -> bool:
    """All MCUs into the components' blocks, (rows, columns, 64) int16; False where the data make no image."""
    across = frame[MCUS_ACROSS]
    n_mcus = frame[MCUS_DOWN] * across
    interval = frame[RESTART_INTERVAL] if frame[RESTART_INTERVAL] > 0 else n_mcus
    predictors, reader = np.zeros(3, np.int64), np.zeros(2, np.int64)
    for mcu in range(n_mcus):
        if mcu % interval == 0:
            if mcu // interval >= len(segments):
                return False
            predictors[:] = 0
            reader[:] = 8 * segments[mcu // interval]
        row, column = mcu // across, mcu % across
        for c in range(frame[N_COMPONENTS]):
            blocks = y_ if c == 0 else cb if c == 1 else cr
            dc, ac = codes[frame[DC_TABLE + c]], codes[4 + frame[AC_TABLE + c]]
            for y in range(shapes[c, 0]):
                for x in range(shapes[c, 1]):
                    block = blocks[row * shapes[c, 0] + y, column * shapes[c, 1] + x]
                    predictors[c] = block_into(scan, reader, dc, ac, predictors[c], block)
                    if predictors[c] == -1 << 40:
                        return False
    return True


@checked
def idct8(v: Array, shift: int) -> None:
    """jidctint.c's one-dimensional transform of v, (8,) int64 that hold int16, in place, saturated to int16."""
    z3, z4 = np.int64(np.int16(v[7] + v[3])), np.int64(np.int16(v[5] + v[1]))  # these wrap, and the next two
    total, difference = np.int64(np.int16(v[0] + v[4])), np.int64(np.int16(v[0] - v[4]))
    t3, t2 = v[2] * (4433 + 6270) + v[6] * 4433, v[2] * 4433 + v[6] * (4433 - 15137)
    t0, t1 = total * 8192, difference * 8192
    z3, z4 = z3 * (9633 - 16069) + z4 * 9633, z3 * 9633 + z4 * (9633 - 3196)
    a0, a3 = v[7] * (2446 - 7373) - v[1] * 7373, -v[7] * 7373 + v[1] * (12299 - 7373)
    a1, a2 = v[5] * (16819 - 20995) - v[3] * 20995, -v[5] * 20995 + v[3] * (25172 - 20995)
    even, odd = (t0 + t3, t1 + t2, t1 - t2, t0 - t3), (a3 + z4, a2 + z3, a1 + z4, a0 + z3)
    half = 1 << (shift - 1)
    for i in range(4):
        for place, value in ((i, even[i] + odd[i]), (7 - i, even[i] - odd[i])):
            wrapped = np.int64(np.int32(value + half))
            v[place] = min(max(wrapped >> shift, -32768), 32767)


@checked
def samples(blocks: Array, steps: Array, plane: Array) -> bool:
    """Dequantise and transform blocks into a plane of uint8; False beyond what is exact (`kernels.jpeg.idct`)."""
    is_exact = True
    work, line = np.zeros((8, 8), np.int64), np.zeros(8, np.int64)
    for row in range(blocks.shape[0]):
        for column in range(blocks.shape[1]):
            for i in range(64):
                work[i >> 3, i & 7] = np.int64(np.int16(np.int64(blocks[row, column, i]) * np.int64(steps[i])))
            for x in range(8):
                is_exact &= abs(work[0, x]) <= 8191
                line[:] = work[:, x]
                idct8(line, 11)
                for y in range(8):
                    is_exact &= abs(line[y]) <= _MOST_BETWEEN
                work[:, x] = line
            for y in range(8):
                idct8(work[y], 18)
                for x in range(8):
                    plane[8 * row + y, 8 * column + x] = min(max(work[y, x] + 128, 0), 255)
    return is_exact


@checked
def chroma(plane: Array, frame: Array, y: int, x: int) -> Any:
    """A chroma sample at full size, less 128 (jdsample.c's fancy upsampling)."""
    near_y = far_y = y
    near_x = far_x = x
    if frame[LAYOUT] in (YUV420, YUV440):
        near_y = y >> 1
        far_y = min(max(near_y + (1 if y & 1 else -1), 0), (frame[HEIGHT] + 1) // 2 - 1)
    if frame[LAYOUT] in (YUV420, YUV422):
        near_x = x >> 1
        far_x = min(max(near_x + (1 if x & 1 else -1), 0), (frame[WIDTH] + 1) // 2 - 1)
    near = 3 * np.int64(plane[near_y, near_x]) + np.int64(plane[far_y, near_x])
    far = 3 * np.int64(plane[near_y, far_x]) + np.int64(plane[far_y, far_x])
    if frame[LAYOUT] == YUV420:
        return (3 * near + far + (7 if x & 1 else 8)) // 16 - 128
    if frame[LAYOUT] == YUV422:
        return (3 * near // 4 + far // 4 + (2 if x & 1 else 1)) // 4 - 128
    if frame[LAYOUT] == YUV440:
        return (near + (2 if y & 1 else 1)) // 4 - 128
    return near // 4 - 128


@checked
def to_rgb(frame: Array, y_: Array, cb: Array, cr: Array, rgb: Array) -> None:
    """Planes -> (H, W, 3) uint8 (jdcolor.c)."""
    for y in range(rgb.shape[0]):
        for x in range(rgb.shape[1]):
            luma = np.int64(y_[y, x])
            blue = red = 0
            if frame[LAYOUT] != GRAY:
                blue, red = chroma(cb, frame, y, x), chroma(cr, frame, y, x)
            parts = (
                luma + ((91881 * red + 32768) >> 16),
                luma + ((-22554 * blue - 46802 * red + 32768) >> 16),
                luma + ((116130 * blue + 32768) >> 16),
            )
            for c in range(3):
                rgb[y, x, c] = min(max(parts[c], 0), 255)
