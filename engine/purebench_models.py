"""What to measure, and which model file serves which batch size: chips' models are compiled for one batch each."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from engine import host
from engine.backends.base import DeviceJob
from engine.config import DEFAULT_PROFILE, SIMULATED_CHIPS, RunConfig
from engine.errors import ConfigError, ModelError
from engine.models import BUILT_IN, Model, Target, resolve_model, simulated_soc
from engine.presets import find_preset
from engine.purebench import PureBenchJob
from engine.run import simulator_options

#: How the guide calls its files: resnext101_32x8d_bs16.om.
BATCH_IN_NAME = re.compile(r"(.*_bs)(\d+)(.*)", re.DOTALL)
MAX_BATCH = 1024


@dataclass(frozen=True)
class BenchRequest:
    """A benchmark over batch sizes. backend : as `choose_backend` gives it; see `PureBenchJob` for the rest"""

    model: str
    batches: tuple[int, ...]
    backend: str
    devices: tuple[int, ...]
    rounds: int = 20
    warm_up: int = 3
    input: str = "real"
    data: Path | None = None
    preset: str = "resnet"
    window: int = 2
    profile: str = DEFAULT_PROFILE
    sim_chips: int = SIMULATED_CHIPS
    sim_faults: str = ""
    sim_slow: str = ""
    stall_timeout: float = 60.0


def plan_jobs(request: BenchRequest) -> list[PureBenchJob]:
    """One job per batch size; raises what is wrong with the models before anything is measured."""
    spec = find_preset(request.preset)
    soc = simulated_soc(request.profile) if request.backend == "sim" else ""
    models = models_by_batch(request.model, request.batches, request.backend, Target(1, spec.crop, soc, spec))
    config = RunConfig(
        Path(),
        backend=request.backend,
        profile=request.profile,
        sim_chips=request.sim_chips,
        sim_faults=request.sim_faults,
        sim_slow=request.sim_slow,
    )
    n_threads = max(1, host.n_cores() // len(request.devices))
    options = simulator_options(config)
    return [
        PureBenchJob(
            request.backend,
            DeviceJob(model.path, request.devices, batch, request.window, n_threads, spec.crop, options),
            request.rounds,
            request.warm_up,
            request.input,
            request.data,
            request.preset,
            request.stall_timeout,
        )
        for batch, model in models.items()
    ]


def parse_batches(text: str) -> tuple[int, ...]:
    """``1,4,8`` as numbers, in this order; ConfigError for anything else."""
    words = [word.strip() for word in text.split(",")]
    if not all(word.isascii() and word.isdecimal() and 1 <= int(word) <= MAX_BATCH for word in words):
        raise ConfigError(f"--batch {text!r} is no list of batch sizes: needed something like 1,4,8,16,32")
    batches = tuple(int(word) for word in words)
    if len(set(batches)) != len(batches):
        raise ConfigError(f"--batch {text!r} names batch {max(batches, key=batches.count)} twice")
    return batches


def models_by_batch(model: str, batches: Sequence[int], backend: str, target: Target) -> dict[int, Model]:
    """{batch: model} of the file itself, of its siblings X_bs1.om, X_bs4.om ..., or made from its ONNX.

    target : its batch is replaced. ModelError names all files that are missing.
    """
    files = {batch: file_for(model, batch) for batch in batches}
    absent = [str(path) for path in files.values() if path not in BUILT_IN and not Path(path).is_file()]
    if absent:
        raise ModelError(
            f"no {', no '.join(absent)}: each batch size needs a file of its own; compile them "
            "(engine compile X.onnx --batch ...) or leave those sizes out of --batch"
        )
    return {batch: resolve_model(file, backend, replace(target, batch=batch)) for batch, file in files.items()}


def file_for(model: str, batch: int) -> str:
    """The file of this batch size: the sibling where the name says which one it is for, else the file itself."""
    match = BATCH_IN_NAME.fullmatch(Path(model).name)
    if model in BUILT_IN or Path(model).suffix != ".om" or match is None:
        return model
    return str(Path(model).with_name(f"{match[1]}{batch}{match[3]}"))


def old_tool_stem(model: str, batch: int) -> str:
    """The model's name in ``PureInfer_perf_of_<stem>_in_device_<d>.txt``; it tells batch sizes apart."""
    stem = Path(file_for(model, batch)).stem
    return stem if BATCH_IN_NAME.fullmatch(stem) else f"{stem}_bs{batch}"
