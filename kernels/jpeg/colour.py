"""YCbCr to RGB in libjpeg's 16-bit fixed point (jdcolor.c, T.871), 32 pixels at once.

    R = Y + 1.40200 Cr        G = Y - 0.34414 Cb - 0.71414 Cr        B = Y + 1.77200 Cb

The constants are split as libjpeg-turbo's SIMD code does it, which equals its tables for every input: the whole part by
additions, the rest by a high multiplication of twice the value, rounded when halved.
"""

from __future__ import annotations

from typing import Any

from kernels.simd import (
    B32,
    H32,
    N_LANES,
    V16,
    const,
    const16,
    load,
    multiply_add_pairs,
    multiply_high,
    pack_int16,
    pack_uint8,
    pair16,
    shuffle,
    store,
    unpack,
    vector_op,
)

#: round(65536 * 0.402), round(65536 * (1.772 - 2)), round(-65536 * 0.34414), round(65536 * (1 - 0.71414))
_RED, _BLUE, _GREEN_CB, _GREEN_CR = 26345, -14942, -22554, 18734


def rgb_lanes(b: Any, y: Any, cb: Any, cr: Any) -> Any:
    """int16 lanes: y 0..255, cb and cr minus 128 -> red, green, blue, not yet limited to 0..255."""

    def rounded_half(v: Any) -> Any:
        return b.ashr(b.add(v, const16(1)), const16(1))

    twice_cr, twice_cb = b.add(cr, cr), b.add(cb, cb)
    red = b.add(b.add(y, cr), rounded_half(multiply_high(b, twice_cr, _RED)))
    blue = b.add(b.add(y, twice_cb), rounded_half(multiply_high(b, twice_cb, _BLUE)))
    halves = []
    for high in (False, True):
        total = multiply_add_pairs(b, unpack(b, cb, cr, high=high), pair16(_GREEN_CB, _GREEN_CR))
        halves.append(b.ashr(b.add(total, const(32768, H32.count)), const(16, H32.count)))
    green = b.add(b.sub(y, cr), pack_int16(b, *halves))
    return red, green, blue


@vector_op(4)
def ycc32(b: Any, y_row: Any, cb_row: Any, cr_row: Any, out: Any) -> None:
    """32 samples of three rows -> 96 bytes of RGB. Reads 32 bytes of each, writes 96."""
    y, cb, cr = (b.zext(load(b, row, B32), V16) for row in (y_row, cb_row, cr_row))
    red, green, blue = rgb_lanes(b, y, b.sub(cb, const16(128)), b.sub(cr, const16(128)))
    red_green, blue_blue = pack_uint8(b, red, green), pack_uint8(b, blue, blue)
    # packing works within 128 bits: lane l of red is byte 16 (l // 8) + l % 8, of green 8 further
    lanes = [16 * (i // 3 // 8) + i // 3 % 8 + (0, 8, 64)[i % 3] for i in range(3 * N_LANES)]
    store(b, shuffle(b, red_green, blue_blue, lanes[:64]), out)
    store(b, shuffle(b, red_green, blue_blue, lanes[64:]), out, 64)


@vector_op(2)
def gray32(b: Any, y_row: Any, out: Any) -> None:
    """32 samples -> 96 bytes, each three times."""
    y = load(b, y_row, B32)
    lanes = [i // 3 for i in range(3 * N_LANES)]
    store(b, shuffle(b, y, y, lanes[:64]), out)
    store(b, shuffle(b, y, y, lanes[64:]), out, 64)
