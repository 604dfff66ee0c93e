"""Rank of the true label and the five best classes of each row of logits, without a sort."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from llvmlite import ir
from numba import types
from numba.core import cgutils

from kernels.jit import inner, njit
from kernels.simd import F32 as F32_TYPE
from kernels.simd import (
    I1,
    I64,
    U64,
    call,
    const,
    const64,
    load,
    load_u32,
    prefetch,
    shuffle,
    splat,
    store,
    store_u32,
    trailing_zeros,
    vec,
    vector_op,
)
from kernels.simd import I32 as I32_TYPE

F32 = npt.NDArray[np.float32]
I32 = npt.NDArray[np.int32]

#: Floats compared by one vector, and by two, which one step of the loops over a row looks at.
LANES = 16
_PAIR = 2 * LANES
N_TOP = 5
#: Candidates that may be noted: see `_collect`.
_ROOM = 3 * _PAIR
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
    threshold, values, ids = np.zeros(1, np.float32), np.zeros(_ROOM, np.float32), np.zeros(_ROOM, np.int32)
    scratch = U64(threshold.ctypes.data), U64(values.ctypes.data), U64(ids.ctypes.data)
    for i in range(logits.shape[0]):
        row, label = logits[i], np.int64(labels[i])
        is_class = 0 <= label < row.shape[0]
        n_greater, has_nan = _look(row, label if is_class else 0, threshold)
        ranks[i] = 1 + n_greater + _n_equal_before(row, label) if is_class and not has_nan else 0
        n_held = 0
        if row.shape[0] >= _PAIR and not has_nan:
            n_held = _collect(U64(row.ctypes.data), row.shape[0], scratch)
        if 0 < n_held <= LANES:
            _best(scratch[1], scratch[2], U64(top_ids[i].ctypes.data), U64(top_logits[i].ctypes.data))
        else:
            _sort_in(row, top_ids[i], top_logits[i])


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


@vector_op(3, types.uint64)
def _pairs_not_below(b: Any, row: Any, n_pairs: Any, threshold: Any) -> Any:
    """Bits of those of up to 64 times 32 floats of which one is not below the float at `threshold`."""
    kind = vec(F32_TYPE, LANES)
    value = splat(b, load(b, threshold, F32_TYPE), LANES)
    bits = alloca(b, I64)
    b.store(const64(0), bits)
    with cgutils.for_range(b, n_pairs) as loop:
        pair = b.add(row, b.mul(loop.index, const64(8 * LANES)))
        most = _greater(b, *(load(b, pair, kind, 4 * LANES * i) for i in range(2)))
        lanes = b.bitcast(b.fcmp_ordered(">=", most, value), ir.IntType(LANES))
        is_any = b.zext(b.icmp_unsigned("!=", lanes, lanes.type(0)), I64)
        b.store(b.or_(b.load(bits), b.shl(is_any, loop.index)), bits)
    return b.load(bits)


@vector_op(2, types.uint64)
def _which_not_below(b: Any, row: Any, threshold: Any) -> Any:
    """Bits of those of 32 floats that are not below the float at `threshold`."""
    value = splat(b, load(b, threshold, F32_TYPE), _PAIR)
    is_so = b.fcmp_ordered(">=", load(b, row, value.type), value)
    return b.zext(b.bitcast(is_so, I32_TYPE), I64)


@vector_op(4)
def _best(b: Any, values: Any, ids: Any, top_ids: Any, top_logits: Any) -> None:
    """The five first of 16 floats by value, then by place: each is compared with all others at once."""
    floats = load(b, values, vec(F32_TYPE, LANES))
    place = const(0, LANES)
    for turn in range(1, LANES):
        lanes = [(lane + turn) % LANES for lane in range(LANES)]
        other = shuffle(b, floats, floats, lanes)
        is_earlier = ir.Constant(vec(I1, LANES), [int(lanes[lane] < lane) for lane in range(LANES)])
        is_first = b.and_(b.fcmp_ordered(">=", other, floats), is_earlier)
        is_first = b.or_(b.fcmp_ordered(">", other, floats), is_first)
        place = b.sub(place, b.sext(is_first, place.type))
    for k in range(N_TOP):
        is_here = b.bitcast(b.icmp_signed("==", place, const(k, LANES)), ir.IntType(LANES))
        at = b.shl(b.cttz(b.zext(is_here, I64), ir.Constant(I1, 1)), const64(2))
        store(b, load(b, b.add(ids, at), I32_TYPE), top_ids, 4 * k)
        store(b, load(b, b.add(values, at), F32_TYPE), top_logits, 4 * k)


@inner
def _collect(row: Any, n_classes: int, scratch: Any) -> int:
    """Values and ids, in order, of what is not below the threshold; behind them -inf. Returns how many; too many: > 16.

    Bounds: a pair adds at most 32 to at most 16, the rest of a row at most 31: `_ROOM` is enough.
    """
    threshold, values, ids = scratch
    _fill_low(values)
    n_pairs, n = n_classes // _PAIR, U64(0)
    for first in range(0, n_pairs, 64):
        start = row + U64(4 * _PAIR * first)
        pairs = _pairs_not_below(start, U64(min(64, n_pairs - first)), threshold)
        while pairs != U64(0) and n <= U64(LANES):
            pair = trailing_zeros(pairs)
            pairs &= pairs - U64(1)
            place = start + pair * U64(4 * _PAIR)
            found = _which_not_below(place, threshold)
            while found != U64(0):
                lane = trailing_zeros(found)
                found &= found - U64(1)
                store_u32(values + U64(4) * n, load_u32(place + U64(4) * lane))
                store_u32(ids + U64(4) * n, U64(_PAIR) * (U64(first) + pair) + lane)
                n += U64(1)
    for j in range(n_pairs * _PAIR, n_classes):
        n += _append_not_below(row + U64(4 * j), U64(j), threshold, values + U64(4) * n, ids + U64(4) * n)
    return int(n)


@vector_op(1)
def _fill_low(b: Any, values: Any) -> None:
    store(b, const(float("-inf"), LANES, F32_TYPE), values)


@vector_op(5, types.uint64)
def _append_not_below(b: Any, place: Any, class_id: Any, threshold: Any, value: Any, slot: Any) -> Any:
    """Write a float and its class; 1 if it counts, or else it becomes -inf and the next one takes its slot."""
    logit, least = load(b, place, F32_TYPE), load(b, threshold, F32_TYPE)
    counts = b.fcmp_ordered(">=", logit, least)
    store(b, b.select(counts, logit, ir.Constant(F32_TYPE, float("-inf"))), value)
    store(b, b.trunc(class_id, I32_TYPE), slot)
    return b.zext(counts, I64)


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
def _sort_in(row: F32, ids: I32, best: F32) -> None:
    """The five best one by one: short rows, rows with a NaN, and those with more than 16 candidates."""
    n_held = 0
    for j in range(row.shape[0]):
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
