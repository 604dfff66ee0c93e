"""`engine perf`: the perf log and what may be concluded from it."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from engine.commands import perf_judge
from engine.commands.options import PATH
from engine.terminal import say, warn

LOG = click.option("--log", "file", type=PATH, help="Perf log.  [default: perf.log in the user's data folder]")


@click.group(name="perf")
def command() -> None:
    """The log of all runs: list, compare, judge in CI.

    A run is named by its id or the first digits of it, last, last~1, @BASELINE, label:TEXT, rev:REVISION, the folder
    of a run, or another log file; several with commas between.
    """


for verb in perf_judge.COMMANDS:
    command.add_command(verb)


@command.command()
@LOG
@click.option("--last", "n_last", type=click.IntRange(1), help="Only the newest N runs.")
@click.option("--json", "form", flag_value="json", help="Everything, as JSON.")
@click.option("--csv", "form", flag_value="csv", help="One row per run, as CSV.")
def log(file: Path | None, n_last: int | None, form: str | None) -> None:
    """List the runs, oldest first."""
    import json

    from engine.perflog.export import csv_of
    from engine.perflog.log import read_log
    from engine.perflog.table import table_of

    read = read_log(file)
    entries = read.entries[-n_last:] if n_last else read.entries
    if form == "json":
        say(json.dumps(entries, indent=1))
    elif form == "csv":
        say(csv_of(entries).rstrip("\n"))
    else:
        say(table_of(entries, read.baselines) if entries else f"no runs in {read.path}")
    _say_torn(read.path, read.torn_bytes)


@command.command()
@click.argument("run")
@LOG
@click.option("--json", "is_json", is_flag=True, help="Everything, as JSON.")
def show(run: str, file: Path | None, is_json: bool) -> None:
    """Show what RUN measured, with which options, and where."""
    import json

    from engine.perflog.log import read_log, select
    from engine.perflog.table import details_of

    for entry in select(run, read_log(file)):
        say(json.dumps(entry, indent=1) if is_json else details_of(entry))


@command.command()
@click.option("--format", "form", required=True, help="github-benchmark, asv or csv.")
@click.option("-o", "--output", type=PATH, help="File (asv: folder).  [default: standard output]")
@click.option("--runs", default="", help="Only these runs.  [default: all]")
@LOG
def export(form: str, output: Path | None, runs: str, file: Path | None) -> None:
    """Write the log for other tools: a CSV, github-action-benchmark's customBiggerIsBetter, or asv's results."""
    from engine.errors import PerfError
    from engine.files import named_by_user, write_report
    from engine.perflog.export import FORMATS, csv_of, github_benchmark_of, write_asv
    from engine.perflog.log import read_log, select
    from engine.suggest import unknown

    if form not in FORMATS:
        raise unknown("format", form, FORMATS)
    read = read_log(file)
    entries = select(runs, read) if runs else read.entries
    if form == "asv":
        if output is None:
            raise PerfError("asv keeps results in a folder: give one with -o DIR")
        with named_by_user(output):
            n = write_asv(entries, output)
        say(f"{n} runs in {output}")
        return
    text = csv_of(entries) if form == "csv" else github_benchmark_of(entries)
    if output is None:
        say(text.rstrip("\n"))
    else:
        write_report(output, text.encode("utf-8", "surrogateescape"))


@command.command(name="import")
@click.argument("source", type=PATH)
@LOG
def import_(source: Path, file: Path | None) -> None:
    """Append the runs of SOURCE: another log, a run's folder, or its run.json. Runs that are known stay once."""
    from engine.perflog.export import import_from

    n_new, n_known = import_from(source, file)
    say(f"{n_new} runs imported, {n_known} were known")


@command.command()
@click.option("--keep", type=click.IntRange(1), help="Keep the newest N runs of each configuration.")
@click.option("--older-than", type=click.FloatRange(0, min_open=True), help="Remove runs older than this many days.")
@click.option("--invalid", is_flag=True, help="Remove runs that were interrupted or failed.")
@click.option("--dry-run", is_flag=True, help="Only say how many.")
@LOG
def prune(keep: int | None, older_than: float | None, invalid: bool, dry_run: bool, file: Path | None) -> None:
    """Shorten the log. Runs that a baseline names stay."""
    from engine.errors import PerfError
    from engine.perflog.log import read_log
    from engine.perflog.prune import PruneRule, doomed
    from engine.perflog.prune import prune as prune_log

    if keep is None and older_than is None and not invalid:
        raise PerfError("what should go? give --keep N, --older-than DAYS or --invalid")
    rule = PruneRule(keep, older_than, invalid)
    n_gone = len(doomed(read_log(file), rule)) if dry_run else prune_log(file, rule)
    say(f"{n_gone} runs {'would be ' if dry_run else ''}removed")


@command.command()
@click.option("--metric", default="end_to_end", show_default=True, help="As engine perf compare names them.")
@perf_judge.THRESHOLD
@click.option("--fail-on-slowdown", is_flag=True, help="Exit with 2 if the newest change of a series is a slowdown.")
@LOG
def history(metric: str, threshold: float, fail_on_slowdown: bool, file: Path | None) -> None:
    """Find the runs at which the rate of a configuration changed for good."""
    from engine.perflog.history import history_lines, series_of
    from engine.perflog.log import read_log, usual_runs
    from engine.perflog.metrics import BY_NAME
    from engine.perflog.statistics import SLOWER
    from engine.suggest import unknown

    if metric not in BY_NAME:
        raise unknown("metric", metric, BY_NAME)
    read = read_log(file)
    series = series_of(usual_runs(read), BY_NAME[metric], threshold)
    for line in history_lines(series, BY_NAME[metric]):
        say(line)
    _say_torn(read.path, read.torn_bytes)
    if fail_on_slowdown and any(s.changes and s.changes[-1].verdict.verdict == SLOWER for s in series):
        sys.exit(2)


def _say_torn(path: Path, n_bytes: int) -> None:
    if n_bytes:
        warn(f"perf log {path}: {n_bytes} bytes belong to no whole record (torn or damaged) and were skipped")
