"""Rank of the true label and the five best classes of each row of logits, without a sort."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from numba import types
from numba.core import cgutils

from kernels.jit import inner, njit
from kernels.simd import F32 as F32_TYPE
from kernels.simd import I16, I64, U64, call, const, const64, load, splat, trailing_zeros, vec, vector_op
from kernels.simd import I32 as I32_TYPE

F32 = npt.NDArray[np.float32]
I32 = npt.NDArray[np.int32]

#: Floats compared by one vector.
LANES = 16
N_TOP = 5
alloca_value: Any = cgutils.alloca_once_value  # untyped in numba


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
    for i in range(logits.shape[0]):
        row = logits[i]
        has_nan = _has_nan(row)
        ranks[i] = 0 if has_nan else _rank(row, labels[i])
        _top(row, has_nan, top_ids[i], top_logits[i])


def _counter(predicate: str) -> Any:
    def build(b: Any, row: Any, n_vectors: Any, logit: Any) -> Any:
        """How many of ``16 * n_vectors`` floats from the address `row` on compare so with the float at `logit`."""
        value = splat(b, load(b, logit, F32_TYPE), LANES)
        count = alloca_value(b, const(0, LANES))
        b.store(const(0, LANES), count)
        with cgutils.for_range(b, n_vectors) as loop:
            floats = load(b, b.add(row, b.mul(loop.index, const64(4 * LANES))), value.type)
            if predicate == "nan":
                is_so = b.fcmp_unordered("uno", floats, floats)
            else:
                is_so = b.fcmp_ordered(predicate, floats, value)
            b.store(b.sub(b.load(count), b.sext(is_so, vec(I32_TYPE, LANES))), count)
        return b.zext(call(b, f"llvm.vector.reduce.add.v{LANES}i32", I32_TYPE, b.load(count)), I64)

    return vector_op(3, types.int64)(build)


_count_nan, _count_greater, _count_equal = _counter("nan"), _counter(">"), _counter("==")


@vector_op(2, types.uint64)
def _which_greater(b: Any, row: Any, logit: Any) -> Any:
    """Bits of those of 16 floats that are greater than the float at `logit`."""
    value = splat(b, load(b, logit, F32_TYPE), LANES)
    is_greater = b.fcmp_ordered(">", load(b, row, value.type), value)
    return b.zext(b.bitcast(is_greater, I16), I64)


@inner
def _has_nan(row: F32) -> bool:
    n_vectors = row.shape[0] // LANES
    n_nan = _count_nan(U64(row.ctypes.data), U64(n_vectors), U64(row.ctypes.data))
    for j in range(n_vectors * LANES, row.shape[0]):
        n_nan += row[j] != row[j]
    return bool(n_nan > 0)


@inner
def _rank(row: F32, label: int) -> int:
    """1 + the classes that come before `label`."""
    if label < 0 or label >= row.shape[0]:
        return 0
    logit = row[label]
    start = U64(row.ctypes.data)
    place = start + U64(4 * label)
    n_vectors = row.shape[0] // LANES
    n_before = _count_greater(start, U64(n_vectors), place)
    for j in range(n_vectors * LANES, row.shape[0]):
        n_before += row[j] > logit
    n_vectors = label // LANES
    n_before += _count_equal(start, U64(n_vectors), place)
    for j in range(n_vectors * LANES, label):
        n_before += row[j] == logit
    return int(n_before) + 1


@inner
def _comes_before(a: Any, b: Any) -> bool:
    """a > b where NaN is below everything."""
    return bool(a > b or (b != b and a == a))


@inner
def _top(row: F32, has_nan: bool, ids: I32, best: F32) -> None:
    n_classes = row.shape[0]
    n_held = 0
    n_scalar = n_classes if has_nan else min(n_classes, LANES)
    for j in range(n_scalar):
        n_held = _insert(row[j], j, n_held, ids, best)
    start, fifth = U64(row.ctypes.data), U64(best.ctypes.data) + U64(4 * (N_TOP - 1))
    while n_scalar + LANES <= n_classes:  # five are held here: LANES came before
        better = _which_greater(start + U64(4 * n_scalar), fifth)
        while better != U64(0):
            j = n_scalar + np.int64(trailing_zeros(better))
            n_held = _insert(row[j], j, n_held, ids, best)
            better &= better - U64(1)
        n_scalar += LANES
    for j in range(n_scalar, n_classes):
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
