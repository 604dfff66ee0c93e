"""`engine run --trace FILE`: what every process and chip did when, for ui.perfetto.dev or chrome://tracing.

Format: Google, "Trace Event Format" (the JSON object form). One clock: the host's `perf_counter_ns`; what a chip did is
placed by the time that passed on it since one event at the start of the run. During the run only the messages that pass
the hub anyway are kept; everything else is made of them at the end.
"""

from __future__ import annotations

import gzip
import json
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from engine.files import write_report
from engine.messages import Done
from engine.stages_filled import FilledSlot

#: A trace ends after this many images: viewers get slow at a million events, and an image makes about four.
MOST_IMAGES = 100_000
#: Process ids of what is none: above those of Linux (2**22).
CHIPS_PID = 10_000_000
SLOTS_PID = 20_000_000
#: Two batches of a chip may overlap by this, because pyACL tells times in fractions of milliseconds: a viewer drops a
#: slice that begins within another and ends after it.
MOST_ROUNDING_NS = 1000
TRACKS = ("h2d", "execute", "d2h")
STAGES = ("read", "decode", "resample")

Event = dict[str, Any]


@dataclass(frozen=True)
class TracedSlot:
    """One trip of a slot: from the hub to a decoder, to a chip, and back."""

    filled: FilledSlot
    done: Done
    taken_up_ns: int
    ranked_ns: int


@dataclass
class Trace:
    """What is kept during a run. is_cut : it went on after the last slot that is kept"""

    slots: list[TracedSlot] = field(default_factory=list)
    n_images: int = 0
    is_cut: bool = False

    def add(self, slot: TracedSlot) -> None:
        self.is_cut = self.n_images >= MOST_IMAGES
        if not self.is_cut:
            self.slots.append(slot)
            self.n_images += slot.filled.n_images


@dataclass(frozen=True)
class Scene:
    """What a trace is drawn with. names : title of each process by its id"""

    began_ns: int
    n_slots: int
    names: dict[int, str]
    metadata: dict[str, Any]


def write_trace(path: Path, trace: Trace, scene: Scene) -> None:
    """The trace as JSON, compressed where the name ends in .gz. Raises ResourceError."""
    events = [*_names(trace, scene), *_slices(trace, scene), *_flows(trace, scene), *_counters(trace, scene)]
    document = {"displayTimeUnit": "ms", "otherData": {**scene.metadata, "is_cut": trace.is_cut}, "traceEvents": events}
    data = json.dumps(document, separators=(",", ":")).encode()
    write_report(path, gzip.compress(data, 5) if path.suffix == ".gz" else data)


def _names(trace: Trace, scene: Scene) -> Iterator[Event]:
    """Names of all tracks, and their order from top to bottom: hub, decoders, feeders' chips, slots."""
    for order, (pid, name) in enumerate(scene.names.items()):
        yield from _process_name(pid, name, order)
    for chip in sorted({slot.done.device for slot in trace.slots}):
        yield from _process_name(CHIPS_PID + chip, f"chip {chip}", 1000 + chip)
        for tid, track in enumerate(TRACKS):
            yield _named(CHIPS_PID + chip, tid, "thread_name", {"name": track})
    yield from _process_name(SLOTS_PID, "slots", 2000)
    for slot in range(scene.n_slots):
        yield _named(SLOTS_PID, slot, "thread_name", {"name": f"slot {slot}"})


def _process_name(pid: int, name: str, order: int) -> Iterator[Event]:
    yield _named(pid, pid, "process_name", {"name": name})
    yield _named(pid, pid, "process_sort_index", {"sort_index": order})


def _named(pid: int, tid: int, kind: str, args: dict[str, Any]) -> Event:
    return {"ph": "M", "pid": pid, "tid": tid, "name": kind, "args": args}


