"""The feeder process: drives the chips, each from a thread that submits and one that waits."""

from __future__ import annotations

import importlib
import os
import threading
import time
from dataclasses import dataclass
from queue import SimpleQueue
from typing import Any

from engine.arena import Arena
from engine.backends.base import Backend, Completion, Device, DeviceJob
from engine.channel import Channel, ChannelEnds
from engine.errors import DeviceError
from engine.messages import Attach, ChipLost, Done, Opened, Run, Started, Stop
from engine.process import EXIT_ORPHANED, begin, end_with_hub, failures_reported
from engine.stages_clock import BLOCKED, BUSY, STARVED, LapClock

#: The file in engine/backends that serves each backend: cann and sim are the same code.
BACKEND_FILES = {"cann": "acl", "sim": "acl", "onnxruntime": "onnxruntime", "null": "null"}


@dataclass(frozen=True)
class FeederJob:
    """What the feeder is started with: descriptors (as `DupFd`) of arena and stacks, and what to load where."""

    arena: Any
    backend: str
    devices: DeviceJob
    stacks: Any


def feeder_main(ends: ChannelEnds, job: FeederJob) -> None:
    """Run the feeder until the hub says Stop or is gone."""
    begin("feeder", job.stacks.detach())
    hub = ends.open()
    end_with_hub(hub)
    with failures_reported(hub, "feeder"):
        try:
            backend = open_backend(job)
        except DeviceError as error:
            if error.chip < 0:
                raise
            hub.send(ChipLost(error.chip, error.code, str(error), error.remedy))
            hub.receive()  # the hub ends this process
            return
        hub.send(opened(backend))
        attach = hub.receive()
        if isinstance(attach, Stop):  # the hub refused the model
            backend.close()
            return
        assert isinstance(attach, Attach)
        arena = Arena(job.arena.detach(), attach.layout)
        lanes = {
            number: Lane(number, device, backend.model.batch, arena, hub) for number, device in backend.devices.items()
        }
        hub.send(Started())
        feed_forever(hub, lanes)
        backend.close()


def feed_forever(hub: Channel, lanes: dict[int, Lane]) -> None:
    """Hand each Run to its chip until the hub says Stop; a hub that is gone ends the process."""
    for message in hub.received():
        if isinstance(message, Stop):
            break
        assert isinstance(message, Run)
        lanes[message.device].put(message)
    else:
        os._exit(EXIT_ORPHANED)
    for lane in lanes.values():
        lane.finish()


def open_backend(job: FeederJob) -> Backend:
    """Load the model on the chips with the backend's own file."""
    module = importlib.import_module(f"engine.backends.{BACKEND_FILES[job.backend]}")
    backend: Backend = module.open_backend(job.devices)
    return backend


def opened(backend: Backend) -> Opened:
    """What the hub must know of the model and the chips before the first image is decoded."""
    model = backend.model
    return Opened(
        model.name,
        model.batch,
        list(model.shape),
        [model.tensor.dtype, model.tensor.layout],
        model.n_classes,
        backend.device_name,
        backend.simulated,
        backend.profile,
        backend.notices,
    )


class SlotTally:
    """Sums over the batches of one slot, until all are complete. `spent` is the submitting thread's clock."""

    def __init__(self, run: Run, n_batches: int, spent: list[int]) -> None:
        self.run = run
        self.n_batches = n_batches
        self.spent = spent
        self.submitted_ns = time.perf_counter_ns()
        self.n_complete = self.n_rows = 0
        self.h2d_ns = self.execute_ns = self.d2h_ns = 0
        self.batches: list[list[int]] = []

    def add(self, completion: Completion) -> Done | None:
        """Count a batch; the slot's Done once it was the last."""
        self.n_complete += 1
        self.n_rows += completion.n_rows
        self.h2d_ns += completion.h2d_ns
        self.execute_ns += completion.execute_ns
        self.d2h_ns += completion.d2h_ns
        if completion.began_ns:
            h2d, execute, d2h = completion.began_ns
            ns = completion.h2d_ns, completion.execute_ns, completion.d2h_ns
            self.batches.append([h2d, ns[0], execute, ns[1], d2h, ns[2]])
        if self.n_complete < self.n_batches:
            return None
        run = self.run
        times = (self.submitted_ns, completion.done_ns, self.h2d_ns, self.execute_ns, self.d2h_ns)
        return Done(run.slot, run.device, self.n_batches, self.n_rows, *times, self.spent, self.batches)


class Lane:
    """One chip and its two threads. After the chip's first error it takes no more work."""

    def __init__(self, number: int, device: Device, batch: int, arena: Arena, hub: Channel) -> None:
        self._number = number
        self._device = device
        self._batch = batch
        self._arena = arena
        self._hub = hub
        self._runs: SimpleQueue[Run | None] = SimpleQueue()
        self._expected: SimpleQueue[SlotTally] = SimpleQueue()
        self._is_lost = threading.Event()
        self._clock = LapClock()  # of the submitting thread
        self._threads = [threading.Thread(target=f, daemon=True) for f in (self._submit_forever, self._wait_forever)]
        for thread in self._threads:
            thread.start()

    def put(self, run: Run) -> None:
        """Queue a slot for this chip."""
        self._runs.put(run)

    def finish(self) -> None:
        """End both threads once the chip is idle. A lost chip's threads are left to the end of the process."""
        self._runs.put(None)
        if not self._is_lost.is_set():
            for thread in self._threads:
                thread.join()

    def _submit_forever(self) -> None:
        with failures_reported(self._hub, f"feeder, chip {self._number}"):
            try:
                for run in iter(self._runs.get, None):
                    self._clock.lap(STARVED)
                    self._submit(run)
                self._device.close_input()
            except DeviceError as error:
                self._lose(error)

    def _submit(self, run: Run) -> None:
        slot = self._arena.slot(run.slot)
        starts = range(0, run.n, self._batch)
        tally = SlotTally(run, len(starts), self._clock.reading())
        blocked_ns = 0
        for start in starts:
            rows = slice(start, min(start + self._batch, run.n))
            self._expected.put(tally)
            blocked_ns += self._device.submit(slot.inputs[rows], slot.outputs[rows])
        self._clock.lap(BUSY)
        self._clock.move(blocked_ns, BUSY, BLOCKED)

    def _wait_forever(self) -> None:
        with failures_reported(self._hub, f"feeder, chip {self._number}"):
            try:
                while (completion := self._device.wait()) is not None:
                    done = self._expected.get().add(completion)
                    if done is not None:
                        self._hub.send(done)
            except DeviceError as error:
                self._lose(error)

    def _lose(self, error: DeviceError) -> None:
        if not self._is_lost.is_set():
            self._is_lost.set()
            self._hub.send(ChipLost(self._number, error.code, str(error), error.remedy))
