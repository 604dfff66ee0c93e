"""`engine sweep`: from the options to a table, best.toml and what they mean."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engine.claim import make_out_folder
from engine.errors import PerfError
from engine.files import atomic_write, named_by_user
from engine.perflog.children import ChildRun, run_child
from engine.perflog.toml import options_of, toml_of
from engine.sweep.analysis import Finding, analyse, csv_of, text_of
from engine.sweep.driver import Driver, Measure, Progress, SweepPlan
from engine.sweep.search import Search, auto_search, grid_search, import_optuna
from engine.sweep.space import AUTO, Params, Space, key_of
from engine.sweep.trials import Trial, TrialStore

STRATEGIES = ("grid", "auto")
TOML_NAME, CSV_NAME = "best.toml", "sweep.csv"


@dataclass(frozen=True)
class SweepJob:
    """arguments : options of `engine run` for every trial, without the swept ones"""

    space: Space
    arguments: Sequence[str]
    strategy: str
    n_trials: int
    plan: SweepPlan
    out: Path
    is_resumed: bool = False

    def search(self) -> Search:
        if self.strategy == "grid":
            return grid_search(self.space)
        import_optuna()
        return auto_search(self.space, self.n_trials)

    def definition(self) -> dict[str, Any]:
        """What makes two sweeps the same one."""
        return {
            "grid": {name: list(values) for name, values in self.space.values.items()},
            "arguments": list(self.arguments),
            "strategy": [self.strategy, self.n_trials],
            "objective": [self.plan.objective.name, self.plan.objective.max_latency_ms],
            "repeats": self.plan.n_repeats,
        }


def dry_run(job: SweepJob, say: Callable[[str], None]) -> None:
    """Say what would be done."""
    if job.strategy == "grid":
        for params in job.space.grid():
            say(key_of(params))
    n = len(job.space) if job.strategy == "grid" else min(job.n_trials, len(job.space))
    say(
        f"{n} trials of {len(job.space)} combinations, the best of them {job.plan.n_repeats} times; "
        f"objective: {job.plan.objective.title()}"
    )


def run_sweep(job: SweepJob, say: Callable[[str], None], measure: Measure | None = None) -> Finding:
    """Sweep, write the table and best.toml, and say what was found. `measure` None: real runs."""
    search = job.search()
    store = TrialStore(job.out, job.definition(), job.is_resumed)
    try:
        progress = Driver(job.plan, store, measure or measure_run(job.arguments)).sweep(search)
    except KeyboardInterrupt:
        say(f"what was measured is in {job.out}: go on with the same command and --resume")
        raise
    finally:
        store.close()
    finding = analyse(progress.trials)
    if not job.out.exists():
        make_out_folder(job.out)
        say(f"--out {job.out} was removed or renamed during the sweep: it is made again, and the results go there")
    with named_by_user(job.out):
        write(job.out, progress.trials, finding)
    say(text_of(finding, job.plan.objective))
    for line in endings(job, progress, finding):
        say(line)
    return finding


def measure_run(arguments: Sequence[str]) -> Measure:
    """Trials as runs of the engine."""

    def measure(params: Params, should_stop: Callable[[], bool] | None) -> Mapping[str, Any]:
        swept = [f"--{name}={value}" for name, value in params.items() if value != AUTO]
        return run_child(ChildRun([*arguments, *swept]), should_stop)

    return measure


def write(out: Path, trials: Sequence[Trial], finding: Finding) -> None:
    """The table, and best.toml where there is a best."""
    atomic_write(out / CSV_NAME, csv_of(trials, finding).encode())
    if finding.best is not None:
        atomic_write(out / TOML_NAME, best_toml(finding).encode("utf-8", "surrogateescape"))


def best_toml(finding: Finding) -> str:
    """The best trial as a file for `engine run --config`."""
    best = finding.best
    assert best is not None
    config = best.runs[0].document.get("config")
    if not isinstance(config, Mapping):
        raise PerfError("the best trial kept no configuration")
    options = options_of(config) | {name: value for name, value in best.params.items() if value != AUTO}
    for name in ("data", "labels"):
        if name in options:
            options[name] = str(Path(options[name]).absolute())
    for name, value in best.params.items():
        if value == AUTO:
            options.pop(name, None)
    interval = "" if math.isnan(finding.low) else f", 95 %: {finding.low:.1f} to {finding.high:.1f}"
    comment = f"engine sweep: {best.key}\n{best.value:.1f} (median of {len(best.values)} runs{interval})"
    return toml_of(options, comment + "\nrepeat is what the trials ran: set it to 1 for an evaluation")


def endings(job: SweepJob, progress: Progress, finding: Finding) -> list[str]:
    """What was not done, and where the results are."""
    lines = [] if progress.is_complete else ["the budget ended before the sweep: go on with --resume"]
    bad = [f"{trial.key}: {trial.status} ({trial.runs[-1].why})" for trial in progress.trials if not trial.values]
    lines += bad[:5]
    files = f"{job.out / TOML_NAME}, " if finding.best is not None else ""
    return [*lines, f"results in {files}{job.out / CSV_NAME}; a page: engine report {job.out} -o sweep.html"]
