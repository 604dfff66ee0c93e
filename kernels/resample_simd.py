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

from kernels.address import array_at
from kernels.jit import Stage, inner
from kernels.job import (
    AT_ACROSS,
    AT_CONSTANTS,
    AT_DOWN,
    AT_LINE,
    AT_OFFSETS,
    AT_PAIRS,
    AT_RING,
    AT_TABLE,
    AT_WINDOWS,
    BOX_BOTTOM,
    BOX_TOP,
    CROP,
    HAS_VECTORS,
    JOB_SLOTS,
    KIND,
    MOST_PAIRS,
    N_GROUPS,
    NEEDED_RING,
    NEEDED_SLACK,
    ORIGIN,
    OUT,
    PLAN,
    PLAN_SLOTS,
    RING_BYTES,
    ROW_BYTES,
    SLACK,
)
from kernels.jpeg.frame import NEEDS_LOOPS, NEEDS_MEMORY, OK
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
    rows_written,
)
from kernels.simd import HAS_AVX512, U64, load_u64


@inner
def _power_of_two(n: int) -> int:
    size = 1
    while size < n:
        size *= 2
    return size


@Stage
def resample_stage(slots: int) -> int:
    """Resize, crop and normalise as the job says (`kernels.job`).

    NEEDS_LOOPS where the plain loops must do it: a plan without vectors, or too little memory behind the pixels.
    NEEDS_MEMORY leaves in the job how many bytes the ring must have.
    """
    job = array_at(slots, (JOB_SLOTS,), np.int64)
    plan = array_at(job[PLAN], (PLAN_SLOTS,), np.int64)
    if plan[HAS_VECTORS] == 0 or job[SLACK] < plan[NEEDED_SLACK]:
        return NEEDS_LOOPS
    n_slots = _power_of_two(plan[MOST_PAIRS])
    job[NEEDED_RING] = n_slots * 12 * job[CROP]
    if job[RING_BYTES] < job[NEEDED_RING]:
        return NEEDS_MEMORY
    _resample(job, plan, U64(n_slots - 1))
    return OK


@inner
def _resample(job: Any, plan: Any, mask: Any) -> None:
    n, slot_bytes = job[CROP], U64(12 * job[CROP])
    n_rows = plan[BOX_BOTTOM] - plan[BOX_TOP]
    ring, heads = U64(job[AT_RING]), U64(plan[AT_PAIRS])
    is_straight = job[KIND] == F32_NCHW and is_by_vectors(job[KIND], U64(job[AT_CONSTANTS]))
    done = 0
    for y in range(n):
        head = heads + U64(24 * y)
        first, count = load_u64(head), load_u64(head + U64(8))
        weights = U64(plan[AT_DOWN]) + U64(4) * load_u64(head + U64(16))
        while done < np.int64(first + count):
            row0 = U64(job[ORIGIN] + 2 * done * job[ROW_BYTES])
            row1 = U64(job[ORIGIN] + min(2 * done + 1, n_rows - 1) * job[ROW_BYTES])
            _row_pair(plan, row0, row1, U64(n), ring + (U64(done) & mask) * slot_bytes)
            done += 1
        if is_straight:
            for c in range(3):
                _planar_row(
                    ring + U64(4 * n * c), first, count, mask, slot_bytes, weights, U64(job[AT_CONSTANTS] + 4 * c),
                    U64(job[OUT] + 4 * n * (c * n + y)), U64(n),
                )  # fmt: skip
        else:
            packed = U64(job[AT_LINE])
            if count == U64(2):
                packed_2(ring, first, count, mask, slot_bytes, weights, packed, U64(n))
            else:
                packed_any(ring, first, count, mask, slot_bytes, weights, packed, U64(n))
            constants, table = U64(job[AT_CONSTANTS]), U64(job[AT_TABLE])
            normalise_pixels(packed, n, y * n, n * n, job[KIND], constants, table, U64(job[OUT]))
    rows_written()


@inner
def _row_pair(plan: Any, row0: Any, row1: Any, n: Any, slot: Any) -> None:
    """The horizontal pass of two rows, into a slot of the ring."""
    groups, windows, across = U64(plan[N_GROUPS]), U64(plan[AT_WINDOWS]), U64(plan[AT_ACROSS])
    places = U64(plan[AT_OFFSETS])
    if HAS_AVX512:  # known when it compiles: only one of the two is
        if windows != U64(0) and groups == U64(1):
            horizontal_4_taps(row0, row1, n, places, windows, slot)
        elif windows != U64(0):
            horizontal_8_taps(row0, row1, n, places, windows, slot)
        else:
            horizontal_any(row0, row1, n, groups, places, across, slot)
    elif groups == U64(1):
        horizontal_1(row0, row1, n, groups, places, across, slot)
    elif groups == U64(2):
        horizontal_2(row0, row1, n, groups, places, across, slot)
    else:
        horizontal_any(row0, row1, n, groups, places, across, slot)


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
