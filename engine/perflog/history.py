"""Change points: where in a log the rate of a configuration changed for good.

PELT (ruptures) on the logarithms proposes them; each is kept only if the runs before and after it, up to the next one,
differ by a rank test and by more than the threshold. The cost of a change is the BIC's, 3 log(n) times the noise, which
comes from successive differences, so a step does not hide itself. Source: R. Killick et al., JASA 107 (2012) 1590.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from engine.perflog.fingerprint import lookup
from engine.perflog.log import series_key, why_invalid
from engine.perflog.metrics import Metric
from engine.perflog.statistics import FASTER, FEWEST_RUNS, SLOWER, UNKNOWN_FLOOR, Samples, Verdict, judge

#: Median of the absolute value of a normal variable: what makes the noise estimate one standard deviation.
NORMAL_MEDIAN = 0.6745
#: Where all runs agree to the last digit the noise is taken to be this, one part in 10,000.
LEAST_NOISE = 1e-4


@dataclass(frozen=True)
class Change:
    """`first` is the first run (its number in the series) after the change."""

    first: int
    verdict: Verdict


@dataclass(frozen=True)
class Series:
    """Runs of one configuration on one host, in order of time."""

    key: str
    entries: list[Mapping[str, Any]]
    rates: list[float]
    changes: list[Change]


def series_of(entries: Sequence[Mapping[str, Any]], metric: Metric, threshold: float) -> list[Series]:
    """All series with their changes, the one with the newest run first."""
    grouped: dict[str, list[Mapping[str, Any]]] = {}
    for entry in entries:
        if metric.rate(entry) is not None and not why_invalid(entry):
            key = series_key(entry)
            grouped[key] = [*grouped.pop(key, []), entry]
    found = []
    for key, members in grouped.items():
        rates = [rate for entry in members if (rate := metric.rate(entry)) is not None]
        found.append(Series(key, members, rates, find_changes(rates, threshold)))
    return found[::-1]


def find_changes(rates: Sequence[float], threshold: float) -> list[Change]:
    """Changes for good: at least `FEWEST_RUNS` runs before and after each."""
    if len(rates) < 2 * FEWEST_RUNS:
        return []
    bounds = [0, *_propose(np.log(np.asarray(rates, float))), len(rates)]
    while True:
        judged = [
            (b, judge(Samples(rates[a:b]), Samples(rates[b:c]), threshold, UNKNOWN_FLOOR))
            for a, b, c in zip(bounds, bounds[1:], bounds[2:], strict=False)
        ]
        weak = [(abs(np.log(v.ratio)), b) for b, v in judged if v.verdict not in (FASTER, SLOWER)]
        if not weak:
            return [Change(b, verdict) for b, verdict in judged]
        bounds.remove(min(weak)[1])  # its neighbours are judged again over the longer stretch


def _propose(logs: npt.NDArray[np.float64]) -> list[int]:
    import ruptures

    noise = max(float(np.median(np.abs(np.diff(logs)))) / NORMAL_MEDIAN / np.sqrt(2), LEAST_NOISE)
    pelt = ruptures.Pelt(model="l2", min_size=FEWEST_RUNS, jump=1).fit(logs[:, None])
    return [int(point) for point in pelt.predict(pen=3 * np.log(len(logs)) * noise**2)[:-1]]


def history_lines(series: Sequence[Series], metric: Metric) -> list[str]:
    """Each series with its changes, for a terminal."""
    lines = []
    for one in series:
        first, last = one.entries[0], one.entries[-1]
        config = last["config"]
        title = f"{lookup(last, 'model.name')} {config.get('backend')} batch {config.get('batch')}"
        lines.append(
            f"{title}: {len(one.entries)} run{'s' * (len(one.entries) > 1)}, {first['at'][:10]} to {last['at'][:10]}"
        )
        stretches = [0, *(change.first for change in one.changes), len(one.rates)]
        for number, (a, b) in enumerate(pairwise(stretches)):
            level = float(np.median([metric.value(entry) or np.nan for entry in one.entries[a:b]]))
            what = "" if number == 0 else f"  {one.changes[number - 1].verdict.verdict} {_change(one, number - 1)}"
            lines.append(f"  {b - a:4d} run{'s' if b - a > 1 else ' '} at {level:9.5g} {metric.unit}{what}")
        if not one.changes:
            lines.append(f"       no change found (needs {FEWEST_RUNS} runs before and after it)")
    return lines or [f"no run has {metric.title}"]


def _change(series: Series, number: int) -> str:
    change = series.changes[number]
    before, after = series.entries[change.first - 1], series.entries[change.first]
    revisions = [str(lookup(e, "environment.engine_git.revision") or "")[:9] or "unknown" for e in (before, after)]
    return f"{100 * (change.verdict.ratio - 1):+.1f} % at {after['id']} ({revisions[0]} -> {revisions[1]})"
