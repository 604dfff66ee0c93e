"""YCbCr to RGB in libjpeg's 16-bit fixed point (jdcolor.c, T.871), 32 pixels at once.

    R = Y + 1.40200 Cr        G = Y - 0.34414 Cb - 0.71414 Cr        B = Y + 1.77200 Cb

The constants are split as libjpeg-turbo's SIMD code does it, which equals its tables for every input: the whole part by
additions, the rest by a high multiplication of twice the value, rounded when halved.
"""

from __future__ import annotations

from typing import Any

from kernels.simd import B32, I8, I16, N_LANES, load, shuffle, store, vec, vector_op
from kernels.simd16 import (
    NATIVE_BITS,
    like,
    multiply_add_pairs,
    multiply_high,
    pack_int16,
    pack_uint8,
    unpack,
)

#: Pixels of a vector.
_PIXELS = NATIVE_BITS // 16

#: round(65536 * 0.402), round(65536 * (1.772 - 2)), round(-65536 * 0.34414), round(65536 * (1 - 0.71414))
_RED, _BLUE, _GREEN_CB, _GREEN_CR = 26345, -14942, -22554, 18734


def rgb_lanes(b: Any, y: Any, cb: Any, cr: Any) -> Any:
    """int16 lanes: y 0..255, cb and cr minus 128 -> red, green, blue, not yet limited to 0..255."""

    def rounded_half(v: Any) -> Any:
        return b.ashr(b.add(v, like(1, v)), like(1, v))

    twice_cr, twice_cb = b.add(cr, cr), b.add(cb, cb)
    red = b.add(b.add(y, cr), rounded_half(multiply_high(b, twice_cr, _RED)))
    blue = b.add(b.add(y, twice_cb), rounded_half(multiply_high(b, twice_cb, _BLUE)))
    halves = []
    for high in (False, True):
        total = multiply_add_pairs(b, unpack(b, cb, cr, high=high), (_GREEN_CB, _GREEN_CR))
        halves.append(b.ashr(b.add(total, like(32768, total)), like(16, total)))
    green = b.add(b.sub(y, cr), pack_int16(b, *halves))
    return red, green, blue


@vector_op(4)
def ycc32(b: Any, y_row: Any, cb_row: Any, cr_row: Any, out: Any) -> None:
    """32 samples of three rows -> 96 bytes of RGB. Reads 32 bytes of each, writes 96."""
    for first in range(0, N_LANES, _PIXELS):
        rows = (load(b, row, vec(I8, _PIXELS), first) for row in (y_row, cb_row, cr_row))
        y, cb, cr = (b.zext(row, vec(I16, _PIXELS)) for row in rows)
        red, green, blue = rgb_lanes(b, y, b.sub(cb, like(128, cb)), b.sub(cr, like(128, cr)))
        red_green, blue_blue = pack_uint8(b, red, green), pack_uint8(b, blue, blue)
        # packing works within 128 bits: lane l of red is byte 16 (l // 8) + l % 8, of green 8 further
        places = (0, 8, 2 * _PIXELS)
        lanes = [16 * (i // 3 // 8) + i // 3 % 8 + places[i % 3] for i in range(3 * _PIXELS)]
        for start, end in (0, 2 * _PIXELS), (2 * _PIXELS, 3 * _PIXELS):
            store(b, shuffle(b, red_green, blue_blue, lanes[start:end]), out, 3 * first + start)


@vector_op(2)
def gray32(b: Any, y_row: Any, out: Any) -> None:
    """32 samples -> 96 bytes, each three times."""
    y = load(b, y_row, B32)
    lanes = [i // 3 for i in range(3 * N_LANES)]
    store(b, shuffle(b, y, y, lanes[:64]), out)
    store(b, shuffle(b, y, y, lanes[64:]), out, 64)
