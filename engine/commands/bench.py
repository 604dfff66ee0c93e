"""`engine bench`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from engine.commands.options import PATH
from engine.config import DEFAULT_PROFILE, SIMULATED_CHIPS
from engine.terminal import say

if TYPE_CHECKING:
    from engine.purebench import BatchBench, PureBenchJob


@click.command()
@click.option("--model", default="lite0", show_default=True, help="PATH.om, PATH.onnx, lite0 or fingerprint.")
@click.option("--batch", default="1,4,8,16,32", show_default=True, help="Batch sizes to measure, one after the other.")
@click.option("--rounds", default=20, show_default=True, type=click.IntRange(1), help="Measured batches per chip.")
@click.option("--warm-up", default=3, show_default=True, type=click.IntRange(1), help="Batches before them.")
@click.option("--devices", help="Such as 0-3, 0,2 or 1.  [default: 0-3 on sim, else 0]")
@click.option("--backend", default="auto", show_default=True, help="auto, cann, sim or onnxruntime.")
@click.option(
    "--input",
    type=click.Choice(("real", "random", "zeros")),
    default="real",
    show_default=True,
    help="What the chips get: image tensors, random numbers, or zeros.",
)
@click.option("--data", type=PATH, help="Images or tensors for --input real.  [default: JPEGs made here]")
@click.option("--preset", default="resnet", show_default=True, help="Preprocessing of the images.")
@click.option("--window", default=2, show_default=True, type=click.IntRange(1, 64), help="Batches in flight per chip.")
@click.option("--profile", default=DEFAULT_PROFILE, show_default=True, help="Rates of the simulated chips.")
@click.option("--sim-chips", default=SIMULATED_CHIPS, show_default=True, type=click.IntRange(1, 64), help="How many.")
@click.option("--sim-faults", default="", help="Faults of the simulated chips: FILE.toml, or CALL:N/CHIP=WHAT;...")
@click.option("--sim-slow", default="", help="Slower simulated chips, e.g. 2=0.5: chip 2 at half speed.")
@click.option(
    "--stall-timeout",
    default=60.0,
    show_default=True,
    type=click.FloatRange(1),
    help="Seconds without a completed batch after which a chip is taken to hang.",
)
@click.option("--out", type=PATH, default=Path("result"), show_default=True, help="Folder for the result files.")
@click.option("--json", "json_path", type=PATH, help="Also write everything as JSON.")
@click.option("--log", "log_file", type=PATH, help="Perf log to append to.  [default: in the user's data folder]")
@click.option("--no-log", is_flag=True, help="Keep this out of the perf log.")
@click.option("--label", default="", help="A name for this in the perf log.")
def command(batch: str, json_path: Path | None, **options: Any) -> None:
    """Pure inference: how fast are the chips alone?

    From memory, at each batch size.

    All chips work at once, so nothing is multiplied by 4. Each batch size runs in a fresh process. Models compiled for
    one batch are found by their names: --model X_bs1.om --batch 1,4 takes X_bs1.om and X_bs4.om.

    Writes PureInfer_perf_of_<model>_in_device_<d>.txt as the old benchmark tool does, prints a table with percentiles
    of execute and copy times, and flags batch sizes that are slower per image than smaller ones.

    \b
    engine bench --model resnext101_32x8d_bs1.om --batch 1,4,8,16,32 --devices 0-3
    engine bench --backend sim --model fingerprint
    """
    from engine.claim import make_out_folder
    from engine.config import choose_backend, parse_devices
    from engine.perflog.bench_entry import log_benches
    from engine.perflog.log import LogOptions
    from engine.presets import find_preset
    from engine.purebench_models import BenchRequest, old_tool_stem, parse_batches, plan_jobs
    from engine.purebench_report import remarks, table, write_json, write_pure_infer
    from engine.warming import warm_up

    log = LogOptions("bench", options.pop("log_file"), not options.pop("no_log"), options.pop("label"))
    out: Path = options.pop("out")
    backend = choose_backend(options.pop("backend"))
    devices = parse_devices(options.pop("devices") or ("0-3" if backend == "sim" else "0"))
    jobs = plan_jobs(BenchRequest(batches=parse_batches(batch), backend=backend, devices=devices, **options))
    make_out_folder(out)
    warm_up(find_preset(options["preset"]), say)  # here, where it can be said, and not in each batch size's process
    benches: list[BatchBench] = []
    for job in jobs:
        benches.append(_measured(job, is_first=not benches))
        write_pure_infer(benches[-1], old_tool_stem(options["model"], job.devices.batch), out)
    say("\n".join([*table(benches), *remarks(benches, options["model"])]))
    models = [str(job.devices.model) for job in jobs]
    log_benches(list(zip(models, benches, strict=True)), {**options, "backend": backend}, log)
    if json_path is not None:
        write_json(benches, json_path, options["rounds"], options["warm_up"])
    say(f"results in {out}")


def _measured(job: PureBenchJob, is_first: bool) -> BatchBench:
    from engine.purebench import pure_bench

    bench = pure_bench(job)
    if is_first:
        if bench.simulated:
            say(f"SIMULATED chips, profile {bench.profile}: their rates are published figures")
        say(f"{bench.device_name} x {len(bench.chips)}, {job.rounds} rounds after {job.warm_up}, input {bench.input}")
    return bench
