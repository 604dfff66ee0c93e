"""What a run did, as the hub tells it: it hears of every message, and of the state between two of them."""

from __future__ import annotations

import time
from collections import Counter
from copy import deepcopy
from dataclasses import dataclass, field

from engine.crew import Crew, Member
from engine.ledger import Ledger
from engine.messages import Done, Filled
from engine.stages_filled import FilledSlot
from engine.stages_latency import Latencies
from engine.stages_processes import Processes, ThreadSums
from engine.stages_series import Series
from engine.stages_sums import ChipSums, StageSums, per_second
from engine.trace import Trace, TracedSlot
from engine.windows import Windows


@dataclass
class ChipTally:
    """One chip: its sums, and times of day (`perf_counter_ns`) for the old tool's perf files."""

    sums: ChipSums = field(default_factory=ChipSums)
    first_submitted_ns: int = 0
    last_read_ns: int = 0
    last_filled_ns: int = 0
    last_done_ns: int = 0

    def add(self, done: Done, filled: FilledSlot, n_images: int) -> None:
        sums = self.sums
        sums.n_images += n_images
        sums.n_batches += done.n_batches
        sums.n_rows += done.n_rows
        sums.h2d_ns += done.h2d_ns
        sums.execute_ns += done.execute_ns
        sums.d2h_ns += done.d2h_ns
        self.first_submitted_ns = min(self.first_submitted_ns or done.submitted_ns, done.submitted_ns)
        self.last_read_ns = max(self.last_read_ns, filled.last_read_ns)
        self.last_filled_ns = max(self.last_filled_ns, filled.message.ended_ns)
        self.last_done_ns = max(self.last_done_ns, done.done_ns)


@dataclass(frozen=True)
class Mark:
    """All sums at one instant."""

    at_ns: int
    last_result_ns: int
    stages: StageSums
    chips: dict[int, ChipSums]
    processes: Processes
    latencies: Latencies


@dataclass
class _Between:
    """The state since the hub was last looked at: whose sums grow with time."""

    at_ns: int = 0
    idle: list[ChipSums] = field(default_factory=list)
    full: list[ChipSums] = field(default_factory=list)
    is_pressed: bool = False
    without_room: list[ThreadSums] = field(default_factory=list)

    def begin(self, now_ns: int, is_pressed: bool) -> None:
        """Nothing is known of what holds from now on."""
        self.at_ns, self.is_pressed = now_ns, is_pressed
        self.idle.clear()
        self.full.clear()
        self.without_room.clear()


