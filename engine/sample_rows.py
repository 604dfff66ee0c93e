"""A few samples as a model's input rows, in this process: for benchmarks and for comparisons of models."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from engine.errors import DataError
from engine.listing import find_samples
from kernels.host import HostPath
from kernels.spec import ImageError, PreprocessSpec, TensorFormat

Array = npt.NDArray[Any]

INPUTS = ("real", "random", "zeros")
#: Images that are made where none are given (0.1 s each).
N_MADE = 8
SEED = 310


@dataclass(frozen=True)
class Rows:
    """names : of the samples        rows : (n, ...) in the tensor format        about : where they are from"""

    names: list[str]
    rows: Array
    about: str


def read_rows(data: Path, spec: PreprocessSpec, tensor: TensorFormat, n: int) -> Rows:
    """The first `n` samples of `data` that can be decoded; DataError where there are none."""
    listing = find_samples(data, is_labelled=False)
    listing.store.check(listing.names, spec)
    source = listing.store.open(listing.names, spec, tensor)
    rows = np.zeros((min(n, len(listing.names)), *tensor.shape(spec.crop)), tensor.numpy_dtype)
    names: list[str] = []
    reason = ""
    for sample in range(len(listing.names)):
        if len(names) == len(rows):
            break
        try:
            source.write(source.read(sample), rows[len(names)])
        except ImageError as error:
            reason = f"{listing.names.name(sample)}: {error}"
            continue
        names.append(listing.names.name(sample))
    if not names:
        raise DataError(f"none of the {len(listing.names)} samples in {data} can be decoded, last {reason}")
    return Rows(names, rows[: len(names)], f"real: {len(names)} {listing.store.plural} of {data}")


def input_rows(kind: str, data: Path | None, spec: PreprocessSpec, tensor: TensorFormat, n: int) -> Rows:
    """Up to `n` rows for a benchmark. kind : one of `INPUTS`; real ones without `data` come from JPEGs made here."""
    shape = (n, *tensor.shape(spec.crop))
    if kind == "zeros":
        return Rows([], np.zeros(shape, tensor.numpy_dtype), "zeros")
    if kind == "random":
        rng = np.random.default_rng(SEED)
        if tensor.dtype == "uint8":
            return Rows([], rng.integers(0, 256, shape, np.uint8), "random: uniform bytes")
        return Rows([], rng.standard_normal(shape, np.float32).astype(tensor.numpy_dtype), "random: standard normal")
    if data is not None:
        return read_rows(data, spec, tensor, n)
    return _made_rows(spec, tensor, min(n, N_MADE))


def _made_rows(spec: PreprocessSpec, tensor: TensorFormat, n: int) -> Rows:
    from engine.demo_images import make_jpeg, plan_images

    preprocess = HostPath(spec, tensor)
    rows = np.zeros((n, *tensor.shape(spec.crop)), tensor.numpy_dtype)
    for row, plan in zip(rows, plan_images(), strict=False):
        preprocess(make_jpeg(plan), row)
    return Rows([], rows, f"real: {n} JPEGs like ImageNet's, made here (--data DIR takes yours)")
