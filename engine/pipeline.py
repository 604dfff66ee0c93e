"""One pass through the pipeline from start to end: processes up, model checked, arena made, hub run, processes down."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from itertools import pairwise
from types import FrameType

from engine.arena import Arena, allocate, create_arena_fd
from engine.backends.base import DeviceJob
from engine.collector import Collector
from engine.crew import Crew, CrewPlan
from engine.errors import DataError, EngineError, ModelError, StallError
from engine.fill_sizes import FillSizes
from engine.host import available_memory_bytes, check_memory
from engine.hub import Bounds, Hub, LostChip, Watcher
from engine.index import DataIndex
from engine.journal import Totals
from engine.layout import ArenaLayout, ImageLayout, default_n_slots, largest_slot, smallest_slot
from engine.ledger import Ledger
from engine.limits import DEFAULT_LIMITS, Limits
from engine.messages import Opened
from engine.presets import PRESETS
from engine.standins import StandIns
from engine.startup import Startup
from engine.tally import RunTally
from engine.terminal import ending_signals
from engine.trace import Trace
from engine.watchdog import HubGuard, Watchdog
from engine.windows import Windows
from kernels.spec import PreprocessSpec
from kernels.warm import warm

ONE_PASS = Bounds()
NOTHING = StandIns()
#: Slots are only so large that the arena takes this share of the memory that is available; small ones may take more.
LARGE_SLOTS_SHARE = 0.125


@dataclass(frozen=True)
class Plan:
    """Everything that one pipeline is built from."""

    index: DataIndex
    model_name: str
    spec: PreprocessSpec
    backend: str
    device_job: DeviceJob
    n_decoders: int
    n_slots: int | None
    repeat: int
    start_method: str
    label_offset: int | None
    n_feeders: int = 1
    bounds: Bounds = ONE_PASS
    limits: Limits = DEFAULT_LIMITS
    stand_ins: StandIns = NOTHING
    is_scored: bool = True  # False: the outputs are nobody's, any label will do


@dataclass
class Outcome:
    """What came out of a pipeline."""

    opened: Opened
    layout: ArenaLayout
    label_offset: int
    collector: Collector
    tally: RunTally
    n_scored: int  # positions, those of earlier parts of a resumed run included
    n_failed: int
    n_positions: int
    restored: Totals  # what earlier parts have settled
    lost_chips: dict[int, LostChip]
    was_interrupted: bool
    error: EngineError | None  # what ended the run early; what was scored until then is kept

    @property
    def n_settled(self) -> int:
        return self.n_scored + self.n_failed


def run_pipeline(plan: Plan, watcher: Watcher) -> Outcome:
    """Run it. Raises EngineError for what is wrong before the first image; later errors are in the outcome."""
    arena_fd, names_fd = create_arena_fd(), plan.index.names.share()
    root, store = plan.index.names.root, plan.stand_ins.store(plan.index.store)
    crew = Crew(
        CrewPlan(
            plan.start_method, arena_fd, names_fd, root, store, plan.spec, plan.backend, plan.device_job, plan.limits
        )
    )
    try:
        plan_layout = partial(_make_arena, arena_fd, plan)
        sizes = plan.n_decoders, spread(plan.device_job.devices, plan.n_feeders)
        watchdog = Watchdog(crew, watcher.notice, watcher.incident)
        with HubGuard(crew, watchdog, watcher.incident):
            opened, layout = Startup(crew, sizes, plan_layout, watchdog, watcher.notice).finish()
        outcome = _drive(plan, watcher, crew, opened, Arena(arena_fd, layout))
        if isinstance(outcome.error, StallError):
            crew.kill()
        return outcome
    except BaseException:
        crew.kill()
        raise
    finally:
        for line in crew.close():
            watcher.notice(line)
        os.close(arena_fd)
        os.close(names_fd)


def _make_arena(fd: int, plan: Plan, opened: Opened) -> ArenaLayout:
    """Check the model, then give the arena its size."""
    check_model(opened, plan)
    warm(plan.spec, tensor=opened.tensor_format)  # other formats than float32 are compiled before a decoder needs them
    layout = plan_arena(plan, opened)
    check_memory(layout)
    allocate(fd, layout)
    return layout


def check_model(opened: Opened, plan: Plan) -> None:
    """ModelError unless the model takes what the preset makes; DataError for a label that it has no class for."""
    shape_of = opened.tensor_format.shape
    wanted = list(shape_of(plan.spec.crop))
    if opened.shape != wanted:
        fitting = [name for name, spec in PRESETS.items() if opened.shape == list(shape_of(spec.crop))]
        remedy = f"use --preset {' or '.join(fitting)}" if fitting else "no preset makes that"
        raise ModelError(
            f"{plan.model_name} takes images of shape {opened.shape} but the preset makes {wanted}: {remedy}"
        )
    if not plan.is_scored:
        return
    highest = int(plan.index.labels.max()) + label_offset(opened.n_classes, plan.label_offset)
    if highest >= opened.n_classes:
        sample = int(plan.index.labels.argmax())
        raise DataError(
            f"class {plan.index.labels[sample]} of {plan.index.names.name(sample)} is unknown to {plan.model_name}, "
            f"which has {opened.n_classes} classes: needed classes from 0; see --label-offset"
        )


def spread(devices: tuple[int, ...], n_feeders: int) -> list[tuple[int, ...]]:
    """The chips of each feeder: neighbours (the chips of one card) together, at most one more here than there."""
    n = min(n_feeders, len(devices))
    cuts = [len(devices) * i // n for i in range(n + 1)]
    return [devices[begin:end] for begin, end in pairwise(cuts)]


def label_offset(n_classes: int, asked: int | None) -> int:
    """What to add to a label to get the model's column: what was asked for, or 1 for 1001 outputs (0 is background)."""
    if asked is not None:
        return asked
    return 1 if n_classes == 1001 else 0


