"""The lane of one chip: what is in flight, what is told, and what happens after an error."""

from __future__ import annotations

from contextlib import nullcontext
from queue import SimpleQueue
from typing import Any

import numpy as np
import pytest

from engine import feeder
from engine.arena import Slot
from engine.backends.base import Completion
from engine.errors import DeviceError
from engine.feeder import Lane
from engine.messages import ChipLost, Done, Run

WINDOW, BATCH = 2, 4
PATIENCE_S = 10


class Chip:
    """A device that completes a batch when the test says so."""

    window = WINDOW

    def __init__(self) -> None:
        self.submitted: SimpleQueue[list[int]] = SimpleQueue()  # the first value of each image
        self.steps: SimpleQueue[bool] = SimpleQueue()
        self.fails_at = -1
        self.n_submitted = self.n_waited = 0
        self._in_flight: SimpleQueue[int] = SimpleQueue()

    def submit(self, batch: Any, out: Any) -> None:
        if self.n_submitted == self.fails_at:
            raise DeviceError("it is gone", 3, 507033, "gone")
        assert self.n_submitted - self.n_waited < WINDOW
        self.n_submitted += 1
        out[:] = batch
        self._in_flight.put(len(batch))
        self.submitted.put(batch[:, 0].tolist())

    def wait(self) -> Completion | None:
        n = self._in_flight.get()
        if not n:
            return None
        self.steps.get(timeout=PATIENCE_S)
        self.n_waited += 1
        return Completion(1, 10, 1, 0, n)

    def close_input(self) -> None:
        self._in_flight.put(0)


class Hub:
    """What the lane says to the hub."""

    def __init__(self) -> None:
        self.told: SimpleQueue[Any] = SimpleQueue()

    def send(self, message: Any) -> None:
        self.told.put(message)


class Slots:
    """Slots of 20 images, each its own number."""

    def __init__(self) -> None:
        rows = np.arange(40.0, dtype=np.float32).reshape(2, 20, 1)
        self._slots = [Slot(rows[i], np.zeros((20, 1), np.float32)) for i in range(2)]

    def slot(self, number: int) -> Slot:
        return self._slots[number]


@pytest.fixture
def lane(monkeypatch: pytest.MonkeyPatch) -> tuple[Lane, Chip, Hub, Slots]:
    """An error that nobody foresaw fails the test; in a feeder it ends the process."""
    monkeypatch.setattr(feeder, "failures_reported", lambda hub, role: nullcontext())
    chip, hub, slots = Chip(), Hub(), Slots()
    return Lane(3, chip, BATCH, slots, hub), chip, hub, slots  # type: ignore[arg-type]


def test_what_fits_is_submitted_at_once_and_the_rest_as_batches_complete(lane: Any) -> None:
    """Two slots, of three and of two batches: in order, never more than the window, one Done each."""
    of_chip, chip, hub, slots = lane
    of_chip.put(Run(0, 10, 3))
    of_chip.put(Run(1, 8, 3))
    assert chip.n_submitted == WINDOW
    seen = [chip.submitted.get_nowait() for _ in range(WINDOW)]
    for _ in range(3):
        chip.steps.put(True)
        seen.append(chip.submitted.get(timeout=PATIENCE_S))
    assert seen == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9], [20, 21, 22, 23], [24, 25, 26, 27]]
    for _ in range(2):
        chip.steps.put(True)
    of_chip.finish()
    first, second = hub.told.get_nowait(), hub.told.get_nowait()
    assert isinstance(first, Done)
    assert (first.slot, first.device, first.n_batches, first.n_rows, first.execute_ns) == (0, 3, 3, 10, 30)
    assert (second.slot, second.n_batches, second.n_rows) == (1, 2, 8)
    assert hub.told.empty()
    assert slots.slot(0).outputs[:10, 0].tolist() == list(range(10))


def test_what_is_pending_at_the_end_is_done_first(lane: Any) -> None:
    of_chip, chip, hub, _ = lane
    of_chip.put(Run(0, 20, 3))
    for _ in range(5):
        chip.steps.put(True)
    of_chip.finish()
    assert hub.told.get_nowait().n_batches == 5


@pytest.mark.parametrize("fails_at", [0, 2])
def test_a_chip_is_lost_once_and_takes_no_more(lane: Any, fails_at: int) -> None:
    """The error is met by the thread that brings a batch, or by the one that waits."""
    of_chip, chip, hub, _ = lane
    chip.fails_at = fails_at
    of_chip.put(Run(0, 12, 3))
    chip.steps.put(True)
    assert hub.told.get(timeout=PATIENCE_S) == ChipLost(3, 507033, "it is gone", "gone")
    of_chip.put(Run(1, 4, 3))
    of_chip.finish()
    assert chip.n_submitted == fails_at
    assert hub.told.empty()


def test_the_clock_counts_every_nanosecond_once(lane: Any) -> None:
    """Busy, starved and blocked between the beginnings of two slots are the time that passed."""
    of_chip, chip, hub, _ = lane
    told = []
    for slot in (0, 1):
        of_chip.put(Run(slot, 12, 3))
        for _ in range(3):
            chip.steps.put(True)
        told.append(hub.told.get(timeout=PATIENCE_S))
    of_chip.finish()
    busy, starved, blocked, passed = (b - a for a, b in zip(told[0].spent, told[1].spent, strict=True))
    assert busy + starved + blocked == passed
    assert min(busy, starved, blocked) > 0
