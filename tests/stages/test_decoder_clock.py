"""A decoder accounts for all of its time: the clocks of its images and those of its states are one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, cast

import numpy as np

from engine.arena import Arena, Slot
from engine.channel import Channel
from engine.decoder import decode_forever
from engine.limits import ImageClock
from engine.messages import IMAGE_TIMES, Fill, Filled
from kernels.spec import ImageError

SAMPLES_OF_A_SLOT = [3, 1, 4, 1, 5]


class FakeHub:
    """Asks for slots of changing sizes and keeps the answers."""

    def __init__(self, sizes: list[int]) -> None:
        self.sizes, self.answers = sizes, cast("list[Filled]", [])

    def received(self) -> Iterator[Fill]:
        for slot, n in enumerate(self.sizes):
            yield Fill(slot, SAMPLES_OF_A_SLOT[:n])

    def send(self, message: Filled) -> None:
        self.answers.append(message)


class FakeArena:
    """Every slot is the same small one."""

    def slot(self, number: int) -> Slot:
        return Slot(np.zeros((len(SAMPLES_OF_A_SLOT), 2), np.float32), np.zeros((1, 1), np.float32))


class SlowSource:
    """Spends time in both calls, and fails at sample 4."""

    resample_ns = 7

    def expect(self, samples: Sequence[int]) -> None:
        sum(range(1000))

    def read(self, sample: int) -> int:
        sum(range(2000))
        if sample == 4:
            raise ImageError("sample 4 is broken")
        return sample

    def write(self, data: int, row: Any) -> str:
        sum(range(3000))
        row[:] = data
        return "kernel"


def test_the_times_of_images_and_hand_overs_add_up_to_the_busy_time_exactly() -> None:
    """To the nanosecond and after every slot, so that sums can only disagree where something was lost on the way."""
    hub = FakeHub([5, 2, 1, 4, 3])
    decode_forever(cast(Channel, hub), cast(Arena, FakeArena()), SlowSource(), ImageClock(60.0))
    assert [len(answer.reasons) for answer in hub.answers] == [1, 0, 0, 1, 1]
    accounted_ns = 0
    for answer in hub.answers:
        times = np.frombuffer(answer.times, np.int64).reshape(-1, len(IMAGE_TIMES))
        assert times[0, 0] == answer.began_ns
        assert (times[:, 1:] >= 0).all()
        assert times[:, 1:].sum(axis=0).tolist() == answer.sums
        accounted_ns += int(times[:, 1:].sum()) + answer.handed_ns
        busy_ns = answer.spent[0]
        assert accounted_ns == busy_ns
