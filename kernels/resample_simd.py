"""Pillow's resize + crop + normalise with vectors: the same pixels as `kernels.resample`, by another way of summing.

A weight is split in two digits (`kernels.resample_plan`), so that ``sum p*w = (sum p*h) * 2**8 + sum p*l``, each
sum by 16-bit multiplications that add pairs of taps. All of it is integer arithmetic modulo 2**32 and the total fits
in int32, as Pillow relies on: it is exact in whatever order the taps come. A tap of weight 0 adds 0 whatever byte it
meets, so taps are padded freely, and reads may run past a row's end into slack memory.

Horizontal (`kernels.resample_horizontal`, `kernels.resample_avx512`): row pairs into a ring that stays in L1.
Vertical (`kernels.resample_vertical`): a row of float32 planes straight from the ring; for the other formats a row of
packed pixels, which `kernels.normalise` then brings into its form while it is in L1.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from kernels.jit import inner, njit
from kernels.normalise import F32_NCHW, is_by_vectors, normalise_pixels
from kernels.resample_avx512 import horizontal_4_taps, horizontal_8_taps
from kernels.resample_horizontal import horizontal_1, horizontal_2, horizontal_any
from kernels.resample_vertical import (
    normalised_1,
    normalised_2,
    normalised_3,
    normalised_any,
    packed_2,
    packed_any,
)
from kernels.simd import U64, load_u64


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
    pixels: Any, start: int, stride: int, n_rows: int, groups: int, offsets: Any, across: Any, windows_: Any,
    pairs: Any, down: Any, most: int, kind: int, constants: Any, table: Any, line: Any, ring_: Any, out: Any,
) -> None:  # fmt: skip
    """Resize, crop and normalise.

    start : byte of the image's column 0 in the first row that is needed (may be negative)     n_rows : rows needed
    kind, constants, table : of `kernels.normalise`     line : (3 n,) uint8, scratch     out : the tensor's elements
    The caller has checked that ``pixels`` holds the last row's last tap and `SimdPlan.slack_bytes` more, and
    ``ring_`` `ring_bytes`.
    """
    n = offsets.shape[0]
    rows, heads = U64(pixels.ctypes.data) + U64(start), U64(pairs.ctypes.data)
    places, weights_across, windows = U64(offsets.ctypes.data), U64(across.ctypes.data), U64(windows_.ctypes.data)
    has_windows = windows_.shape[0] > 0
    ring = U64(ring_.ctypes.data)
    slot_bytes, mask = U64(12 * n), U64(_power_of_two(most) - 1)
    is_straight = kind == F32_NCHW and is_by_vectors(kind, constants)
    done = 0
    for y in range(n):
        head = heads + U64(24 * y)
        first, count = load_u64(head), load_u64(head + U64(8))
        weights = U64(down.ctypes.data) + U64(4) * load_u64(head + U64(16))
        while done < np.int64(first + count):
            row0 = rows + U64(2 * done * stride)
            row1 = rows + U64(min(2 * done + 1, n_rows - 1) * stride)
            slot = ring + (U64(done) & mask) * slot_bytes
            if has_windows and groups == 1:
                horizontal_4_taps(row0, row1, U64(n), places, windows, slot)
            elif has_windows:
                horizontal_8_taps(row0, row1, U64(n), places, windows, slot)
            elif groups == 1:
                horizontal_1(row0, row1, U64(n), U64(groups), places, weights_across, slot)
            elif groups == 2:
                horizontal_2(row0, row1, U64(n), U64(groups), places, weights_across, slot)
            else:
                horizontal_any(row0, row1, U64(n), U64(groups), places, weights_across, slot)
            done += 1
        if is_straight:
            norm, target = U64(constants.ctypes.data), U64(out.ctypes.data)
            for c in range(3):
                _planar_row(
                    ring + U64(4 * n * c), first, count, mask, slot_bytes, weights, norm + U64(4 * c),
                    target + U64(4 * n * (c * n + y)), U64(n),
                )  # fmt: skip
        else:
            packed = U64(line.ctypes.data)
            if count == U64(2):
                packed_2(ring, first, count, mask, slot_bytes, weights, packed, U64(n))
            else:
                packed_any(ring, first, count, mask, slot_bytes, weights, packed, U64(n))
            normalise_pixels(line, n, y * n, n * n, kind, constants, table, out)


@inner
def _planar_row(
    ring: Any, first: Any, count: Any, mask: Any, slot_bytes: Any, weights: Any, norm: Any, out: Any, n: Any
) -> None:
    if count == U64(1):
        normalised_1(ring, first, count, mask, slot_bytes, weights, norm, out, n)
    elif count == U64(2):
        normalised_2(ring, first, count, mask, slot_bytes, weights, norm, out, n)
    elif count == U64(3):
        normalised_3(ring, first, count, mask, slot_bytes, weights, norm, out, n)
    else:
        normalised_any(ring, first, count, mask, slot_bytes, weights, norm, out, n)
