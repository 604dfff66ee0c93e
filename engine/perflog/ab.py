"""A against B: runs of both in pairs, interleaved in random order, logged, and compared."""

from __future__ import annotations

import random
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engine.perflog.children import ChildRun, run_child
from engine.perflog.compare import Comparison, Question, compare
from engine.perflog.log import LogOptions, append, entry_of, read_log, usual_runs, why_invalid

#: With a noise of 2 % a run or less, 20 pairs find a 5 % slowdown in 95 of 100 cases, also on a host that slows one run
#: in twenty by a fifth (bench.verdicts simulates it); 18 of them do so in no more than 95.
DEFAULT_PAIRS = 20
SIDES = ("base", "new")


@dataclass(frozen=True)
class Experiment:
    """What to run. `log` None: the user's own log; `is_logged` False: nothing is kept."""

    base: ChildRun
    new: ChildRun
    n_pairs: int = DEFAULT_PAIRS
    n_warm_up: int = 1
    log: Path | None = None
    is_logged: bool = True
    label: str = ""


def run_experiment(experiment: Experiment, question: Question, say: Callable[[str], None]) -> Comparison:
    """Make the pairs and judge them. Raises PerfError where a run leaves no result: no verdict comes from a failure."""
    name = secrets.token_hex(4)
    order = random.Random(name)
    runs = dict(zip(SIDES, (experiment.base, experiment.new), strict=True))
    for number in range(experiment.n_warm_up):
        say(f"warm-up {number + 1} of {experiment.n_warm_up}, not counted")
        for side in SIDES:
            run_child(runs[side])
    entries: dict[str, list[dict[str, Any]]] = {side: [] for side in SIDES}
    for number in range(experiment.n_pairs):
        for side in order.sample(SIDES, 2):
            pair = {"experiment": name, "number": number, "side": side}
            options = LogOptions("ab", experiment.log, experiment.is_logged, experiment.label, pair)
            entry = entry_of(run_child(runs[side]), options)
            if experiment.is_logged:
                append([entry], experiment.log)
            entries[side].append(entry)
        say(_line(number, experiment.n_pairs, entries["base"][-1], entries["new"][-1]))
    past = usual_runs(read_log(experiment.log)) if experiment.is_logged else []
    return compare(entries["base"], entries["new"], question, past)


def _line(number: int, n_pairs: int, base: dict[str, Any], new: dict[str, Any]) -> str:
    rates = [
        f"{e['throughput']['end_to_end_per_s']:.1f}" + (f" ({why_invalid(e)})" if why_invalid(e) else "")
        for e in (base, new)
    ]
    return f"pair {number + 1} of {n_pairs}: {rates[0]} and {rates[1]} images/s"
