"""Chroma of 4:2:0, 4:2:2 and 4:4:0 to full size with libjpeg's "fancy" triangle filter (jdsample.c), then RGB.

Along a halved axis a sample is 3/4 of the nearer chroma sample and 1/4 of the further. Sums are kept in int16 (at most
16 * 255 + 8), and only rounded once: across, even outputs with + 8 and odd ones with + 7 of 16ths in 4:2:0, with + 1
and + 2 of quarters in 4:2:2; in 4:4:0 even rows with + 1 and odd ones with + 2 of quarters.
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
    GRAY,
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
from kernels.jpeg.markers import luma_blocks
from kernels.simd import B32, I16, N_LANES, U64, V16, const, load, splat, store, vector_op

#: int16 before the first sum: the left neighbour of the first sample, at an aligned place.
_PAD = 64
#: int16 of slack behind a row: vectors of 32 run up to 31 lanes past its end.
ROW_SLACK = 192


def _k(value: int) -> Any:
    return const(value, N_LANES, I16)


@vector_op(5)
def _weighted_sum(b: Any, near: Any, far: Any, near_weight: Any, far_weight: Any, out: Any) -> None:
    """32 bytes of two rows -> int16 ``near_weight * near + far_weight * far``."""
    total = None
    for row, weight in ((near, near_weight), (far, far_weight)):
        term = b.mul(b.zext(load(b, row, B32), V16), splat(b, b.trunc(weight, I16), N_LANES))
        total = term if total is None else b.add(total, term)
    store(b, total, out)


@vector_op(4)
def _rounded_quarters(b: Any, near: Any, far: Any, rounding: Any, out: Any) -> None:
    """32 bytes of two rows -> 32 bytes ``(3 * near + far + rounding) >> 2``."""
    near, far = (b.zext(load(b, row, B32), V16) for row in (near, far))
    total = b.add(b.mul(near, _k(3)), b.add(far, splat(b, b.trunc(rounding, I16), N_LANES)))
    store(b, b.trunc(b.lshr(total, _k(2)), B32), out)


def _triangle(even_rounding: int, odd_rounding: int, shift: int) -> Any:
    def build(b: Any, sums: Any, out: Any) -> None:
        """32 int16 sums -> 64 bytes: each with 1/4 of its left, then of its right neighbour."""
        triple = b.mul(load(b, sums, V16), _k(3))
        even = b.add(b.add(triple, load(b, sums, V16, -2)), _k(even_rounding))
        odd = b.add(b.add(triple, load(b, sums, V16, 2)), _k(odd_rounding))
        even, odd = b.lshr(even, _k(shift)), b.lshr(odd, _k(shift))
        store(b, b.or_(even, b.shl(odd, _k(8))), out)

    return vector_op(2)(build)


_triangle_16ths = _triangle(8, 7, 4)
_triangle_quarters = _triangle(1, 2, 2)


@inner
def row_memory(width: int) -> int:
    """int16 that `upsample` needs for its rows at most."""
    return 3 * (width + 2 + ROW_SLACK) + 64


@inner
def upsample(frame: Any, planes_: Any, rows: Any, out_: Any) -> None:
    """Planes, which start at the region's first MCU -> RGB of the region's pixels, packed.

    planes_ : of `decode_scan`        rows : (>= row_memory(width),) int16, scratch
    out_    : (>= 3 * pixels + 96,) uint8: the last vector of a row runs up to 93 bytes past its end
    """
    left, width = frame[LEFT], frame[RIGHT] - frame[LEFT]
    planes, out = U64(planes_.ctypes.data), U64(out_.ctypes.data)
    across, down = luma_blocks(frame[LAYOUT])
    luma = frame[PLANE] + left - frame[FIRST_COLUMN] * 8 * across - frame[FIRST_ROW] * frame[STRIDE] * 8 * down
    if frame[LAYOUT] == GRAY:
        for y in range(frame[TOP], frame[BOTTOM]):
            for x in range(0, width, N_LANES):
                gray32(planes + U64(luma + y * frame[STRIDE] + x), out + U64(3 * x))
            out += U64(3 * width)
        return
    n_row = width + ROW_SLACK
    bytes_at = U64(rows.ctypes.data) + U64(2 * n_row)
    cb = bytes_at + U64(left & 1 if across == 2 else 0)
    cr = cb + U64(2 * n_row)
    for y in range(frame[TOP], frame[BOTTOM]):
        for c in range(2):
            if across == 2:
                _chroma_row(frame, planes, 1 + c, y, rows, bytes_at + U64(c * 2 * n_row))
            else:
                _chroma_row_440(frame, planes, 1 + c, y, bytes_at + U64(c * 2 * n_row))
        for x in range(0, width, N_LANES):
            ycc32(planes + U64(luma + y * frame[STRIDE] + x), cb + U64(x), cr + U64(x), out + U64(3 * x))
        out += U64(3 * width)


@inner
def _further_row(y: int, height: int) -> int:
    """The further chroma row of pixel row `y`, where chroma is halved down."""
    return min(max((y >> 1) - 1 if y & 1 == 0 else (y >> 1) + 1, 0), (height + 1) // 2 - 1)


@inner
def _chroma_row_440(frame: Any, planes: Any, c: int, y: int, out: Any) -> None:
    """One row of a chroma plane that is halved down only, from the region's left on."""
    stride = frame[STRIDE + c]
    origin = planes + U64(frame[PLANE + c] + frame[LEFT] - frame[FIRST_COLUMN] * 8 - frame[FIRST_ROW] * 8 * stride)
    near, far = U64((y >> 1) * stride), U64(_further_row(y, frame[HEIGHT]) * stride)
    for x in range(0, frame[RIGHT] - frame[LEFT], N_LANES):
        _rounded_quarters(origin + near + U64(x), origin + far + U64(x), U64(1 + (y & 1)), out + U64(x))


@inner
def _chroma_row(frame: Any, planes: Any, c: int, y: int, rows: Any, out: Any) -> None:
    """One row of a chroma plane at full width, from the even pixel at or left of the region."""
    stride = frame[STRIDE + c]
    across = (frame[WIDTH] + 1) // 2
    first, end = frame[LEFT] >> 1, ((frame[RIGHT] - 1) >> 1) + 1
    origin = frame[PLANE + c] - frame[FIRST_COLUMN] * 8 - frame[FIRST_ROW] * 8 * stride
    is_420 = frame[LAYOUT] == YUV420
    near, far = (y >> 1, _further_row(y, frame[HEIGHT])) if is_420 else (y, y)
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