def _slices(trace: Trace, scene: Scene) -> Iterator[Event]:
    hub = os.getpid()
    ended_ns: dict[tuple[int, int], int] = {}
    for trip, slot in enumerate(trace.slots):
        filled, done = slot.filled, slot.done
        number, args = filled.message.slot, {"slot": filled.message.slot, "trip": trip, "images": filled.n_images}

        def at(pid: int, tid: int, name: str, span: tuple[int, int], args: dict[str, int] = args) -> Event:
            begin_ns, end_ns = span
            times = {"ts": _us(begin_ns, scene), "dur": max(end_ns - begin_ns, 0) / 1e3}
            return {"ph": "X", "pid": pid, "tid": tid, "name": name, **times, "args": args}

        pid = filled.decoder_pid
        yield at(pid, pid, "fill", (filled.message.began_ns, filled.message.ended_ns))
        for row, (began_ns, *durations) in enumerate(filled.times.tolist()):
            for name, ns in zip(STAGES, durations, strict=True):
                if ns:
                    yield at(pid, pid, name, (began_ns, began_ns + ns), {"row": row})
                began_ns += ns
        for batch in done.batches:
            for tid, track in enumerate(TRACKS):
                begin_ns, ns = batch[2 * tid : 2 * tid + 2]
                if ns:
                    end_ns, before_ns = begin_ns + ns, ended_ns.get((done.device, tid), 0)
                    if 0 < before_ns - begin_ns <= MOST_ROUNDING_NS:
                        begin_ns = before_ns
                    ended_ns[done.device, tid] = end_ns
                    yield at(CHIPS_PID + done.device, tid, track, (begin_ns, end_ns))
        yield at(hub, hub, "rank", (slot.taken_up_ns, slot.ranked_ns))
        states = {
            "filling": (filled.sent_ns, filled.message.ended_ns),
            "ready": (filled.message.ended_ns, filled.run_sent_ns),
            "in flight": (filled.run_sent_ns, slot.ranked_ns),
        }
        for state, span in states.items():
            yield at(SLOTS_PID, number, state, span)


def _flows(trace: Trace, scene: Scene) -> Iterator[Event]:
    """An arrow per batch: from where it was decoded through the chip to where it was ranked."""
    number = 0
    for slot in trace.slots:
        pid = slot.filled.decoder_pid
        for batch in slot.done.batches or [[]]:
            number += 1
            flow = {"cat": "batch", "name": "batch", "id": number}
            yield {"ph": "s", "pid": pid, "tid": pid, "ts": _us(slot.filled.message.began_ns, scene), **flow}
            for tid in range(len(TRACKS)) if batch else ():
                begin_ns, ns = batch[2 * tid : 2 * tid + 2]
                if ns:
                    pid_chip = CHIPS_PID + slot.done.device
                    yield {"ph": "t", "pid": pid_chip, "tid": tid, "ts": _us(begin_ns, scene), **flow}
            hub = os.getpid()
            yield {"ph": "f", "bp": "e", "pid": hub, "tid": hub, "ts": _us(slot.taken_up_ns, scene), **flow}


def _counters(trace: Trace, scene: Scene) -> Iterator[Event]:
    """Free slots, and slots that each chip holds, whenever one changes."""
    hub = os.getpid()
    changes = [(slot.filled.sent_ns, -1) for slot in trace.slots] + [(slot.ranked_ns, 1) for slot in trace.slots]
    yield from _counter(hub, "free slots", changes, scene, scene.n_slots)
    for chip in sorted({slot.done.device for slot in trace.slots}):
        held = [slot for slot in trace.slots if slot.done.device == chip]
        changes = [(slot.filled.run_sent_ns, 1) for slot in held] + [(slot.ranked_ns, -1) for slot in held]
        yield from _counter(CHIPS_PID + chip, "slots in the window", changes, scene, 0)


def _counter(pid: int, name: str, changes: Iterable[tuple[int, int]], scene: Scene, first: int) -> Iterator[Event]:
    value = first
    yield {"ph": "C", "pid": pid, "tid": 0, "name": name, "ts": 0.0, "args": {"n": value}}
    for at_ns, change in sorted(changes, key=lambda pair: (pair[0], -pair[1])):
        value += change
        yield {"ph": "C", "pid": pid, "tid": 0, "name": name, "ts": _us(at_ns, scene), "args": {"n": value}}


def _us(at_ns: int, scene: Scene) -> float:
    """Microseconds since the run began, to the nanosecond; what an execute of the warm-up began before is 0."""
    return max(at_ns - scene.began_ns, 0) / 1e3
