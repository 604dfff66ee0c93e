"""Pillow's resize + crop + normalise with vectors: the same pixels as `kernels.resample`, by another way of summing.

A weight w has 22 bits of fraction. It is split exactly, w = h * 2**8 + l with l in -128..127 and h in int16 (which
holds for |w| < 1.98 * 2**22: checked per plan), so that ``sum p*w = (sum p*h) * 2**8 + sum p*l``, each sum by 16-bit
multiplications that add pairs of taps. All of it is integer arithmetic modulo 2**32 and the total fits in int32, as
Pillow relies on: it is exact in whatever order the taps come. A tap of weight 0 adds 0 whatever byte it meets, so taps
are padded freely, and reads may run past a row's end into slack memory.

Horizontal: 4 outputs x (R, G, B, -) in the 16 lanes of int32, four taps a step; two rows at once, which leave as the
two halves of a dword: the pairs that the vertical multiplication wants. A ring of such row pairs stays in L1.
Vertical: 16 pixels of a plane a step, then normalised. v / 255 and t / std are multiplications by a reciprocal in two
parts, by mul + fma, where that equals the division for all 256 values of each channel (checked), divisions
elsewhere.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from numba.core import cgutils

from kernels.coefficients import Taps
from kernels.isa import INSTRUCTION_SET
from kernels.jit import inner, njit
from kernels.reference import PRECISION_BITS
from kernels.resample_avx512 import WINDOW_BYTES, horizontal_4_taps, horizontal_8_taps, make_window_plan
from kernels.simd import (
    F32,
    H32,
    I8,
    I32,
    I64,
    N_LANES,
    U64,
    V16,
    accumulate_pairs,
    call,
    clamp,
    const,
    const64,
    load,
    load_u64,
    shuffle,
    splat,
    store,
    unpack,
    vec,
    vector_op,
)
from kernels.spec import PreprocessSpec

#: Outputs of a horizontal block, pixels of a vertical step. Narrower crops take the plain loops.
BLOCK = 16
#: Reach of the digits: 1.98 * 2**22.
MAX_WEIGHT = 8_300_000
#: Bytes of the weights of a (step, group): 2 pairs of taps x 2 digits x 64.
_GROUP_BYTES = 256
#: Bytes of the image that a group of four taps advances by.
_TAP_BYTES = 12
_HAS_FMA = INSTRUCTION_SET in ("avx512", "avx2")
#: Untyped in numba.
alloca: Any = cgutils.alloca_once
alloca_value: Any = cgutils.alloca_once_value
_HALF = 1 << (PRECISION_BITS - 1)


@dataclass(frozen=True)
class SimdPlan:
    """One image size's taps, packed for the kernels.

    offsets : (n,) int64, byte offset in the row of each output's first tap
    across  : (blocks, 4, groups, 2, 2, 32) int16, horizontal weights: high and low digits by pair of taps
    pairs   : (n, 3) int64, each output row's first row pair, number of pairs, and word in `down`
    down    : int32 words, vertical weights: all high digits of a row, then the low ones, two taps a word
    most    : pairs of the row that has most
    windows : of `kernels.resample_avx512`, or empty: then `across` is used
    """

    n_groups: int
    offsets: npt.NDArray[np.int64]
    across: npt.NDArray[np.int16]
    pairs: npt.NDArray[np.int64]
    down: npt.NDArray[np.int32]
    most: int
    windows: npt.NDArray[np.uint8]

    @property
    def slack_bytes(self) -> int:
        """Bytes behind the last tap's pixel that the kernels may read."""
        return _TAP_BYTES * self.n_groups + WINDOW_BYTES


