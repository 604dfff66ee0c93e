"""How often are equal things called different, and how often is a 5 % slowdown found, by simulation?

Method: rates are drawn from a host that drifts (a random walk, half the noise a step), with three kinds of noise.
Judged are
* pairs: the default number, as `engine perf ab` judges them, equal ones and ones whose new side is 5 % slower;
* single runs, as `engine perf compare ID ID` judges them, by the noise floor of 30 earlier runs. Inside a run are 100
  intervals with a noise of 5 %; a hiccup halves the rate of successive intervals until the run has lost what it lost.
Seeds are fresh unless given. The last answer is in docs/perf.md.

What may not be concluded: anything about a host whose noise is of another kind; `bench.aa` counts on real runs.

usage: python -m bench.verdicts [--cases 2000] [--seed N]
"""

from __future__ import annotations

import secrets
from collections import Counter
from collections.abc import Callable

import click
import numpy as np
import numpy.typing as npt

from engine.perflog.ab import DEFAULT_PAIRS
from engine.perflog.compare import DEFAULT_THRESHOLD
from engine.perflog.statistics import FASTER, SLOWER, UNKNOWN_FLOOR, Samples, judge, noise_floor

F64 = npt.NDArray[np.float64]
#: Draws the logarithms of n rates, with a noise of sd.
Noise = Callable[[np.random.Generator, int, float], F64]
#: One run in so many has a hiccup, which costs so many times the noise in the mean.
ONE_IN, HICCUP_SDS = 20, 10
N_INTERVALS, INTERVAL_SD = 100, 0.05
N_EARLIER = 30


def normal(rng: np.random.Generator, n: int, sd: float) -> F64:
    """Normal noise."""
    return rng.normal(0, sd, n)


def heavy_tailed(rng: np.random.Generator, n: int, sd: float) -> F64:
    """Student's t with 3 degrees of freedom, scaled to `sd`."""
    return np.asarray(rng.standard_t(3, n) * sd / np.sqrt(3))


def losses(rng: np.random.Generator, n: int, sd: float) -> F64:
    """What hiccups cost each of n runs, as logarithms of the rate; most have none."""
    return np.asarray((rng.random(n) < 1 / ONE_IN) * rng.exponential(HICCUP_SDS * sd, n))


def hiccups(rng: np.random.Generator, n: int, sd: float) -> F64:
    """Normal noise, and one run in twenty is slowed by ten times the noise."""
    return rng.normal(0, sd, n) - losses(rng, n, sd)


NOISES = (normal, heavy_tailed, hiccups)


def judge_pairs(rng: np.random.Generator, noise: Noise, sd: float, slowdown: float) -> str:
    """The verdict over the default number of pairs."""
    drift = np.cumsum(rng.normal(0, sd / 2, DEFAULT_PAIRS))
    base = np.exp(drift + noise(rng, DEFAULT_PAIRS, sd))
    new = np.exp(drift + noise(rng, DEFAULT_PAIRS, sd)) * (1 - slowdown)
    sides = Samples(base.tolist()), Samples(new.tolist())
    return judge(*sides, DEFAULT_THRESHOLD, UNKNOWN_FLOOR, is_paired=True).verdict


def single_run(rng: np.random.Generator, noise: Noise, sd: float) -> Samples:
    """One run with its intervals."""
    calm = float(np.exp((normal if noise is hiccups else noise)(rng, 1, sd)[0]))
    loss = float(losses(rng, 1, sd)[0]) if noise is hiccups else 0.0
    intervals = calm * np.exp(rng.normal(0, INTERVAL_SD, N_INTERVALS))
    n_slow = min(round(2 * (1 - np.exp(-loss)) * N_INTERVALS), N_INTERVALS)
    first = int(rng.integers(0, N_INTERVALS - n_slow + 1))
    intervals[first : first + n_slow] /= 2
    return Samples([calm * float(np.exp(-loss))], intervals.tolist())


def judge_single(rng: np.random.Generator, noise: Noise, sd: float) -> str:
    """The verdict over two single runs of equal things."""
    floor = noise_floor([np.exp(noise(rng, N_EARLIER, sd)).tolist()])
    return judge(single_run(rng, noise, sd), single_run(rng, noise, sd), DEFAULT_THRESHOLD, floor).verdict


def alarms(verdicts: Counter[str]) -> int:
    """Equal things called different."""
    return verdicts[SLOWER] + verdicts[FASTER]


@click.command()
@click.option("--cases", default=2000, show_default=True)
@click.option("--seed", type=int, help="[default: a fresh one]")
def main(cases: int, seed: int | None) -> None:
    """A table for docs/perf.md."""
    seed = secrets.randbits(32) if seed is None else seed
    rng = np.random.default_rng(seed)
    click.echo(f"{DEFAULT_PAIRS} pairs, threshold {100 * DEFAULT_THRESHOLD:g} %, {cases} cases each, seed {seed}")
    click.echo(
        "| noise of a run | equal pairs called different, sd 2 % | sd 5 % | 5 % slowdown found, sd 2 % | single |"
    )
    click.echo("|---|---|---|---|---|")
    for noise in NOISES:
        calm = alarms(Counter(judge_pairs(rng, noise, 0.02, 0.0) for _ in range(cases)))
        noisy = alarms(Counter(judge_pairs(rng, noise, 0.05, 0.0) for _ in range(cases)))
        found = Counter(judge_pairs(rng, noise, 0.02, 0.05) for _ in range(cases))[SLOWER]
        single = alarms(Counter(judge_single(rng, noise, 0.03) for _ in range(cases)))
        click.echo(f"| {noise.__name__} | {calm} | {noisy} | {found} | {single} |")


if __name__ == "__main__":
    main()
