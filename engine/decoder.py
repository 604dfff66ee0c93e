"""A decoder process: fills slots with normalised images as the hub asks."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engine.arena import Arena, Slot
from engine.channel import Channel, ChannelEnds
from engine.messages import Attach, Fill, Filled, Message, Started
from engine.names import NameTable
from engine.process import begin, failures_reported
from engine.sources.base import Source, Store
from kernels.spec import ImageError, PreprocessSpec, TensorFormat


@dataclass(frozen=True)
class DecoderJob:
    """What a decoder is started with: descriptors (as `DupFd`) of the arena and the names, and what to compute."""

    arena: Any
    names: Any
    root: Path
    store: Store
    spec: PreprocessSpec


def decoder_main(ends: ChannelEnds, job: DecoderJob) -> None:
    """Run a decoder until the hub is gone."""
    begin("decoder")
    hub = ends.open()
    with failures_reported(hub, "decoder"):
        names = NameTable.mapped(job.root, job.names.detach())
        source = job.store.open(names, job.spec, TensorFormat())
        arena = Arena(job.arena.detach(), _attach(hub.receive()).layout)
        hub.send(Started())
        decode_forever(hub, arena, source)


def decode_forever(hub: Channel, arena: Arena, source: Source) -> None:
    """Fill slots until the hub closes its pipe."""
    for fill in hub.received():
        assert isinstance(fill, Fill)
        hub.send(fill_slot(fill, arena.slot(fill.slot), source))


def fill_slot(fill: Fill, slot: Slot, source: Source) -> Filled:
    """Write each sample's input into its row; the row of an image that fails is zeros, and its reason is told."""
    reasons: dict[int, str] = {}
    paths: Counter[str] = Counter()
    read_ns = decode_ns = 0
    began_ns = ended_ns = read_ended_ns = time.perf_counter_ns()
    for row, sample in enumerate(fill.samples):
        row_began_ns = ended_ns
        try:
            data = source.read(sample)
            read_ended_ns = time.perf_counter_ns()
            paths[source.write(data, slot.inputs[row])] += 1
        except ImageError as error:
            reasons[row] = str(error)
            slot.inputs[row] = 0
        ended_ns = time.perf_counter_ns()
        decoded_from_ns = max(read_ended_ns, row_began_ns)
        read_ns += decoded_from_ns - row_began_ns
        decode_ns += ended_ns - decoded_from_ns
    return Filled(fill.slot, reasons, dict(paths), began_ns, read_ended_ns, ended_ns, read_ns, decode_ns)


def _attach(message: Message) -> Attach:
    assert isinstance(message, Attach)
    return message
