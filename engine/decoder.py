"""A decoder process: fills slots with normalised images as the hub asks."""

from __future__ import annotations

import os
import time
from array import array
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engine.arena import Arena, Slot
from engine.channel import Channel, ChannelEnds
from engine.errors import EngineError
from engine.limits import DECODER_HEADROOM_BYTES, ImageClock, limit_memory
from engine.messages import IMAGE_TIMES, Attach, Fill, Filled, Message, Started
from engine.names import NameTable
from engine.process import ImageInHand, begin, failures_reported
from engine.sources.base import Source, Store
from engine.stages_clock import BUSY, STARVED, LapClock
from kernels.spec import ImageError, PreprocessSpec

#: Decoders are nicer than hub and feeders by this much. These run for microseconds at a time, and a chip waits while
#: they wait for a core that a decoder has: on two cores, two decoders and four fast chips went from 1,905 to 3,154
#: images/s.
NICER_BY = 5


@dataclass(frozen=True)
class DecoderJob:
    """What a decoder is started with: descriptors (as `DupFd`) of arena, names and stacks, and what to compute."""

    arena: Any
    names: Any
    root: Path
    store: Store
    spec: PreprocessSpec
    stacks: Any
    image_s: float  # limit for one image


def decoder_main(ends: ChannelEnds, job: DecoderJob) -> None:
    """Run a decoder until the hub is gone."""
    begin("decoder", job.stacks.detach())
    os.nice(NICER_BY)
    hub = ends.open()
    with failures_reported(hub, "decoder"):
        names = NameTable.mapped(job.root, job.names.detach())
        layout = _attach(hub.receive()).layout
        source = job.store.open(names, job.spec, layout.image.tensor)
        arena = Arena(job.arena.detach(), layout)
        limit_memory(DECODER_HEADROOM_BYTES)
        hub.send(Started())
        decode_forever(hub, arena, source, ImageClock(job.image_s))


def decode_forever(hub: Channel, arena: Arena, source: Source, limit: ImageClock) -> None:
    """Fill slots until the hub closes its pipe."""
    clock, sending_ns = LapClock(), 0
    for fill in hub.received():
        began_ns = clock.lap(STARVED)
        assert isinstance(fill, Fill)
        filled = fill_slot(fill, arena.slot(fill.slot), source, began_ns, limit)
        limit.stop()
        made_ns = clock.lap(BUSY)
        handed_ns = sending_ns + made_ns - filled.ended_ns
        hub.send(filled._replace(handed_ns=handed_ns, spent=clock.reading()))
        sending_ns = clock.lap(BUSY) - made_ns


def fill_slot(fill: Fill, slot: Slot, source: Source, began_ns: int, limit: ImageClock) -> Filled:
    """Write each sample's input into its row; the row of an image that fails is zeros, and its reason is told.

    began_ns : when the decoder took the slot in hand; the first image's time counts from there
    Raises ImageInHand for whatever a source must not raise.
    """
    reasons: dict[int, str] = {}
    paths: Counter[str] = Counter()
    times: list[int] = []  # numbers of Python: an array would cost more than all sums
    ended_ns = began_ns
    source.expect(fill.samples)  # in the first image's time
    for row, sample in enumerate(fill.samples):
        row_began_ns = read_ended_ns = ended_ns
        resample_ns = 0
        limit.start()
        try:
            data = source.read(sample)
            read_ended_ns = time.perf_counter_ns()
            paths[source.write(data, slot.inputs[row])] += 1
            resample_ns = source.resample_ns
        except ImageError as error:
            reasons[row] = str(error)
            slot.inputs[row] = 0
        except EngineError:
            raise
        except Exception as error:
            raise ImageInHand(fill.slot, row) from error
        ended_ns = time.perf_counter_ns()
        times += row_began_ns, read_ended_ns - row_began_ns, ended_ns - read_ended_ns - resample_ns, resample_ns
    sums = [sum(times[column :: len(IMAGE_TIMES)]) for column in range(1, len(IMAGE_TIMES))]
    packed = array("q", times).tobytes()
    return Filled(fill.slot, reasons, dict(paths), began_ns, ended_ns, packed, sums, 0, [])


def _attach(message: Message) -> Attach:
    assert isinstance(message, Attach)
    return message
