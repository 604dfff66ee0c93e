"""From no process to all of them ready: the model is opened and checked, the arena is made, everyone maps it."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from engine.crew import Crew, Death, Member
from engine.errors import DeviceError, ModelError, WorkerError
from engine.layout import ArenaLayout
from engine.messages import RESTART, Attach, ChipLost, Failed, Message, Opened, Started
from engine.watchdog import Watchdog

#: Processes that may die while they start before the run is given up: a stray kill is repaired, a defect is not.
STARTUP_DEATHS = 3
#: The watchdog looks this often.
TICK_S = 0.5


class Startup:
    """Brings a crew up.

    sizes : how many decoders, and the chips of each feeder
    plan_layout : checks what the model says of itself and sizes the arena for it
    """

    def __init__(
        self,
        crew: Crew,
        sizes: tuple[int, Sequence[tuple[int, ...]]],
        plan_layout: Callable[[Opened], ArenaLayout],
        watchdog: Watchdog,
        notice: Callable[[str], None],
    ) -> None:
        self._crew = crew
        self._watchdog = watchdog
        self._notice = notice
        self._plan_layout = plan_layout
        n_decoders, chips = sizes
        self._waiting = [crew.start_feeder(number, devices) for number, devices in enumerate(chips)]
        self._waiting += [crew.start_decoder(number) for number in range(n_decoders)]
        self._layout: ArenaLayout | None = None
        self._opened: Opened | None = None
        self._n_deaths = 0

    def finish(self) -> tuple[Opened, ArenaLayout]:
        """Wait until every process takes work. Raises what a process failed with; WorkerError if too many died."""
        while self._waiting:
            for member, message in self._crew.wait(TICK_S):
                self._watchdog.moved()
                self._handle(member, message)
            self._watchdog.look(lambda: f"waiting for {', '.join(member.title for member in self._waiting)}")
        assert self._opened is not None
        assert self._layout is not None
        return self._opened, self._layout

    def _handle(self, member: Member, message: Message | Death) -> None:
        match message:
            case Opened():
                self._take_opened(member, message)
            case Started():
                member.is_started = True
                self._waiting.remove(member)
            case Failed():
                raise message.exception()
            case ChipLost():
                self._take_chip_lost(member, message)
            case Death():
                self._replace(member, message)
            case _:
                raise WorkerError(f"{member.title} sent {type(message).__name__} while it was starting")

    def _take_opened(self, feeder: Member, opened: Opened) -> None:
        for notice in opened.notices:
            self._notice(notice)
        opened = opened._replace(notices=[])
        if self._layout is None:
            self._opened, self._layout = opened, self._plan_layout(opened)
            for decoder in self._crew.decoders:
                decoder.send(Attach.of(self._layout))
        elif opened != self._opened:
            raise ModelError(f"{feeder.title} loaded another model than the first feeder: {opened}, not {self._opened}")
        feeder.send(Attach.of(self._layout))

    def _take_chip_lost(self, feeder: Member, lost: ChipLost) -> None:
        """A chip that cannot be opened: tried again where a new process may help, else the run does not begin."""
        if lost.remedy != RESTART or self._n_deaths == STARTUP_DEATHS:
            raise DeviceError(lost.text, chip=lost.device, code=lost.code)
        self._crew.dismiss(feeder)
        self._replace(feeder, Death(f"could not open chip {lost.device} ({lost.text})"))

    def _replace(self, member: Member, death: Death) -> None:
        self._watchdog.died(member, death)
        self._n_deaths += 1
        if self._n_deaths > STARTUP_DEATHS:
            raise WorkerError(f"{member.title} {death.cause} while it was starting, the {self._n_deaths}th to do so")
        self._notice(f"{member.title} {death.cause} while it was starting; another one takes its place")
        if member in self._waiting:
            self._waiting.remove(member)
        if member.role == "feeder":
            self._waiting.append(self._crew.start_feeder(member.number, member.devices))
            return
        successor = self._crew.start_decoder(member.number)
        self._waiting.append(successor)
        if self._layout is not None:
            successor.send(Attach.of(self._layout))
