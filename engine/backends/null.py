"""The null backend: completes at once, computes nothing. It measures the engine's own ceiling.

Its option "tensor" (dtype, layout) says what decoders are to make; without it float32, NCHW.
"""

from __future__ import annotations

import time
from queue import SimpleQueue

from engine.backends.base import F32, Completion, Device, DeviceJob, Images, ModelInfo
from kernels.spec import TensorFormat

#: Columns of the outputs that are never written: as many as ImageNet's classes, so that ranking costs what it costs.
N_CLASSES = 1000


class NullDevice:
    """Takes a batch and gives it back."""

    def __init__(self, window: int) -> None:
        self.window = window
        self._queue: SimpleQueue[int] = SimpleQueue()

    def submit(self, batch: Images, out: F32) -> None:
        self._queue.put(len(batch))

    def wait(self) -> Completion | None:
        n_rows = self._queue.get()
        return Completion(0, 0, 0, time.perf_counter_ns(), n_rows) if n_rows else None

    def close_input(self) -> None:
        self._queue.put(0)


class NullBackend:
    """As many null devices as are asked for."""

    device_name = "null"
    simulated = False
    profile = ""

    def __init__(self, job: DeviceJob) -> None:
        self.notices: list[str] = []
        self.devices: dict[int, Device] = {number: NullDevice(job.window) for number in job.devices}
        tensor = TensorFormat(*job.options.get("tensor", ()))
        self.model = ModelInfo("null", job.batch, tensor.shape(job.side), N_CLASSES, tensor)

    def close(self) -> None:
        """Nothing to release."""


def open_backend(job: DeviceJob) -> NullBackend:
    return NullBackend(job)
