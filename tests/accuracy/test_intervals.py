"""Intervals and McNemar's test against brute force and published values."""

from __future__ import annotations

import itertools
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.accuracy.intervals import images_for, mcnemar, paired_difference, quantile, wilson


def binomial(n: int, k: int) -> float:
    return math.comb(n, k) / 2**n


@given(st.integers(0, 60), st.integers(0, 60))
def test_mcnemar_is_the_sum_over_all_tables_that_are_as_unlikely(gained: int, lost: int) -> None:
    n = gained + lost
    observed = min(gained, lost)
    as_far = sum(binomial(n, k) for k in range(n + 1) if min(k, n - k) <= observed)
    p = mcnemar(gained, lost)
    assert p.exact == pytest.approx(min(1.0, as_far), rel=1e-12)
    if gained != lost:
        assert p.mid_p == pytest.approx(as_far - binomial(n, observed), rel=1e-9)
    elif n:
        assert p.mid_p == pytest.approx(1 - binomial(n, observed) / 2)
    else:
        assert p.mid_p == 1.0


def test_mcnemar_of_published_tables() -> None:
    """Fagerland et al. 2013, table 1 (1 and 7 discordant pairs): 0.070 exact, 0.039 mid-p."""
    p = mcnemar(1, 7)
    assert (round(p.exact, 3), round(p.mid_p, 3)) == (0.070, 0.039)


@pytest.mark.parametrize("n", [1, 7, 160, 50_000])
def test_wilson_bounds_solve_the_score_equation(n: int) -> None:
    """Its definition: |share - p| = z sqrt(p (1 - p) / n) at both ends."""
    z = quantile(0.95)
    for right in {0, 1, n // 3, n // 2, n}:
        interval = wilson(right, n)
        for bound in (interval.low, interval.high):
            if 0 < bound < 1:
                assert abs(right / n - bound) == pytest.approx(
                    z * math.sqrt(bound * (1 - bound) / n), rel=1e-6, abs=1e-9
                )
        assert interval.low <= right / n <= interval.high


def test_the_known_widths_of_imagenet_samples() -> None:
    """+-0.355 points on 50,000 images at 79.3 %, 2.5 on 1,000, 3.55 on 500; paired with 1 % discordant +-0.09."""
    widths = [100 * wilson(0.793 * n, n).half_width for n in (50_000, 1_000, 500)]
    assert [round(width, 2) for width in widths] == [0.36, 2.51, 3.54]
    assert round(100 * paired_difference(250, 250, 50_000).half_width, 2) == 0.09


@pytest.mark.parametrize("share", [0.5, 0.79312, 0.999, 1.0])
def test_images_for_is_the_least_number(share: float) -> None:
    n = images_for(share, 0.0079)
    assert wilson(share * n, n).half_width <= 0.0079 < wilson(share * (n - 1), n - 1).half_width


def test_the_paired_interval_covers_at_least_nearly_as_often_as_it_says() -> None:
    """Exact coverage over all tables of 60 pairs, for a few true probabilities."""
    n = 60
    for up, down in ((0.02, 0.02), (0.1, 0.05), (0.2, 0.2)):
        covered = 0.0
        for gained, lost in itertools.product(range(n + 1), repeat=2):
            if gained + lost <= n:
                rest = n - gained - lost
                ways = math.factorial(n) // (math.factorial(gained) * math.factorial(lost) * math.factorial(rest))
                interval = paired_difference(gained, lost, n)
                if interval.low <= up - down <= interval.high:
                    covered += ways * up**gained * down**lost * (1 - up - down) ** rest
        assert 0.94 < covered <= 1.0
