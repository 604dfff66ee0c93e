"""The horizontal pass with AVX-512 VBMI and VNNI: 16 outputs of one channel a vector, for up to 8 taps.

The taps of 16 neighbouring outputs lie in a window of 128 bytes of the row (42 pixels). One byte permutation of the
window (vpermi2b) brings each lane of 32 bits its four taps, and vpdpbusd multiplies four bytes by four signed 8-bit
weights and adds them. For that a weight is split exactly into three digits, w = a * 2**16 + b * 2**8 + c with a, b, c
in -128..127 (which holds for |w| < 1.98 * 2**22, as in `kernels.resample_simd`), each with its own sum; the sums are
joined modulo 2**32, so the result is exact. Taps 4 to 7 use the same permutation on the window 12 bytes further.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from numba.core import cgutils

from kernels.coefficients import Taps
from kernels.jit import njit
from kernels.reference import PRECISION_BITS
from kernels.simd import B64, H32, HAS_AVX512, I64, call, clamp, const, const64, load, store, vector_op

BLOCK = 16
#: Pixels of a window of 128 bytes.
_WINDOW = 42
WINDOW_BYTES = 128
#: Groups of four taps that the kernels are made for.
MAX_GROUPS = 2
_INDEX_BYTES, _DIGIT_BYTES = 3 * 64, 3 * 64


def make_window_plan(columns: Taps, n_groups: int) -> npt.NDArray[np.uint8] | None:
    """(blocks, 3 + 3 * groups, 64) uint8: byte permutations by channel, then the digits of each group of taps.

    None without AVX-512, for more than 8 taps, or where 16 outputs do not fit in a window.
    """
    n = len(columns.low)
    starts = [min(BLOCK * block, n - BLOCK) for block in range(-(-n // BLOCK))]
    spans = [int(columns.low[x + BLOCK - 1] - columns.low[x]) + 4 for x in starts]
    if not HAS_AVX512 or n_groups > MAX_GROUPS or max(spans) > _WINDOW:
        return None
    plan = np.zeros((len(starts), 3 + 3 * n_groups, 64), np.uint8)
    pack_windows(columns.low, columns.count, columns.weights, plan)
    return plan


@njit
def pack_windows(low: Any, count: Any, weights: Any, plan: Any) -> None:
    """Fill the arrays of `make_window_plan`."""
    n = low.shape[0]
    for block in range(plan.shape[0]):
        first = min(BLOCK * block, n - BLOCK)
        for lane in range(BLOCK):
            x = first + lane
            for tap in range(4):
                for channel in range(3):
                    plan[block, channel, 4 * lane + tap] = 3 * (low[x] - low[first] + tap) + channel
            for tap in range(count[x]):
                weight = weights[x, tap]
                c = ((weight + 128) & 255) - 128
                weight = (weight - c) >> 8
                b = ((weight + 128) & 255) - 128
                a = (weight - b) >> 8
                at = 4 * lane + tap % 4
                group = 3 + 3 * (tap // 4)
                plan[block, group, at] = a & 255
                plan[block, group + 1, at] = b & 255
                plan[block, group + 2, at] = c & 255


def _add_group(b: Any, address: Any, indices: list[Any], digits: list[Any], sums: list[list[Any]]) -> None:
    """Four taps of 16 outputs of a row: sums[channel][digit] in place."""
    low, high = load(b, address, B64), load(b, address, B64, 64)
    for channel in range(3):
        taps = call(b, "llvm.x86.avx512.vpermi2var.qi.512", B64, low, indices[channel], high)
        for i, digit in enumerate(digits):
            sums[channel][i] = call(
                b, "llvm.x86.avx512.vpdpbusd.512", H32, sums[channel][i], b.bitcast(taps, H32), digit
            )


def _join(b: Any, sums: list[Any]) -> Any:
    """The three digits' sums -> pixel values 0..255."""
    eight = const(8, BLOCK)
    total = b.add(b.shl(b.add(b.shl(sums[0], eight), sums[1]), eight), sums[2])
    return clamp(b, b.ashr(total, const(PRECISION_BITS, BLOCK)), 0, 255)


def _make(n_groups: int) -> Any:
    def build(b: Any, row0: Any, row1: Any, n: Any, offsets: Any, plan: Any, out: Any) -> None:
        """Two rows -> three planes of n dwords, row 0 in the low half and row 1 in the high one."""
        plane = b.mul(n, const64(4))
        last = b.sub(n, const64(BLOCK))
        n_blocks = b.udiv(b.add(n, const64(BLOCK - 1)), const64(BLOCK))
        with cgutils.for_range(b, n_blocks) as loop:
            x = b.mul(loop.index, const64(BLOCK))
            x = b.select(b.icmp_unsigned(">", x, last), last, x)
            start = load(b, b.add(offsets, b.mul(x, const64(8))), I64)
            at = b.add(plan, b.mul(loop.index, const64(_INDEX_BYTES + n_groups * _DIGIT_BYTES)))
            indices = [load(b, at, B64, 64 * c) for c in range(3)]
            # half a unit, for rounding, in the first digit's sum
            half = [const(1 << (PRECISION_BITS - 1 - 16), BLOCK), const(0, BLOCK), const(0, BLOCK)]
            sums = [[list(half) for _ in range(3)] for _ in range(2)]
            for group in range(n_groups):
                digits = [load(b, at, H32, _INDEX_BYTES + group * _DIGIT_BYTES + 64 * i) for i in range(3)]
                for row, totals in zip((row0, row1), sums, strict=True):
                    address = b.add(b.add(row, start), const64(12 * group))
                    _add_group(b, address, indices, digits, totals)
            target = b.add(out, b.mul(x, const64(4)))
            for channel in range(3):
                upper = b.shl(_join(b, sums[1][channel]), const(16, BLOCK))
                store(b, b.or_(_join(b, sums[0][channel]), upper), target)
                target = b.add(target, plane)

    return vector_op(6)(build)


def _nothing(_b: Any, *_args: Any) -> None:
    """Stands in where the instructions do not exist; never called."""


horizontal_4_taps = _make(1) if HAS_AVX512 else vector_op(6)(_nothing)
horizontal_8_taps = _make(2) if HAS_AVX512 else vector_op(6)(_nothing)
