"""Rank of the true label and the five best classes of each row of logits, without a sort."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from numba import types
from numba.core import cgutils

from kernels.jit import inner, njit
from kernels.simd import F32 as F32_TYPE
from kernels.simd import I32 as I32_TYPE
from kernels.simd import (
    I64,
    U64,
    call,
    const,
    const64,
    load,
    prefetch,
    shuffle,
    splat,
    store,
    trailing_zeros,
    vec,
    vector_op,
)

F32 = npt.NDArray[np.float32]
I32 = npt.NDArray[np.int32]

#: Floats compared by one vector, and by two, which one step of the loops over a row looks at.
LANES = 16
_PAIR = 2 * LANES
N_TOP = 5
alloca: Any = cgutils.alloca_once  # untyped in numba


def rank_rows(logits: F32, labels: I32, ranks: I32, top_ids: I32, top_logits: F32) -> None:
    """Write each row's rank of its true label and its five best classes.

    logits     : (N, C) float32, C-contiguous         labels : (N,) int32
    ranks      : (N,) int32, overwritten; 1 = right at first. Ties go to the lower class id.
                 0 where the row has a NaN or the label is not one of 0 .. C-1
    top_ids    : (N, 5) int32, overwritten, best first; NaN counts as the lowest; -1 beyond the C-th class
    top_logits : (N, 5) float32, overwritten; 0 beyond the C-th class

    Oracle: kernels.reference.rank_rows.
    """
    n = len(logits)
    if logits.ndim != 2 or not (len(labels) == len(ranks) == len(top_ids) == len(top_logits) == n):
        raise ValueError("rank_rows needs logits (N, C) and labels, ranks, top_ids, top_logits of N rows each")
    if top_ids.shape[1] != N_TOP or top_logits.shape[1] != N_TOP:
        raise ValueError(f"rank_rows needs top_ids and top_logits of {N_TOP} columns")
    _rank_rows(logits, labels, ranks, top_ids, top_logits)


@njit
def _rank_rows(logits: F32, labels: I32, ranks: I32, top_ids: I32, top_logits: F32) -> None:
    threshold = np.zeros(1, np.float32)
    for i in range(logits.shape[0]):
        row, label = logits[i], np.int64(labels[i])
        is_class = 0 <= label < row.shape[0]
        n_greater, has_nan = _look(row, label if is_class else 0, threshold)
        ranks[i] = 1 + n_greater + _n_equal_before(row, label) if is_class and not has_nan else 0
        _top(row, has_nan, threshold, top_ids[i], top_logits[i])


def _greater(b: Any, x: Any, y: Any) -> Any:
    return b.select(b.fcmp_ordered(">", x, y), x, y)


def _fifth(b: Any, floats: Any) -> Any:
    """The fifth greatest of 16 floats: each is compared with all others at once, without a branch."""
    n_not_less = const(1, LANES)
    for turn in range(1, LANES):
        other = shuffle(b, floats, floats, [(lane + turn) % LANES for lane in range(LANES)])
        n_not_less = b.sub(n_not_less, b.sext(b.fcmp_ordered(">=", other, floats), n_not_less.type))
    is_low = b.icmp_signed(">=", n_not_less, const(N_TOP, LANES))
    low = b.select(is_low, floats, const(float("-inf"), LANES, F32_TYPE))
    return call(b, f"llvm.vector.reduce.fmax.v{LANES}f32", F32_TYPE, low)


@vector_op(4, types.uint64)
def _look_at_pairs(b: Any, row: Any, n_pairs: Any, logit: Any, threshold: Any) -> Any:
    """How many of ``32 * n_pairs`` floats, of one pair at least, are above the one at `logit`; + 2**32 with a NaN.

    Writes to `threshold` the fifth greatest of each lane's greatest: five of the floats are not below it, and if the
    logits are in no order seldom more than seven. One pass over the row, two sums of each kind against the latency.
    """
    kind, zero = vec(F32_TYPE, LANES), const(0, LANES)
    value = splat(b, load(b, logit, F32_TYPE), LANES)
    counts, most = ([alloca(b, a.type) for _ in range(2)] for a in (zero, value))
    nans = alloca(b, zero.type)
    for slot in (*counts, nans):
        b.store(zero, slot)
    for slot in most:
        b.store(load(b, row, kind), slot)
    with cgutils.for_range(b, n_pairs) as loop:
        pair = b.add(row, b.mul(loop.index, const64(8 * LANES)))
        both = [load(b, pair, kind, 4 * LANES * i) for i in range(2)]
        prefetch(b, pair)
        prefetch(b, pair, 4 * LANES)
        for floats, count, greatest in zip(both, counts, most, strict=True):
            b.store(b.sub(b.load(count), b.sext(b.fcmp_ordered(">", floats, value), zero.type)), count)
            b.store(_greater(b, floats, b.load(greatest)), greatest)
        b.store(b.or_(b.load(nans), b.sext(b.fcmp_unordered("uno", *both), zero.type)), nans)
    store(b, _fifth(b, _greater(b, *(b.load(slot) for slot in most))), threshold)
    n_above = call(b, f"llvm.vector.reduce.add.v{LANES}i32", I32_TYPE, b.add(*(b.load(slot) for slot in counts)))
    any_nan = call(b, f"llvm.vector.reduce.or.v{LANES}i32", I32_TYPE, b.load(nans))  # all bits, or none
    return b.or_(b.zext(n_above, I64), b.shl(b.and_(b.zext(any_nan, I64), const64(1)), const64(32)))


@vector_op(3, types.int64)
def _count_equal(b: Any, row: Any, n_vectors: Any, logit: Any) -> Any:
    """How many of ``16 * n_vectors`` floats equal the float at `logit`."""
    value, zero = splat(b, load(b, logit, F32_TYPE), LANES), const(0, LANES)
    count = alloca(b, zero.type)
    b.store(zero, count)
    with cgutils.for_range(b, n_vectors) as loop:
        floats = load(b, b.add(row, b.mul(loop.index, const64(4 * LANES))), value.type)
        b.store(b.sub(b.load(count), b.sext(b.fcmp_ordered("==", floats, value), zero.type)), count)
    return b.zext(call(b, f"llvm.vector.reduce.add.v{LANES}i32", I32_TYPE, b.load(count)), I64)


@vector_op(2, types.uint64)
def _which_not_below(b: Any, row: Any, threshold: Any) -> Any:
    """Bits of those of 32 floats that are not below the float at `threshold`."""
    value = splat(b, load(b, threshold, F32_TYPE), _PAIR)
    is_so = b.fcmp_ordered(">=", load(b, row, value.type), value)
    return b.zext(b.bitcast(is_so, I32_TYPE), I64)


@inner
def _look(row: F32, label: int, threshold: F32) -> Any:
    """Classes with a greater logit than `label` has, and whether one is NaN; see `_look_at_pairs` for `threshold`."""
    start, n_pairs = U64(row.ctypes.data), row.shape[0] // _PAIR
    n_greater, n_nan = 0, 0
    if n_pairs > 0:
        found = _look_at_pairs(start, U64(n_pairs), start + U64(4 * label), U64(threshold.ctypes.data))
        n_greater, n_nan = np.int64(found & U64(0xFFFFFFFF)), np.int64(found >> U64(32))
    for j in range(n_pairs * _PAIR, row.shape[0]):
        n_greater += row[j] > row[label]
        n_nan += row[j] != row[j]
    return n_greater, n_nan > 0


@inner
def _n_equal_before(row: F32, label: int) -> int:
    """Classes before `label` with the same logit."""
    start, n_vectors = U64(row.ctypes.data), label // LANES
    n_equal = _count_equal(start, U64(n_vectors), start + U64(4 * label))
    for j in range(n_vectors * LANES, label):
        n_equal += row[j] == row[label]
    return int(n_equal)


@inner
def _comes_before(a: Any, b: Any) -> bool:
    """a > b where NaN is below everything."""
    return bool(a > b or (b != b and a == a))


@inner
def _top(row: F32, has_nan: bool, threshold: F32, ids: I32, best: F32) -> None:
    """Sort in those that may be among the five best: what is not below the threshold, and all where a NaN spoils that.

    A row of 1,000 so has about six candidates, where going through it with the fifth so far had thirty: each costs
    branches that nobody predicts.
    """
    n_classes = row.shape[0]
    n_paired = 0 if has_nan else n_classes // _PAIR * _PAIR
    n_held = 0
    start, least = U64(row.ctypes.data), U64(threshold.ctypes.data)
    for first in range(0, n_paired, _PAIR):
        candidates = _which_not_below(start + U64(4 * first), least)
        while candidates != U64(0):
            j = first + np.int64(trailing_zeros(candidates))
            n_held = _insert(row[j], j, n_held, ids, best)
            candidates &= candidates - U64(1)
    for j in range(n_paired, n_classes):
        n_held = _insert(row[j], j, n_held, ids, best)
    for k in range(n_held, N_TOP):
        ids[k] = -1
        best[k] = 0.0


@inner
def _insert(logit: Any, class_id: int, n_held: int, ids: I32, best: F32) -> int:
    """Put a class in its place among the `n_held` best, after its equals; returns how many are held then."""
    if n_held == N_TOP and not _comes_before(logit, best[N_TOP - 1]):
        return n_held
    k = min(n_held, N_TOP - 1)
    while k > 0 and _comes_before(logit, best[k - 1]):
        best[k] = best[k - 1]
        ids[k] = ids[k - 1]
        k -= 1
    best[k] = logit
    ids[k] = class_id
    return min(n_held + 1, N_TOP)
