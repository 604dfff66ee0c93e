"""The feeder process: drives the chips. One thread takes what the hub sends, and one per chip waits for it."""

from __future__ import annotations

import importlib
import os
import threading
import time
from collections import deque
from dataclasses import dataclass
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
    """Sums over the batches of one slot, until all are complete. `spent` is the lane's clock."""

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
    """One chip and the thread that waits for it. After the chip's first error it takes no more work.

    A batch is submitted by the thread that makes it possible: by the one that brings it (`put`) while the chip's window
    has room, else by the one that waits, when it has seen a batch complete. So no thread is woken only to submit.
    """

    def __init__(self, number: int, device: Device, batch: int, arena: Arena, hub: Channel) -> None:
        self._number = number
        self._device = device
        self._batch = batch
        self._arena = arena
        self._hub = hub
        self._pending: deque[tuple[Run, int] | None] = deque()  # slots, and the row at which a batch of it begins
        self._expected: deque[SlotTally] = deque()  # of each batch in flight
        self._room = device.window
        self._lock = threading.Lock()  # of what is pending, the room, the clock, and to submit
        self._is_lost = threading.Event()
        self._clock = LapClock()  # of submitting to this chip
        self._thread = threading.Thread(target=self._wait_forever, daemon=True)
        self._thread.start()

    def put(self, run: Run) -> None:
        """Submit a slot to this chip, now or once there is room."""
        self._take([(run, start) for start in range(0, run.n, self._batch)])

    def finish(self) -> None:
        """End the thread once the chip is idle. A lost chip's thread is left to the end of the process."""
        self._take([None])
        if not self._is_lost.is_set():
            self._thread.join()

    def _take(self, batches: list[tuple[Run, int] | None]) -> None:
        with failures_reported(self._hub, f"feeder, chip {self._number}"):
            try:
                with self._lock:
                    if not self._is_lost.is_set():
                        self._clock.lap(BLOCKED if self._pending else STARVED)
                        self._pending.extend(batches)
                        self._submit_what_fits()
            except DeviceError as error:
                self._lose(error)

    def _submit_what_fits(self) -> None:
        """Until the window is full or nothing is pending."""
        while self._pending and (self._room or self._pending[0] is None):
            batch = self._pending.popleft()
            if batch is None:
                self._device.close_input()
                return
            self._room -= 1
            self._submit(*batch)
            self._clock.lap(BUSY)

    def _submit(self, run: Run, start: int) -> None:
        if start == 0:
            self._tally = SlotTally(run, -(-run.n // self._batch), self._clock.reading())
        slot = self._arena.slot(run.slot)
        rows = slice(start, min(start + self._batch, run.n))
        self._expected.append(self._tally)
        self._device.submit(slot.inputs[rows], slot.outputs[rows])

    def _wait_forever(self) -> None:
        with failures_reported(self._hub, f"feeder, chip {self._number}"):
            try:
                while (completion := self._device.wait()) is not None:
                    done = self._expected.popleft().add(completion)
                    if done is not None:
                        self._hub.send(done)
                    with self._lock:
                        self._room += 1
                        if self._pending:
                            self._clock.lap(BLOCKED)
                            self._submit_what_fits()
            except DeviceError as error:
                self._lose(error)

    def _lose(self, error: DeviceError) -> None:
        if not self._is_lost.is_set():
            self._is_lost.set()
            self._hub.send(ChipLost(self._number, error.code, str(error), error.remedy))
