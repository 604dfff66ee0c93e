"""What queued work does to memory: effects, and the tasks that carry them out once and in order."""

from __future__ import annotations

import itertools
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import TYPE_CHECKING

from engine.pyacl_stubs.codes import AclError
from engine.pyacl_stubs.memory import Span, copy

if TYPE_CHECKING:
    from engine.pyacl_stubs.schedule import Stream

_sequence = itertools.count(1)

#: What a task does to memory. Raises AclError to fail.
Effect = Callable[[], None]


class Joinable(ABC):
    """An effect that may do the one right before it along with its own, in one pass over memory."""

    @abstractmethod
    def __call__(self) -> None:
        """Its own alone."""

    @abstractmethod
    def joined_with(self, before: Effect) -> Effect | None:
        """What leaves memory as `before` and then this one would; None where that is no effect to do it with.

        Raises AclError where `before` fails; it has then done nothing.
        """


class Move:
    """The effect of a queued copy. watch : is called when it executes, before anything is moved"""

    __slots__ = ("source", "to", "watch")

    def __init__(self, to: Span, source: Span, watch: Callable[[], None] | None = None) -> None:
        self.to = to
        self.source = source
        self.watch = watch

    def __call__(self) -> None:
        if self.watch is not None:
            self.watch()
        copy(self.to, self.source, self.source.n_bytes)

    def check(self) -> None:
        """All but the copy itself, for who copies in its place. Raises AclError where a block was freed."""
        if self.watch is not None:
            self.watch()
        self.to.check_live()
        self.source.check_live()


class Task:
    """One piece of queued work: when it runs on the chip, and what it does to memory.

    The effect runs once, on whichever thread needs it first (the chip's worker, or a caller that synchronises), after
    the effects of the tasks before it. A failure is kept and told to the stream. A caller that needs a copy and the
    execute that reads it does both in one pass where the model can (`Joinable`); neither is done before both are.
    """

    __slots__ = ("_lock", "before", "effect", "end_ns", "is_done", "name", "sequence", "start_ns", "stream")

    def __init__(self, stream: Stream, name: str, effect: Effect) -> None:
        self.sequence = next(_sequence)
        self.stream = stream
        self.name = name
        self.effect: Effect | None = effect
        self.before: tuple[Task, ...] = ()
        self.start_ns = 0
        self.end_ns = 0
        self.is_done = False
        self._lock = threading.Lock()

    def finish(self) -> None:
        """Have this effect and all before it done when this returns. The caller has waited for the time."""
        if not self.is_done:
            if all(task.is_done for task in self.before):
                self._run()
            else:
                tasks = self._unfinished()
                for task, following in itertools.zip_longest(tasks, tasks[1:]):
                    task._run(following)

    def _unfinished(self) -> list[Task]:
        """This task and those it stands on that are not done, in an order that respects that."""
        found = {self}
        stack = [self]
        while stack:
            for task in stack.pop().before:
                if not task.is_done and task not in found:
                    found.add(task)
                    stack.append(task)
        return sorted(found, key=lambda task: task.sequence)

    def _run(self, following: Task | None = None, joined: Effect | None = None) -> None:
        """Do the effect, or the `joined` one in its place. following : what this caller does next"""
        with self._lock:  # the earlier task's before the later one's
            if self.is_done:
                return
            effect = joined or self.effect
            try:
                both = None if following is None or effect is None else following._joined_with(effect)
                if following is not None and both is not None:
                    following._run(joined=both)
                elif effect is not None:
                    effect()
            except AclError as error:
                self.stream.fail(self.name, error)
            finally:
                self.effect = None
                self.before = ()
                self.is_done = True

    def _joined_with(self, before: Effect) -> Effect | None:
        effect = self.effect
        return effect.joined_with(before) if isinstance(effect, Joinable) else None