@dataclass
class RunTally:
    """The whole run. Times of day are `perf_counter_ns`.

    began_ns : the hub began to hand out        first_read_ns : the first byte was read
    last_result_ns : the last row was ranked    n_ready_most : the most slots that were ready at once
    steady         : from when every chip that has work has given a result, to the last position handed out
    """

    chips: dict[int, ChipTally]
    stages: StageSums = field(default_factory=StageSums)
    processes: Processes = field(default_factory=Processes)
    latencies: Latencies = field(default_factory=Latencies)
    series: Series = field(default_factory=Series)
    began_ns: int = 0
    first_read_ns: int = 0
    last_result_ns: int = 0
    decode_paths: Counter[str] = field(default_factory=Counter)
    n_ready_most: int = 0
    trace: Trace | None = None
    steady_began: Mark | None = None
    steady_ended: Mark | None = None
    _ledger: Ledger = field(default_factory=lambda: Ledger(0, 0, 1))
    _slots: tuple[int, ...] = (0, 0, 0, 0)  # by `SlotState`, since `_slots_ns`
    _slots_ns: int = 0
    _between: _Between = field(default_factory=_Between)
    _fill_sent_ns: dict[int, int] = field(default_factory=dict)
    _hub: ThreadSums = field(default_factory=lambda: ThreadSums.since(0))
    _lanes: dict[int, ThreadSums] = field(default_factory=dict)
    _waited_before_ns: int = 0

    @classmethod
    def of(cls, devices: tuple[int, ...]) -> RunTally:
        return cls({number: ChipTally() for number in devices})

    def begin(self, crew: Crew, ledger: Ledger) -> None:
        """The hub begins to hand out."""
        self._ledger = ledger
        self._slots = ledger.n_in_state
        self.began_ns = self.series.began_ns = self._between.at_ns = self._slots_ns = time.perf_counter_ns()
        self.processes.begin(self.began_ns, crew.members)
        self._hub = self.processes.hub()
        self._waited_before_ns = crew.waited_ns

    def observe(self, windows: Windows, crew: Crew) -> None:
        """What held since the last call goes into the sums; what is now holds until the next.

        Once per turn of the hub, before it waits: handing out takes microseconds of a turn.
        """
        now_ns, ledger = time.perf_counter_ns(), self._ledger
        self._add_between(now_ns)
        self._slots_changed(now_ns)
        between, n_ready = self._between, ledger.n_ready
        between.begin(now_ns, n_ready > 0)
        if n_ready > self.n_ready_most:
            self.n_ready_most = n_ready
        for chip in windows.idle:
            between.idle.append(self.chips[chip].sums)
        for chip in windows.full:
            between.full.append(self.chips[chip].sums)
            if chip in self._lanes:
                between.without_room.append(self._lanes[chip])
        if not ledger.n_free and ledger.has_work:
            hungry = [member for member in crew.decoders if member.is_started and not member.n_held]
            between.without_room += [self.processes.thread(member, -1, now_ns) for member in hungry]
        hub = self._hub
        hub.as_of_ns, hub.starved_ns = now_ns, crew.waited_ns - self._waited_before_ns
        hub.busy_ns = self.stages.hub_busy_ns = now_ns - self.began_ns - hub.starved_ns
        self.processes.sample(now_ns)
        if self.steady_began is None and self._is_warm(windows):
            self.steady_began = self._mark(now_ns)
        if self.steady_began is not None and self.steady_ended is None and not ledger.has_work:
            self.steady_ended = self._mark(now_ns)

    def sent_fill(self, slot: int) -> None:
        """The slot is sent to a decoder now."""
        self._fill_sent_ns[slot] = now_ns = time.perf_counter_ns()
        self._slots_changed(now_ns)

    def sent_run(self, slot: FilledSlot) -> None:
        """The slot is sent to a feeder now."""
        slot.run_sent_ns = time.perf_counter_ns()
        self._slots_changed(slot.run_sent_ns)

    def take_filled(self, decoder: Member, filled: Filled) -> FilledSlot:
        """A decoder filled a slot."""
        slot = FilledSlot(filled, self._fill_sent_ns.pop(filled.slot), decoder.pid)
        self.first_read_ns = min(self.first_read_ns or filled.began_ns, filled.began_ns)
        stages, (read, decode, resample) = self.stages, filled.sums
        stages.n_decoded += slot.n_images
        stages.read_ns += read
        stages.decode_ns += decode
        stages.resample_ns += resample
        stages.hand_over_ns += filled.handed_ns
        stages.fill_wait_ns += filled.began_ns - slot.sent_ns
        stages.fill_ns += filled.ended_ns - filled.began_ns
        for path, n in filled.paths.items():
            self.decode_paths[path] += n
        self.processes.thread(decoder, -1, filled.began_ns).take(filled.spent, self.began_ns)
        self._slots_changed(time.perf_counter_ns())
        return slot

    def skip(self, slot: FilledSlot) -> None:
        """None of the slot's images could be decoded: the hub settles it at once."""
        self.last_result_ns = time.perf_counter_ns()
        self.stages.result_wait_ns += self.last_result_ns - slot.message.ended_ns

    def take_done(self, feeder: Member, done: Done, slot: FilledSlot, rows: list[int], taken_up_ns: int) -> None:
        """A chip's slot was ranked. rows : those with an image; taken_up_ns : when the hub began with it"""
        now_ns = self.last_result_ns = time.perf_counter_ns()
        stages, chip = self.stages, self.chips[done.device]
        chip.add(done, slot, len(rows))
        stages.n_ranked += len(rows)
        stages.n_slots += 1
        stages.slot_wait_ns += done.submitted_ns - slot.message.ended_ns
        stages.device_ns += done.done_ns - done.submitted_ns
        stages.result_wait_ns += taken_up_ns - done.done_ns
        stages.rank_ns += now_ns - taken_up_ns
        self._slots_changed(now_ns)
        times = slot.message.times if len(rows) == slot.n_images else slot.times[rows].tobytes()
        self.latencies.add(times, now_ns)
        self.series.add_images(now_ns, len(rows))
        lane = self._lanes[done.device] = self.processes.thread(feeder, done.device, done.submitted_ns)
        lane.take(done.spent, self.began_ns)
        if self.trace is not None:
            self.trace.add(TracedSlot(slot, done, taken_up_ns, now_ns))

    def died(self, member: Member, cause: str) -> None:
        """A process ended during the run."""
        self.processes.died(member, cause)

    def finish(self) -> None:
        """The run is over."""
        self._sum_slots()
        self.processes.finish(max(self.last_result_ns, self.began_ns))

    @property
    def wall_ns(self) -> int:
        """From the first byte read to the last result."""
        return max(self.last_result_ns - self.first_read_ns, 0)

    @property
    def end_to_end_per_s(self) -> float:
        """Images per second from the first byte read to the last result, failed ones included in neither."""
        return per_second(self.stages.n_ranked, self.wall_ns)

    def interface_per_s(self) -> float:
        """Images per second of all chips alone, measured on all at once."""
        return sum(chip.sums.interface_per_s() for chip in self.chips.values())

    def _slots_changed(self, now_ns: int) -> None:
        """The ledger has just moved a slot, or may have: until now the slots were as they were the last time."""
        self.series.add_slots(self._slots_ns, now_ns, self._slots)
        self._slots_ns, self._slots = now_ns, self._ledger.n_in_state

    def _sum_slots(self) -> None:
        stages = self.stages
        stages.free_ns, stages.filling_ns, stages.ready_ns, stages.in_flight_ns = self.series.slots.sum(axis=0).tolist()

    def _add_between(self, now_ns: int) -> None:
        between = self._between
        span_ns = now_ns - between.at_ns
        for chip in between.idle:
            chip.idle_ns += span_ns
        for chip in between.full:
            chip.full_ns += span_ns
            chip.pressed_ns += span_ns * between.is_pressed
        for thread in between.without_room:
            thread.room_ns += span_ns

    def _is_warm(self, windows: Windows) -> bool:
        """As many slots are ranked as there are chips, and every chip that has work has done some before."""
        has_done = (chip in windows.idle or self.chips[chip].sums.n_batches > 0 for chip in windows)
        return self.stages.n_slots >= len(windows) and all(has_done)

    def _mark(self, now_ns: int) -> Mark:
        """A copy of all sums. Memory and CPU are read for it, so that a part of the run has its own."""
        self._sum_slots()
        self.processes.sample_all(with_pss=False)
        chips = {number: deepcopy(chip.sums) for number, chip in self.chips.items()}
        stages, processes, latencies = deepcopy(self.stages), deepcopy(self.processes), deepcopy(self.latencies)
        return Mark(now_ns, self.last_result_ns, stages, chips, processes, latencies)
