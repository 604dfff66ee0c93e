"""Pure inference: chips alone, fed from memory, all of them at once. No decoding, no ranking, no pipeline."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from engine.backends.base import Backend, Completion, DeviceJob
from engine.errors import DeviceError, ModelError
from engine.feeder import BACKEND_FILES
from engine.isolated import call_isolated
from engine.presets import find_preset
from engine.sample_rows import Rows, input_rows
from kernels.warm import warm

Array = npt.NDArray[Any]

#: Rows that are kept in memory, so that no batch finds its input in the processor's cache.
LEAST_ROWS = 32
#: Seconds between looks at a chip that is to be waited for.
POLL_S = 0.25
PERCENTILES = (50, 90, 95, 99)


@dataclass(frozen=True)
class PureBenchJob:
    """What to measure of one model file.

    backend : name of the backend        devices : what to load on which chips, with batch and window
    rounds : measured batches per chip   warm_up : batches before them, not measured
    input : real, random or zeros        data : samples for real ones; None makes some
    stall_timeout : seconds without a completed batch after which a chip is taken to hang
    """

    backend: str
    devices: DeviceJob
    rounds: int = 20
    warm_up: int = 3
    input: str = "real"
    data: Path | None = None
    preset: str = "resnet"
    stall_timeout: float = 60.0


@dataclass(frozen=True)
class ChipTimes:
    """One chip, per measured batch. Times of the chip's own clock where it has one, in ns."""

    h2d_ns: npt.NDArray[np.int64]
    execute_ns: npt.NDArray[np.int64]
    d2h_ns: npt.NDArray[np.int64]
    began_ns: int  # the last warm-up batch was done: the chip was full then
    ended_ns: int  # the last batch was done


@dataclass(frozen=True)
class BatchBench:
    """All chips at one batch size, measured at once."""

    model: str
    batch: int
    device_name: str
    simulated: bool
    profile: str
    input: str
    chips: dict[int, ChipTimes] = field(default_factory=dict)

    def rate_per_s(self, chip: int) -> float:
        """Images/s of one chip as the old tool has it: the mean over the batches of batch / execute time."""
        return float(np.mean(self.batch * 1e9 / self._execute_ns(chip)))

    def latency_ms(self, chip: int) -> float:
        """Execute time per image, mean over the batches, as the old tool has it."""
        return float(np.mean(self._execute_ns(chip))) / self.batch / 1e6

    @property
    def interface_per_s(self) -> float:
        """Images/s of all chips by their execute times, which were taken while all of them worked."""
        return sum(
            self.batch * len(chip.execute_ns) * 1e9 / float(np.maximum(chip.execute_ns, 1).sum())
            for chip in self.chips.values()
        )

    @property
    def wall_per_s(self) -> float:
        """Images/s of all chips at once by the host's clock, copies included."""
        began = min(chip.began_ns for chip in self.chips.values())
        ended = max(chip.ended_ns for chip in self.chips.values())
        n_images = self.batch * sum(len(chip.execute_ns) for chip in self.chips.values())
        return n_images * 1e9 / max(ended - began, 1)

    def percentiles_ms(self, stage: str) -> dict[int, float]:
        """{percent: ms per batch} over all chips. stage : h2d, execute or d2h"""
        times = np.concatenate([getattr(chip, f"{stage}_ns") for chip in self.chips.values()])
        return dict(zip(PERCENTILES, (np.percentile(times, PERCENTILES) / 1e6).tolist(), strict=True))

    def _execute_ns(self, chip: int) -> npt.NDArray[np.float64]:
        return np.maximum(self.chips[chip].execute_ns, 1).astype(np.float64)


def pure_bench(job: PureBenchJob) -> BatchBench:
    """Measure in a process of its own. Raises what loading the model raises; DeviceError where a chip fails."""
    return call_isolated(_measure, job)


def _measure(job: PureBenchJob) -> BatchBench:
    backend = open_backend(job.backend, job.devices)
    inputs = _inputs(job, backend)
    chips = _all_chips(job, backend, inputs.rows)
    backend.close()  # after an error the end of this process releases the chips: closing could wait for a hung one
    names = (backend.device_name, backend.simulated, backend.profile)
    return BatchBench(Path(job.devices.model).stem, backend.model.batch, *names, inputs.about, chips)


