"""Ranks and top-5 against a stable sort."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kernels import reference
from kernels.rank import rank_rows


def both(logits: np.ndarray, labels: np.ndarray) -> tuple[list[np.ndarray], list[np.ndarray]]:
    n = len(logits)
    results = []
    for function in (rank_rows, reference.rank_rows):
        out = [np.full(n, 77, np.int32), np.full((n, 5), 77, np.int32), np.full((n, 5), 77, np.float32)]
        function(logits, labels, *out)
        results.append(out)
    return results[0], results[1]


def assert_same(logits: np.ndarray, labels: np.ndarray) -> None:
    got, expected = both(logits, labels)
    for a, b in zip(got, expected, strict=True):
        assert np.array_equal(a, b, equal_nan=a.dtype == np.float32)


_value = st.sampled_from([0.0, -0.0, 1.0, 2.0, -5.5, 3e38, float("inf"), float("-inf"), float("nan")])


@settings(max_examples=150, deadline=None)
@given(rows=st.integers(1, 12).flatmap(lambda c: st.lists(st.lists(_value, min_size=c, max_size=c), min_size=1)))
def test_ties_infinities_and_nan_rank_as_a_stable_sort_does(rows: list[list[float]]) -> None:
    logits = np.array(rows, np.float32)
    labels = (np.arange(len(rows)) % (logits.shape[1] + 2) - 1).astype(np.int32)  # -1 and C are no classes
    assert_same(logits, labels)


@pytest.mark.parametrize("n_classes", [5, 31, 32, 63, 64, 65, 1000, 1001, 5000])
@pytest.mark.parametrize("levels", [3, 10**6])
def test_rows_longer_than_a_block_rank_as_a_stable_sort_does(n_classes: int, levels: int) -> None:
    rng = np.random.default_rng(n_classes)
    logits = rng.integers(-levels, levels, (40, n_classes)).astype(np.float32)
    logits[3, n_classes // 2] = np.nan
    logits[4] = -np.inf
    assert_same(logits, rng.integers(0, n_classes, 40).astype(np.int32))


def test_the_first_of_two_equal_classes_wins() -> None:
    (ranks, top_ids, _), _ = both(np.array([[1, 9, 9, 0]], np.float32), np.array([2], np.int32))
    assert ranks.tolist() == [2]
    assert top_ids.tolist() == [[1, 2, 0, 3, -1]]


def test_arrays_of_different_lengths_are_a_value_error() -> None:
    logits, short = np.zeros((2, 8), np.float32), np.zeros(1, np.int32)
    with pytest.raises(ValueError, match="N rows"):
        rank_rows(logits, short, short, np.zeros((2, 5), np.int32), np.zeros((2, 5), np.float32))
