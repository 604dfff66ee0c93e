"""The inverse DCT of 32 blocks at once, one per lane: libjpeg's "islow" (jidctint.c) in 16-bit SIMD arithmetic.

Loeffler, Ligtenberg and Moschytz's factorisation with 13 bits of fraction. Pass 1 does the columns and keeps 2 extra
bits, pass 2 the rows. Products are 16 x 16 -> 32 bits by pairs, and each pass packs to 16 bits with saturation: exactly
libjpeg-turbo's SSE2 / AVX2 code, also for the coefficients of damaged files, where plain C differs.

Pass 2 ends in the target: 8 samples of a plane per lane, or, in 4:4:4, 8 pixels of RGB, since all three components of a
block are then in the same lane. It clears the coefficients behind it for the next batch.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types

from kernels.isa import IS_AARCH64
from kernels.jit import inlined, inner
from kernels.jpeg.colour import rgb_lanes
from kernels.simd import (
    I16,
    I32,
    I64,
    N_LANES,
    U64,
    at,
    clamp,
    const,
    const64,
    load,
    load_u64,
    shuffle,
    splat,
    store,
    store_u64,
    vec,
    vector_op,
)
from kernels.simd16 import (
    NATIVE_BITS,
    accumulate_pairs,
    like,
    multiply_add_pairs,
    pack_int16,
    pack_uint8,
    plus_minus_pairs,
    unpack,
)

#: Bytes of coefficient k of all lanes, of 8 such, and of a batch: 64, and a row for stray stores (block.STORE_OFFSET).
_LINE_BYTES = 2 * N_LANES
_ROW_BYTES = 8 * _LINE_BYTES
BATCH_BYTES = 65 * _LINE_BYTES
#: Lanes that are transformed at a time, so that 8 vectors fit in the registers, and how often that is done.
_LANES = NATIVE_BITS // 16
_N_PARTS = N_LANES // _LANES
_PART_BYTES = 2 * _LANES
_V = vec(I16, _LANES)

#: FIX(x) = round(x * 2**13) of jidctint.c
_F0_298, _F0_390, _F0_541, _F0_765, _F0_899, _F1_175 = 2446, 3196, 4433, 6270, 7373, 9633
_F1_501, _F1_847, _F1_961, _F2_053, _F2_562, _F3_072 = 12299, 15137, 16069, 16819, 20995, 25172
_ONE = 1 << 13
#: Bits dropped by each pass: 13 - 2 extra, then 13 + 2 + 3 for the factor 8 of the two-dimensional transform.
_SHIFT_COLUMNS, _SHIFT_ROWS = 11, 18
_MAX_FIRST = 8191
#: libjpeg-turbo's code for aarch64 wraps where that for x86 saturates: there, what pass 1 leaves must not come near
#: either; pass 2 cannot overflow then. A block at full contrast comes to 4 * 1.4 * 2,896 before rounding.
MAX_BETWEEN = 16383 if IS_AARCH64 else None


def _idct8(b: Any, x: list[Any], shift: int) -> list[Any]:
    """One pass over 8 vectors of int16."""
    z3, z4 = b.add(x[7], x[3]), b.add(x[5], x[1])
    total, difference = b.add(x[0], x[4]), b.sub(x[0], x[4])  # in 16 bits: they wrap as libjpeg-turbo's do
    halves = []
    rounding = const(1 << (shift - 1), _LANES // 2)
    for high in (False, True):

        def pairs(p: Any, q: Any, half: bool = high) -> Any:
            return unpack(b, p, q, high=half)

        # even part: each output is a base plus or minus a product
        whole, x26 = pairs(total, difference), pairs(x[2], x[6])
        t0, t1 = (accumulate_pairs(b, rounding, whole, w) for w in ((_ONE, 0), (0, _ONE)))
        outer = plus_minus_pairs(b, t0, x26, (_F0_541 + _F0_765, _F0_541))
        middle = plus_minus_pairs(b, t1, x26, (_F0_541, _F0_541 - _F1_847))
        even = [outer[0], middle[0], middle[1], outer[1]]
        # odd part
        z34, x71, x53 = pairs(z3, z4), pairs(x[7], x[1]), pairs(x[5], x[3])
        w3 = multiply_add_pairs(b, z34, (_F1_175 - _F1_961, _F1_175))
        w4 = multiply_add_pairs(b, z34, (_F1_175, _F1_175 - _F0_390))
        odd = [
            accumulate_pairs(b, w4, x71, (-_F0_899, _F1_501 - _F0_899)),
            accumulate_pairs(b, w3, x53, (-_F2_562, _F3_072 - _F2_562)),
            accumulate_pairs(b, w4, x53, (_F2_053 - _F2_562, -_F2_562)),
            accumulate_pairs(b, w3, x71, (_F0_298 - _F0_899, -_F0_899)),
        ]
        sums = [b.add(e, o) for e, o in zip(even, odd, strict=True)]
        differences = [b.sub(e, o) for e, o in zip(even, odd, strict=True)]
        drop = const(shift, _LANES // 2)
        halves.append([b.ashr(v, drop) for v in (*sums, *reversed(differences))])
    return [pack_int16(b, low, up) for low, up in zip(*halves, strict=True)]


def _is_beyond(b: Any, v: Any, limit: int) -> Any:
    """Lanes of int16 outside of -limit .. limit."""
    return b.icmp_unsigned(">", b.add(v, like(limit, v)), like(2 * limit, v))


@vector_op(3, types.uint64)
def _columns(b: Any, batch: Any, quant: Any, column: Any) -> Any:
    """Dequantise column 0..7 of the lanes at `batch` and transform it, in place.

    Not 0 if a lane's first coefficient is beyond +-8191. Four times that overflows 16 bits, where libjpeg-turbo wraps
    if the block has nothing below its first row, and saturates otherwise. No sound file comes near (2,048 is the
    most); an image with such a lane is left to the library. See also MAX_BETWEEN.
    """
    base = b.add(batch, b.mul(column, const64(_LINE_BYTES)))
    steps = b.add(quant, b.mul(column, const64(2)))
    x = []
    for i in range(8):
        step = splat(b, load(b, steps, I16, 16 * i), _LANES)
        x.append(b.mul(load(b, base, _V, i * _ROW_BYTES), step))
    is_beyond = _is_beyond(b, x[0], _MAX_FIRST)
    for i, y in enumerate(_idct8(b, x, _SHIFT_COLUMNS)):
        store(b, y, base, i * _ROW_BYTES)
        if MAX_BETWEEN is not None:
            is_beyond = b.or_(is_beyond, _is_beyond(b, y, MAX_BETWEEN))
    return b.zext(b.bitcast(is_beyond, ir.IntType(_LANES)), I64)


@vector_op(2, types.uint64)
def _has_column(b: Any, batch: Any, column: Any) -> Any:
    """Not 0 if any of the 32 lanes has a coefficient in column 0..7."""
    base = b.add(batch, b.mul(column, const64(_LINE_BYTES)))
    bits = load(b, base, vec(I16, N_LANES))
    for i in range(1, 8):
        bits = b.or_(bits, load(b, base, bits.type, i * _ROW_BYTES))
    return b.zext(b.bitcast(b.icmp_unsigned("!=", bits, like(0, bits)), I32), I64)


@inlined
def _all_columns(batch: Any, quant: Any) -> Any:
    """Pass 1. A column of zeros stays one: chroma often has nothing in the last ones. Returns as `_columns`."""
    beyond = U64(0)
    for column in range(8):
        if _has_column(batch, U64(column)) != U64(0):
            for part in range(0, _N_PARTS * _PART_BYTES, _PART_BYTES):
                beyond |= _columns(batch + U64(part), quant, U64(column))
    return beyond


def _row(b: Any, batch: Any, row: Any) -> list[Any]:
    """Transform row 0..7 of the lanes at `batch`, clearing it; 8 vectors of int16 around 0."""
    base = b.add(batch, b.mul(row, const64(_ROW_BYTES)))
    x = [load(b, base, _V, j * _LINE_BYTES) for j in range(8)]
    for j in range(8):
        store(b, const(0, _LANES, I16), base, j * _LINE_BYTES)
    return _idct8(b, x, _SHIFT_ROWS)


def _byte_pairs(b: Any, x: Any, y: Any) -> Any:
    """int16 -> saturated bytes, (x, y) of a lane next to each other: words."""
    packed = pack_uint8(b, x, y)
    pairs = [16 * g + i for g in range(_LANES // 8) for j in range(8) for i in (j, 8 + j)]
    return b.bitcast(shuffle(b, packed, packed, pairs), _V)


def _store_lanes(b: Any, words: list[Any], room: Any, offset: int) -> None:
    """Four vectors of words -> 8 bytes of each lane; lane l is at `_lane_offset(l)` from `room` + offset."""
    for high in (False, True):
        x = b.bitcast(unpack(b, words[0], words[1], high=high), vec(I32, _LANES // 2))
        y = b.bitcast(unpack(b, words[2], words[3], high=high), x.type)
        for upper in (False, True):
            store(b, unpack(b, x, y, high=upper), room, offset)
            offset += _LINE_BYTES


@inlined
def _lane_offset(lane: int) -> Any:
    """Where `_store_lanes` leaves the 8 bytes of a lane: lanes 8 g + 2 v and + 1 at places 2 g and + 1 of vector v."""
    return U64(((lane & 6) >> 1) * 64 + (lane >> 3) * 16 + (lane & 1) * 8)


@vector_op(3)
def _row_to_plane(b: Any, batch: Any, row: Any, room: Any) -> None:
    """Pass 2 of a row of the lanes at `batch` -> 8 samples of each in `room`, which is 256 bytes in all."""
    y = [b.add(v, like(128, v)) for v in _row(b, batch, row)]
    _store_lanes(b, [_byte_pairs(b, y[i], y[i + 1]) for i in range(0, 8, 2)], room, 0)


@vector_op(3)
def _row_to_rgb(b: Any, batch: Any, row: Any, room: Any) -> None:
    """Pass 2 of a row of Y, Cb, Cr, and colour -> 3 x 8 bytes of each lane in `room`, which is 768 bytes."""
    luma = [clamp(b, b.add(v, like(128, v)), 0, 255) for v in _row(b, batch, row)]
    cb = [clamp(b, v, -128, 127) for v in _row(b, at(b, batch, BATCH_BYTES), row)]
    cr = [clamp(b, v, -128, 127) for v in _row(b, at(b, batch, 2 * BATCH_BYTES), row)]
    samples: list[Any] = []
    for pixel in zip(luma, cb, cr, strict=True):
        samples += rgb_lanes(b, *pixel)
    for third in range(3):
        part = samples[8 * third : 8 * third + 8]
        _store_lanes(b, [_byte_pairs(b, part[i], part[i + 1]) for i in range(0, 8, 2)], room, 256 * third)


@inner
def flush_plane(batch: Any, quant: Any, room: Any, targets: Any, out: Any, stride: Any, n: int) -> Any:
    """Transform a batch and write the first `n` blocks to ``out + targets[lane]``, 8 rows of 8 bytes each.

    Returns the lanes beyond what is exact (see `_columns`), 0 for sound files.
    """
    beyond = _all_columns(batch, quant)
    for row in range(8):
        for part in range(0, _N_PARTS * _PART_BYTES, _PART_BYTES):
            _row_to_plane(batch + U64(part), U64(row), room + U64(part))
        line = out + U64(row) * stride
        for lane in range(n):
            store_u64(line + load_u64(targets + U64(8 * lane)), load_u64(room + _lane_offset(lane)))
    return beyond


@inner
def flush_444(
    batch: Any, quant0: Any, quant1: Any, quant2: Any, room: Any, targets: Any, out: Any, stride: Any, n: int
) -> Any:
    """Transform the batches of Y, Cb, Cr and write `n` blocks of RGB, 8 rows of 24 bytes each. Returns as above."""
    size = U64(BATCH_BYTES)
    beyond = _all_columns(batch, quant0)
    beyond |= _all_columns(batch + size, quant1)
    beyond |= _all_columns(batch + size + size, quant2)
    for row in range(8):
        for part in range(0, _N_PARTS * _PART_BYTES, _PART_BYTES):
            _row_to_rgb(batch + U64(part), U64(row), room + U64(part))
        line = out + U64(row) * stride
        for lane in range(n):
            target = line + load_u64(targets + U64(8 * lane))
            pixels = room + _lane_offset(lane)
            store_u64(target, load_u64(pixels))
            store_u64(target + U64(8), load_u64(pixels + U64(256)))
            store_u64(target + U64(16), load_u64(pixels + U64(512)))
    return beyond
