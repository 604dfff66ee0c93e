"""Pillow's filter weights in fixed point, for the outputs that a crop keeps.

`Resample.c` of Pillow: precompute_coeffs in double precision, then normalize_coeffs_8bpc. Oracle:
kernels.reference.coefficients.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from kernels.jit import inner, njit
from kernels.reference import PRECISION_BITS, SUPPORT

I32 = npt.NDArray[np.int32]
F64 = npt.NDArray[np.float64]

FILTERS = tuple(SUPPORT)
BOX, BILINEAR, HAMMING, BICUBIC, LANCZOS = range(5)
_FILTER_ID = {"box": BOX, "bilinear": BILINEAR, "hamming": HAMMING, "bicubic": BICUBIC, "lanczos": LANCZOS}
#: Pillow's C source has these two as float constants.
_HAMMING_A, _HAMMING_B = float(np.float32(0.54)), float(np.float32(0.46))


@dataclass(frozen=True)
class Taps:
    """Source pixels and weights of ``n`` neighbouring outputs of one axis.

    low, count : (n,) int32, first source pixel and number of them; `low` never decreases
    weights    : (n, most) int32, 22 bits of fraction, zero beyond `count`
    """

    low: I32
    count: I32
    weights: I32

    @property
    def first(self) -> int:
        """First source pixel of all."""
        return int(self.low[0])

    @property
    def end(self) -> int:
        """One past the last source pixel of all."""
        return int((self.low + self.count).max())


def taps(in_size: int, out_size: int, first: int, n: int, interpolation: str) -> Taps:
    """Taps of the outputs ``first .. first + n`` of a resize of `in_size` pixels to `out_size`."""
    most = math.ceil(SUPPORT[interpolation] * max(in_size / out_size, 1.0)) * 2 + 1
    low, count = np.zeros(n, np.int32), np.zeros(n, np.int32)
    weights, exact = np.zeros((n, most), np.int32), np.zeros(most, np.float64)
    fill_taps(in_size, out_size, first, _FILTER_ID[interpolation], low, count, weights, exact)
    return Taps(low, count, weights)


@inner
def _sinc(x: Any) -> Any:
    if x == 0.0:
        return 1.0
    x *= math.pi
    return math.sin(x) / x


@inner
def _weight(kind: int, x: Any) -> Any:
    if kind == BOX:
        return 1.0 if -0.5 < x <= 0.5 else 0.0
    if kind == LANCZOS:
        return _sinc(x) * _sinc(x / 3.0) if -3.0 <= x < 3.0 else 0.0
    x = abs(x)
    if kind == BILINEAR:
        return 1.0 - x if x < 1.0 else 0.0
    if kind == HAMMING:
        if x == 0.0:
            return 1.0
        return _sinc(x) * (_HAMMING_A + _HAMMING_B * math.cos(x * math.pi)) if x < 1.0 else 0.0
    if x < 1.0:
        return (1.5 * x - 2.5) * x * x + 1.0
    return (((x - 5.0) * x + 8.0) * x - 4.0) * -0.5 if x < 2.0 else 0.0


@inner
def _support(kind: int) -> float:
    return (0.5, 1.0, 1.0, 2.0, 3.0)[kind]


@njit
def fill_taps(
    in_size: int, out_size: int, first: int, kind: int, low: I32, count: I32, weights: I32, exact: F64
) -> None:
    """Fill the arrays of `Taps`; `exact` is scratch of the width of `weights`."""
    scale = in_size / out_size
    filter_scale = max(scale, 1.0)
    support = _support(kind) * filter_scale
    inverse = 1.0 / filter_scale  # multiply, as Pillow does
    one = float(1 << PRECISION_BITS)
    for i in range(low.shape[0]):
        centre = (first + i + 0.5) * scale
        start = max(int(centre - support + 0.5), 0)
        n = min(int(centre + support + 0.5), in_size) - start
        total = 0.0
        for t in range(n):
            exact[t] = _weight(kind, (t + start - centre + 0.5) * inverse)
            total += exact[t]
        for t in range(n):
            weight = (exact[t] / total if total != 0.0 else exact[t]) * one
            weights[i, t] = int(weight - 0.5) if weight < 0.0 else int(weight + 0.5)
        low[i] = start
        count[i] = n
