"""Is this faster? Verdicts over two sets of measurements.

All arithmetic is on logarithms of rates, so that "5 % slower" means the same in both directions. Three conditions, and
"faster" or "slower" needs all of them:

* a rank test (signed ranks for pairs, Mann-Whitney's U otherwise, exact for few runs) with p < ALPHA, which alone
  bounds false alarms, whatever the distribution;
* a 95 % interval of the ratio that leaves out 1: a bootstrap over runs, never narrower than what the noise floor gives;
* a ratio beyond the threshold.

The noise floor is how much runs of one configuration on one host differ: the von Neumann estimate, half the mean square
of successive differences, so that a slow drift of the host does not count as noise and a step counts once.
The ranks of pairs are capped (Winsorized Wilcoxon scores): all differences above the median count alike, so that a pair
with a hiccup of the host, the largest difference of all and often of the wrong sign, counts no more than many others.
With one run a side no test over runs exists: the floor is then required, with 99.95 % (Student's t with its degrees of
freedom). Necessary and never sufficient are a rank test over the intervals inside the runs, and that the best
quarter of each run shows the change, too.

Sources: B. Efron, R. Tibshirani, An Introduction to the Bootstrap, chapter 13 (percentile interval); Annals of
Mathematical Statistics: J. Hodges, E. Lehmann, 34 (1963) 598 (the centre), J. von Neumann, 12 (1941) 367 (the floor);
T. Hettmansperger, J. McKean, Robust Nonparametric Statistical Methods, 1.8 (signed ranks with other scores).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
import numpy.typing as npt

F64 = npt.NDArray[np.float64]

#: Two-sided error of each test: of 200 comparisons of equal things one is called different, half of them "slower".
ALPHA = 0.005
CONFIDENCE = 0.95
#: Of two single runs only the floor speaks, and hosts have heavier tails than normal noise: this, and that the
#: difference must be wider than those seen before, keep false alarms at 1 % for noise of Student's t of 3 degrees.
SINGLE_CONFIDENCE = 0.9995
#: Nor may the difference lie within what each run says of itself: its 95 % interval, widened to 99.95 %.
UNSTABLE_FACTOR = 1.8
#: Below this many runs a side Mann-Whitney cannot reach ALPHA (6 and 6: 2 / 924), nor signed ranks below 9 pairs
#: (2 / 512).
FEWEST_RUNS = 6
FEWEST_PAIRS = 9
#: Ranks above this share of the pairs count as this one. Of 0.25, 0.35, 0.5, 0.75 and 1, with 14 to 24 pairs, one half
#: finds nearly the most where hosts have hiccups, and loses nothing where they have none.
RANK_CAP = 0.5
#: The p of up to so many pairs is exact; of more it is the normal approximation's.
MOST_EXACT = 60
#: Successive differences that a noise floor needs: with fewer the t quantile makes the interval useless.
FEWEST_FLOOR = 8
RESAMPLES = 1000
#: Differences held at once while resampling: 16 MiB.
MOST_VALUES = 1 << 21
SEED = 20_240_311

FASTER, SLOWER, SAME, INCONCLUSIVE = "faster", "slower", "same", "inconclusive"


@dataclass(frozen=True)
class NoiseFloor:
    """How much runs of one configuration differ.

    sd : standard deviation of the logarithm of one run's rate        dof : degrees of freedom of that estimate
    reach : the second largest difference of two successive runs, so that one step in the past does not count
    """

    sd: float
    dof: int
    reach: float = 0.0

    @property
    def is_known(self) -> bool:
        return self.dof >= FEWEST_FLOOR


UNKNOWN_FLOOR = NoiseFloor(math.nan, 0)


@dataclass(frozen=True)
class Verdict:
    """What two sets of one metric say. `ratio` is new / base of the rates, `low` and `high` its interval (NaN: none).

    reason : why there is no conclusion, and what would give one; empty otherwise
    """

    verdict: str
    ratio: float
    low: float = math.nan
    high: float = math.nan
    p: float = math.nan
    reason: str = ""


@dataclass(frozen=True)
class Samples:
    """Rates of one side, higher is better; one per run, and those of the intervals inside a single run.

    half_width : of the 95 % interval that a single run gives for its own rate, as a share of it; 0 where unknown
    With `is_paired` the runs of both sides belong together one by one, in order.
    """

    runs: Sequence[float]
    intervals: Sequence[float] = ()
    half_width: float = 0.0


def noise_floor(series: Sequence[Sequence[float]]) -> NoiseFloor:
    """The floor from runs in order of time, one sequence per configuration; UNKNOWN_FLOOR where none was repeated."""
    steps = [np.diff(np.log(np.asarray(rates, float))) for rates in series if len(rates) > 1 and min(rates) > 0]
    if not steps:
        return UNKNOWN_FLOOR
    jumps = np.sort(np.abs(np.concatenate(steps)))
    squares = jumps**2
    # Successive differences share a run: n of them carry about 2 n / 3 degrees of freedom (von Neumann).
    return NoiseFloor(float(np.sqrt(squares.mean() / 2)), 2 * len(squares) // 3, float(jumps[-2:][0]))


def judge(base: Samples, new: Samples, threshold: float, floor: NoiseFloor, is_paired: bool = False) -> Verdict:
    """Verdict of `new` against `base`; `threshold` such as 0.03 is the least change that matters."""
    if not len(base.runs) or not len(new.runs):
        return Verdict(INCONCLUSIVE, math.nan, reason="one side has no valid run")
    if min(*base.runs, *new.runs) <= 0:
        return Verdict(INCONCLUSIVE, math.nan, reason="a rate of 0 was measured")
    log_base, log_new = np.log(np.asarray(base.runs, float)), np.log(np.asarray(new.runs, float))
    if is_paired:
        steps = log_new - log_base
        return _judge_runs(steps, None, threshold, floor)
    if len(log_base) == len(log_new) == 1:
        return _judge_single(base, new, threshold, floor)
    return _judge_runs(log_new, log_base, threshold, floor)


def _judge_runs(new: F64, base: F64 | None, threshold: float, floor: NoiseFloor) -> Verdict:
    """Runs against runs; without `base`, differences of pairs."""
    shift = float(_centre(new, base))
    fewest, have = (FEWEST_PAIRS, len(new)) if base is None else (FEWEST_RUNS, min(len(new), len(base)))
    if have < fewest:
        what = "pairs" if base is None else "runs a side"
        return Verdict(INCONCLUSIVE, math.exp(shift), reason=f"{have} {what}: needed {fewest}")
    low, high = _bootstrap(new, base)
    if floor.is_known:
        n_equivalent = 2 / len(new) if base is None else 1 / len(new) + 1 / len(base)
        half = _t_quantile(CONFIDENCE, floor.dof) * floor.sd * math.sqrt(n_equivalent)
        low, high = min(low, shift - half), max(high, shift + half)
    return _conclude(shift, low, high, _rank_test(new, base), threshold)


def _judge_single(base: Samples, new: Samples, threshold: float, floor: NoiseFloor) -> Verdict:
    shift = math.log(new.runs[0] / base.runs[0])
    if not floor.is_known:
        return Verdict(
            INCONCLUSIVE,
            math.exp(shift),
            reason=f"one run a side and no noise floor: needed {FEWEST_RUNS} runs a side, or "
            f"{FEWEST_FLOOR * 3 // 2 + 1} earlier runs of this configuration on this host in the log",
        )
    if min(len(base.intervals), len(new.intervals)) < FEWEST_RUNS:
        have = min(len(base.intervals), len(new.intervals))
        return Verdict(INCONCLUSIVE, math.exp(shift), reason=f"{have} intervals in a run: needed {FEWEST_RUNS}")
    own = UNSTABLE_FACTOR * math.hypot(base.half_width, new.half_width)
    if own >= 1:
        return Verdict(
            INCONCLUSIVE, math.exp(shift), reason="a run was UNSTABLE: its own interval is wider than its rate"
        )
    half = max(_t_quantile(SINGLE_CONFIDENCE, floor.dof) * floor.sd * math.sqrt(2), floor.reach, own)
    p = _rank_test(np.asarray(new.intervals, float), np.asarray(base.intervals, float))
    verdict = _conclude(shift, shift - half, shift + half, p, threshold)
    if verdict.verdict not in (FASTER, SLOWER):
        return verdict
    typical = _best_quarter(new.intervals) / _best_quarter(base.intervals)
    if abs(math.log(typical)) >= -math.log1p(-threshold) and (typical > 1) == (shift > 0):
        return verdict
    why = f"the best quarters of both runs have a ratio of {typical:.3f}: a part of one run was slow, more runs"
    return replace(verdict, verdict=INCONCLUSIVE, reason=why)


def _best_quarter(intervals: Sequence[float]) -> float:
    """The mean over the stretch of a quarter of the run in which it was highest: hiccups of the host leave it alone."""
    n = max(1, len(intervals) // 4)
    sums = np.concatenate([[0.0], np.cumsum(np.asarray(intervals, float))])
    return max(float(np.max(sums[n:] - sums[:-n])) / n, math.ulp(0.0))


def _conclude(shift: float, low: float, high: float, p: float, threshold: float) -> Verdict:
    ratio, bounds = math.exp(shift), (math.exp(low), math.exp(high))
    margin = -math.log1p(-threshold)
    if -margin < low and high < margin:
        return Verdict(SAME, ratio, *bounds, p)
    if p < ALPHA and (low > 0 or high < 0) and abs(shift) >= margin:
        return Verdict(FASTER if shift > 0 else SLOWER, ratio, *bounds, p)
    if p < ALPHA and (low > 0 or high < 0):
        why = f"a difference, but it may be on either side of the threshold of {100 * threshold:g} %: more runs"
    else:
        why = (
            f"the noise hides differences of up to {100 * max(abs(1 - bounds[0]), abs(bounds[1] - 1)):.1f} %: more runs"
        )
    return Verdict(INCONCLUSIVE, ratio, *bounds, p, why)


def _centre(new: F64, base: F64 | None) -> npt.NDArray[np.float64]:
    """Hodges-Lehmann shift along the last axis: the median of all differences (of all means of two, for pairs).

    As robust as the median against a run that went wrong, and nearly as sharp as the mean.
    """
    if base is None:
        first, second = np.triu_indices(new.shape[-1])
        return np.asarray(np.median((new[..., first] + new[..., second]) / 2, axis=-1))
    every = new[..., :, None] - base[..., None, :]
    return np.asarray(np.median(every.reshape(*every.shape[:-2], -1), axis=-1))


def _bootstrap(new: F64, base: F64 | None) -> tuple[float, float]:
    """Percentile interval of the shift over resampled runs."""
    rng = np.random.default_rng(SEED)
    size = len(new) ** 2 if base is None else len(new) * len(base)
    n_at_once = max(1, MOST_VALUES // size)
    parts = []
    for done in range(0, RESAMPLES, n_at_once):
        n = min(n_at_once, RESAMPLES - done)
        drawn = rng.choice(new, (n, len(new)))
        parts.append(_centre(drawn, None if base is None else rng.choice(base, (n, len(base)))))
    low, high = np.quantile(np.concatenate(parts), [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return float(low), float(high)


def _rank_test(new: F64, base: F64 | None) -> float:
    """Two-sided p; 1 where all values are equal."""
    from scipy import stats

    if base is None:
        return signed_ranks(new[new != 0])
    if np.ptp(np.concatenate([new, base])) == 0:
        return 1.0
    return float(stats.mannwhitneyu(new, base, alternative="two-sided").pvalue)


def signed_ranks(steps: F64) -> float:
    """Two-sided p of capped signed ranks: where both sides are alike a step is as likely to be positive as negative."""
    from scipy import stats

    n = len(steps)
    if not n:
        return 1.0
    cap = 2 * max(1, round(RANK_CAP * n))
    doubled = np.minimum(np.rint(2 * stats.rankdata(np.abs(steps))).astype(int), cap)  # ties have half ranks
    total = int(doubled.sum())
    positive = int(doubled[steps > 0].sum())
    lower = min(positive, total - positive)
    if n > MOST_EXACT:
        sd = math.sqrt(float((doubled.astype(float) ** 2).sum()) / 4)
        return min(1.0, 2 * float(stats.norm.cdf((lower + 0.5 - total / 2) / sd)))
    return min(1.0, 2 * float(_signed_sum_cdf(tuple(sorted(doubled.tolist())))[lower]))


@lru_cache(maxsize=64)
def _signed_sum_cdf(scores: tuple[int, ...]) -> F64:
    """(sum + 1,) P(sum of the scores whose fair coin shows heads <= k)."""
    density = np.ones(1)
    for score in scores:
        grown = np.zeros(len(density) + score)
        grown[: len(density)] += density / 2
        grown[score:] += density / 2
        density = grown
    return np.asarray(np.cumsum(density))


def _t_quantile(confidence: float, dof: int) -> float:
    from scipy import stats

    return float(stats.t.ppf((1 + confidence) / 2, dof))
