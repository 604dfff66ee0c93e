"""How sure a rate is: batch means over a series of results, and the 95 % interval of their mean.

Method: G. S. Fishman, "Grouping observations in digital simulation", Management Science 24 (1978): neighbouring
observations are joined, twice as many each time, until von Neumann's ratio no longer finds the joined ones dependent;
then they count as independent and Student's t gives the interval. Where they are still dependent when only
`FEWEST_BATCHES` are left, the variance of the mean is raised by (1 + r) / (1 - r), r being their correlation at lag 1.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from engine.stages_sums import NS_PER_S

#: B. Schmeiser, "Batch size effects in the analysis of simulation output", Operations Research 30 (1982): 10 to 30
#: batches; fewer make the interval wide, more do not make it much narrower.
FEWEST_BATCHES = 10
#: Two-sided test for dependence at 10 %.
DEPENDENT_Z = 1.645
#: A correlation above this says no more than that the series is far too short.
MOST_CORRELATED = 0.95
#: An interval wider than this, relative to the rate, is called unstable.
WIDEST_STABLE = 0.02

F64 = npt.NDArray[np.float64]
I64 = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Interval:
    """A rate and its 95 % interval, per second. n_batches : batch means that it was made from"""

    rate: float
    low: float
    high: float
    n_batches: int

    @property
    def width(self) -> float:
        """Relative to the rate."""
        return (self.high - self.low) / self.rate

    @property
    def is_stable(self) -> bool:
        return self.width <= WIDEST_STABLE


def rate_interval(counts: I64, times_ns: I64) -> Interval | None:
    """The rate of events, or None where there are too few for an interval.

    counts   : (n,) events that became known until each time, since the one before
    times_ns : (n,) ascending; the first one opens the series, and its events are not counted
    """
    rate = float(counts[1:].sum()) * NS_PER_S / float(times_ns[-1] - times_ns[0]) if len(counts) > 1 else 0.0
    n = len(counts) - 1
    size = 1
    while n // size >= FEWEST_BATCHES:
        off = _off(counts, times_ns, rate, size)
        if not _is_dependent(_correlation(off), len(off)):
            return _interval(rate, off, times_ns, 0.0)
        size *= 2
    if size == 1:
        return None
    off = _off(counts, times_ns, rate, n // FEWEST_BATCHES)
    return _interval(rate, off, times_ns, _correlation(off))


def _off(counts: I64, times_ns: I64, rate: float, size: int) -> F64:
    """(k,) how many events each batch of `size` observations had more than the rate says for its time.

    Batches have unlike durations (a result seldom comes when an interval ends), so the rate is a ratio of two sums, and
    these are its residuals; see W. G. Cochran, Sampling Techniques (1977), 6.4.
    """
    k = (len(counts) - 1) // size
    edges = len(counts) - 1 - size * np.arange(k, -1, -1)
    sums = np.add.reduceat(counts, edges[:-1] + 1)
    residuals: F64 = sums - rate / NS_PER_S * np.diff(times_ns[edges])
    return residuals


def _correlation(off: F64) -> float:
    """At lag 1, with von Neumann's correction for the two ends; 0 for a constant."""
    off = off - off.mean()
    squares = float(off @ off)
    if squares < 1e-9:
        return 0.0
    return float(off[:-1] @ off[1:] + (off[0] ** 2 + off[-1] ** 2) / 2) / squares


def _is_dependent(correlation: float, n: int) -> bool:
    return abs(correlation) > DEPENDENT_Z * float(np.sqrt((n - 2) / (n * n - 1)))


def _interval(rate: float, off: F64, times_ns: I64, correlation: float) -> Interval:
    from scipy.special import stdtrit

    k = len(off)
    correlation = min(max(correlation, 0.0), MOST_CORRELATED)
    deviation = float(off.std(ddof=1)) * float(np.sqrt(k * (1 + correlation) / (1 - correlation)))
    half = float(stdtrit(k - 1, 0.975)) * deviation * NS_PER_S / float(times_ns[-1] - times_ns[0])
    return Interval(rate, rate - half, rate + half, k)
