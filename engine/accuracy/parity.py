"""Do two models, or one model on two backends, compute the same? Their scores for the same images, side by side."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from engine import host
from engine.accuracy.intervals import Interval, wilson
from engine.backends.base import DeviceJob
from engine.config import DEFAULT_PROFILE, RunConfig, choose_backend
from engine.errors import ConfigError, DataError, GateError, ModelError
from engine.isolated import call_isolated
from engine.models import BUILT_IN, FINGERPRINT, Target, resolve_model, simulated_soc
from engine.presets import find_preset
from engine.purebench import check_shape, open_backend
from engine.purebench_models import BATCH_IN_NAME
from engine.run import simulator_options
from engine.sample_rows import read_rows
from kernels.rank import rank_rows
from kernels.warm import warm

F32 = npt.NDArray[np.float32]
F64 = npt.NDArray[np.float64]
I32 = npt.NDArray[np.int32]

#: Images per execution where the model leaves it open.
DEFAULT_BATCH = 8


@dataclass(frozen=True)
class Side:
    """One of the two. model : as `engine run` takes it        batch : None for what the model has"""

    model: str
    backend: str | None = None
    preset: str = "resnet"
    batch: int | None = None
    profile: str = DEFAULT_PROFILE
    device: int = 0


@dataclass(frozen=True)
class Scores:
    """What a side computed. scores : (n, n_classes) float32"""

    names: list[str]
    scores: F32
    about: str


@dataclass(frozen=True)
class ParityGate:
    """Least cosine of any image, least Top-1 agreement in percent, and greatest difference of any score (None: any)."""

    min_cosine: float = 0.999
    min_agreement: float = 99.0
    max_abs: float | None = None


@dataclass(frozen=True)
class ImageParity:
    """One image. max_abs : greatest difference of a score        top_a, top_b : first classes"""

    name: str
    cosine: float
    max_abs: float
    top_a: int
    top_b: int


@dataclass(frozen=True)
class Parity:
    """All images, in the data's order."""

    about_a: str
    about_b: str
    images: list[ImageParity]
    n_top5: int  # images with the same five classes first, in any order

    @property
    def n_agree(self) -> int:
        """Images of the same first class."""
        return sum(image.top_a == image.top_b for image in self.images)

    @property
    def agreement(self) -> Interval:
        return wilson(self.n_agree, len(self.images))

    def worst(self, n: int) -> list[ImageParity]:
        """The `n` images that differ most: other first class, then least cosine; NaN is worst."""
        return sorted(self.images, key=_badness)[:n]

    def failures(self, gate: ParityGate) -> list[str]:
        """What is outside the gate."""
        n_nan = sum(np.isnan(image.cosine) for image in self.images)
        least = min(_number(image.cosine, 1.0) for image in self.images)
        greatest = max(_number(image.max_abs, 0.0) for image in self.images)
        percent = 100 * self.n_agree / len(self.images)
        failures = [f"{n_nan} images have NaN or infinite scores"] if n_nan else []
        if least < gate.min_cosine:
            failures.append(f"least cosine {least:.6f} is below {gate.min_cosine:g}")
        if percent < gate.min_agreement:
            failures.append(f"Top-1 agreement {percent:.2f} % is below {gate.min_agreement:g} %")
        if gate.max_abs is not None and greatest > gate.max_abs:
            failures.append(f"greatest difference {greatest:.3g} is above {gate.max_abs:g}")
        return failures

    def raise_for_gate(self, gate: ParityGate) -> None:
        """GateError naming every part that is not met."""
        failures = self.failures(gate)
        if failures:
            raise GateError("; ".join(failures))

    def document(self, gate: ParityGate) -> dict[str, Any]:
        """For JSON."""
        return {**asdict(self), "n_agree": self.n_agree, "gate": asdict(gate), "failures": self.failures(gate)}


def _number(value: float, otherwise: float) -> float:
    return otherwise if np.isnan(value) else value


def _badness(image: ImageParity) -> tuple[bool, float]:
    return image.top_a == image.top_b, _number(image.cosine, -2.0)


