"""Compile every kernel before the first worker starts, or load it from the disk cache.

The hub calls this once. Worker processes then find the cache filled: numba's cache is not safe against two processes
that compile the same function at once.
"""

from __future__ import annotations

import io
from collections.abc import Callable

import numpy as np
from PIL import Image

from kernels.fingerprint import fingerprint_hash, fingerprint_logits
from kernels.host import HostPath
from kernels.normalise import normalise_crop
from kernels.rank import rank_rows
from kernels.resample import Resampler, whole
from kernels.spec import PreprocessSpec, TensorFormat


def warm(
    spec: PreprocessSpec, progress: Callable[[str], None] | None = None, tensor: TensorFormat | None = None
) -> None:
    """Run every kernel of a run once, on a tiny input; `progress` is told which one comes next."""
    steps: list[tuple[str, Callable[[], None]]] = [
        ("resample", lambda: _warm_resample(spec, tensor or TensorFormat())),
        ("jpeg", lambda: _warm_jpeg(spec, tensor or TensorFormat())),
        ("rank", _warm_rank),
        ("fingerprint", _warm_fingerprint),
    ]
    for name, step in steps:
        if progress is not None:
            progress(name)
        step()


def _warm_resample(spec: PreprocessSpec, tensor: TensorFormat) -> None:
    resample = Resampler(spec, tensor)
    image = whole(np.zeros((spec.resize, spec.resize, 3), np.uint8))
    plan, out = resample.plan(spec.resize, spec.resize), np.zeros(tensor.shape(spec.crop), tensor.numpy_dtype)
    resample(plan, image, out)
    resample.by_loops(plan, image, out)  # odd sizes need them
    normalise_crop(np.zeros((spec.crop, spec.crop, 3), np.uint8), spec, tensor, out)


def _warm_jpeg(spec: PreprocessSpec, tensor: TensorFormat) -> None:
    stream = io.BytesIO()
    Image.new("RGB", (spec.resize, spec.resize)).save(stream, "JPEG")
    HostPath(spec, tensor)(stream.getvalue(), np.zeros(tensor.shape(spec.crop), tensor.numpy_dtype))


def _warm_rank() -> None:
    labels, ranks = np.zeros(1, np.int32), np.zeros(1, np.int32)
    top_ids, top_logits = np.zeros((1, 5), np.int32), np.zeros((1, 5), np.float32)
    rank_rows(np.zeros((1, 8), np.float32), labels, ranks, top_ids, top_logits)


def _warm_fingerprint() -> None:
    fingerprint_hash(np.zeros(64, np.uint64))
    fingerprint_logits(np.zeros((1, 512), np.uint8), np.zeros((1, 8), np.float32))
