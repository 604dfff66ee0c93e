"""What a sweep shows: the best trial with its interval, which ones are the same, and what the noise hides.

The noise is pooled over all trials that were repeated: the standard deviation of the logarithm of a run, with as many
degrees of freedom as there were repeats. Two trials are the same unless their medians differ by more than its t
interval.
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from engine.sweep.objective import Objective
from engine.sweep.search import cost_of
from engine.sweep.space import TUNABLE
from engine.sweep.trials import OK, Trial

CONFIDENCE = 0.95


@dataclass(frozen=True)
class Finding:
    """The result. `ranking` best first, all that have a number; `same` the trials that cannot be told from the best.

    noise : standard deviation of the logarithm of one run, NaN where nothing was repeated
    visible : the least relative difference to the best that could be seen, NaN likewise
    """

    best: Trial | None
    low: float
    high: float
    ranking: list[Trial]
    same: list[Trial]
    cheapest: Trial | None
    noise: float
    visible: float


def analyse(trials: Sequence[Trial]) -> Finding:
    """Judge the trials of a sweep."""
    usable = [trial for trial in trials if trial.values and trial.status == OK]
    # A trial that was measured more often is surer: among those without all repeats none is called the best.
    most = max((len(trial.values) for trial in usable), default=0)
    ranking = sorted((t for t in trials if t.value is not None), key=lambda t: -(t.value or 0.0))
    finalists = [trial for trial in usable if len(trial.values) == most]
    if not finalists:
        return Finding(None, math.nan, math.nan, ranking, [], None, math.nan, math.nan)
    best = max(finalists, key=lambda trial: trial.value or 0.0)
    noise, dof = pooled_noise(usable)
    t = _t_quantile(dof) if dof else math.nan
    half = t * noise / math.sqrt(most)
    centre = best.value or 0.0
    same = [trial for trial in usable if _is_same(trial, best, t * noise)] if dof else [best]
    cheapest = min(same, key=lambda trial: (cost_of(trial.params), -(trial.value or 0.0)))
    visible = math.expm1(t * noise * math.sqrt(2 / most)) if dof else math.nan
    return Finding(best, centre * math.exp(-half), centre * math.exp(half), ranking, same, cheapest, noise, visible)


def pooled_noise(trials: Sequence[Trial]) -> tuple[float, int]:
    """(standard deviation of the logarithm of a run, degrees of freedom), over the trials that were repeated."""
    squares, dof = 0.0, 0
    for trial in trials:
        logs = np.log(trial.values)
        squares += float(((logs - logs.mean()) ** 2).sum())
        dof += len(logs) - 1
    return (math.sqrt(squares / dof), dof) if dof else (math.nan, 0)


def _is_same(trial: Trial, best: Trial, reach: float) -> bool:
    distance = math.log((best.value or 0.0) / (trial.value or 1.0))
    return distance <= reach * math.sqrt(1 / len(trial.values) + 1 / len(best.values))


def _t_quantile(dof: int) -> float:
    from scipy import stats

    return float(stats.t.ppf((1 + CONFIDENCE) / 2, dof))


def text_of(finding: Finding, objective: Objective) -> str:
    """For a terminal of 80 columns: the table, the best, what is the same, what the noise hides."""
    lines = [f"{'':<2}{'combination':<44} {objective.name[:16]:>16}  runs"]
    same = {trial.key for trial in finding.same}
    for trial in finding.ranking:
        mark = "*" if finding.best is not None and trial.key == finding.best.key else "=" if trial.key in same else ""
        status = "" if trial.status == OK else f" {trial.status}"
        lines.append(f"{mark:<2}{trial.key:<44} {trial.value:16.1f}  {len(trial.runs)}{status}")
    return "\n".join([*lines, *conclusions(finding, objective)])


def conclusions(finding: Finding, objective: Objective) -> list[str]:
    """What may be said, one sentence each."""
    if finding.best is None:
        return ["no trial gave a result: nothing can be said"]
    best, unit = finding.best, objective.unit
    if math.isnan(finding.noise):
        return [
            f"best: {best.key}, {best.value:.1f} {unit}",
            "nothing was repeated: the noise is not known, other combinations may be as good; give --repeats 3",
        ]
    lines = [f"best: {best.key}, {best.value:.1f} {unit} (95 %: {finding.low:.1f} to {finding.high:.1f})"]
    others = [trial for trial in finding.same if trial.key != best.key]
    if others:
        hidden = (
            f"differences below {100 * finding.visible:.1f} %"
            if finding.visible < 1
            else "whatever differences there are"
        )
        lines.append(
            f"the noise ({100 * finding.noise:.2f} % a run) hides {hidden}: "
            f"{len(others)} other{'s' if len(others) > 1 else ''} cannot be told from the best"
        )
    else:
        lines.append(
            f"no other combination comes as near as {100 * finding.visible:.1f} %, which the noise "
            f"({100 * finding.noise:.2f} % a run) would hide"
        )
    if finding.cheapest is not None and finding.cheapest.key != best.key:
        lines.append(f"the same, but cheaper: {finding.cheapest.key}, {finding.cheapest.value:.1f} {unit}")
    return lines


def csv_of(trials: Sequence[Trial], finding: Finding) -> str:
    """One row per trial in order of their first run."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    names = [name for name in TUNABLE if any(name in trial.params for trial in trials)]
    writer.writerow([*names, "value", "runs", "values", "status", "is_best", "is_same"])
    same = {trial.key for trial in finding.same}
    for trial in trials:
        value = "" if trial.value is None else trial.value
        is_best = finding.best is not None and trial.key == finding.best.key
        values = " ".join(f"{v:.6g}" for v in trial.values)
        row = [value, len(trial.runs), values, trial.status, is_best, trial.key in same]
        writer.writerow([*(trial.params.get(name, "") for name in names), *row])
    return text.getvalue()
