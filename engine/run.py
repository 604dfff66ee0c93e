"""`engine run`: from a configuration to results on disk and a summary."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from engine import host, results
from engine.backends.base import DeviceJob
from engine.claim import claimed, make_out_folder
from engine.config import RunConfig
from engine.dump import Dump
from engine.errors import ConfigError, DataError, DeviceError, ModelError, ResourceError
from engine.files import named_by_user, require_place
from engine.hub import Bounds, Watcher
from engine.incidents import INCIDENTS, Incidents
from engine.index import DataIndex, read_index
from engine.journal import Journal, identity_of
from engine.layout import default_window
from engine.limits import Limits
from engine.models import Model, Target, resolve_model, simulated_soc
from engine.pipeline import Outcome, Plan, run_pipeline
from engine.preflight import Needs, check_needs
from engine.presets import find_preset
from engine.progress import Progress
from engine.standins import parse_injection
from engine.trace import Scene, write_trace
from engine.warming import warm_up
from kernels.spec import FLOAT32_NCHW, PreprocessSpec, TensorFormat

#: More decoders than this have never been needed to feed a host's chips.
MOST_WORKERS = 32
#: The host ceiling is measured for this long, before and after the run: the better one counts, because whatever else
#: this host was doing can only lower it.
CEILING_SECONDS = 2.0


@dataclass(frozen=True)
class Prepared:
    """A run whose data, model and sizes are known."""

    config: RunConfig
    index: DataIndex
    model: Model
    plan: Plan


def execute(config: RunConfig, say: Callable[[str], None]) -> tuple[results.Report, Outcome, DataIndex]:
    """Run, write the results, and return them. Raises EngineError for what is wrong before the first image."""
    prepared = prepare(config, say)
    with claimed(config.out, say) as claim:
        ceilings = [measure_ceiling(prepared)] if config.measure_ceiling else []
        with journal_of(prepared, say) as journal:
            outcome = _run(prepared, journal)
            if config.measure_ceiling and outcome.error is None and not outcome.was_interrupted:
                if outcome.opened.tensor_format != FLOAT32_NCHW:
                    ceilings.clear()  # the model takes another format, for which decoders do other work
                ceilings.append(measure_ceiling(prepared, outcome.opened.tensor_format))
            best = max(ceilings, default=None)
            report = results.make_report(prepared.config, prepared.index, prepared.model, outcome, best)
            claim.renew()
            with named_by_user(config.out):
                results.write(report, prepared.index, outcome)
            if config.trace is not None:
                _write_trace(config.trace, report, outcome)
            if journal is not None and outcome.n_settled == outcome.n_positions:
                journal.discard()
    return report, outcome, prepared.index


def _write_trace(path: Path, report: results.Report, outcome: Outcome) -> None:
    tally, document = outcome.tally, report.document
    assert tally.trace is not None
    names = {process["pid"]: process["name"] for process in document["processes"]}
    about = {key: document[key] for key in ("engine_version", "simulated", "profile")}
    write_trace(path, tally.trace, Scene(tally.began_ns, outcome.layout.n_slots, names, about))


@contextlib.contextmanager
def journal_of(prepared: Prepared, say: Callable[[str], None]) -> Iterator[Journal | None]:
    """The run's journal, if it wants one; what was appended is on disk at the end, whatever ended it."""
    config = prepared.config
    if not config.journal or config.min_duration:  # a measurement that is cut in two measures nothing
        yield None
        return
    identity = identity_of(config, prepared.index, prepared.model)
    journal = Journal(config, identity, len(prepared.index))
    for note in journal.notes:
        say(note)
    try:
        yield journal
    except (ConfigError, DataError, DeviceError, ModelError):  # before the first image; to go on would be refused too
        if not journal.has_results:
            journal.discard()
        raise
    finally:
        if journal.is_open:  # not complete: nobody discarded it
            with contextlib.suppress(ResourceError):  # a full disk ended the run: the file holds what it held before
                journal.close()
            if journal.is_there():
                say(f"not complete; make it so with: engine run --resume {config.out}")
            else:
                say(f"not complete, and it cannot be resumed: the journal in {config.out} was removed during the run")


def _run(prepared: Prepared, journal: Journal | None) -> Outcome:
    config, names = prepared.config, prepared.index.names
    n_positions = None if config.min_duration else len(prepared.index) * config.repeat
    progress = Progress(n_positions, "run", shows_accuracy=config.backend != "null" and prepared.index.is_labelled)
    dump = Dump(config.out, names, config.dump, is_continued=config.resume) if config.dump else None
    incidents = Incidents(config.out / INCIDENTS, is_continued=config.resume)
    try:
        return run_pipeline(prepared.plan, Watcher(progress, progress.notice, dump, journal, incidents))
    finally:
        progress.close()