def score_side(side: Side, data: Path, n: int) -> Scores:
    """The first `n` images through one side, in a process of its own."""
    backend = side.backend or _usual_backend(side.model)
    backend = choose_backend(backend)
    if backend == "null":
        raise ConfigError("the null device computes nothing: there is nothing to compare")
    spec = find_preset(side.preset)
    batch = side.batch or _batch_of(side.model)
    soc = simulated_soc(side.profile) if backend == "sim" else ""
    model = resolve_model(side.model, backend, Target(batch, spec.crop, soc, spec))
    options = simulator_options(RunConfig(Path(), backend=backend, profile=side.profile))
    job = DeviceJob(model.path, (side.device,), batch, 1, host.n_cores(), spec.crop, options)
    scores = call_isolated(_score, (backend, job, side.preset), data, n)
    simulated = ", SIMULATED chip" if backend == "sim" else ""
    return Scores(scores.names, scores.scores, f"{side.model} on {backend}, {scores.about}, batch {batch}{simulated}")


def _usual_backend(model: str) -> str:
    if model == FINGERPRINT:
        return "sim"
    return "auto" if Path(model).suffix == ".om" else "onnxruntime"


def _batch_of(model: str) -> int:
    """The batch that a file was made for, as far as it can be seen without a chip."""
    path = Path(model)
    if model in BUILT_IN or not path.is_file():
        return DEFAULT_BATCH
    if path.suffix == ".onnx":
        from engine.backends.onnxruntime import open_session

        fixed = open_session(model, 1).get_inputs()[0].shape[0]
        return fixed if isinstance(fixed, int) else DEFAULT_BATCH
    from engine.pyacl_stubs.om import OmError, read_om

    try:
        return read_om(path).batch
    except (OmError, OSError):
        match = BATCH_IN_NAME.fullmatch(path.name)
        return int(match[2]) if match else 1


def _score(what: tuple[str, DeviceJob, str], data: Path, n: int) -> Scores:
    """In the process of this side."""
    name, job, preset = what
    backend = open_backend(name, job)
    check_shape(backend, preset)
    spec, tensor = find_preset(preset), backend.model.tensor
    warm(spec, None, tensor)
    found = read_rows(data, spec, tensor, n)
    scores = np.empty((len(found.rows), backend.model.n_classes), np.float32)
    device = next(iter(backend.devices.values()))
    for start in range(0, len(scores), job.batch):
        part = slice(start, min(start + job.batch, len(scores)))
        device.submit(found.rows[part], scores[part])
        device.wait()
    device.close_input()
    backend.close()
    return Scores(found.names, scores, f"{tensor.dtype} {tensor.layout}")


def compare_scores(a: Scores, b: Scores) -> Parity:
    """Image by image. DataError or ModelError where the two have other images or classes."""
    if a.names != b.names:
        raise DataError(f"the two sides decoded other images: {len(a.names)} and {len(b.names)}")
    if a.scores.shape != b.scores.shape:
        raise ModelError(
            f"the two models have {a.scores.shape[1]} and {b.scores.shape[1]} classes: needed the same classes"
        )
    cosines, differences = cosine(a.scores, b.scores), np.abs(a.scores.astype(np.float64) - b.scores).max(axis=1)
    tops_a, tops_b = first_five(a.scores), first_five(b.scores)
    images = [
        ImageParity(name, float(cosines[i]), float(differences[i]), int(tops_a[i, 0]), int(tops_b[i, 0]))
        for i, name in enumerate(a.names)
    ]
    n_top5 = int(np.count_nonzero((np.sort(tops_a) == np.sort(tops_b)).all(axis=1)))
    return Parity(a.about, b.about, images, n_top5)


def cosine(a: F32, b: F32) -> F64:
    """Of each pair of rows, in double precision; 1 where both are zero, 0 where one is."""
    wide_a, wide_b = a.astype(np.float64), b.astype(np.float64)
    norms = np.linalg.norm(wide_a, axis=1), np.linalg.norm(wide_b, axis=1)
    product = norms[0] * norms[1]
    both_zero = (norms[0] == 0) & (norms[1] == 0)
    dots = np.einsum("ij,ij->i", wide_a, wide_b)
    found: F64 = np.where(product == 0, both_zero.astype(np.float64), dots / np.where(product == 0, 1.0, product))
    return found


def first_five(scores: F32) -> I32:
    """(n, 5) classes, best first; ties to the lower class."""
    n = len(scores)
    ids = np.empty((n, 5), np.int32)
    rank_rows(
        np.ascontiguousarray(scores), np.zeros(n, np.int32), np.empty(n, np.int32), ids, np.empty((n, 5), np.float32)
    )
    return ids
