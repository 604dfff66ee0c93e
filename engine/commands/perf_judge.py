"""`engine perf compare`, `ab`, `gate` and `baseline`: commands that conclude.

Exit code 0: faster or the same. 2: slower. 3: no conclusion, and also every wrong option, unknown run or failure, so
that a script never takes a mistake for a slowdown.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import click

from engine.commands.options import PATH
from engine.errors import EngineError, PerfError
from engine.terminal import say, warn

EXIT_NO_CONCLUSION = 3


def percent(_ctx: click.Context, _param: click.Parameter, text: str) -> float:
    """A share: ``3%`` or ``0.03``."""
    try:
        share = float(text[:-1]) / 100 if text.endswith("%") else float(text)
    except ValueError:
        share = -1.0
    if not 0 < share < 1:
        raise click.BadParameter(f"{text!r} is no share between 0 and 1: needed something like 3%")
    return share


THRESHOLD = click.option(
    "--threshold", callback=percent, default="3%", show_default=True, help="Least change that counts."
)


class NoConclusion(EngineError):
    """What was to be compared could not be."""

    exit_code = EXIT_NO_CONCLUSION


class Concluding(click.Command):
    """A command whose every error is 'no conclusion'."""

    def make_context(
        self, info_name: str | None, args: list[str], parent: click.Context | None = None, **extra: Any
    ) -> click.Context:
        try:
            return super().make_context(info_name, args, parent, **extra)
        except click.UsageError as error:
            raise NoConclusion(error.format_message()) from error

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except EngineError as error:
            raise NoConclusion(str(error)) from error


def _options(function: Callable[..., None]) -> Callable[..., None]:
    """The options of all commands that conclude."""
    for option in (
        click.option("--log", "file", type=PATH, help="Perf log.  [default: perf.log in the user's data folder]"),
        THRESHOLD,
        click.option("--metric", default="", help="What decides.  [default: end_to_end, else interface]"),
        click.option("--across", default="", help="Parts of the fingerprint that may differ, such as libraries,os."),
        click.option("--format", "form", type=click.Choice(("text", "md")), default="text", show_default=True),
    ):
        function = option(function)
    return function


def _question(threshold: float, metric: str, across: str) -> Any:
    from engine.perflog.compare import Question

    return Question(threshold, metric, frozenset(filter(None, (part.strip() for part in across.split(",")))))


def _conclude(comparison: Any, form: str) -> None:
    from engine.perflog.compare import markdown_of, text_of

    say(markdown_of(comparison) if form == "md" else text_of(comparison))
    sys.exit(comparison.exit_code)


@click.command(cls=Concluding)
@click.argument("base")
@click.argument("new")
@_options
def compare(base: str, new: str, file: Path | None, threshold: float, metric: str, across: str, form: str) -> None:
    """Is NEW faster or slower than BASE? Exit code 0: no slowdown, 2: slower, 3: no conclusion."""
    from engine.perflog import compare as judge
    from engine.perflog.log import read_any_log, select, usual_runs

    question = _question(threshold, metric, across)
    log = read_any_log(file)
    sides = select(base, log), select(new, log)
    _conclude(judge.compare(*sides, question, usual_runs(log)), form)


@click.command(cls=Concluding)
@click.option("--base", required=True, help="Options of engine run for the one side, in quotes.")
@click.option("--new", required=True, help="Options of engine run for the other side, in quotes.")
@click.option("--pairs", default=20, show_default=True, type=click.IntRange(1, 10_000), help="Runs of each side.")
@click.option("--warm-up", default=1, show_default=True, type=click.IntRange(0, 100), help="Pairs that do not count.")
@click.option("--base-python", default=sys.executable, help="Interpreter with the engine of the one side.")
@click.option("--new-python", default=sys.executable, help="Interpreter with the engine of the other side.")
@click.option("--label", default="", help="Kept with the runs in the log.")
@click.option("--no-log", is_flag=True, help="Do not keep the runs.")
@_options
def ab(file: Path | None, threshold: float, metric: str, across: str, form: str, **given: Any) -> None:
    """Run both sides in turn, in random order within each pair, and conclude.

    engine perf ab --base '--data val --labels val.txt --batch 8' --new '--data val --labels val.txt --batch 16'
    """
    from engine.perflog.ab import Experiment, run_experiment
    from engine.perflog.children import ChildRun, split_arguments

    base = ChildRun(split_arguments(given["base"]), given["base_python"])
    new = ChildRun(split_arguments(given["new"]), given["new_python"])
    experiment = Experiment(base, new, given["pairs"], given["warm_up"], file, not given["no_log"], given["label"])
    _conclude(run_experiment(experiment, _question(threshold, metric, across), warn), form)


@click.command(cls=Concluding)
@click.option("--baseline", required=True, help="Name of the baseline: see engine perf baseline list.")
@click.option("--runs", "n_runs", type=click.IntRange(1, 1000), help="Run the baseline's configuration N times now.")
@click.option("--new", "new", default="", help="Runs to judge, instead of --runs.")
@click.option("--allow-inconclusive", is_flag=True, help="Exit with 0 where there is no slowdown to be seen.")
@_options
def gate(file: Path | None, threshold: float, metric: str, across: str, form: str, **given: Any) -> None:
    """For CI: hold new runs against a named baseline. Exit code 0: pass, 2: slower, 3: no conclusion."""
    from engine.perflog import compare as judge
    from engine.perflog.gate import run_again
    from engine.perflog.log import baseline_entries, read_log, select, usual_runs
    from engine.perflog.statistics import INCONCLUSIVE

    question = _question(threshold, metric, across)
    if bool(given["new"]) == (given["n_runs"] is not None):
        raise PerfError("what should be judged? give either --runs N or --new RUNS")
    log = read_log(file)
    base: Sequence[Any] = baseline_entries(given["baseline"], log)
    new = select(given["new"], log) if given["new"] else run_again(base[0], given["n_runs"], file, warn)
    comparison = judge.compare(base, new, question, usual_runs(log))
    if given["allow_inconclusive"] and comparison.verdict == INCONCLUSIVE:
        say(judge.markdown_of(comparison) if form == "md" else judge.text_of(comparison))
        return
    _conclude(comparison, form)


@click.group()
def baseline() -> None:
    """Runs that later ones are held against, by name."""


@baseline.command(name="set")
@click.argument("name")
@click.argument("runs")
@click.option("--log", "file", type=PATH, help="Perf log.")
def set_(name: str, runs: str, file: Path | None) -> None:
    """Keep RUNS (of one configuration; 5 or more make the best base) as baseline NAME."""
    from engine.perflog.baseline import set_baseline
    from engine.perflog.log import read_log, select

    entries = select(runs, read_log(file))
    set_baseline(name, entries, file)
    say(f"baseline {name}: {len(entries)} runs")


@baseline.command(name="list")
@click.option("--log", "file", type=PATH, help="Perf log.")
def list_(file: Path | None) -> None:
    """List the baselines and their runs."""
    from engine.perflog.log import read_log

    log = read_log(file)
    for name, ids in sorted(log.baselines.items()):
        say(f"{name:<20} {len(ids)} runs: {', '.join(ids)}")
    if not log.baselines:
        say(f"no baselines in {log.path}")


COMMANDS = (compare, ab, gate, baseline)
