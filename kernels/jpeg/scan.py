"""Entropy decoding: all MCUs in order up to the region's last row, storing coefficients of the region's blocks only.

Blocks are collected 32 at a time, one per lane: coefficient k of the block in lane l is ``coefficients[k][l]``, so the
IDCT needs no transposition. Blocks outside of the region are parsed without storing anything.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from kernels.jit import inlined, inner
from kernels.jpeg.bits import extend, extend_complement, is_beyond, refill
from kernels.jpeg.frame import (
    AC_TABLE,
    AT_AC,
    AT_BATCHES,
    AT_CANONICAL,
    AT_CODES,
    AT_DC,
    AT_OFFSETS,
    AT_PLANES,
    AT_QUANT,
    AT_RGB,
    AT_SCAN,
    CORRUPT,
    DC_TABLE,
    END_COLUMN,
    END_ROW,
    FIRST_COLUMN,
    FIRST_ROW,
    LAYOUT,
    MCUS_ACROSS,
    N_COMPONENTS,
    OK,
    PLANE,
    QUANT_TABLE,
    RESTART_INTERVAL,
    SIGN_SHIFT,
    STRIDE,
    UNSUPPORTED,
    YUV444,
)
from kernels.jpeg.huffman import AC_BITS, AC_BYTES, AC_VALUES, DC_BITS, END_OF_BLOCK
from kernels.jpeg.idct import BATCH_BYTES, flush_444, flush_plane
from kernels.jpeg.markers import ZIGZAG, luma_blocks
from kernels.simd import N_LANES, U64, load_i8, load_u8, load_u16, load_u32, load_u64, store_u16, store_u64

_U0, _U1, _U2, _U4, _U8, _U16, _U48, _U63 = (U64(k) for k in (0, 1, 2, 4, 8, 16, 48, 63))
_AC_SHIFT, _DC_SHIFT = U64(64 - AC_BITS), U64(64 - DC_BITS)
_ROW = 2 * N_LANES

#: Byte offset of coded coefficient k in a batch. Entries 64 .. 255 lead to a 65th row that nobody reads: k stays
#: below 63 and a table entry advances by at most 127, so a store never needs a check.
STORE_OFFSET = np.full(256, 64 * _ROW, np.uint16)
STORE_OFFSET[:64] = ZIGZAG * _ROW

# Slots of a component's state, 16 uint64 each: addresses of its tables, predictor, next lane, its batch ...
_DC, _AC, _PREDICTOR, _LANE, _BATCH, _TARGETS, _QUANT, _DC_CODE, _AC_CODE = range(9)
_STATE = 16
_STATE_BYTES = U64(8 * _STATE)
#: ... then where the 32 blocks of each batch go, and room for one row of them. uint64 in all:
_TARGET_AT, _ROOM_AT = 48, 192
STATE_WORDS = _ROOM_AT + 3 * 4 * 8 + 64
#: ... before them, for each block of an MCU (10 at most, T.81 B.2.3): offset of its first sample in the current row of
#: MCUs, and the steps of that to the next MCU and to the next row.
_BLOCK_AT = 144
_ORIGIN, _COLUMN_STEP, _ROW_STEP = range(3)
#: MCUs between restart markers where there are none.
_NEVER = 1 << 62


@inlined
def _slot(component: Any, slot: int) -> Any:
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
    table = load_u64(_slot(component, slot))
    codes, limits = fixed[1], fixed[2]
    return _slow_code(np.int64(bits >> _U48), limits + table * U64(17 * 8), codes + table * U64(272), longer_than + 1)


@inlined
def _decode_dc(bits: Any, n_bits: Any, place: Any, component: Any, fixed: Any) -> Any:
    """The block's DC coefficient, after prediction; the last item is False where no code fits."""
    entry = load_u32(load_u64(_slot(component, _DC)) + (bits >> _DC_SHIFT) * _U4)
    bits, n_bits, place = refill(bits, n_bits, place)
    if entry == _U0:
        code = _slow(bits, component, _DC_CODE, DC_BITS, fixed)
        length, size = U64(code >> 8), U64(code & 255)
        entry = (length + size) | (length << _U8) | (size << _U16)
    value = extend(bits, (entry >> _U8) & _U63, entry >> _U16, fixed[3])
    value += load_u64(_slot(component, _PREDICTOR))
    store_u64(_slot(component, _PREDICTOR), value)
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
def _decode_ac(bits: Any, n_bits: Any, place: Any, component: Any, block: Any, fixed: Any) -> Any:
    """The block's AC coefficients into its lane; the last item is False where the data make no block."""
    table = load_u64(_slot(component, _AC))
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
        code = _slow(bits, component, _AC_CODE, AC_BITS if drop == _U0 else 0, fixed)
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
def _skip_ac(bits: Any, n_bits: Any, place: Any, component: Any, fixed: Any) -> Any:
    """As `_decode_ac` for a block that nobody needs."""
    table = load_u64(_slot(component, _AC))
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
        code = _slow(bits, component, _AC_CODE, AC_BITS if drop == _U0 else 0, fixed)
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


