"""Batch means on series whose rate is known."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from engine.stability import FEWEST_BATCHES, rate_interval

I64 = npt.NDArray[np.int64]
PER_RESULT = 16
STEP_NS = 20e6
RATE = PER_RESULT / 0.02


def series(gaps: npt.NDArray[np.float64]) -> tuple[I64, I64]:
    """Results of 16 images, `gaps` x 20 ms apart."""
    return np.full(len(gaps), PER_RESULT), (np.cumsum(gaps) * STEP_NS).astype(np.int64)


def independent(rng: np.random.Generator) -> npt.NDArray[np.float64]:
    return rng.gamma(4, 1 / 4, 400)


def correlated(rng: np.random.Generator) -> npt.NDArray[np.float64]:
    """First-order autoregressive, coefficient 0.7: neighbouring batches are slow together."""
    gaps, noise = np.ones(600), rng.normal(0, 0.07, 600)
    for i in range(1, 600):
        gaps[i] = 1 + 0.7 * (gaps[i - 1] - 1) + noise[i]
    return np.maximum(gaps, 0.1)


@pytest.mark.parametrize("draw", [independent, correlated])
def test_the_interval_holds_the_true_rate_in_about_95_of_100_series(draw: object) -> None:
    rng = np.random.default_rng(20240607)
    n_held = 0
    for _ in range(300):
        interval = rate_interval(*series(draw(rng)))  # type: ignore[operator]
        assert interval is not None
        n_held += interval.low <= RATE <= interval.high
    assert 0.88 <= n_held / 300 <= 0.99


def test_correlated_results_are_joined_until_they_are_independent() -> None:
    rng = np.random.default_rng(3)
    joined = [rate_interval(*series(correlated(rng))) for _ in range(50)]
    apart = [rate_interval(*series(independent(rng))) for _ in range(50)]
    assert np.median([i.n_batches for i in joined if i]) <= 100
    assert np.median([i.n_batches for i in apart if i]) >= 200


def test_results_at_regular_times_have_a_narrow_interval_though_intervals_cut_them_unevenly() -> None:
    """A result each 24.1 ms, looked at in intervals of 20 ms: 16 images or none."""
    times = np.arange(400) * 24.1e6
    whole = (times // STEP_NS).astype(np.int64)
    kept = np.append(np.flatnonzero(np.diff(whole)), 399)
    counts = np.diff(np.append(-1, kept)) * PER_RESULT
    interval = rate_interval(counts, times[kept].astype(np.int64))
    assert interval is not None
    assert interval.rate == pytest.approx(PER_RESULT / 24.1e-3)
    assert interval.width < 1e-3
    assert interval.is_stable


def test_a_rate_that_drifts_is_not_stable() -> None:
    """A chip that gets hot: from 10 % above the mean to 10 % below."""
    interval = rate_interval(*series(np.linspace(0.9, 1.1, 500)))
    assert interval is not None
    assert not interval.is_stable


def test_too_few_results_have_no_interval() -> None:
    gaps = np.ones(FEWEST_BATCHES)
    assert rate_interval(*series(gaps)) is None
    assert rate_interval(*series(np.ones(FEWEST_BATCHES + 1))) is not None
    assert rate_interval(np.zeros(0, np.int64), np.zeros(0, np.int64)) is None