def prepare(config: RunConfig, say: Callable[[str], None]) -> Prepared:
    """Check everything that can be checked without a chip, and compile the kernels."""
    spec = find_preset(config.preset, exif_rotate=config.exif_rotate)
    if config.no_labels and config.label_offset is not None:
        raise ConfigError("--label-offset and --no-labels contradict each other: leave one of them out")
    index = read_index(config.data, config.labels, config.no_labels)
    index.store.check(index.names, spec)
    for note in index.notes:
        say(note)
    if config.limit is not None:
        index = index.first(config.limit)
    make_out_folder(config.out)
    if config.trace is not None:
        require_place("--trace", config.trace, "trace.json")
    n_workers, n_threads = divide_cores(config)
    check_needs(needs_of(config, index, n_workers))
    model = resolve_model(config.model, config.backend, target_of(config, spec))
    warm_up(spec, say)
    repeat = max(config.repeat, -(-config.min_images // len(index)))
    window = config.window or default_window(config.batch)
    config = replace(config, workers=n_workers, repeat=repeat, window=window)
    options = simulator_options(config)
    job = DeviceJob(model.path, config.devices, config.batch, window, n_threads, spec.crop, options)
    job = replace(job, is_traced=config.trace is not None)
    plan = Plan(
        index,
        model.name,
        spec,
        config.backend,
        job,
        n_workers,
        config.slots,
        config.repeat,
        config.start_method,
        config.label_offset,
        config.feeders,
        bounds=Bounds(shortest_s=config.min_duration),
        limits=Limits(config.stall_timeout, config.image_timeout),
        stand_ins=parse_injection(config.inject),
    )
    return Prepared(config, index, model, plan)


def needs_of(config: RunConfig, index: DataIndex, n_workers: int) -> Needs:
    """What the run needs of this host."""
    n_feeders = min(config.feeders, len(config.devices))
    names_bytes, n_positions = len(index.names.blob), len(index) * config.repeat
    return Needs(n_workers, n_feeders, len(index), n_positions, names_bytes, config.dump, config.out)


def simulator_options(config: RunConfig) -> dict[str, Any]:
    """What the backend must know of the simulated chips; ConfigError for faults or speeds that cannot be read."""
    if config.backend != "sim":
        if config.sim_faults or config.sim_slow:
            raise ConfigError(
                f"--sim-faults and --sim-slow are for simulated chips: use --backend sim, not {config.backend}"
            )
        return {"simulated": False}
    from engine.pyacl_stubs.faults import FaultError, parse
    from engine.pyacl_stubs.settings import parse_speeds

    try:
        parse(config.sim_faults)
        parse_speeds(config.sim_slow)
    except FaultError as error:
        raise ConfigError(f"--sim-faults: {error}") from error
    except ValueError as error:
        raise ConfigError(f"--sim-slow: {error}") from error
    settings = {"n_devices": config.sim_chips, "faults": config.sim_faults, "speeds": config.sim_slow}
    return {"simulated": True, "profile": config.profile, "settings": settings}


def target_of(config: RunConfig, spec: PreprocessSpec) -> Target:
    """What the model's file must be made for."""
    soc = simulated_soc(config.profile) if config.backend == "sim" else ""
    return Target(config.batch, spec.crop, soc, spec)


def divide_cores(config: RunConfig) -> tuple[int, int]:
    """(decoders, threads per device). Where the host computes the model too, decoders leave it most of the cores."""
    cores = host.n_cores()
    n_devices = len(config.devices)
    if config.backend != "onnxruntime":
        return config.workers or min(cores, MOST_WORKERS), 1
    n_workers = config.workers or max(1, cores // 4)
    return n_workers, max(1, (cores - n_workers) // n_devices)


def measure_ceiling(prepared: Prepared, tensor: TensorFormat = FLOAT32_NCHW) -> float:
    """Images per second of the decoders alone, into a null device, for a few seconds. tensor : what they make"""
    plan = replace(null_plan(prepared.plan, tensor), bounds=Bounds(CEILING_SECONDS, CEILING_SECONDS))
    progress = Progress(None, f"host ceiling, {CEILING_SECONDS:.0f} s", shows_accuracy=False)
    try:
        outcome = run_pipeline(plan, Watcher(progress, progress.notice))
    finally:
        progress.close()
    if outcome.was_interrupted:
        raise KeyboardInterrupt
    if outcome.error is not None:
        raise outcome.error
    return outcome.tally.end_to_end_per_s


def null_plan(plan: Plan, tensor: TensorFormat = FLOAT32_NCHW) -> Plan:
    """The same pipeline into a device that takes everything at once; nobody's scores."""
    job = replace(plan.device_job, model="", options={"tensor": (tensor.dtype, tensor.layout)})
    return replace(plan, backend="null", device_job=job, repeat=1, label_offset=0, is_scored=False)
