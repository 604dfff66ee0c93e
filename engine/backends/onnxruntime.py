"""ONNX Runtime on the CPU: real inference anywhere. A device is one session with threads of its own."""

from __future__ import annotations

import time
from pathlib import Path
from queue import SimpleQueue
from typing import Any, Literal

import numpy as np
import onnxruntime

from engine.backends.base import F32, Completion, Device, DeviceJob, Images, ModelInfo
from engine.errors import DeviceError, ModelError
from kernels.spec import TensorFormat

#: ONNX Runtime's severity for errors: its warnings about graphs are not for the user of a classifier.
LOG_ERRORS_ONLY = 3
IMAGE_TYPES: dict[str, Literal["float32", "float16", "uint8"]] = {
    "tensor(float)": "float32",
    "tensor(float16)": "float16",
    "tensor(uint8)": "uint8",
}
SCORE_TYPES = ("tensor(float)", "tensor(float16)")


def open_session(path: str, n_threads: int, profile_prefix: str = "") -> Any:
    """A session with `n_threads` intra-op threads; ModelError where the file is no model that ONNX Runtime runs.

    profile_prefix : of the file that ONNX Runtime's profiler writes; empty for none
    """
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = n_threads
    options.inter_op_num_threads = 1
    options.log_severity_level = LOG_ERRORS_ONLY
    if profile_prefix:
        options.enable_profiling = True
        options.profile_file_prefix = profile_prefix
    try:
        return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # its exceptions share no base of their own
        reason = str(error).splitlines()[0].strip() if str(error) else type(error).__name__
        raise ModelError(f"{path} is no ONNX model that ONNX Runtime can load: {reason}") from error


def describe(session: Any, path: str, batch: int) -> ModelInfo:
    """The classifier that this session runs; ModelError says what does not fit."""
    name = Path(path).name
    inputs, outputs = session.get_inputs(), session.get_outputs()
    if len(inputs) != 1 or len(outputs) != 1:
        raise ModelError(
            f"{path} has {len(inputs)} inputs and {len(outputs)} outputs: needed a classifier with one image input "
            "and one output of class scores"
        )
    image, scores = inputs[0], outputs[0]
    if image.type not in IMAGE_TYPES or scores.type not in SCORE_TYPES:
        raise ModelError(
            f"{path} maps {image.type} {image.name!r} to {scores.type} {scores.name!r}: "
            "needed images of float32, float16 or uint8 and scores of float32 or float16"
        )
    if len(image.shape) != 4 or 3 not in (image.shape[1], image.shape[3]):
        raise ModelError(
            f"input {image.name!r} of {path} has shape {image.shape}: needed (N, 3, H, W) or (N, H, W, 3) images"
        )
    if any(not isinstance(side, int) for side in image.shape[1:]):
        raise ModelError(f"input {image.name!r} of {path} has shape {image.shape}: needed a fixed height and width")
    if len(scores.shape) != 2 or not isinstance(scores.shape[1], int) or scores.shape[1] < 2:
        raise ModelError(f"output {scores.name!r} of {path} has shape {scores.shape}: needed (N, classes) scores")
    fixed = image.shape[0]
    if isinstance(fixed, int) and fixed != batch:
        raise ModelError(f"{path} has a fixed batch of {fixed}: run it with --batch {fixed}, not {batch}")
    tensor = TensorFormat(IMAGE_TYPES[image.type], "NCHW" if image.shape[1] == 3 else "NHWC")
    return ModelInfo(name, batch, tuple(image.shape[1:]), scores.shape[1], tensor)


class OnnxDevice:
    """One session; the waiting thread computes."""

    def __init__(self, session: Any, model: ModelInfo, number: int, window: int) -> None:
        self.window = window
        self._session = session
        self._number = number
        self._input_name = session.get_inputs()[0].name
        self._is_fixed = isinstance(session.get_inputs()[0].shape[0], int)
        self._padded = np.zeros((model.batch, *model.shape), model.tensor.numpy_dtype)
        self._queue: SimpleQueue[tuple[Images, F32] | None] = SimpleQueue()

    def submit(self, batch: Images, out: F32) -> None:
        self._queue.put((batch, out))

    def wait(self) -> Completion | None:
        work = self._queue.get()
        if work is None:
            return None
        batch, out = work
        began_ns = time.perf_counter_ns()
        whole = self._whole(batch)
        out[:] = self._scores(whole)[: len(out)]
        ended_ns = time.perf_counter_ns()
        return Completion(0, ended_ns - began_ns, 0, ended_ns, len(whole), (began_ns, began_ns, ended_ns))

    def close_input(self) -> None:
        self._queue.put(None)

    def _whole(self, batch: Images) -> Images:
        """A model with a fixed batch gets its last one padded with zeros."""
        if not self._is_fixed or len(batch) == len(self._padded):
            return batch
        self._padded[: len(batch)] = batch
        return self._padded

    def _scores(self, batch: Images) -> Images:
        try:
            scores: Images = self._session.run(None, {self._input_name: batch})[0]
        except Exception as error:  # its exceptions share no base of their own
            raise DeviceError(f"ONNX Runtime failed on device {self._number}: {error}", chip=self._number) from error
        return scores


class OnnxBackend:
    """One session per device."""

    device_name = "ONNX Runtime CPU session"
    simulated = False
    profile = ""

    def __init__(self, job: DeviceJob) -> None:
        sessions = {number: open_session(job.model, job.n_threads) for number in job.devices}
        self.model = describe(next(iter(sessions.values())), job.model, job.batch)
        self.notices: list[str] = []
        self.devices: dict[int, Device] = {n: OnnxDevice(s, self.model, n, job.window) for n, s in sessions.items()}

    def close(self) -> None:
        """Sessions free themselves."""


def open_backend(job: DeviceJob) -> OnnxBackend:
    return OnnxBackend(job)
