"""Rank of the true label and the five best classes of each row of logits, without a sort."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from kernels.jit import inner, njit

F32 = npt.NDArray[np.float32]
I32 = npt.NDArray[np.int32]

#: Classes that are compared with the fifth best at once. A block without a better one costs one vectorised count.
BLOCK = 64
N_TOP = 5


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


@inner
def _has_nan(row: F32) -> bool:
    n_nan = 0
    for j in range(row.shape[0]):
        n_nan += row[j] != row[j]
    return n_nan > 0


@inner
def _rank(row: F32, label: int) -> int:
    """1 + the classes that come before `label`; counting, so that LLVM vectorises it."""
    if label < 0 or label >= row.shape[0]:
        return 0
    logit = row[label]
    n_before = np.int32(0)
    for j in range(row.shape[0]):
        n_before += np.int32(row[j] > logit)
    for j in range(label):
        n_before += np.int32(row[j] == logit)
    return int(n_before) + 1


@inner
def _comes_before(a: Any, b: Any) -> bool:
    """a > b where NaN is below everything."""
    return bool(a > b or (b != b and a == a))


@inner
def _top(row: F32, has_nan: bool, ids: I32, best: F32) -> None:
    n_classes = row.shape[0]
    n_held = 0
    for start in range(0, n_classes, BLOCK):
        stop = min(start + BLOCK, n_classes)
        if start > 0 and not has_nan:  # then five are held, if there are five
            n_better = np.int32(0)
            for j in range(start, stop):
                n_better += np.int32(row[j] > best[N_TOP - 1])
            if n_better == 0:
                continue
        for j in range(start, stop):
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
