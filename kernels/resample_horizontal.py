"""The horizontal pass with vectors: two rows of outputs at a time, of any number of taps.

4 outputs x (R, G, B, -) lie in the 16 lanes of int32, four taps a step; the two rows leave as the two halves of a
dword: the pairs that the vertical multiplication wants.
"""

from __future__ import annotations

from typing import Any

from numba.core import cgutils

from kernels.reference import PRECISION_BITS
from kernels.resample_plan import BLOCK, TAP_BYTES
from kernels.simd import (
    I8,
    I64,
    V16,
    clamp,
    const,
    const64,
    load,
    shuffle,
    store,
    vec,
    vector_op,
)
from kernels.simd16 import accumulate_pairs, unpack

#: Bytes of the weights of a (step, group): 2 pairs of taps x 2 digits x 64.
_GROUP_BYTES = 256
_HALF = 1 << (PRECISION_BITS - 1)
#: Untyped in numba.
alloca_value: Any = cgutils.alloca_once_value


def total(b: Any, high: Any, low: Any) -> Any:
    """The two digits' sums -> pixel values 0..255."""
    joined = b.add(b.add(b.shl(high, const(8, BLOCK)), low), const(_HALF, BLOCK))
    return clamp(b, b.ashr(joined, const(PRECISION_BITS, BLOCK)), 0, 255)


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
                upper = b.shl(total(b, *sums[1]), const(16, BLOCK))
                steps.append(b.or_(total(b, *sums[0]), upper))
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
            zeros = add_group(zeros, at, const64(TAP_BYTES * group))
        return zeros
    slots = [[alloca_value(b, const(0, BLOCK)) for _ in range(2)] for _ in rows]
    for pair in slots:
        for slot in pair:
            b.store(const(0, BLOCK), slot)
    with cgutils.for_range(b, groups) as loop:
        sums = [[b.load(slot) for slot in pair] for pair in slots]
        at = b.add(weights, b.mul(loop.index, const64(_GROUP_BYTES)))
        sums = add_group(sums, at, b.mul(loop.index, const64(TAP_BYTES)))
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


horizontal_1, horizontal_2, horizontal_any = _horizontal(1), _horizontal(2), _horizontal(0)
