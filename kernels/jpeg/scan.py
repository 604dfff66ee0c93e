"""All MCUs in order up to the region's last row, of which the coefficients of the region's blocks are kept.

Blocks are collected 32 at a time, one per lane of a batch, so the IDCT needs no transposition. Blocks outside of the
region are parsed without storing anything.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from kernels.jit import inlined, inner
from kernels.jpeg.bits import is_beyond, refill
from kernels.jpeg.block import (
    AC,
    AC_CODE,
    BATCH,
    DC,
    DC_CODE,
    LANE,
    PREDICTOR,
    QUANT,
    TARGETS,
    decode_ac,
    decode_dc,
    skip_ac,
    slot_of,
)
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
from kernels.jpeg.huffman import AC_BYTES, DC_BITS
from kernels.jpeg.idct import BATCH_BYTES, flush_444, flush_plane
from kernels.jpeg.markers import luma_blocks
from kernels.simd import N_LANES, U64, load_u64, store_u16, store_u64

_U0, _U1, _U2, _U8 = (U64(k) for k in (0, 1, 2, 8))
#: uint64 of a component's state (`kernels.jpeg.block`) ...
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


@inner
def _start(frame: Any, state: Any) -> None:
    """Fill the components' states, and where each block of an MCU goes."""
    for c in range(frame[N_COMPONENTS]):
        o = _STATE * c
        state[o + DC] = U64(frame[AT_DC] + (frame[DC_TABLE + c] << (DC_BITS + 2)))
        state[o + AC] = U64(frame[AT_AC] + frame[AC_TABLE + c] * AC_BYTES)
        state[o + PREDICTOR] = 0
        state[o + LANE] = 0
        state[o + BATCH] = U64(frame[AT_BATCHES] + c * BATCH_BYTES)
        state[o + TARGETS] = U64(state.ctypes.data) + U64(8 * (_TARGET_AT + c * N_LANES))
        state[o + QUANT] = U64(frame[AT_QUANT] + 128 * frame[QUANT_TABLE + c])
        state[o + DC_CODE] = U64(frame[DC_TABLE + c])
        state[o + AC_CODE] = U64(4 + frame[AC_TABLE + c])
    across, down = luma_blocks(frame[LAYOUT])
    n_luma = across * down
    for block in range(n_luma + frame[N_COMPONENTS] - 1):
        c = max(block - n_luma + 1, 0)
        h, v = (across, down) if c == 0 else (1, 1)
        stride = frame[STRIDE + c]
        width = 24 if frame[LAYOUT] == YUV444 else 8
        o = _BLOCK_AT + 3 * block
        state[o + _ORIGIN] = U64(frame[PLANE + c] + block // h * 8 * stride * (c == 0) + block % h * width * (c == 0))
        state[o + _COLUMN_STEP], state[o + _ROW_STEP] = (U64(h * width), U64(v * 8 * stride))


@inlined
def _flush(frame: Any, c: int, component: Any, room: Any, pixels: Any, n: int) -> Any:
    """IDCT of a component's batch into its plane, or, in 4:4:4, of all three into RGB; lanes beyond what is exact.

    `frame` is an address: handing the array itself on would count references per block.
    """
    if load_u64(frame + U64(8 * LAYOUT)) != U64(YUV444):
        batch, quant = (load_u64(slot_of(component, BATCH)), load_u64(slot_of(component, QUANT)))
        stride = load_u64(frame + U64(8 * (STRIDE + c)))
        return flush_plane(batch, quant, room, load_u64(slot_of(component, TARGETS)), pixels, stride, n)
    if c < 2:
        return _U0
    first = component - _STATE_BYTES - _STATE_BYTES
    quants = (
        load_u64(slot_of(first, QUANT)),
        load_u64(slot_of(first + _STATE_BYTES, QUANT)),
        load_u64(slot_of(component, QUANT)),
    )
    batch, targets = load_u64(slot_of(first, BATCH)), load_u64(slot_of(first, TARGETS))
    stride = load_u64(frame + U64(8 * STRIDE))
    return flush_444(batch, quants[0], quants[1], quants[2], room, targets, pixels, stride, n)


@inlined
def _finish_block(frame: Any, c: int, component: Any, target: Any, room: Any, pixels: Any) -> Any:
    """Note where the block in the current lane goes; transform the batch when it is full. Returns as `_flush`."""
    beyond = _U0
    lane = load_u64(slot_of(component, LANE))
    store_u64(load_u64(slot_of(component, TARGETS)) + lane * _U8, target)
    lane += _U1
    if lane == U64(N_LANES):
        beyond = _flush(frame, c, component, room, pixels, N_LANES)
        lane = _U0
    store_u64(slot_of(component, LANE), lane)
    return beyond


@inlined
def _skip_mcu(bits: Any, n_bits: Any, place: Any, mcu: Any, fixed: Any) -> Any:
    """An MCU outside of the region; the last item is False where the data make no MCU. mcu : as of `_decode_mcu`"""
    n_blocks, n_luma, component = mcu[:3]
    for block in range(n_blocks):
        if block >= n_luma:
            component += _STATE_BYTES
        bits, n_bits, place, _, is_sound = decode_dc(bits, n_bits, place, component, fixed)
        if not is_sound:
            return bits, n_bits, place, False
        bits, n_bits, place, is_sound = skip_ac(bits, n_bits, place, component, fixed)
        if not is_sound:
            return bits, n_bits, place, False
    return bits, n_bits, place, True


@inlined
def _decode_mcu(bits: Any, n_bits: Any, place: Any, mcu: Any, fixed: Any, column: Any) -> Any:
    """An MCU of the region, in its column there; the last items are lanes beyond what is exact, and if it is sound.

    mcu : numbers of blocks and of luma blocks; addresses of the first component's state, of the blocks' steps, of the
    frame, of room for a row, and of planes or RGB. Numbers and addresses only: an array would be counted per block.
    """
    n_blocks, n_luma, component, steps, frame, room, pixels = mcu
    beyond = _U0
    for block in range(n_blocks):
        if block >= n_luma:
            component += _STATE_BYTES
        bits, n_bits, place, value, is_sound = decode_dc(bits, n_bits, place, component, fixed)
        if not is_sound:
            return bits, n_bits, place, beyond, False
        lane = load_u64(slot_of(component, BATCH)) + load_u64(slot_of(component, LANE)) * _U2
        store_u16(lane, value)
        bits, n_bits, place, is_sound = decode_ac(bits, n_bits, place, component, lane, fixed)
        if not is_sound:
            return bits, n_bits, place, beyond, False
        target = load_u64(steps) + column * load_u64(steps + U64(8 * _COLUMN_STEP))
        beyond |= _finish_block(frame, max(block - n_luma + 1, 0), component, target, room, pixels)
        steps += U64(24)
    return bits, n_bits, place, beyond, True


@inner
def _next_row(state: Any, n_blocks: int) -> None:
    """Move the blocks' places to the next row of MCUs."""
    for block in range(n_blocks):
        state[_BLOCK_AT + 3 * block] += state[_BLOCK_AT + 3 * block + _ROW_STEP]


@inner
def _restart(segments: Any, segment: int, base: Any, state: Any, n_components: int) -> Any:
    """The reader at the start of a segment, and the segment's end."""
    for c in range(n_components):
        state[_STATE * c + PREDICTOR] = 0
    bits, n_bits, place = refill(_U0, _U0, base + U64(segments[2 * segment]))
    return bits, n_bits, place, base + U64(segments[2 * segment + 1])


@inner
def decode_scan(frame: Any, state: Any, segments: Any, n_segments: int) -> int:
    """Decode the region's MCUs into planes or RGB.

    The frame has the addresses: of the unstuffed scan with its padding, of batches (zeros), and of planes or RGB as
    `lay_out` laid them out.     segments : of `unstuff`     state : (STATE_WORDS,) uint64, scratch

    Reads stay inside of the scan: its padding covers an MCU's most, and the place is checked after each.
    On an error the batches are left dirty: the caller clears them.
    """
    _start(frame, state)
    mcu, fixed, base = _operands(frame, state)
    first_row, first_column, end_column = (frame[FIRST_ROW], frame[FIRST_COLUMN], frame[END_COLUMN])
    interval = frame[RESTART_INTERVAL] if frame[RESTART_INTERVAL] > 0 else _NEVER
    left, segment = interval, 0
    bits, n_bits, place, end = _restart(segments, 0, base, state, frame[N_COMPONENTS])
    beyond = _U0
    for row in range(frame[END_ROW]):
        for column in range(frame[MCUS_ACROSS]):
            if left == 0:
                segment += 1
                if segment >= n_segments:
                    return CORRUPT
                bits, n_bits, place, end = _restart(segments, segment, base, state, frame[N_COMPONENTS])
                left = interval
            left -= 1
            if row < first_row or column < first_column or column >= end_column:
                bits, n_bits, place, is_sound = _skip_mcu(bits, n_bits, place, mcu, fixed)
            else:
                at = U64(column - first_column)
                bits, n_bits, place, lanes, is_sound = _decode_mcu(bits, n_bits, place, mcu, fixed, at)
                beyond |= lanes
            if not is_sound or is_beyond(n_bits, place, end):
                return CORRUPT
        if row >= first_row:
            _next_row(state, mcu[0])
    beyond |= _flush_rest(state, mcu, frame[N_COMPONENTS])
    return OK if beyond == _U0 else UNSUPPORTED


@inner
def _operands(frame: Any, state: Any) -> Any:
    """`mcu` of `_decode_mcu`; `fixed`, which all blocks need; and the address of the scan.

    fixed : addresses of offsets, codes and limits, and the shift that leaves a sign
    """
    across, down = luma_blocks(frame[LAYOUT])
    n_luma = across * down
    n_blocks = n_luma + frame[N_COMPONENTS] - 1
    components = U64(state.ctypes.data)
    room, steps = components + U64(8 * _ROOM_AT), components + U64(8 * _BLOCK_AT)
    pixels = U64(frame[AT_RGB] if frame[LAYOUT] == YUV444 else frame[AT_PLANES])
    mcu = n_blocks, n_luma, components, steps, U64(frame.ctypes.data), room, pixels
    fixed = (U64(frame[AT_OFFSETS]), U64(frame[AT_CODES]), U64(frame[AT_CANONICAL]), U64(frame[SIGN_SHIFT]))
    return mcu, fixed, U64(frame[AT_SCAN])


@inner
def _flush_rest(state: Any, mcu: Any, n_components: int) -> Any:
    """`_flush` the batches that are not full."""
    _, _, components, _, frame, room, pixels = mcu
    beyond = _U0
    for c in range(n_components):
        n = np.int64(state[_STATE * c + LANE])
        if n > 0:
            beyond |= _flush(frame, c, components + U64(c) * _STATE_BYTES, room, pixels, n)
    return beyond
