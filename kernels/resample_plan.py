"""One image size's taps, packed as the vector kernels of `kernels.resample_simd` want them.

A weight w has 22 bits of fraction. It is split exactly, w = h * 2**8 + l with l in -128..127 and h in int16, which
holds for |w| < 1.98 * 2**22: checked per plan.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from kernels.coefficients import Taps
from kernels.jit import inner, njit
from kernels.resample_avx512 import WINDOW_BYTES, make_window_plan
from kernels.simd import N_LANES

#: Outputs of a horizontal block, pixels of a vertical step. Narrower crops take the plain loops.
BLOCK = 16
#: Reach of the digits: 1.98 * 2**22.
MAX_WEIGHT = 8_300_000
#: Bytes of the image that a group of four taps advances by.
TAP_BYTES = 12


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
    def arrays(self) -> tuple[npt.NDArray[Any], ...]:
        """In the order of the slots of `kernels.job`."""
        return self.offsets, self.across, self.windows, self.pairs, self.down

    @property
    def slack_bytes(self) -> int:
        """Bytes behind the last tap's pixel that the kernels may read."""
        return TAP_BYTES * self.n_groups + WINDOW_BYTES


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
