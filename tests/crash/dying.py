"""Processes of a run that die at chosen points of their work.

A `Trip` travels to the processes inside what they are started with. Where it is unpickled it wraps the function at
which that process's point lies: the process does it to itself, so no clock decides where it hits.
"""

from __future__ import annotations

import importlib
import os
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engine.messages import Filled
from engine.sources.images import ImageStore

STATES = ("starting", "idle", "filling", "holding", "submitted", "shutting down")
HOWS = ("SIGKILL", "SIGSEGV", "SIGSTOP", "_exit", "MemoryError", "KeyError")
EXIT_CODE = 3
#: (module, owner and function, "before" or "after" it, which of its calls), by role and state. A decoder fills a slot,
#: holds it filled, has handed it over; a feeder holds a slot, fills its chip's window, has submitted.
POINTS = {
    ("decoder", "starting"): ("engine.decoder", "limit_memory", "before", 1),
    ("decoder", "idle"): ("engine.decoder", "decode_forever", "before", 1),
    ("decoder", "filling"): ("engine.sources.images", "ImageSource.read", "after", 2),
    ("decoder", "holding"): ("engine.decoder", "fill_slot", "after", 1),
    ("decoder", "submitted"): ("engine.channel", "Channel.send", "after", 2),  # Started, Filled
    ("decoder", "shutting down"): ("engine.decoder", "decode_forever", "after", 1),
    ("feeder", "starting"): ("engine.feeder", "open_backend", "before", 1),
    ("feeder", "idle"): ("engine.feeder", "feed_forever", "before", 1),
    ("feeder", "filling"): ("engine.backends.acl", "AclDevice.submit", "before", 2),
    ("feeder", "holding"): ("engine.feeder", "Lane._submit", "before", 1),
    ("feeder", "submitted"): ("engine.backends.acl", "AclDevice.submit", "after", 1),
    ("feeder", "shutting down"): ("engine.feeder", "Lane.finish", "before", 1),
}


@dataclass(frozen=True)
class Trip:
    """The first process of a role dies in the first state, the one that replaces it in the second one, and so on.

    hows : one per state        folder : gets a file per state that says when, as `perf_counter_ns`, and which process
    """

    role: str
    hows: tuple[str, ...]
    folder: Path
    state: str = ""  # of this process

    def __reduce__(self) -> tuple[Any, ...]:
        return _arrive, (self.role, self.hows, self.folder)

    def died(self, state: str) -> tuple[int, int]:
        """When, in nanoseconds, and the process id."""
        at_ns, pid = (self.folder / state).read_text().split()
        return int(at_ns), int(pid)

    def arm(self) -> None:
        """Wrap the function of the point in this process."""
        module_name, path, when, nth = POINTS[self.role, self.state]
        owner: Any = importlib.import_module(module_name)
        *classes, name = path.split(".")
        for part in classes:
            owner = getattr(owner, part)
        setattr(owner, name, self._wrapped(getattr(owner, name), when, nth))

    def _wrapped(self, function: Callable[..., Any], when: str, nth: int) -> Callable[..., Any]:
        n_calls = 0

        def wrapped(*args: Any, **options: Any) -> Any:
            nonlocal n_calls
            n_calls += 1
            is_now = n_calls == nth
            if is_now and when == "before":
                self.die()
            result = function(*args, **options)
            if is_now and when == "after":
                assert self.state != "submitted" or self.role == "feeder" or isinstance(args[1], Filled)
                self.die()
            return result

        return wrapped

    def die(self) -> None:
        how = self.hows[STATES.index(self.state)]
        (self.folder / self.state).write_text(f"{time.perf_counter_ns()} {os.getpid()}")
        if how == "_exit":
            os._exit(EXIT_CODE)
        if how == "MemoryError":
            raise MemoryError("not a byte is left")
        if how == "KeyError":
            raise KeyError("a defect")
        os.kill(os.getpid(), getattr(signal, how))


def _arrive(role: str, hows: tuple[str, ...], folder: Path) -> Trip:
    """In the process: take the next state that nobody has had."""
    for state in STATES:
        try:
            (folder / f"{state} is taken").touch(exist_ok=False)
        except FileExistsError:
            continue
        trip = Trip(role, hows, folder, state)
        trip.arm()
        return trip
    return Trip(role, hows, folder)


@dataclass(frozen=True)
class ArmedStore(ImageStore):
    """Image files, in armed decoders."""

    trip: Trip | None = None
