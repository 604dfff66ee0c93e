"""From no process to all of them ready: the model is opened and checked, the arena is made, everyone maps it."""

from __future__ import annotations

from collections.abc import Callable

from engine.crew import Crew, Death, Member
from engine.errors import WorkerError
from engine.layout import ArenaLayout
from engine.messages import Attach, Failed, Message, Opened, Started

#: Processes that may die while they start before the run is given up: a stray kill is repaired, a defect is not.
STARTUP_DEATHS = 3


class Startup:
    """Brings a crew up. `plan_layout` checks what the model says of itself and sizes the arena for it."""

    def __init__(
        self,
        crew: Crew,
        n_decoders: int,
        plan_layout: Callable[[Opened], ArenaLayout],
        notice: Callable[[str], None],
    ) -> None:
        self._crew = crew
        self._notice = notice
        self._plan_layout = plan_layout
        self._waiting = [crew.start_feeder(), *(crew.start_decoder(number) for number in range(n_decoders))]
        self._layout: ArenaLayout | None = None
        self._opened: Opened | None = None
        self._n_deaths = 0

    def finish(self) -> tuple[Opened, ArenaLayout]:
        """Wait until every process takes work. Raises what a process failed with; WorkerError if too many died."""
        while self._waiting:
            for member, message in self._crew.wait(None):
                self._handle(member, message)
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
            case Death():
                self._replace(member, message)
            case _:
                raise WorkerError(f"{member.title} sent {type(message).__name__} while it was starting")

    def _take_opened(self, feeder: Member, opened: Opened) -> None:
        if self._layout is None:
            self._opened, self._layout = opened, self._plan_layout(opened)
            for decoder in self._crew.decoders:
                decoder.send(Attach.of(self._layout))
        feeder.send(Attach.of(self._layout))

    def _replace(self, member: Member, death: Death) -> None:
        self._n_deaths += 1
        if self._n_deaths > STARTUP_DEATHS:
            raise WorkerError(f"{member.title} {death.cause} while it was starting, the {self._n_deaths}th to do so")
        self._notice(f"{member.title} {death.cause} while it was starting; another one takes its place")
        if member in self._waiting:
            self._waiting.remove(member)
        if member.role == "feeder":
            self._waiting.append(self._crew.start_feeder())
            return
        successor = self._crew.start_decoder(member.number)
        self._waiting.append(successor)
        if self._layout is not None:
            successor.send(Attach.of(self._layout))