def make_simd_plan(columns: Taps, rows: Taps) -> SimdPlan | None:
    """None where the plain loops must do it: a crop below 16 pixels, or weights beyond the digits' reach."""
    n = len(columns.low)
    if n < BLOCK or max(abs(t.weights).max() for t in (columns, rows)) > MAX_WEIGHT:
        return None
    n_groups = -(-int(columns.count.max()) // 4)
    across = np.zeros((-(-n // BLOCK), 4, n_groups, 2, 2, N_LANES), np.int16)
    pack_across(columns.count, columns.weights, across)
    windows = make_window_plan(columns, n_groups)
    if windows is None:
        windows = np.zeros((0, 0, 0), np.uint8)
    most = int(rows.count.max()) // 2 + 1
    pairs, down = np.zeros((n, 3), np.int64), np.zeros(n * most * 2, np.int32)
    pack_down(rows.low, rows.count, rows.weights, pairs, down)
    return SimdPlan(n_groups, 3 * columns.low.astype(np.int64), across, pairs, down, int(pairs[:, 1].max()), windows)


@inner
def _low_digit(weight: Any) -> Any:
    return ((weight + 128) & 255) - 128


@njit
def pack_across(count: Any, weights: Any, across: Any) -> None:
    """Lane i of step k in a block is output 4 i + k; each weight stands in the lanes of its four channels."""
    n = count.shape[0]
    for block in range(across.shape[0]):
        first = min(BLOCK * block, n - BLOCK)
        for k in range(4):
            for i in range(4):
                x = first + 4 * i + k
                for t in range(count[x]):
                    low = _low_digit(weights[x, t])
                    high = (weights[x, t] - low) >> 8
                    for channel in range(4):
                        lane = 8 * i + 2 * channel + (t & 1)
                        across[block, k, t // 4, t // 2 % 2, 0, lane] = high
                        across[block, k, t // 4, t // 2 % 2, 1, lane] = low


@njit
def pack_down(low: Any, count: Any, weights: Any, pairs: Any, down: Any) -> None:
    """Row pairs count from the first source row of all; a pair's other row has weight 0 where it is not needed."""
    word = 0
    for y in range(low.shape[0]):
        first = (low[y] - low[0]) // 2
        n = (low[y] + count[y] - 1 - low[0]) // 2 + 1 - first
        pairs[y, 0], pairs[y, 1], pairs[y, 2] = first, n, word
        for t in range(count[y]):
            row = low[y] + t - low[0] - 2 * first
            digit = _low_digit(weights[y, t])
            shift = 16 * (row & 1)
            down[word + row // 2] |= np.int32((((weights[y, t] - digit) >> 8) & 0xFFFF) << shift)
            down[word + n + row // 2] |= np.int32((digit & 0xFFFF) << shift)
        word += 2 * n


def _total(b: Any, high: Any, low: Any) -> Any:
    """The two digits' sums -> pixel values 0..255."""
    total = b.add(b.add(b.shl(high, const(8, BLOCK)), low), const(_HALF, BLOCK))
    return clamp(b, b.ashr(total, const(PRECISION_BITS, BLOCK)), 0, 255)


def _add_taps(b: Any, addresses: list[Any], weights: list[Any], sums: list[Any]) -> list[Any]:
    """Four taps of four outputs of one row, added to the high and low sums."""
    quarters = [load(b, address, vec(I8, 16)) for address in addresses]
    halves = [shuffle(b, quarters[i], quarters[i + 1], range(32)) for i in (0, 2)]
    pixels = shuffle(b, halves[0], halves[1], range(64))
    for pair in range(2):
        lanes = []
        for i in range(4):
            for channel in range(4):
                for t in range(2):  # zero-extended to int16: every other byte is from the vector of zeros
                    lanes += [16 * i + min(3 * (2 * pair + t) + channel, 15), 64]
        words = b.bitcast(shuffle(b, pixels, const(0, 64, I8), lanes), V16)
        for digit in range(2):
            sums[digit] = accumulate_pairs(b, sums[digit], words, weights[2 * pair + digit])
    return sums


def _horizontal(n_groups: int) -> Any:
    """Two rows of outputs; n_groups 0: any number of groups, in a loop."""

    def build(b: Any, row0: Any, row1: Any, n: Any, groups: Any, offsets: Any, weights: Any, out: Any) -> None:
        """Writes three planes of n dwords: row 0 in the low half, row 1 in the high one."""
        plane = b.mul(n, const64(4))
        n_blocks = b.udiv(b.add(n, const64(BLOCK - 1)), const64(BLOCK))
        last = b.sub(n, const64(BLOCK))
        step_bytes = b.mul(groups, const64(_GROUP_BYTES))
        with cgutils.for_range(b, n_blocks) as loop:
            x = b.mul(loop.index, const64(BLOCK))
            x = b.select(b.icmp_unsigned(">", x, last), last, x)
            steps = []
            for k in range(4):
                starts = [load(b, b.add(offsets, b.mul(x, const64(8))), I64, 8 * (4 * i + k)) for i in range(4)]
                step = b.add(b.mul(loop.index, const64(4)), const64(k))
                at_weights = b.add(weights, b.mul(step, step_bytes))
                sums = _row_sums(b, (row0, row1), starts, at_weights, n_groups, groups)
                upper = b.shl(_total(b, *sums[1]), const(16, BLOCK))
                steps.append(b.or_(_total(b, *sums[0]), upper))
            _store_planes(b, steps, b.add(out, b.mul(x, const64(4))), plane)

    return vector_op(7)(build)


def _row_sums(b: Any, rows: Any, starts: list[Any], weights: Any, n_groups: int, groups: Any) -> list[list[Any]]:
    """High and low sums of both rows over all groups of taps."""

    def add_group(sums: list[list[Any]], at_weights: Any, offset: Any) -> list[list[Any]]:
        digits = [load(b, at_weights, V16, 64 * i) for i in range(4)]
        added = []
        for row, total in zip(rows, sums, strict=True):
            base = b.add(row, offset)
            added.append(_add_taps(b, [b.add(base, start) for start in starts], digits, list(total)))
        return added

    zeros = [[const(0, BLOCK)] * 2 for _ in rows]
    if n_groups:
        for group in range(n_groups):
            at = b.add(weights, const64(_GROUP_BYTES * group))
            zeros = add_group(zeros, at, const64(_TAP_BYTES * group))
        return zeros
    slots = [[alloca_value(b, const(0, BLOCK)) for _ in range(2)] for _ in rows]
    for pair in slots:
        for slot in pair:
            b.store(const(0, BLOCK), slot)
    with cgutils.for_range(b, groups) as loop:
        sums = [[b.load(slot) for slot in pair] for pair in slots]
        at = b.add(weights, b.mul(loop.index, const64(_GROUP_BYTES)))
        sums = add_group(sums, at, b.mul(loop.index, const64(_TAP_BYTES)))
        for pair, totals in zip(slots, sums, strict=True):
            for slot, total in zip(pair, totals, strict=True):
                b.store(total, slot)
    return [[b.load(slot) for slot in pair] for pair in slots]


def _store_planes(b: Any, steps: list[Any], out: Any, plane: Any) -> None:
    """Transpose (R, G, B, -) of outputs 4 i + k, vector k, lane i, to a vector of 16 for each channel."""
    low01, low23 = unpack(b, steps[0], steps[1], high=False), unpack(b, steps[2], steps[3], high=False)
    high01, high23 = unpack(b, steps[0], steps[1], high=True), unpack(b, steps[2], steps[3], high=True)
    first = [lane for g in range(4) for lane in (4 * g, 4 * g + 1, 16 + 4 * g, 17 + 4 * g)]
    second = [lane + 2 for lane in first]
    for x, y, lanes in ((low01, low23, first), (low01, low23, second), (high01, high23, first)):
        store(b, shuffle(b, x, y, lanes), out)
        out = b.add(out, plane)


def _normalise(b: Any, values: Any, constants: list[Any], *, by_reciprocal: bool) -> Any:
    """int32 0..255 -> ``(v / 255 - mean) / std`` in float32."""
    floats = vec(F32, BLOCK)
    v = b.sitofp(values, floats)
    if not by_reciprocal:
        return b.fdiv(b.fsub(b.fdiv(v, const(255.0, BLOCK, F32)), constants[2]), constants[5])

    def times(x: Any, high: Any, low: Any) -> Any:
        return call(b, f"llvm.fma.v{BLOCK}f32", floats, x, high, b.fmul(x, low))

    return times(b.fsub(times(v, *constants[:2]), constants[2]), *constants[3:5])


def _vertical(n_pairs: int, *, by_reciprocal: bool) -> Any:
    """One row of one plane from the ring; n_pairs 0: any number of row pairs, in a loop."""

    def build(
        b: Any, ring: Any, first: Any, count: Any, mask: Any, slot_bytes: Any, weights: Any, norm: Any, out: Any, n: Any
    ) -> None:
        constants = [splat(b, load(b, norm, F32, 4 * i), BLOCK) for i in range(6)]
        last = b.sub(n, const64(BLOCK))
        n_steps = b.udiv(b.add(n, const64(BLOCK - 1)), const64(BLOCK))

        def pair_address(pair: Any) -> Any:
            return b.add(ring, b.mul(b.and_(b.add(first, pair), mask), slot_bytes))

        def weight(index: Any) -> Any:
            return b.bitcast(splat(b, load(b, b.add(weights, b.mul(index, const64(4))), I32), BLOCK), V16)

        def operands(pair: Any) -> tuple[Any, tuple[Any, Any]]:
            return pair_address(pair), (weight(pair), weight(b.add(count, pair)))

        def add_pair(x: Any, pair: tuple[Any, tuple[Any, Any]], sums: list[Any]) -> list[Any]:
            rows = load(b, b.add(pair[0], b.mul(x, const64(4))), V16)
            return [accumulate_pairs(b, s, rows, d) for s, d in zip(sums, pair[1], strict=True)]

        fixed = [operands(const64(pair)) for pair in range(n_pairs)]  # LLVM cannot lift them over the stores
        with cgutils.for_range(b, n_steps) as loop:
            x = b.mul(loop.index, const64(BLOCK))
            x = b.select(b.icmp_unsigned(">", x, last), last, x)
            sums = [const(0, BLOCK), const(0, BLOCK)]
            if n_pairs:
                for pair in fixed:
                    sums = add_pair(x, pair, sums)
            else:
                slots = [alloca(b, H32) for _ in range(2)]
                for slot in slots:
                    b.store(const(0, BLOCK), slot)
                with cgutils.for_range(b, count) as inner:
                    totals = add_pair(x, operands(inner.index), [b.load(s) for s in slots])
                    for slot, total in zip(slots, totals, strict=True):
                        b.store(total, slot)
                sums = [b.load(slot) for slot in slots]
            values = _normalise(b, _total(b, *sums), constants, by_reciprocal=by_reciprocal)
            store(b, values, b.add(out, b.mul(x, const64(4))))

    return vector_op(9)(build)


@vector_op(3)
def _normalise_by_reciprocal(b: Any, values: Any, norm: Any, out: Any) -> None:
    """16 int32 -> 16 float32, to compare with the division."""
    constants = [splat(b, load(b, norm, F32, 4 * i), BLOCK) for i in range(6)]
    store(b, _normalise(b, load(b, values, H32), constants, by_reciprocal=_HAS_FMA), out)


_horizontal_1, _horizontal_2, _horizontal_any = _horizontal(1), _horizontal(2), _horizontal(0)
_vertical_1, _vertical_2, _vertical_3 = (_vertical(n, by_reciprocal=_HAS_FMA) for n in (1, 2, 3))
_vertical_any = _vertical(0, by_reciprocal=_HAS_FMA)
_vertical_dividing = _vertical(0, by_reciprocal=False)


def normalise_constants(spec: PreprocessSpec) -> Any:
    """(3, 8) float32 by channel: 1/255 in two parts, mean, 1/std in two parts, std, 1 if the reciprocals are exact."""
    constants = np.zeros((3, 8), np.float32)
    for c in range(3):
        mean, std = np.float32(spec.mean[c]), np.float32(spec.std[c])
        r, s = 1.0 / 255.0, 1.0 / float(std)
        constants[c, :6] = r, r - float(np.float32(r)), mean, s, s - float(np.float32(s)), std
    values, probe = np.arange(256, dtype=np.int32), np.zeros(256, np.float32)
    is_exact = True
    for c in range(3):
        _probe_reciprocals(values, constants[c], probe)
        exact = (values.astype(np.float32) / np.float32(255) - constants[c, 2]) / constants[c, 5]
        is_exact &= np.array_equal(probe.view(np.int32), exact.view(np.int32))
    constants[:, 6] = is_exact
    return constants


@njit
def _probe_reciprocals(values: Any, constants: Any, out: Any) -> None:
    for i in range(0, values.shape[0], BLOCK):
        place = U64(4 * i)
        _normalise_by_reciprocal(
            U64(values.ctypes.data) + place, U64(constants.ctypes.data), U64(out.ctypes.data) + place
        )


@njit
def _power_of_two(n: int) -> int:
    size = 1
    while size < n:
        size *= 2
    return size


def ring_bytes(n: int, most: int) -> int:
    """Scratch bytes of `resample_simd` for a crop of n pixels."""
    return int(_power_of_two(most)) * 12 * n


@njit
def resample_simd(
    pixels: Any, start: int, stride: int, n_rows: int, groups: int, offsets: Any, across: Any,
    windows_: Any, pairs: Any, down: Any, most: int, constants: Any, ring_: Any, out_: Any,
) -> None:  # fmt: skip
    """Resize, crop and normalise.

    start : byte of the image's column 0 in the first row that is needed (may be negative)     n_rows : rows needed
    The caller has checked that ``pixels`` holds the last row's last tap and `SimdPlan.slack_bytes` more, and
    ``ring_`` `ring_bytes`. out_ : (3, n, n) float32.
    """
    n = offsets.shape[0]
    rows, out = U64(pixels.ctypes.data) + U64(start), U64(out_.ctypes.data)
    places, weights_across, weights_down = U64(offsets.ctypes.data), U64(across.ctypes.data), U64(down.ctypes.data)
    has_windows, windows = windows_.shape[0] > 0, U64(windows_.ctypes.data)
    norm, ring, heads = U64(constants.ctypes.data), U64(ring_.ctypes.data), U64(pairs.ctypes.data)
    is_exact = constants[0, 6] != 0
    slot_bytes = U64(12 * n)
    mask = U64(_power_of_two(most) - 1)
    width, n_groups = U64(n), U64(groups)
    done = 0
    for y in range(n):
        head = heads + U64(24 * y)
        first, count = load_u64(head), load_u64(head + U64(8))
        weights = weights_down + U64(4) * load_u64(head + U64(16))
        while done < np.int64(first + count):
            row0 = rows + U64(2 * done * stride)
            row1 = rows + U64(min(2 * done + 1, n_rows - 1) * stride)
            slot = ring + (U64(done) & mask) * slot_bytes
            if has_windows and groups == 1:
                horizontal_4_taps(row0, row1, width, places, windows, slot)
            elif has_windows:
                horizontal_8_taps(row0, row1, width, places, windows, slot)
            elif groups == 1:
                _horizontal_1(row0, row1, width, n_groups, places, weights_across, slot)
            elif groups == 2:
                _horizontal_2(row0, row1, width, n_groups, places, weights_across, slot)
            else:
                _horizontal_any(row0, row1, width, n_groups, places, weights_across, slot)
            done += 1
        for c in range(3):
            plane = ring + U64(4 * n * c)
            line = out + U64(4 * n * (c * n + y))
            channel = norm + U64(32 * c)
            if not is_exact:
                _vertical_dividing(plane, first, count, mask, slot_bytes, weights, channel, line, width)
            elif count == U64(1):
                _vertical_1(plane, first, count, mask, slot_bytes, weights, channel, line, width)
            elif count == U64(2):
                _vertical_2(plane, first, count, mask, slot_bytes, weights, channel, line, width)
            elif count == U64(3):
                _vertical_3(plane, first, count, mask, slot_bytes, weights, channel, line, width)
            else:
                _vertical_any(plane, first, count, mask, slot_bytes, weights, channel, line, width)