@inner
def _start(frame: Any, state: Any) -> None:
    """Fill the components' states, and where each block of an MCU goes."""
    for c in range(frame[N_COMPONENTS]):
        o = _STATE * c
        state[o + _DC] = U64(frame[AT_DC] + (frame[DC_TABLE + c] << (DC_BITS + 2)))
        state[o + _AC] = U64(frame[AT_AC] + frame[AC_TABLE + c] * AC_BYTES)
        state[o + _PREDICTOR] = 0
        state[o + _LANE] = 0
        state[o + _BATCH] = U64(frame[AT_BATCHES] + c * BATCH_BYTES)
        state[o + _TARGETS] = U64(state.ctypes.data) + U64(8 * (_TARGET_AT + c * N_LANES))
        state[o + _QUANT] = U64(frame[AT_QUANT] + 128 * frame[QUANT_TABLE + c])
        state[o + _DC_CODE] = U64(frame[DC_TABLE + c])
        state[o + _AC_CODE] = U64(4 + frame[AC_TABLE + c])
    across, down = luma_blocks(frame[LAYOUT])
    n_luma = across * down
    for block in range(n_luma + frame[N_COMPONENTS] - 1):
        c = max(block - n_luma + 1, 0)
        h, v = (across, down) if c == 0 else (1, 1)
        stride = frame[STRIDE + c]
        width = 24 if frame[LAYOUT] == YUV444 else 8
        o = _BLOCK_AT + 3 * block
        state[o + _ORIGIN] = U64(frame[PLANE + c] + block // h * 8 * stride * (c == 0) + block % h * width * (c == 0))
        state[o + _COLUMN_STEP], state[o + _ROW_STEP] = U64(h * width), U64(v * 8 * stride)


@inlined
def _flush(frame: Any, c: int, component: Any, room: Any, pixels: Any, n: int) -> Any:
    """IDCT of a component's batch into its plane, or, in 4:4:4, of all three into RGB; lanes beyond what is exact.

    `frame` is an address: handing the array itself on would count references per block.
    """
    if load_u64(frame + U64(8 * LAYOUT)) != U64(YUV444):
        batch, quant = load_u64(_slot(component, _BATCH)), load_u64(_slot(component, _QUANT))
        stride = load_u64(frame + U64(8 * (STRIDE + c)))
        return flush_plane(batch, quant, room, load_u64(_slot(component, _TARGETS)), pixels, stride, n)
    if c < 2:
        return _U0
    first = component - _STATE_BYTES - _STATE_BYTES
    quants = (
        load_u64(_slot(first, _QUANT)),
        load_u64(_slot(first + _STATE_BYTES, _QUANT)),
        load_u64(_slot(component, _QUANT)),
    )
    batch, targets = load_u64(_slot(first, _BATCH)), load_u64(_slot(first, _TARGETS))
    stride = load_u64(frame + U64(8 * STRIDE))
    return flush_444(batch, quants[0], quants[1], quants[2], room, targets, pixels, stride, n)


@inlined
def _finish_block(frame: Any, c: int, component: Any, target: Any, room: Any, pixels: Any) -> Any:
    """Note where the block in the current lane goes; transform the batch when it is full. Returns as `_flush`."""
    beyond = _U0
    lane = load_u64(_slot(component, _LANE))
    store_u64(load_u64(_slot(component, _TARGETS)) + lane * _U8, target)
    lane += _U1
    if lane == U64(N_LANES):
        beyond = _flush(frame, c, component, room, pixels, N_LANES)
        lane = _U0
    store_u64(_slot(component, _LANE), lane)
    return beyond


@inlined
def _skip_mcu(bits: Any, n_bits: Any, place: Any, components: Any, n_blocks: int, n_luma: int, fixed: Any) -> Any:
    """An MCU outside of the region; the last item is False where the data make no MCU."""
    component = components
    for block in range(n_blocks):
        if block >= n_luma:
            component += _STATE_BYTES
        bits, n_bits, place, _, is_sound = _decode_dc(bits, n_bits, place, component, fixed)
        if not is_sound:
            return bits, n_bits, place, False
        bits, n_bits, place, is_sound = _skip_ac(bits, n_bits, place, component, fixed)
        if not is_sound:
            return bits, n_bits, place, False
    return bits, n_bits, place, True


@inner
def _restart(segments: Any, segment: int, base: Any, state: Any, n_components: int) -> Any:
    """Start of a segment: its first byte and its end."""
    for c in range(n_components):
        state[_STATE * c + _PREDICTOR] = 0
    return base + U64(segments[2 * segment]), base + U64(segments[2 * segment + 1])


@inner
def decode_scan(frame: Any, state: Any, segments: Any, n_segments: int) -> int:
    """Decode the region's MCUs into planes or RGB.

    The frame has the addresses: of the unstuffed scan with its padding, of batches (zeros), and of planes or RGB as
    `lay_out` laid them out.     segments : of `unstuff`     state : (STATE_WORDS,) uint64, scratch

    Reads stay inside of the scan: its padding covers an MCU's most, and the place is checked after each.
    On an error the batches are left dirty: the caller clears them.
    """
    _start(frame, state)
    fields, components = U64(frame.ctypes.data), U64(state.ctypes.data)
    room, blocks = components + U64(8 * _ROOM_AT), components + U64(8 * _BLOCK_AT)
    pixels = U64(frame[AT_RGB] if frame[LAYOUT] == YUV444 else frame[AT_PLANES])
    # what all blocks need: addresses of offsets, codes and limits, and the shift that leaves a sign
    fixed = U64(frame[AT_OFFSETS]), U64(frame[AT_CODES]), U64(frame[AT_CANONICAL]), U64(frame[SIGN_SHIFT])
    across, down = luma_blocks(frame[LAYOUT])
    n_luma, n_components = across * down, frame[N_COMPONENTS]
    n_blocks = n_luma + n_components - 1
    first_row, first_column, end_column = frame[FIRST_ROW], frame[FIRST_COLUMN], frame[END_COLUMN]
    interval = frame[RESTART_INTERVAL] if frame[RESTART_INTERVAL] > 0 else _NEVER
    left, segment = interval, 0
    place, end = _restart(segments, 0, U64(frame[AT_SCAN]), state, n_components)
    bits, n_bits, place = refill(_U0, _U0, place)
    beyond = _U0
    for row in range(frame[END_ROW]):
        for column in range(frame[MCUS_ACROSS]):
            if left == 0:
                segment += 1
                if segment >= n_segments:
                    return CORRUPT
                place, end = _restart(segments, segment, U64(frame[AT_SCAN]), state, n_components)
                bits, n_bits, place = refill(_U0, _U0, place)
                left = interval
            left -= 1
            if row < first_row or column < first_column or column >= end_column:
                bits, n_bits, place, is_sound = _skip_mcu(bits, n_bits, place, components, n_blocks, n_luma, fixed)
                if not is_sound or is_beyond(n_bits, place, end):
                    return CORRUPT
                continue
            component = components
            for block in range(n_blocks):
                if block >= n_luma:
                    component += _STATE_BYTES
                bits, n_bits, place, value, is_sound = _decode_dc(bits, n_bits, place, component, fixed)
                if not is_sound:
                    return CORRUPT
                lane = load_u64(_slot(component, _BATCH)) + load_u64(_slot(component, _LANE)) * _U2
                store_u16(lane, value)
                bits, n_bits, place, is_sound = _decode_ac(bits, n_bits, place, component, lane, fixed)
                if not is_sound:
                    return CORRUPT
                steps = blocks + U64(24 * block)
                target = load_u64(steps) + U64(column - first_column) * load_u64(steps + U64(8 * _COLUMN_STEP))
                beyond |= _finish_block(fields, max(block - n_luma + 1, 0), component, target, room, pixels)
            if is_beyond(n_bits, place, end):
                return CORRUPT
        if row >= first_row:
            for block in range(n_blocks):
                state[_BLOCK_AT + 3 * block] += state[_BLOCK_AT + 3 * block + _ROW_STEP]
    for c in range(n_components):
        n = np.int64(state[_STATE * c + _LANE])
        if n > 0:
            beyond |= _flush(fields, c, components + U64(c) * _STATE_BYTES, room, pixels, n)
    return OK if beyond == _U0 else UNSUPPORTED
