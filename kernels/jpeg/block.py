"""Entropy decoding of one block: its DC coefficient, and its AC coefficients into a lane of a batch, or nowhere.

Coefficient k of the block in lane l of a batch is ``coefficients[k][l]``.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from kernels.jit import inlined, inner
from kernels.jpeg.bits import extend, extend_complement, refill
from kernels.jpeg.huffman import AC_BITS, AC_VALUES, DC_BITS, END_OF_BLOCK
from kernels.jpeg.markers import ZIGZAG
from kernels.simd import N_LANES, U64, load_i8, load_u8, load_u16, load_u32, load_u64, store_u16, store_u64

_U0, _U1, _U2, _U4, _U8, _U16, _U48, _U63 = (U64(k) for k in (0, 1, 2, 4, 8, 16, 48, 63))
_AC_SHIFT, _DC_SHIFT = U64(64 - AC_BITS), U64(64 - DC_BITS)
_ROW = 2 * N_LANES

#: Byte offset of coded coefficient k in a batch. Entries 64 .. 255 lead to a 65th row that nobody reads: k stays
#: below 63 and a table entry advances by at most 127, so a store never needs a check.
STORE_OFFSET = np.full(256, 64 * _ROW, np.uint16)
STORE_OFFSET[:64] = ZIGZAG * _ROW

#: Slots of a component's state, 16 uint64 each: addresses of its tables, predictor, next lane, its batch, where the
#: blocks of that go, its quantisation steps, and the tables' numbers.
DC, AC, PREDICTOR, LANE, BATCH, TARGETS, QUANT, DC_CODE, AC_CODE = range(9)


@inlined
def slot_of(component: Any, slot: int) -> Any:
    """Address of a slot of the state at `component`."""
    return component + U64(8 * slot)


@inner
def _slow_code(top16: int, limits: Any, symbols: Any, first_length: int) -> Any:
    """A code of any length at the top of 16 bits: length << 8 | symbol; 0 if there is none.

    limits : address of (17,) int64 limits, followed 8 tables later by the offsets; symbols : of the (272,) codes.
    """
    for length in range(first_length, 17):
        if top16 < np.int64(load_u64(limits + U64(8 * length))):
            offset = np.int64(load_u64(limits + U64(8 * (17 * 8 + length))))
            index = (offset + (top16 >> (16 - length))) & 255
            return (length << 8) | np.int64(load_u8(symbols + U64(16 + index)))
    return 0


@inlined
def _slow(bits: Any, component: Any, slot: int, longer_than: int, fixed: Any) -> Any:
    table = load_u64(slot_of(component, slot))
    codes, limits = fixed[1], fixed[2]
    return _slow_code(np.int64(bits >> _U48), limits + table * U64(17 * 8), codes + table * U64(272), longer_than + 1)


@inlined
def decode_dc(bits: Any, n_bits: Any, place: Any, component: Any, fixed: Any) -> Any:
    """The block's DC coefficient, after prediction; the last item is False where no code fits."""
    entry = load_u32(load_u64(slot_of(component, DC)) + (bits >> _DC_SHIFT) * _U4)
    bits, n_bits, place = refill(bits, n_bits, place)
    if entry == _U0:
        code = _slow(bits, component, DC_CODE, DC_BITS, fixed)
        length, size = U64(code >> 8), U64(code & 255)
        entry = (length + size) | (length << _U8) | (size << _U16)
    value = extend(bits, (entry >> _U8) & _U63, entry >> _U16, fixed[3])
    value += load_u64(slot_of(component, PREDICTOR))
    store_u64(slot_of(component, PREDICTOR), value)
    return bits << (entry & _U63), n_bits - entry, place, value, entry != _U0


@inlined
def _store_entry(bits: Any, index: Any, table: Any, k: int, last: int, block: Any, fixed: Any) -> None:
    """Store the one or two coefficients of a table entry, the last one at place `last`, to which it leads from k."""
    values = table + U64(AC_VALUES) + index * _U4
    offsets = fixed[0]
    first = U64(k) + load_u8(values + U64(3))
    store_u16(block + load_u16(offsets + _U2 * first), load_i8(values + _U2))
    value = extend_complement(bits, load_u8(values), load_u8(values + _U1), fixed[3])
    store_u16(block + load_u16(offsets + U64(2 * last)), value)


@inlined
def _is_end(drop: Any, k: int) -> bool:
    """Does the entry end the block, exactly: by its 63rd coefficient, or by end-of-block after at most that?"""
    return drop != _U0 and (k == 63 or (END_OF_BLOCK <= k < END_OF_BLOCK + 63))


@inlined
def decode_ac(bits: Any, n_bits: Any, place: Any, component: Any, block: Any, fixed: Any) -> Any:
    """The block's AC coefficients into its lane; the last item is False where the data make no block."""
    table = load_u64(slot_of(component, AC))
    k = 0  # invariant at the loop's head: 0 <= k <= 62
    while True:
        index = bits >> _AC_SHIFT
        drop, advance = load_u8(table + index * _U2), load_u8(table + index * _U2 + _U1)
        bits, n_bits, place = refill(bits, n_bits, place)
        last = k + np.int64(advance)
        _store_entry(bits, index, table, k, last, block, fixed)
        if last < 63:
            k = last
            bits <<= drop
            n_bits -= drop
            continue
        if _is_end(drop, last):
            return bits << drop, n_bits - drop, place, True
        code = _slow(bits, component, AC_CODE, AC_BITS if drop == _U0 else 0, fixed)
        if code == 0:
            return bits, n_bits, place, False
        size, length = U64(code & 15), U64(code >> 8)
        value = extend(bits, length, size, fixed[3])
        bits <<= length + size
        n_bits -= length + size
        if size == _U0:
            if code & 255 != 0xF0:
                return bits, n_bits, place, True
            k += 16
        else:
            k += ((code >> 4) & 15) + 1
        if k > 63:
            return bits, n_bits, place, False
        if size != _U0:
            store_u16(block + load_u16(fixed[0] + U64(2 * k)), value)
        if k == 63:
            return bits, n_bits, place, True


@inlined
def skip_ac(bits: Any, n_bits: Any, place: Any, component: Any, fixed: Any) -> Any:
    """As `decode_ac` for a block that nobody needs."""
    table = load_u64(slot_of(component, AC))
    k = 0
    while True:
        index = bits >> _AC_SHIFT
        drop, advance = load_u8(table + index * _U2), load_u8(table + index * _U2 + _U1)
        bits, n_bits, place = refill(bits, n_bits, place)
        last = k + np.int64(advance)
        if last < 63:
            k = last
            bits <<= drop
            n_bits -= drop
            continue
        if _is_end(drop, last):
            return bits << drop, n_bits - drop, place, True
        code = _slow(bits, component, AC_CODE, AC_BITS if drop == _U0 else 0, fixed)
        if code == 0:
            return bits, n_bits, place, False
        size, length = U64(code & 15), U64(code >> 8)
        bits <<= length + size
        n_bits -= length + size
        if size == _U0 and code & 255 != 0xF0:
            return bits, n_bits, place, True
        k += 16 if size == _U0 else ((code >> 4) & 15) + 1
        if k >= 63:
            return bits, n_bits, place, k == 63
