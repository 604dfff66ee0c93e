"""Chroma of 4:2:0 and 4:2:2 to full size with libjpeg's "fancy" triangle filter (jdsample.c), then RGB.

Horizontally a sample is 3/4 of the nearer chroma sample and 1/4 of the further, vertically too in 4:2:0. Sums are kept
in int16 (at most 16 * 255 + 8), and only rounded once: even outputs with + 8, odd ones with + 7, of 16ths.
At the image's edges the outermost sample stands in for the one that is missing.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from kernels.jit import inner
from kernels.jpeg.colour import gray32, ycc32
from kernels.jpeg.frame import (
    BOTTOM,
    FIRST_COLUMN,
    FIRST_ROW,
    HEIGHT,
    LAYOUT,
    LEFT,
    PLANE,
    RIGHT,
    STRIDE,
    TOP,
    WIDTH,
    YUV420,
)
from kernels.simd import B32, I16, N_LANES, U64, V16, const16, load, splat, store, vector_op

#: int16 before the first sum: the left neighbour of the first sample, at an aligned place.
_PAD = 64
#: int16 of slack behind a row: vectors of 32 run up to 31 lanes past its end.
ROW_SLACK = 192


@vector_op(5)
def _weighted_sum(b: Any, near: Any, far: Any, near_weight: Any, far_weight: Any, out: Any) -> None:
    """32 bytes of two rows -> int16 ``near_weight * near + far_weight * far``."""
    total = None
    for row, weight in ((near, near_weight), (far, far_weight)):
        term = b.mul(b.zext(load(b, row, B32), V16), splat(b, b.trunc(weight, I16), N_LANES))
        total = term if total is None else b.add(total, term)
    store(b, total, out)


def _triangle(even_rounding: int, odd_rounding: int, shift: int) -> Any:
    def build(b: Any, sums: Any, out: Any) -> None:
        """32 int16 sums -> 64 bytes: each with 1/4 of its left, then of its right neighbour."""
        triple = b.mul(load(b, sums, V16), const16(3))
        even = b.add(b.add(triple, load(b, sums, V16, -2)), const16(even_rounding))
        odd = b.add(b.add(triple, load(b, sums, V16, 2)), const16(odd_rounding))
        even, odd = b.lshr(even, const16(shift)), b.lshr(odd, const16(shift))
        store(b, b.or_(even, b.shl(odd, const16(8))), out)

    return vector_op(2)(build)


_triangle_16ths = _triangle(8, 7, 4)
_triangle_quarters = _triangle(1, 2, 2)


@inner
def row_memory(width: int) -> int:
    """int16 that `upsample` needs for its rows at most."""
    return 3 * ((width + 1) // 2 + 2 + ROW_SLACK) + 64


@inner
def upsample(frame: Any, planes_: Any, rows: Any, out_: Any) -> None:
    """Planes, which start at the region's first MCU -> RGB of the region's pixels, packed.

    planes_ : of `decode_scan`        rows : (>= row_memory(width),) int16, scratch
    out_    : (>= 3 * pixels + 96,) uint8: the last vector of a row runs up to 93 bytes past its end
    """
    left, top, right, bottom = frame[LEFT], frame[TOP], frame[RIGHT], frame[BOTTOM]
    width = right - left
    planes, out = U64(planes_.ctypes.data), U64(out_.ctypes.data)
    is_420 = frame[LAYOUT] == YUV420
    across = 16 if frame[STRIDE + 1] > 0 else 8
    luma = frame[PLANE] + left - frame[FIRST_COLUMN] * across - frame[FIRST_ROW] * frame[STRIDE] * (16 if is_420 else 8)
    if across == 8:  # gray
        for y in range(top, bottom):
            for x in range(0, width, N_LANES):
                gray32(planes + U64(luma + y * frame[STRIDE] + x), out + U64(3 * x))
            out += U64(3 * width)
        return
    n_row = ((right - 1) >> 1) + 1 - (left >> 1) + ROW_SLACK
    bytes_at = U64(rows.ctypes.data) + U64(2 * n_row)
    for y in range(top, bottom):
        for c in range(2):
            _chroma_row(frame, planes, 1 + c, y, rows, bytes_at + U64(c * 2 * n_row))
        cb = bytes_at + U64(left & 1)
        cr = cb + U64(2 * n_row)
        for x in range(0, width, N_LANES):
            ycc32(planes + U64(luma + y * frame[STRIDE] + x), cb + U64(x), cr + U64(x), out + U64(3 * x))
        out += U64(3 * width)


@inner
def _chroma_row(frame: Any, planes: Any, c: int, y: int, rows: Any, out: Any) -> None:
    """One row of a chroma plane at full width, from the even pixel at or left of the region."""
    stride = frame[STRIDE + c]
    across = (frame[WIDTH] + 1) // 2
    first, end = frame[LEFT] >> 1, ((frame[RIGHT] - 1) >> 1) + 1
    origin = frame[PLANE + c] - frame[FIRST_COLUMN] * 8 - frame[FIRST_ROW] * 8 * stride
    is_420 = frame[LAYOUT] == YUV420
    near = far = y
    if is_420:
        near = y >> 1
        far = min(max(near - 1 if y & 1 == 0 else near + 1, 0), (frame[HEIGHT] + 1) // 2 - 1)
    near_weight, far_weight = (U64(3), U64(1)) if is_420 else (U64(1), U64(0))
    sums = U64(rows.ctypes.data) + U64(2 * _PAD)  # of sample `first`
    for x in range(max(first - 1, 0), min(end + 1, across), N_LANES):
        place = planes + U64(origin + x)
        _weighted_sum(
            place + U64(near * stride), place + U64(far * stride), near_weight, far_weight,
            sums + U64(np.int64(2 * (x - first))),
        )  # fmt: skip
    if first == 0:
        rows[_PAD - 1] = rows[_PAD]
    if end == across:
        rows[_PAD + end - first] = rows[_PAD + end - first - 1]
    for x in range(0, end - first, N_LANES):
        if is_420:
            _triangle_16ths(sums + U64(2 * x), out + U64(2 * x))
        else:
            _triangle_quarters(sums + U64(2 * x), out + U64(2 * x))
