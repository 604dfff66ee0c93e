"""Runs a sweep: asks the search, measures, keeps, stops what cannot win, repeats what can."""

from __future__ import annotations

import math
import random
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from engine.errors import PerfError
from engine.perflog.log import why_invalid
from engine.perflog.metrics import number
from engine.sweep.objective import Objective
from engine.sweep.search import Score, Search
from engine.sweep.space import Params, key_of
from engine.sweep.trials import FAILED, OK, OVER, REJECTED, STOPPED, Run, Trial, TrialStore, trials_of

#: A trial this much below the best so far is not repeated: repeats differ by less on any host worth measuring on.
HOPELESS = 0.10
#: So many are repeated whatever they gave: on a busy host the best of the first round may be the luckiest.
FEWEST_FINALISTS = 3
#: A run is stopped when it takes this many times the time of the best one: it is then at least 29 % slower.
STOP_FACTOR = 1.4
#: Starting and ending the processes of a run may take this many times what it took the slowest before ...
START_FACTOR = 3.0
#: ... and at least this: a busy host starts processes slowly.
LEAST_START_S = 10.0
#: Trials that are repeated, at most: the best of the first round.
MOST_FINALISTS = 6
NS_PER_S = 1e9

#: Measures a combination: (params, should_stop) to the content of run.json. Raises PerfError where there is none.
Measure = Callable[[Params, Callable[[], bool] | None], Mapping[str, Any]]


@dataclass
class SweepPlan:
    """How to sweep.

    n_repeats : runs of each finalist     budget_s : no run starts after this long (None: no limit)
    top1_within : None: predictions must equal the first run's; else Top-1 may differ by so much (a fraction)
    """

    objective: Objective
    n_repeats: int = 3
    budget_s: float | None = None
    top1_within: float | None = None
    say: Callable[[str], None] = field(default=lambda text: None)
    log: Callable[[Mapping[str, Any]], object] = field(default=lambda document: None)


@dataclass
class Progress:
    """How a sweep ended. `is_complete` False: the budget ran out."""

    trials: list[Trial]
    is_complete: bool


class Driver:
    """One sweep over one store."""

    def __init__(self, plan: SweepPlan, store: TrialStore, measure: Measure) -> None:
        self._plan = plan
        self._store = store
        self._measure = measure
        self._began_ns = time.perf_counter_ns()
        self._slowest_s = max((run.elapsed_s for run in store.runs), default=0.0)

    def sweep(self, search: Search) -> Progress:
        """First round, as the search asks; then interleaved repeats of the finalists."""
        is_complete = self._first_round(search)
        for repeat in range(1, self._plan.n_repeats):
            finalists = self._finalists()
            random.Random(repeat).shuffle(finalists)  # the same order when resumed
            for params in finalists:
                is_complete = is_complete and self._run(params, repeat) is not None
        return Progress(trials_of(self._store.runs), is_complete)

    def _first_round(self, search: Search) -> bool:
        try:
            params = next(search)
            while True:
                run = self._run(params, 0)
                if run is None:
                    return False
                value = run.value if run.value is not None and run.status in (OK, STOPPED) else 0.0
                params = search.send(Score(value, run.document))
        except StopIteration:
            return True

    def _finalists(self) -> list[Params]:
        """Of the first round alone, so that a resumed sweep repeats the same ones."""
        first = [run for run in self._store.runs if run.repeat == 0 and run.status == OK and run.value is not None]
        first.sort(key=lambda run: -(run.value or 0.0))
        best = first[0].value if first else None
        return [
            run.params
            for rank, run in enumerate(first[:MOST_FINALISTS])
            if best and (rank < FEWEST_FINALISTS or (run.value or 0.0) >= best * (1 - HOPELESS))
        ]

    def _run(self, params: Params, repeat: int) -> Run | None:
        """Measure it unless that was done before; None where the budget is spent."""
        known = self._store.find(key_of(params), repeat)
        if known is not None:
            return known
        spent_s = self._spent_s()
        if self._plan.budget_s is not None and self._store.runs and spent_s + self._slowest_s > self._plan.budget_s:
            return None
        run = replace(self._judged(params, repeat), elapsed_s=self._spent_s() - spent_s)
        self._slowest_s = max(self._slowest_s, run.elapsed_s)
        self._store.add(run)
        number_ = "" if run.value is None else f" {run.value:.1f}"
        self._plan.say(f"{len(self._store.runs):4d} {run.key}{number_} {run.status}{': ' if run.why else ''}{run.why}")
        return run

    def _spent_s(self) -> float:
        return (time.perf_counter_ns() - self._began_ns) / NS_PER_S

    def _judged(self, params: Params, repeat: int) -> Run:
        objective = self._plan.objective
        stopper = self._stopper(repeat)
        try:
            document = dict(self._measure(params, stopper))
        except PerfError as error:
            if not self._store.runs:
                raise  # the very first run: the options are wrong, not this combination
            if stopper is not None and stopper():
                return Run(params, repeat, STOPPED, None, "it could not win any more", {})
            return Run(params, repeat, FAILED, None, str(error), {})
        self._plan.log(document)
        value = objective.value(document)
        kept = {name: part for name, part in document.items() if name not in ("timeline", "processes", "confusion")}
        if stopper is not None and document.get("interrupted"):
            return Run(params, repeat, STOPPED, value, "it could not win any more", kept)
        status, why = self._gate(document, value)
        return Run(params, repeat, status, value, why, kept)

    def _gate(self, document: Mapping[str, Any], value: float | None) -> tuple[str, str]:
        if why_invalid(document):
            return FAILED, why_invalid(document)
        if value is None:
            return FAILED, f"it gave no {self._plan.objective.name}"
        first = next((run for run in self._store.runs if run.status in (OK, OVER)), None)
        if first is not None:
            why = self._other_result(first.document, document)
            if why:
                return REJECTED, why
        if not self._plan.objective.is_within(document):
            return OVER, f"p99 latency {number(document, 'latency_ms.p99') or float('nan'):.1f} ms"
        return OK, ""

    def _other_result(self, first: Mapping[str, Any], document: Mapping[str, Any]) -> str:
        """How its predictions break the gate; empty where they do not."""
        if first.get("predictions_sha256") == document.get("predictions_sha256"):
            return ""
        if self._plan.top1_within is None:
            return "its predictions differ from the first run's"
        theirs, ours = (float((part.get("accuracy") or {}).get("top1", math.nan)) for part in (first, document))
        if abs(theirs - ours) <= self._plan.top1_within:
            return ""
        return f"Top-1 {ours:.5f} against {theirs:.5f} of the first run, more than {self._plan.top1_within:g} apart"

    def _stopper(self, repeat: int) -> Callable[[], bool] | None:
        """Says when a run of the first round can no longer come near the best; None where nothing is known yet."""
        done = [run for run in self._store.runs if run.status == OK and number(run.document, "throughput.wall_s")]
        if repeat or not done or self._plan.objective.name != "throughput" or self._plan.objective.max_latency_ms:
            return None
        best = max(done, key=lambda run: run.value or 0.0)
        start_s = max(run.elapsed_s - (number(run.document, "throughput.wall_s") or 0.0) for run in done)
        wall_s = number(best.document, "throughput.wall_s") or 0.0
        limit_s = STOP_FACTOR * wall_s + max(START_FACTOR * start_s, LEAST_START_S)
        began_ns = time.perf_counter_ns()
        return lambda: (time.perf_counter_ns() - began_ns) / NS_PER_S > limit_s