def open_backend(name: str, job: DeviceJob) -> Backend:
    """The chips of this process; the null device has no times and is refused."""
    import importlib

    if name == "null":
        raise ModelError("the null device computes nothing: there is nothing to measure or compare")
    module = importlib.import_module(f"engine.backends.{BACKEND_FILES[name]}")
    backend: Backend = module.open_backend(job)
    return backend


def _inputs(job: PureBenchJob, backend: Backend) -> Rows:
    spec, tensor = find_preset(job.preset), backend.model.tensor
    check_shape(backend, job.preset)
    warm(spec, None, tensor)
    n = max(2 * backend.model.batch, LEAST_ROWS)
    inputs = input_rows(job.input, job.data, spec, tensor, n)
    whole = np.resize(inputs.rows, (n, *inputs.rows.shape[1:])) if len(inputs.rows) < n else inputs.rows
    return Rows(inputs.names, whole, inputs.about)


def check_shape(backend: Backend, preset: str) -> None:
    """ModelError unless the preset makes what the model takes."""
    tensor, crop = backend.model.tensor, find_preset(preset).crop
    if tuple(backend.model.shape) != tuple(tensor.shape(crop)):
        raise ModelError(
            f"{backend.model.name} takes inputs of shape {list(backend.model.shape)} but preset {preset} makes "
            f"{list(tensor.shape(crop))}: choose another --preset"
        )


def _all_chips(job: PureBenchJob, backend: Backend, rows: Array) -> dict[int, ChipTimes]:
    """Run all chips at once, each from a thread that submits and one that waits."""
    start = threading.Barrier(len(backend.devices))
    lanes = {n: _Lane(n, backend, rows, job, start) for n in backend.devices}
    for lane in lanes.values():
        lane.start()
    return {number: lane.finish() for number, lane in lanes.items()}


class _Lane:
    """One chip and its two threads."""

    def __init__(self, number: int, backend: Backend, rows: Array, job: PureBenchJob, start: threading.Barrier) -> None:
        self._number, self._device = number, backend.devices[number]
        self._stall_ns = int(job.stall_timeout * 1e9)
        self._batch, self._n_classes = backend.model.batch, backend.model.n_classes
        self._rows, self._window = rows, job.devices.window
        self._n_warm, self._n_batches = max(1, job.warm_up), max(1, job.warm_up) + job.rounds
        self._start = start
        self._completions: list[Completion] = []
        self._error: Exception | None = None
        self._threads = [threading.Thread(target=f, daemon=True) for f in (self._submit, self._wait)]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def finish(self) -> ChipTimes:
        """The chip's times. Raises what ended one of the threads, and DeviceError for a chip that hangs."""
        n_seen, since_ns = -1, 0
        while self._threads[1].is_alive():
            if len(self._completions) != n_seen:
                n_seen, since_ns = len(self._completions), time.perf_counter_ns()
            elif time.perf_counter_ns() - since_ns > self._stall_ns:
                raise DeviceError(
                    f"chip {self._number} has completed no batch for {self._stall_ns / 1e9:g} s (batch {n_seen + 1}): "
                    "it hangs; reset it, or raise --stall-timeout",
                    chip=self._number,
                )
            self._threads[1].join(POLL_S)
        if self._error is not None:
            raise self._error
        self._threads[0].join()
        done = self._completions[self._n_warm :]
        h2d, execute, d2h = (
            np.array([getattr(c, name) for c in done], np.int64) for name in ("h2d_ns", "execute_ns", "d2h_ns")
        )
        return ChipTimes(h2d, execute, d2h, self._completions[self._n_warm - 1].done_ns, done[-1].done_ns)

    def _submit(self) -> None:
        outs = np.zeros((self._window + 1, self._batch, self._n_classes), np.float32)
        n_places = len(self._rows) // self._batch
        try:
            self._start.wait()
            for i in range(self._n_batches):
                first = (i % n_places) * self._batch
                self._device.submit(self._rows[first : first + self._batch], outs[i % len(outs)])
            self._device.close_input()
        except Exception as error:
            self._error = error
            self._device.close_input()  # lets the other thread end

    def _wait(self) -> None:
        try:
            while (completion := self._device.wait()) is not None:
                self._completions.append(completion)
        except Exception as error:
            self._error = error
