"""`engine sweep`."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import click

from engine.commands.options import PATH
from engine.commands.perf_judge import percent
from engine.errors import PerfError
from engine.terminal import say, warn

DURATION = re.compile(r"(\d+(?:\.\d+)?)(s|m|h|)")
SECONDS = {"s": 1, "m": 60, "h": 3600, "": 1}


def duration(_ctx: click.Context, _param: click.Parameter, text: str | None) -> float | None:
    """Seconds of ``90``, ``90s``, ``10m`` or ``1h``."""
    if text is None:
        return None
    match = DURATION.fullmatch(text.strip())
    if match is None or not float(match[1]):
        raise click.BadParameter(f"{text!r} is no time: needed something like 90s, 10m or 1h")
    return float(match[1]) * SECONDS[match[2]]


def _optional_percent(ctx: click.Context, param: click.Parameter, text: str | None) -> float | None:
    return None if text is None else percent(ctx, param, text)


@click.command(context_settings={"ignore_unknown_options": True, "allow_extra_args": True})
@click.option("--grid", multiple=True, help="Values to try, e.g. --grid workers=1,2,3 batch=1,8,16 slots=auto")
@click.option("--strategy", default="grid", show_default=True, help="grid: all; auto: search in few trials.")
@click.option("--trials", default=12, show_default=True, type=click.IntRange(1, 1000), help="Most trials of auto.")
@click.option("--objective", default="throughput", show_default=True, help="throughput or images-per-cpu-s.")
@click.option("--max-latency", type=float, help="Bound of the 99th percentile of latency, ms.")
@click.option("--top1-within", callback=_optional_percent, help="Predictions may differ if Top-1 does by at most this.")
@click.option("--repeats", default=3, show_default=True, type=click.IntRange(1, 100), help="Runs of the best trials.")
@click.option("--images", default=2000, show_default=True, type=click.IntRange(1), help="Images of a trial, about.")
@click.option("--budget", callback=duration, help="Start no trial that would end after this, e.g. 10m.")
@click.option("--resume", is_flag=True, help="Go on with the sweep in --out.")
@click.option("--dry-run", is_flag=True, help="Only say what would be run.")
@click.option("--out", type=PATH, default=Path("sweep"), show_default=True, help="Folder for the results.")
@click.option("--log", "log_file", type=PATH, help="Perf log to append to.  [default: in the user's data folder]")
@click.option("--no-log", is_flag=True, help="Keep the trials out of the perf log.")
@click.option("--label", default="", help="A name for the trials in the perf log.")
@click.pass_context
def command(ctx: click.Context, /, **given: Any) -> None:
    """Find the best workers, batch, window, feeders and slots.

    All other options are those of engine run and hold for every trial:

    engine sweep --data val --labels val.txt --backend sim --grid workers=1,2 batch=1,8,16 window=1,2 --strategy auto
    """
    from engine.perflog.log import LogOptions, append_document
    from engine.suggest import unknown
    from engine.sweep.driver import SweepPlan
    from engine.sweep.job import STRATEGIES, SweepJob, dry_run, run_sweep
    from engine.sweep.objective import Objective
    from engine.sweep.space import TUNABLE, parse_space

    if given["strategy"] not in STRATEGIES:
        raise unknown("strategy", given["strategy"], STRATEGIES)
    is_swept = [word.partition("=")[0] in TUNABLE and "=" in word for word in ctx.args]
    space = parse_space([*given["grid"], *(word for word, swept in zip(ctx.args, is_swept, strict=True) if swept)])
    rest = [word for word, swept in zip(ctx.args, is_swept, strict=True) if not swept]
    arguments = run_arguments(ctx, rest, tuple(space.values), given["images"])
    log = LogOptions("sweep", given["log_file"], not given["no_log"], given["label"])
    plan = SweepPlan(
        Objective(given["objective"], given["max_latency"]),
        given["repeats"],
        given["budget"],
        given["top1_within"],
        warn,
        lambda document: append_document(document, log),
    )
    job = SweepJob(space, arguments, given["strategy"], given["trials"], plan, given["out"], given["resume"])
    if given["dry_run"]:
        dry_run(job, say)
    else:
        run_sweep(job, say)


def run_arguments(ctx: click.Context, words: list[str], swept: tuple[str, ...], n_images: int) -> list[str]:
    """`words` checked as options of `engine run`, and --repeat so that a trial has about `n_images` images."""
    from click.core import ParameterSource

    from engine.commands import run
    from engine.index import read_index

    run_ctx = run.command.make_context("run", list(words), parent=ctx)
    options = run_ctx.params
    if options["config_file"] is not None:
        options = run.over_file(run_ctx, options["config_file"], options)
    for name in swept:
        if run_ctx.get_parameter_source(name) is ParameterSource.COMMANDLINE:
            raise PerfError(f"--{name} is swept: leave it out of the other options")
    for name in ("log_file", "no_log", "resume_dir", "out"):
        if run_ctx.get_parameter_source(name) is ParameterSource.COMMANDLINE:
            raise PerfError(f"--{name.partition('_')[0]} is set for each trial: leave it out")
    if options["data"] is None:
        raise PerfError("which images? give --data DIR (and --labels FILE for a flat folder)")
    if run_ctx.get_parameter_source("repeat") is ParameterSource.COMMANDLINE:
        return words
    n_files = min(
        len(read_index(options["data"], options["labels"], options["no_labels"])), options["limit"] or 1 << 62
    )
    return [*words, f"--repeat={max(1, -(-n_images // n_files))}"]
