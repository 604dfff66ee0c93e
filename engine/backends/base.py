"""What the feeder asks of a backend. A backend is one file; this folder's listing is the registry."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from kernels.spec import FLOAT32_NCHW, TensorFormat

F32 = npt.NDArray[np.float32]
Images = npt.NDArray[Any]


@dataclass(frozen=True)
class DeviceJob:
    """What to load on which chips.

    model : path of the file that the backend loads; empty for the null backend
    batch : images per execution        window : batches in flight per chip
    n_threads : CPU threads per device, for backends that compute on the host
    options : of one backend only (the simulator's profile and settings)
    is_traced : tell when each copy and execution began
    process_number : 0, or how many processes were started before to drive these chips
    """

    model: str
    devices: tuple[int, ...]
    batch: int
    window: int
    n_threads: int
    side: int
    options: dict[str, Any]
    process_number: int = 0
    is_traced: bool = False


@dataclass(frozen=True)
class ModelInfo:
    """What the loaded model says of itself.

    shape : of one input image, in the order of `tensor`        n_classes : columns of the output
    """

    name: str
    batch: int
    shape: tuple[int, ...]
    n_classes: int
    tensor: TensorFormat = FLOAT32_NCHW


@dataclass(frozen=True)
class Completion:
    """One executed batch: device times, when the host learned of it, and of how many rows it was, padding included.

    began_ns : when h2d, execute and d2h began, on the host's clock; empty unless the job is traced
    """

    h2d_ns: int
    execute_ns: int
    d2h_ns: int
    done_ns: int
    n_rows: int
    began_ns: tuple[int, ...] = ()


class Device(Protocol):
    """One chip. One thread at a time submits, another one waits. window : batches that fit in flight"""

    @property
    def window(self) -> int: ...

    def submit(self, batch: Images, out: F32) -> None:
        """Queue one batch; blocks only while the window is full.

        batch : (n, *shape) of the model's dtype, n <= the model's batch; missing rows are padded on the device
        out   : (n, n_classes) float32, written before `wait` returns the batch's completion
        """

    def wait(self) -> Completion | None:
        """Block until the oldest submitted batch is complete; None after `close_input`, once nothing is left."""

    def close_input(self) -> None:
        """No more batches: lets `wait` end."""


class Backend(Protocol):
    """All chips of one feeder process. notices : lines that the user must see"""

    devices: dict[int, Device]
    model: ModelInfo
    device_name: str
    simulated: bool
    profile: str
    notices: list[str]

    def close(self) -> None:
        """Release everything in the order that the runtime wants; the devices are idle. Idempotent."""
