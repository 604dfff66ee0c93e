"""`engine run`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from engine.commands.options import EXIF_ROTATE, PATH, SectionedCommand
from engine.config import (
    DEFAULT_PROFILE,
    DUMP_FORMATS,
    PUBLISH,
    PUBLISH_IMAGES,
    PUBLISH_SECONDS,
    SIMULATED_CHIPS,
    START_METHODS,
    for_publishing,
)
from engine.errors import EXIT_INTERRUPTED, ConfigError
from engine.terminal import say, warn

#: Titles of the help, each above the option that begins its section.
SECTIONS = {
    "--data": "What to run",
    "--devices": "The pipeline",
    "--limit": "How long",
    "--out": "Results",
    "--what-if": "Measuring",
    "--profile": "Simulated chips",
    "--max-failed-percent": "When things go wrong",
    "--log": "Perf log",
    "--help": "Other",
}


@click.command(cls=SectionedCommand, sections=SECTIONS)
@click.option(
    "--data", type=PATH, help="Folder of images or .bin tensors, class folders, an .info or packed file, a tar."
)
@click.option("--labels", type=PATH, help="Label file: 'NAME CLASS' lines, the devkit's ground truth, Kaggle's csv.")
@click.option("--no-labels", is_flag=True, help="Run without accuracy: scores, files and throughput only.")
@click.option("--model", default="lite0", show_default=True, help="lite0, fingerprint, PATH.onnx or PATH.om.")
@click.option("--backend", default="auto", show_default=True, help="auto, cann, sim, onnxruntime or null.")
@click.option(
    "--preset",
    default="resnet",
    show_default=True,
    help="Preprocessing: resnet, inceptionv3, inceptionv4, efficientnet-lite0.",
)
@EXIF_ROTATE
@click.option("--config", "config_file", type=PATH, help="TOML file of these options; the command line wins.")
@click.option("--devices", help="Such as 0-3, 0,2 or 1.  [default: 0-3 on sim, else 0]")
@click.option("--batch", default=16, show_default=True, type=click.IntRange(1, 1024), help="Images per execution.")
@click.option("--workers", type=click.IntRange(1, 256), help="Decoder processes.  [default: by cores]")
@click.option(
    "--window", type=click.IntRange(1, 64), help="Batches in flight per chip.  [default: 3 of single images, else 2]"
)
@click.option(
    "--feeders",
    default=1,
    show_default=True,
    type=click.IntRange(1, 64),
    help="Processes that the chips are spread over.",
)
@click.option("--slots", type=click.IntRange(2, 4096), help="Slots of the arena.  [default: by chips and workers]")
@click.option(
    "--start-method",
    default="forkserver",
    show_default=True,
    type=click.Choice(START_METHODS),
    help="How processes are started.",
)
@click.option("--limit", type=click.IntRange(1), help="Only the first N images.")
@click.option(
    "--repeat", default=1, show_default=True, type=click.IntRange(1, 1_000_000), help="Passes over the images."
)
@click.option("--min-duration", default=0.0, type=click.FloatRange(0), help="More passes until the run took N seconds.")
@click.option("--min-images", default=0, type=click.IntRange(0), help="More passes until it has N images.")
@click.option(
    "--publish",
    is_flag=True,
    help=f"For figures to publish: at least {PUBLISH_SECONDS} s and {PUBLISH_IMAGES} images, and a stable rate.",
)
@click.option("--out", type=PATH, default=Path("result"), show_default=True, help="Folder for the results.")
@click.option("--dump", type=click.Choice(DUMP_FORMATS), help="Write each image's scores as the old tools do.")
@click.option(
    "--label-offset", type=click.IntRange(0, 1), help="Added to labels.  [default: 1 for 1001 outputs, else 0]"
)
@click.option("--what-if", is_flag=True, help="Measure each part alone for a few seconds, instead of a run.")
@click.option("--measure-ceiling", is_flag=True, help="First measure the decoders alone, for a few seconds.")
@click.option("--trace", type=PATH, help="Write what each process and chip did when, for ui.perfetto.dev.")
@click.option("--inject", default="", help="Slower parts, to see the verdict: read-ms=20,rank-ms=5.")
@click.option("--profile", default=DEFAULT_PROFILE, show_default=True, help="Rates of the simulated chips; or publish.")
@click.option(
    "--sim-chips",
    default=SIMULATED_CHIPS,
    show_default=True,
    type=click.IntRange(1, 64),
    help="Simulated chips there are.",
)
@click.option("--sim-slow", default="", help="Slower simulated chips, e.g. 2=0.5: chip 2 at half speed.")
@click.option("--sim-faults", default="", help="Faults of the simulated chips: FILE.toml, or CALL:N/CHIP=WHAT;...")
@click.option(
    "--max-failed-percent",
    default=1.0,
    show_default=True,
    type=click.FloatRange(0, 100),
    help="More failed images than this end with exit code 8.",
)
@click.option("--resume", "resume_dir", type=PATH, help="Go on with the unfinished run in this --out folder.")
@click.option(
    "--journal/--no-journal",
    default=True,
    show_default=True,
    help="Keep what is done on disk during the run, for --resume.",
)
@click.option(
    "--stall-timeout",
    default=60.0,
    show_default=True,
    type=click.FloatRange(1),
    help="Seconds without any progress that end the run.",
)
@click.option(
    "--image-timeout",
    default=20.0,
    show_default=True,
    type=click.FloatRange(0.1),
    help="Seconds that one image may take to decode.",
)
@click.option("--log", "log_file", type=PATH, help="Perf log to append to.  [default: in the user's data folder]")
@click.option("--no-log", is_flag=True, help="Keep this run out of the perf log.")
@click.option("--label", "log_label", default="", help="A name for this run in the perf log.")
@click.pass_context
def command(ctx: click.Context, /, config_file: Path | None, resume_dir: Path | None, **options: Any) -> None:
    """Evaluate a model: JPEGs in, Top-1..5 and throughput out.

    \b
    engine run --data val --labels val_label.txt --backend onnxruntime
    engine run --data val --labels val_label.txt --model a_bs16.om --devices 0-3
    engine run --resume result
    """
    from engine.lifeline import end_with_measuring_command
    from engine.perflog.log import LogOptions

    end_with_measuring_command()
    if resume_dir is not None:
        options = over_journal(ctx, resume_dir, options)
    if config_file is not None:
        options = over_file(ctx, config_file, options)
    if options["data"] is None:
        raise ConfigError("which images? give --data DIR (and --labels FILE for a flat folder), or try: engine demo")
    log = LogOptions("run", options.pop("log_file"), not options.pop("no_log"), options.pop("log_label"))
    shows_ceilings = options.pop("what_if")
    config = make_config(options)
    say(chosen_line(config, options["backend"]))
    if shows_ceilings:
        from engine.whatif import what_if

        say(what_if(config, say).text)
        return
    finish(config, log)


def over_file(ctx: click.Context, path: Path, options: dict[str, Any]) -> dict[str, Any]:
    """Options from the file, where the command line does not give them; each checked as if it had been typed."""
    from engine.config import read_config_file

    return merge(ctx, options, read_config_file(path, set(_parameters(ctx))), str(path))


def over_journal(ctx: click.Context, folder: Path, options: dict[str, Any]) -> dict[str, Any]:
    """Options of the unfinished run in `folder`, where the command line does not give them."""
    from click.core import ParameterSource

    from engine.journal import read_journal_header

    theirs = read_journal_header(folder)["options"]
    known = {name: value for name, value in theirs.items() if value is not None and name in _parameters(ctx)}
    if ctx.get_parameter_source("out") is ParameterSource.COMMANDLINE and options["out"] != folder:
        raise ConfigError(f"--resume {folder} writes to that folder: leave --out {options['out']} away")
    return {**merge(ctx, options, known, f"the journal in {folder}"), "out": folder, "resume": True, "journal": True}


def merge(ctx: click.Context, options: dict[str, Any], theirs: dict[str, Any], where: str) -> dict[str, Any]:
    """`options` with `theirs` for those that the command line does not give."""
    from click.core import ParameterSource

    parameters, merged = _parameters(ctx), dict(options)
    for name, value in theirs.items():
        if ctx.get_parameter_source(name) is ParameterSource.COMMANDLINE:
            continue
        try:
            merged[name] = parameters[name].type_cast_value(ctx, value if isinstance(value, bool) else str(value))
        except click.BadParameter as error:
            raise ConfigError(f"option {name} in {where}: {error.message}") from error
    return merged


def _parameters(ctx: click.Context) -> dict[str, click.Option]:
    """Options that a file may give, by name."""
    return {
        str(p.name): p
        for p in ctx.command.params
        if isinstance(p, click.Option) and p.name not in ("config_file", "resume_dir")
    }


def make_config(options: dict[str, Any]) -> Any:
    """A RunConfig from the options."""
    from engine.config import RunConfig, choose_backend, parse_devices

    backend = choose_backend(options["backend"])
    devices = options["devices"]
    if devices is None:
        devices = "0-3" if backend == "sim" else "0"
    config = RunConfig(**{**options, "backend": backend, "devices": parse_devices(devices)})
    return for_publishing(config) if config.publish or config.profile == PUBLISH else config


def chosen_line(config: Any, asked: str) -> str:
    """Which backend, and why."""
    why = {"cann": "import acl works", "sim": "no pyACL here"}[config.backend] if asked == "auto" else "as asked"
    simulated = f", SIMULATED chips of profile {config.profile}" if config.backend == "sim" else ""
    return f"backend {config.backend} ({why}){simulated}"


def finish(config: Any, log: Any) -> None:
    """Run, log it, print the summary, and exit with the code that says how it went."""
    from engine.perflog.log import append_document
    from engine.results import failed_lines
    from engine.run import execute
    from engine.summary import summarise

    report, outcome, index = execute(config, say)
    say(summarise(report, list(failed_lines(index, outcome.collector.predictions))))
    append_document(report.document, log)
    if outcome.error is not None:
        raise outcome.error
    if outcome.was_interrupted:
        warn(f"interrupted: {outcome.n_settled} of {outcome.n_positions} images were done")
        sys.exit(EXIT_INTERRUPTED)
    report.raise_for_result()
