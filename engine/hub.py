"""The hub: one event loop that hands slots out and takes them back.

It alone keeps state: the ledger (who holds what), the collector (what came out) and the tally (how long it took).
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from engine.arena import Arena
from engine.collector import Collector
from engine.crew import Crew, Death, Member
from engine.errors import DeviceError, WorkerError
from engine.ledger import FAILED, SCORED, Ledger
from engine.messages import Attach, ChipLost, Done, Failed, Fill, Filled, Message, Opened, Run, Started
from engine.tally import RunTally

#: Slots that a decoder holds: the one it works on and the next, so that it never waits for the hub.
FILLS_PER_DECODER = 2
#: Deaths in a row, without a slot filled or done between them, that end the run.
DEATHS_IN_A_ROW = 8
#: The hub wakes this often without a message, to show progress and to look at the clock.
TICK_S = 0.5


@dataclass(frozen=True)
class Watcher:
    """Who is told of a run while it goes on."""

    progress: Callable[[int, int], None]  # positions settled, right at first
    notice: Callable[[str], None]  # one line that the user must see
    dump: Callable[[np.ndarray, list[int], int], None] | None = None  # rows, samples, device


class Hub:
    """Drives one run over the data, `ledger.n_positions` positions long."""

    def __init__(self, crew: Crew, arena: Arena, ledger: Ledger, collector: Collector, tally: RunTally) -> None:
        self._crew = crew
        self._arena = arena
        self._ledger = ledger
        self._collector = collector
        self._tally = tally
        self._n_samples = len(collector.labels)
        self._credit: dict[int, int] = {}
        self._filled: dict[int, Filled] = {}
        self._deaths_in_a_row = 0
        self.lost_chips: dict[int, str] = {}

    def run(self, credit: int, deadline_ns: int | None, watcher: Watcher) -> None:
        """Until every position is settled, or (after `stop` or the deadline) every slot has come back."""
        self._watcher = watcher
        self._max_credit = credit
        self._credit = dict.fromkeys(self._tally.chips, credit)
        while not self._ledger.is_drained:
            self._hand_out_runs()
            self._hand_out_fills()
            for member, message in self._crew.wait(TICK_S):
                self._handle(member, message)
            if deadline_ns is not None and time.perf_counter_ns() > deadline_ns:
                self.stop()
            watcher.progress(self._ledger.n_scored + self._ledger.n_failed, self._collector.n_top1)

    def stop(self) -> None:
        """Hand nothing more out; what is in the slots is finished and counted."""
        self._ledger.is_stopping = True

    def _hand_out_fills(self) -> None:
        """Free slots go to the decoders that hold the fewest."""
        for held in range(FILLS_PER_DECODER):
            for decoder in self._crew.decoders:
                if decoder.is_started and decoder.n_held == held:
                    slot = self._ledger.fill(decoder.number)
                    if slot is None:
                        return
                    decoder.n_held += 1
                    samples = [position % self._n_samples for position in self._ledger.positions(slot)]
                    decoder.send(Fill(slot, samples))

    def _hand_out_runs(self) -> None:
        """Ready slots go to the chips with the most room in their windows."""
        feeder = self._crew.feeder
        while feeder is not None and feeder.is_started and self._ledger.n_ready and self._credit:
            device = max(self._credit, key=self._credit.__getitem__)
            if not self._credit[device]:
                return
            slot = self._ledger.next_ready(device)
            assert slot is not None
            self._credit[device] -= 1
            feeder.send(Run(slot, len(self._ledger.positions(slot)), device))

    def _handle(self, member: Member, message: Message | Death) -> None:
        match message:
            case Filled():
                self._take_filled(member, message)
            case Done():
                self._take_done(message)
            case Death():
                self._bury(member, message)
            case ChipLost():
                self._lose_chip(message)
            case Failed():
                raise message.exception()
            case Opened():
                member.send(Attach.of(self._arena.layout))
            case Started():
                member.is_started = True
            case _:
                raise WorkerError(f"{member.title} sent {type(message).__name__}, which it never should")

    def _take_filled(self, decoder: Member, filled: Filled) -> None:
        decoder.n_held -= 1
        self._deaths_in_a_row = 0
        self._ledger.filled(filled.slot, decoder.number)
        positions = self._ledger.positions(filled.slot)
        self._tally.add_filled(filled, len(positions))
        for row, reason in filled.reasons.items():
            self._fail(positions[row], reason)
        if len(filled.reasons) == len(positions):
            self._tally.last_result_ns = time.perf_counter_ns()
            self._ledger.skip(filled.slot)
        else:
            self._filled[filled.slot] = filled

    def _take_done(self, done: Done) -> None:
        self._deaths_in_a_row = 0
        if done.device in self.lost_chips:
            return  # its slots were given to others when it was lost
        self._credit[done.device] += 1
        began_ns = time.perf_counter_ns()
        filled = self._filled.pop(done.slot)
        positions = self._ledger.positions(done.slot)
        rows = [row for row in range(len(positions)) if row not in filled.reasons]
        outputs = self._arena.slot(done.slot).outputs[: len(positions)]
        self._score(
            outputs if len(rows) == len(positions) else outputs[rows], [positions[row] for row in rows], done.device
        )
        self._tally.chips[done.device].add(done, filled, len(rows))
        self._tally.n_ranked += len(rows)
        self._ledger.done(done.slot, done.device)
        self._tally.last_result_ns = time.perf_counter_ns()
        self._tally.rank_ns += self._tally.last_result_ns - began_ns

    def _score(self, outputs: np.ndarray, positions: list[int], device: int) -> None:
        for position in positions:
            self._ledger.settle(position, SCORED)
        self._collector.score(outputs, np.array(positions, np.int64) % self._n_samples)
        if self._watcher.dump is not None and positions[0] < self._n_samples:
            first_pass = [position for position in positions if position < self._n_samples]
            self._watcher.dump(outputs[: len(first_pass)], first_pass, device)

    def _fail(self, position: int, reason: str) -> None:
        self._ledger.settle(position, FAILED)
        self._collector.fail(position % self._n_samples, reason)

    def _bury(self, member: Member, death: Death) -> None:
        """Take back what a dead process held, and start another one in its place."""
        self._deaths_in_a_row += 1
        if self._deaths_in_a_row > DEATHS_IN_A_ROW:
            raise WorkerError(
                f"{member.title} {death.cause}, death number {self._deaths_in_a_row} in a row without a slot of work "
                "between: the run is stopped; run with --workers 1 and --limit to find the cause"
            )
        if member.role == "decoder":
            self._bury_decoder(member, death)
        else:
            self._bury_feeder(member, death)

    def _bury_decoder(self, member: Member, death: Death) -> None:
        again, poison = self._ledger.decoder_died(member.number)
        for position in poison:
            self._fail(position, f"its decoder {death.cause} each time")
        self._watcher.notice(f"{member.title} {death.cause}; {len(again)} samples are decoded again by another one")
        self._crew.start_decoder(member.number).send(Attach.of(self._arena.layout))

    def _bury_feeder(self, member: Member, death: Death) -> None:
        n_slots = sum(self._ledger.device_died(device) for device in self._tally.chips)
        self._credit = {device: self._max_credit for device in self._tally.chips if device not in self.lost_chips}
        self._watcher.notice(f"{member.title} {death.cause}; its {n_slots} slots are run again by another one")
        self._crew.start_feeder()

    def _lose_chip(self, lost: ChipLost) -> None:
        """The chips that are left get its work."""
        if lost.device not in self._credit:
            return
        del self._credit[lost.device]
        self.lost_chips[lost.device] = lost.text
        n_slots = self._ledger.device_died(lost.device)
        self._watcher.notice(f"chip {lost.device} is lost ({lost.text}); its {n_slots} slots go to the others")
        if not self._credit:
            raise DeviceError(f"no chip is left; the last one: {lost.text}", chip=lost.device, code=lost.code)
