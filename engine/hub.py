"""The hub: one event loop that hands slots out and takes them back.

It alone keeps state: the ledger (who holds what), the collector (what came out) and the tally (how long it took).
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from engine.arena import Arena
from engine.collector import Collector
from engine.crew import Crew, Death, Member
from engine.errors import DeviceError, WorkerError
from engine.fill_sizes import FillSizes
from engine.journal import Journal
from engine.ledger import FAILED, SCORED, Ledger
from engine.messages import RESTART, Attach, ChipLost, Done, Failed, Fill, Filled, Message, Opened, Run, Started
from engine.restarts import Restarts
from engine.stages_filled import FilledSlot
from engine.tally import RunTally
from engine.watchdog import HubGuard, Watchdog
from engine.windows import Windows

#: Slots that a decoder holds: the one it works on and the next, so that it never waits for the hub.
FILLS_PER_DECODER = 2
#: A chip whose errors a new feeder process may cure gets this many in a run; after that it counts as lost.
RESTARTS_PER_CHIP = 2
#: A run that is made longer grows by whole passes of at least this many positions.
FEWEST_EXTENDED = 256
#: The hub wakes this often without a message, to show progress and to look at the clock.
TICK_S = 0.5


@dataclass(frozen=True)
class Bounds:
    """How long a run lasts: passes are added until the shortest time is over; after the longest it is stopped."""

    shortest_s: float = 0.0
    longest_s: float | None = None


@dataclass(frozen=True)
class Watcher:
    """Who is told of a run while it goes on."""

    progress: Callable[[int, int], None]  # positions settled, right at first
    notice: Callable[[str], None]  # one line that the user must see
    dump: Callable[[np.ndarray, list[int], int], None] | None = None  # rows, samples, device
    journal: Journal | None = None
    incident: Callable[[str], str] = lambda _text: "no file"  # a report that is kept; returns where


@dataclass(frozen=True)
class LostChip:
    """A chip that went away. after_s, n_settled : how far the run was, since its first slot was handed out."""

    device: int
    code: int
    text: str
    after_s: float
    n_settled: int

    def __str__(self) -> str:
        return f"after {self.after_s:.1f} s and {self.n_settled} images: {self.text}"


class Hub:
    """Drives one run over the data, `ledger.n_positions` positions long."""

    def __init__(self, crew: Crew, arena: Arena, ledger: Ledger, collector: Collector, tally: RunTally) -> None:
        self._crew = crew
        self._arena = arena
        self._ledger = ledger
        self._collector = collector
        self._tally = tally
        self._n_samples = len(collector.labels)
        self._feeders: dict[int, Member] = {}  # by chip, of each chip whose feeder is up
        self._n_restarts: Counter[int] = Counter()
        self._filled: dict[int, FilledSlot] = {}
        self._restarts = Restarts()
        self.lost_chips: dict[int, LostChip] = {}

    def run(self, windows: Windows, sizes: FillSizes, bounds: Bounds, watcher: Watcher) -> None:
        """Until every position is settled, or (after `stop` or the longest time) every slot has come back."""
        self._watcher = watcher
        self._windows, self._sizes, self._bounds = windows, sizes, bounds
        self._began_ns = time.perf_counter_ns()
        self._watchdog = Watchdog(self._crew, watcher.notice, watcher.incident)
        for feeder in self._crew.feeders:
            self._welcome(feeder)
        self._tally.begin(self._crew, self._ledger)
        with HubGuard(self._crew, self._watchdog, watcher.incident):
            while not self._ledger.is_drained:
                self._turn()
        self._tally.observe(windows, self._crew)

    def _turn(self) -> None:
        """Hand out, wait, take back, look around."""
        self._hand_out_runs()
        self._hand_out_fills()
        if self._extend():
            self._hand_out_fills()
        self._tally.observe(self._windows, self._crew)
        for member, message in self._crew.wait(TICK_S):
            self._handle(member, message)
        if self._bounds.longest_s is not None and self._seconds() > self._bounds.longest_s:
            self.stop()
        watcher = self._watcher
        watcher.progress(self._ledger.n_scored + self._ledger.n_failed, self._collector.n_top1)
        if watcher.journal is not None:
            watcher.journal.tick()
        for device in self._watchdog.look(self._ledger.describe):
            self._give_up_waiting(device)

    def stop(self) -> None:
        """Hand nothing more out; what is in the slots is finished and counted."""
        self._ledger.is_stopping = True

    @property
    def _goes_on(self) -> bool:
        """The run has not lasted long enough: it will be extended."""
        return not self._ledger.is_stopping and self._seconds() <= self._bounds.shortest_s

    def _extend(self) -> bool:
        """More passes over the samples, as long as the run has not lasted long enough."""
        if self._ledger.has_work or not self._goes_on:
            return False
        self._ledger.extend(self._n_samples * max(1, FEWEST_EXTENDED // self._n_samples))
        return True

    def _seconds(self) -> float:
        return (time.perf_counter_ns() - self._began_ns) / 1e9

    def _hand_out_fills(self) -> None:
        """Free slots go to the decoders that hold the fewest."""
        for held in range(FILLS_PER_DECODER):
            for decoder in self._crew.decoders:
                if decoder.is_started and decoder.n_held == held:
                    n_left = None if self._goes_on else self._ledger.n_left
                    slot = self._ledger.fill(decoder.number, self._sizes.next_size(n_left))
                    if slot is None:
                        return
                    decoder.n_held += 1
                    samples = [position % self._n_samples for position in self._ledger.positions(slot)]
                    self._tally.sent_fill(slot)
                    decoder.send(Fill(slot, samples))

    def _hand_out_runs(self) -> None:
        """Ready slots go to the chips that have room in their windows."""
        while self._ledger.n_ready:
            device = self._windows.next_chip()
            if device is None:
                return
            slot = self._ledger.next_ready(device)
            assert slot is not None
            n = len(self._ledger.positions(slot))
            self._windows.sent(device, slot, n_batches=-(-n // self._sizes.batch))
            self._tally.sent_run(self._filled[slot])
            self._watchdog.chip_got_work(device)
            self._feeders[device].send(Run(slot, n, device))

    def _handle(self, member: Member, message: Message | Death) -> None:
        match message:
            case Filled():
                self._take_filled(member, message)
            case Done():
                self._take_done(member, message)
            case Death():
                self._bury(member, message)
            case ChipLost():
                self._take_chip_lost(member, message)
            case Failed():
                raise message.exception()
            case Opened():
                member.send(Attach.of(self._arena.layout))
            case Started():
                self._welcome(member)
            case _:
                raise WorkerError(f"{member.title} sent {type(message).__name__}, which it never should")

    def _welcome(self, member: Member) -> None:
        """A process takes work now."""
        self._watchdog.moved()
        member.is_started = True
        for device in member.devices:
            if device not in self.lost_chips:
                self._windows.open(device)
                self._feeders[device] = member

    def _take_filled(self, decoder: Member, filled: Filled) -> None:
        self._watchdog.moved()
        decoder.n_held -= 1
        self._sizes.filled(not self._ledger.n_ready and self._windows.have_room, filled.ended_ns)
        self._ledger.filled(filled.slot, decoder.number)
        positions = self._ledger.positions(filled.slot)
        self._restarts.worked("decoder", len(positions))
        slot = self._tally.take_filled(decoder, filled)
        for row, reason in filled.reasons.items():
            self._fail(positions[row], reason)
        if len(filled.reasons) == len(positions):
            self._ledger.skip(filled.slot)
            self._tally.skip(slot)
        else:
            self._filled[filled.slot] = slot

    def _take_done(self, feeder: Member, done: Done) -> None:
        if done.device in self.lost_chips:
            return  # its slots were given to others when it was lost
        self._windows.done(done.device, done.slot)
        self._watchdog.moved()
        self._watchdog.chip_answered(done.device, is_idle=done.device in self._windows.idle)
        began_ns = time.perf_counter_ns()
        filled = self._filled.pop(done.slot)
        positions = self._ledger.positions(done.slot)
        self._restarts.worked("feeder", len(positions))
        rows = [row for row in range(len(positions)) if row not in filled.message.reasons]
        outputs = self._arena.slot(done.slot).outputs[: len(positions)]
        self._score(
            outputs if len(rows) == len(positions) else outputs[rows], [positions[row] for row in rows], done.device
        )
        self._ledger.done(done.slot, done.device)
        self._tally.take_done(feeder, done, filled, rows, began_ns)

    def _score(self, outputs: np.ndarray, positions: list[int], device: int) -> None:
        for position in positions:
            self._ledger.settle(position, SCORED)
        self._collector.score(outputs, np.array(positions, np.int64) % self._n_samples)
        if self._watcher.dump is not None and positions[0] < self._n_samples:
            first_pass = [position for position in positions if position < self._n_samples]
            self._watcher.dump(outputs[: len(first_pass)], first_pass, device)
        if self._watcher.journal is not None:  # last: what it holds is done
            self._watcher.journal.scored(positions, self._collector)

    def _fail(self, position: int, reason: str) -> None:
        self._ledger.settle(position, FAILED)
        self._collector.fail(position % self._n_samples, reason)
        if self._watcher.journal is not None:
            self._watcher.journal.failed(position, reason)

    def _bury(self, member: Member, death: Death) -> None:
        """Take back what a dead process held, and start another one in its place."""
        self._watchdog.died(member, death)
        self._restarts.died(member.role, 1 + len(self._crew.of(member.role)), f"{member.title} {death.cause}")
        if member.role == "decoder":
            self._bury_decoder(member, death)
        else:
            self._bury_feeder(member, death.cause)

    def _bury_decoder(self, member: Member, death: Death) -> None:
        self._tally.died(member, death.cause)
        broken, culprit = death.broken, None
        if broken is not None and broken.slot >= 0:
            culprit = self._ledger.positions(broken.slot)[broken.row]
        again, poison = self._ledger.decoder_died(member.number, death.is_certain, culprit)
        for position in poison:
            self._watchdog.moved()
            self._restarts.worked("decoder", 1)
            self._fail(position, f"its decoder {death.each_time}")
        self._watcher.notice(f"{member.title} {death.cause}; {len(again)} samples are decoded again by another one")
        self._crew.start_decoder(member.number).send(Attach.of(self._arena.layout))

    def _bury_feeder(self, feeder: Member, cause: str) -> None:
        """Its slots still hold their inputs: they are run again, here or there; its chips get another feeder."""
        self._tally.died(feeder, cause)
        n_slots = sum(self._take_back(device) for device in feeder.devices)
        left = tuple(device for device in feeder.devices if device not in self.lost_chips)
        self._watcher.notice(f"{feeder.title} {cause}; its {n_slots} slots are run again by another one")
        if left:
            self._crew.start_feeder(feeder.number, left)

    def _take_back(self, device: int) -> int:
        """This chip holds nothing and gets nothing; how many slots it held."""
        self._windows.close(device)
        self._feeders.pop(device, None)
        self._watchdog.chip_is_free(device)
        return self._ledger.device_died(device)

    def _give_up_waiting(self, device: int) -> None:
        """A chip has not answered for too long: as if it had reported an error that a new process may cure."""
        text = f"it did not answer for {self._crew.limits.stall_s / 2:g} s, half of --stall-timeout"
        if device in self._feeders:  # else its feeder has just been restarted for another of its chips
            self._take_chip_lost(self._feeders[device], ChipLost(device, 0, text, RESTART))

    def _take_chip_lost(self, feeder: Member, lost: ChipLost) -> None:
        """A new feeder where that may help and has not been tried too often, else the chips that are left go on."""
        if lost.device in self.lost_chips:
            return
        if lost.remedy == RESTART and self._n_restarts[lost.device] < RESTARTS_PER_CHIP:
            self._n_restarts[lost.device] += 1
            self._crew.dismiss(feeder)
            self._bury_feeder(feeder, f"is restarted because chip {lost.device} failed ({lost.text})")
            return
        after_s = (time.perf_counter_ns() - self._began_ns) / 1e9
        n_settled = self._ledger.n_scored + self._ledger.n_failed
        self.lost_chips[lost.device] = LostChip(lost.device, lost.code, lost.text, after_s, n_settled)
        n_slots = self._take_back(lost.device)
        self._watcher.notice(
            f"chip {lost.device} is lost {self.lost_chips[lost.device]}; its {n_slots} slots go to the others"
        )
        if len(self.lost_chips) == len(self._tally.chips):
            raise DeviceError(f"no chip is left; the last one: {lost.text}", chip=lost.device, code=lost.code)
        if not feeder.is_started:  # it could not open this chip: another one opens the rest
            self._crew.dismiss(feeder)
            self._bury_feeder(feeder, f"could not open chip {lost.device}")
