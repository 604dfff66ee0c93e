"""The statistics of counts: intervals of a share, of a paired difference, and McNemar's test. Standard library only."""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction
from statistics import NormalDist

CONFIDENCE = 0.95


@dataclass(frozen=True)
class Interval:
    """A two-sided confidence interval, as shares of 1."""

    low: float
    high: float

    @property
    def half_width(self) -> float:
        return (self.high - self.low) / 2


def quantile(confidence: float) -> float:
    """The normal distribution's, two-sided: 1.95996 for 0.95."""
    return NormalDist().inv_cdf(0.5 + confidence / 2)


def wilson(n_right: float, n: int, confidence: float = CONFIDENCE) -> Interval:
    """Wilson's score interval of `n_right` of `n` (E. B. Wilson, JASA 22, 1927). (0, 1) where `n` is 0."""
    if n == 0:
        return Interval(0.0, 1.0)
    z2 = quantile(confidence) ** 2
    share = n_right / n
    centre = (share + z2 / (2 * n)) / (1 + z2 / n)
    half = math.sqrt(z2 * (share * (1 - share) / n + z2 / (4 * n * n))) / (1 + z2 / n)
    low = max(0.0, centre - half) if n_right > 0 else 0.0  # exact at the ends, where rounding would cut the share off
    return Interval(low, min(1.0, centre + half) if n_right < n else 1.0)


def images_for(share: float, half_width: float, confidence: float = CONFIDENCE) -> int:
    """The fewest images whose Wilson interval around `share` is no wider than +- `half_width`."""
    low, high = 1, 1
    while wilson(share * high, high, confidence).half_width > half_width:
        low, high = high, 2 * high
    while low < high:
        middle = (low + high) // 2
        if wilson(share * middle, middle, confidence).half_width > half_width:
            low = middle + 1
        else:
            high = middle
    return high


def paired_difference(n_gained: int, n_lost: int, n: int, confidence: float = CONFIDENCE) -> Interval:
    """Interval of (gained - lost) / n of `n` pairs: Wald's with half a pair added to each of the four cells.

    A. Agresti, Y. Min: Simple improved confidence intervals for comparing matched proportions, Stat. Med. 24, 2005.
    """
    z = quantile(confidence)
    total, gained, lost = n + 2, n_gained + 0.5, n_lost + 0.5
    centre = (gained - lost) / total
    half = z * math.sqrt(gained + lost - (gained - lost) ** 2 / total) / total
    return Interval(max(-1.0, centre - half), min(1.0, centre + half))


@dataclass(frozen=True)
class McNemar:
    """Two-sided p-values of 'gained and lost are equally likely'."""

    exact: float
    mid_p: float


def mcnemar(n_gained: int, n_lost: int) -> McNemar:
    """McNemar's test, exact (binomial) and mid-p, in exact integers.

    The mid-p value counts the observed table by half: the exact test is conservative (Fagerland, Lydersen, Laake, BMC
    Med. Res. Methodol. 13:91, 2013).
    """
    n, few = n_gained + n_lost, min(n_gained, n_lost)
    if n == 0:
        return McNemar(1.0, 1.0)
    term = tail = 1
    for i in range(few):
        term = term * (n - i) // (i + 1)
        tail += term
    if n_gained == n_lost:
        return McNemar(1.0, float(1 - Fraction(term, 2 ** (n + 1))))
    return McNemar(float(Fraction(2 * tail, 2**n)), float(Fraction(2 * tail - term, 2**n)))
