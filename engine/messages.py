"""What the processes say to each other: small msgpack frames; images and logits never travel in them.

    hub -> decoder   Attach, Fill*            decoder -> hub   Started, Filled*
    hub -> feeder    Attach, Run*, Stop       feeder -> hub    Opened, Started, Done*, ChipLost
    any -> hub       Failed, Broken           the end of a pipe is the last message of a process that died

A *position* is a sample in a pass: position = pass * n_samples + sample. Times are `perf_counter_ns`, which on Linux
is one clock for all processes.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import msgpack

from engine import errors
from engine.layout import ArenaLayout, ImageLayout
from kernels.spec import TensorFormat

#: Remedies of a failed chip, see `ChipLost`.
RESTART, GONE = "restart", "gone"
#: Columns of `Filled.times`.
IMAGE_TIMES = ("read_began_ns", "read_ns", "decode_ns", "resample_ns")
#: Bytes of one of its rows.
IMAGE_TIMES_BYTES = 8 * len(IMAGE_TIMES)


class Attach(NamedTuple):
    """Map the arena: it has its size now."""

    n_slots: int
    images_per_slot: int
    side: int
    n_classes: int
    tensor: list[str]  # dtype and layout of a TensorFormat

    @classmethod
    def of(cls, layout: ArenaLayout) -> Attach:
        tensor = layout.image.tensor
        sizes = layout.n_slots, layout.images_per_slot, layout.image.side, layout.n_classes
        return cls(*sizes, [tensor.dtype, tensor.layout])

    @property
    def layout(self) -> ArenaLayout:
        image = ImageLayout(self.side, TensorFormat(*self.tensor))  # type: ignore[arg-type]
        return ArenaLayout(self.n_slots, self.images_per_slot, image, self.n_classes)


class Started(NamedTuple):
    """This process has mapped the arena and takes work."""


class Fill(NamedTuple):
    """Decode these samples into the slot's inputs, one row each. The slot belongs to the decoder now."""

    slot: int
    samples: list[int]


class Filled(NamedTuple):
    """The slot is filled and belongs to the hub again.

    reasons : {row: why the image failed}; the rows of failed images are zeros
    paths   : {decode path: images that took it}
    began_ns, ended_ns : first read begun, last image written
    times   : (rows, 4) int64, per image `IMAGE_TIMES`: when its read began, then how long each stage took
    sums    : read, decode and resample of all rows, nanoseconds
    handed_ns : sending the slot before this one, and all that was left to do between `ended_ns` and sending this one
    spent   : the decoder's `LapClock.reading`; waiting counts as starved, only the hub knows what was missing
    """

    slot: int
    reasons: dict[int, str]
    paths: dict[str, int]
    began_ns: int
    ended_ns: int
    times: bytes
    sums: list[int]
    handed_ns: int
    spent: list[int]


class Opened(NamedTuple):
    """The model is loaded on every chip, and this is what it says of itself (or what the chip's runtime says of it).

    shape  : of one input image        tensor : dtype and layout of its TensorFormat
    """

    name: str
    batch: int
    shape: list[int]
    tensor: list[str]
    n_classes: int
    device_name: str
    simulated: bool
    profile: str
    notices: list[str]

    @property
    def tensor_format(self) -> TensorFormat:
        return TensorFormat(*self.tensor)  # type: ignore[arg-type]


class Run(NamedTuple):
    """Execute the first `n` rows of the slot on this chip. The slot belongs to the feeder now."""

    slot: int
    n: int
    device: int


class Done(NamedTuple):
    """The slot's outputs are written; it belongs to the hub again. Sums over its batches, in device time.

    n_rows : images executed, padding included
    submitted_ns, done_ns : the first batch was about to be submitted, the host learned that the last one is complete
    spent : `LapClock.reading` of submitting to the chip, at its last lap before this slot
    batches : per batch, where the run is traced: (begin, duration) of h2d, execute and d2h in turn
    """

    slot: int
    device: int
    n_batches: int
    n_rows: int
    submitted_ns: int
    done_ns: int
    h2d_ns: int
    execute_ns: int
    d2h_ns: int
    spent: list[int]
    batches: list[list[int]]


class ChipLost(NamedTuple):
    """This chip takes no more work from this feeder; what it held is not done.

    remedy : "restart" where a new feeder process may drive it again, "gone" where the chip or its bus is lost
    """

    device: int
    code: int
    text: str
    remedy: str


class Stop(NamedTuple):
    """Release the devices and end."""


class Failed(NamedTuple):
    """This process cannot go on: raise `error` (a class of engine.errors) with this text in the hub."""

    error: str
    text: str

    def exception(self) -> errors.EngineError:
        kind = getattr(errors, self.error, errors.WorkerError)
        exception = kind(self.text)
        assert isinstance(exception, errors.EngineError)
        return exception


class Broken(NamedTuple):
    """An error that nobody foresaw: this process ends, and the hub starts another one as for any death.

    text : class, place and message, one line        trace : the whole traceback
    slot, row : of the image that it had in hand, -1 where it had none
    """

    text: str
    trace: str
    slot: int = -1
    row: int = -1


Message = Attach | Started | Fill | Filled | Opened | Run | Done | ChipLost | Stop | Failed | Broken

KINDS: tuple[type[Any], ...] = (Attach, Started, Fill, Filled, Opened, Run, Done, ChipLost, Stop, Failed, Broken)
_NUMBERS = {kind: number for number, kind in enumerate(KINDS)}
_pack = msgpack.Packer().pack


def encode(message: Message) -> bytes:
    """One frame: [kind number, fields...]."""
    frame: bytes = _pack((_NUMBERS[type(message)], *message))
    return frame


def decode(frame: bytes) -> Message:
    """The message in a frame that `encode` made."""
    number, *fields = msgpack.unpackb(frame, strict_map_key=False)
    message: Message = KINDS[number](*fields)
    return message
