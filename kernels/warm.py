"""Compile every kernel before the first worker starts, or load it from the disk cache.

The hub calls this once. Worker processes then find the cache filled: numba's cache is not safe against two processes
that compile the same function at once.
"""

from __future__ import annotations

import contextlib
import io
import os
import pickle
import subprocess
import sys
from collections.abc import Callable

import numpy as np
from PIL import Image

from kernels.fingerprint import fingerprint_hash, fingerprint_logits, logits_of_copies
from kernels.host import HostPath
from kernels.jpeg.decoder import header_stage, pixels_stage
from kernels.normalise import normalise_crop
from kernels.rank import rank_rows
from kernels.resample import Resampler, whole
from kernels.spec import PreprocessSpec, TensorFormat
from kernels.stream import stream_copy


def warm(
    spec: PreprocessSpec, progress: Callable[[str], None] | None = None, tensor: TensorFormat | None = None
) -> None:
    """Run every kernel of a run once, on a tiny input; `progress` is told what comes next, e.g. "rank (2 of 5)".

    The first time, where there are two cores, a second process compiles half of them at the same time.
    """
    form = tensor or TensorFormat()
    steps: list[tuple[str, Callable[[], None]]] = [
        ("jpeg decoder", pixels_stage.compile),
        ("rank", _warm_rank),
        ("fingerprint", _warm_fingerprint),
        ("copies", lambda: stream_copy(np.zeros(512, np.uint8), np.zeros(512, np.uint8))),
        ("resample", lambda: _warm_resample(spec, form)),
        ("host path", lambda: _warm_jpeg(spec, form)),
    ]
    helper = None if pixels_stage.is_cached or len(os.sched_getaffinity(0)) < 2 else _start_helper(spec, form)
    for number, (name, step) in enumerate(steps, 1):
        if progress is not None:
            progress(f"{name} ({number} of {len(steps)})")
        if name == "resample" and helper is not None:
            helper.wait()  # if it failed, the next steps compile what is missing
        step()


def warm_others(spec: PreprocessSpec, tensor: TensorFormat) -> None:
    """The JPEG header and the resampling: what the second process compiles, half of the whole."""
    header_stage.compile()
    _warm_resample(spec, tensor)


def _start_helper(spec: PreprocessSpec, tensor: TensorFormat) -> subprocess.Popen[bytes]:
    """`warm_others` in a process of its own, with this one's import path."""
    code = "import pickle, sys; sys.path[:], job = pickle.load(sys.stdin.buffer); import kernels.warm as w; "
    command = [sys.executable, "-c", code + "w.warm_others(*pickle.loads(job))"]
    helper = subprocess.Popen(command, stdin=subprocess.PIPE)
    with contextlib.suppress(BrokenPipeError), helper.stdin:  # type: ignore[union-attr]
        pickle.dump((sys.path, pickle.dumps((spec, tensor))), helper.stdin)  # type: ignore[arg-type]
    return helper


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
    source, out = np.zeros((1, 512), np.uint8), np.zeros((1, 8), np.float32)
    fingerprint_logits(source, out)
    room = np.zeros(512 + 64, np.uint8)
    copy = logits_of_copies(room[-room.ctypes.data % 64 :][:512].reshape(1, 512), out)
    assert copy is not None
    copy(source.ctypes.data)