def plan_sizes(plan: Plan, batch: int) -> FillSizes:
    """How many images slots get, if there is memory for that many."""
    n_sharing = max(len(plan.device_job.devices), plan.n_decoders)
    sizes = FillSizes(batch, smallest_slot(batch), largest_slot(batch), n_sharing)
    if not plan.bounds.shortest_s:
        sizes.largest = sizes.most_batches(len(plan.index) * plan.repeat)
    return sizes


def plan_arena(plan: Plan, opened: Opened) -> ArenaLayout:
    """Sizes of the arena for this model and this many samples: slots are as large as the run and the memory allow."""
    sizes, n_chips = plan_sizes(plan, opened.batch), len(plan.device_job.devices)
    n_slots = plan.n_slots or default_n_slots(n_chips, plan.device_job.window, plan.n_decoders, sizes.smallest)
    image, have_bytes = ImageLayout(plan.spec.crop, opened.tensor_format), LARGE_SLOTS_SHARE * available_memory_bytes()
    n_batches = sizes.largest
    while True:
        layout = ArenaLayout(n_slots, n_batches * opened.batch, image, opened.n_classes)
        if n_batches == sizes.smallest or layout.n_bytes <= have_bytes:
            return layout
        n_batches = max(n_batches // 2, sizes.smallest)


def _drive(plan: Plan, watcher: Watcher, crew: Crew, opened: Opened, arena: Arena) -> Outcome:
    layout = arena.layout
    offset = label_offset(opened.n_classes, plan.label_offset)
    n_positions = len(plan.index) * plan.repeat
    ledger = Ledger(n_positions, layout.n_slots, layout.images_per_slot)
    collector = plan.stand_ins.collector(plan.index.columns(offset))
    restored = watcher.journal.restore(ledger, collector) if watcher.journal is not None else Totals()
    tally = RunTally.of(plan.device_job.devices)
    tally.trace = Trace() if plan.device_job.is_traced else None
    hub = Hub(crew, arena, ledger, collector, tally)
    sizes = replace(plan_sizes(plan, opened.batch), largest=layout.images_per_slot // opened.batch)
    error: EngineError | None = None
    with stopping_on_signals(hub.stop, crew.alarm_fd) as signals:
        try:
            hub.run(Windows(plan.device_job.window), sizes, plan.bounds, watcher)
        except EngineError as caught:
            error = caught
    tally.finish()
    return Outcome(
        opened,
        layout,
        offset,
        collector,
        tally,
        ledger.n_scored,
        ledger.n_failed,
        ledger.n_positions,
        restored,
        hub.lost_chips,
        bool(signals) and ledger.n_scored + ledger.n_failed < ledger.n_positions,  # a complete run is no partial one
        error,
    )


@contextlib.contextmanager
def stopping_on_signals(stop: Callable[[], None], wakeup_fd: int) -> Iterator[list[int]]:
    """The first of `ending_signals` calls `stop`, a second one interrupts at once. Yields the signals that came."""
    came: list[int] = []

    def handle(number: int, _frame: FrameType | None) -> None:
        if came:
            raise KeyboardInterrupt
        came.append(number)
        stop()

    before = {number: signal.signal(number, handle) for number in ending_signals()}
    wakeup_before = signal.set_wakeup_fd(wakeup_fd, warn_on_full_buffer=False)
    try:
        yield came
    finally:
        signal.set_wakeup_fd(wakeup_before)
        for number, handler in before.items():
            signal.signal(number, handler)
