"""The state that pyACL keeps per process: initialised or not, contexts per thread, chips, every live handle.

A vendor library has such state, so its simulator has it, in one object: `PROCESS`.
"""

from __future__ import annotations

import itertools
import os
import threading
from collections import OrderedDict
from dataclasses import dataclass, field
from typing import Any, TypeVar

from engine.pyacl_stubs import faults
from engine.pyacl_stubs.chip import Chip
from engine.pyacl_stubs.clock import Clock, RealClock, VirtualClock
from engine.pyacl_stubs.codes import AclError, Code, Outcome
from engine.pyacl_stubs.memory import DEVICE_BASE, DEVICE_SPAN, BlockTable, DeviceMemory, HostMemory, Span
from engine.pyacl_stubs.numerics import NumericsCache
from engine.pyacl_stubs.profile import Profile, load_profile
from engine.pyacl_stubs.races import Races
from engine.pyacl_stubs.report import Report, ReportLog, caller
from engine.pyacl_stubs.schedule import Schedule, Stream
from engine.pyacl_stubs.settings import Settings, parse_speeds, settings_from_environment

#: Handles look like addresses and, like device pointers, point to nothing.
HANDLE_BASE = 0x0AC2_0000_0000_0000
#: Strict mode remembers this many destroyed handles, to name them when they are used again.
N_TOMBSTONES = 100_000

T = TypeVar("T")


@dataclass(eq=False)
class Device:
    """A chip that this process has opened with set_device."""

    id: int
    chip: Chip
    default: Context | None = None
    #: Threads that have set it and not reset it.
    users: set[int] = field(default_factory=set)


@dataclass(eq=False)
class Context:
    """A context of one device. `is_default` : made by set_device."""

    device: Device
    handle: int
    origin: str
    is_default: bool
    is_live: bool = True
    streams: set[Stream] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.chip = self.device.chip
        self.default_stream = Stream(self, 0, self.origin)
        self.streams.add(self.default_stream)

    def __str__(self) -> str:
        return f"{'the default ' if self.is_default else ''}context {self.handle:#x} of device {self.device.id}"


class _PerThread(threading.local):
    """What pyACL keeps per thread."""

    context: Context | None = None
    message: str | None = None
    code: int = 0


class Process:
    """Everything that one process knows of its simulated card."""

    def __init__(self) -> None:
        self._given: Settings | None = None
        self.reset()

    def reset(self) -> None:
        """Forget everything, as in a fresh process. For tests: pyACL itself can be initialised once per process."""
        for device in getattr(self, "devices", {}).values():
            device.chip.close()
        self.pid = os.getpid()
        self.state = "new"
        #: Between init and finalize, and not in a forked child: what each call asks first.
        self.is_open = False
        self.settings = Settings()
        self.reports = ReportLog()
        self.devices: dict[int, Device] = {}
        self.chips: dict[int, Chip] = {}
        self.handles: dict[int, Any] = {}
        self.tombstones: OrderedDict[int, str] = OrderedDict()
        self.thread = _PerThread()
        self.profiles: dict[str, Profile] = {}
        self.faults: faults.FaultScript | None = None
        self._next_handle = itertools.count(HANDLE_BASE, 64)
        self._next_model_id = itertools.count(1)
        self.models: dict[int, Any] = {}
        #: Copies that were checked, see `api_memory`: valid as long as their blocks live.
        self.copies: dict[tuple[int, ...], Any] = {}
        #: The race check of strict mode.
        self.races: Races | None = None
        #: Callback threads by their id.
        self.subscribers: dict[int, Any] = {}
        #: Threads of acl.util.start_thread by their id.
        self.threads: dict[int, Any] = {}

    def configure(self, settings: Settings) -> None:
        """Settings of the next init. Raises RuntimeError after init, ValueError for a wrong profile or fault script."""
        if self.state != "new":
            raise RuntimeError("configure() must come before acl.init()")
        load_profile(settings.profile)
        faults.parse(settings.faults)
        self._given = settings

    def start(self) -> None:
        """acl.init."""
        self.check_not_forked()
        if self.state != "new":
            raise AclError(Code.REPEAT_INITIALIZE, "acl.init was called before in this process")
        self.pid = os.getpid()
        self.settings = settings = self._given or settings_from_environment()
        self.profile = self.profile_named(settings.profile)
        self.clock: Clock = RealClock() if settings.clock == "real" else VirtualClock()
        self.schedule = Schedule(self.clock.now_ns)
        self.host = HostMemory(settings.is_strict)
        self.numerics = NumericsCache(settings.numerics_threads)
        self.races = Races(self.complain) if settings.is_strict else None
        self.faults = faults.FaultScript.of(settings) if settings.faults else None
        self._speeds = parse_speeds(settings.speeds)
        self.chips = {i: self._new_chip(i) for i in range(settings.n_devices)}
        self.state = "ready"
        self.is_open = True

    def _new_chip(self, device_id: int) -> Chip:
        settings, profile = self.settings, self.profile
        memory = DeviceMemory(device_id, profile.memory_bytes, settings.is_strict)
        jitter = profile.jitter if settings.jitter is None else settings.jitter
        chip = Chip(device_id, profile, memory, self.clock, settings.seed, jitter)
        chip.slowness = 1 / self._speeds.get(device_id, 1.0)
        return chip

    def stop(self) -> None:
        """acl.finalize, after the leak report."""
        for chip in self.chips.values():
            chip.close()
        self.state = "finalized"
        self.is_open = False

    def profile_named(self, name: str) -> Profile:
        """A profile, read once."""
        if name not in self.profiles:
            self.profiles[name] = load_profile(name)
        return self.profiles[name]

    # --- checks --------------------------------------------------------------------------------------------------
    def check_ready(self) -> None:
        """Raise AclError unless between init and finalize, in the process that called init."""
        if self.state != "ready":
            after = " after acl.finalize" if self.state == "finalized" else " before acl.init"
            raise AclError(Code.UNINITIALIZE, f"called{after}")
        self.check_not_forked()

    def check_not_forked(self) -> None:
        """Raise AclError in a child of a process that had initialised pyACL."""
        if self.state == "ready" and self.pid != os.getpid():
            raise AclError(
                self.settings.forked_code,
                f"process {self.pid} called acl.init and then forked this one: start workers before init, or by spawn",
            )

    def context(self) -> Context:
        """The calling thread's context. Raises AclError 107002 without one, or what the chip is lost with."""
        context = self.thread.context
        if context is not None and context.is_live and not context.chip.lost_code:
            return context
        if context is None:
            raise AclError(
                Code.RT_CONTEXT_NULL, "this thread has no context: call acl.rt.set_context or set_device first"
            )
        if not context.is_live:
            raise AclError(Code.RT_CONTEXT_NULL, f"{context} (created at {context.origin}) is destroyed")
        raise Outcome(context.chip.lost_code, f"device {context.device.id} is lost")

    # --- handles -------------------------------------------------------------------------------------------------
    def new_handle(self) -> int:
        """A number no other object has."""
        return next(self._next_handle)

    def new_model_id(self) -> int:
        """Model ids count from 1."""
        return next(self._next_model_id)

    def register(self, handle: int, thing: T) -> T:
        """Make an object known by its handle."""
        self.handles[handle] = thing
        return thing

    def forget(self, handle: int, call: str) -> None:
        """Destroy a handle. Strict mode remembers what it was."""
        thing = self.handles.pop(handle)
        if self.settings.is_strict:
            self.tombstones[handle] = f"{thing}, created at {thing.origin}, was ended by {call} at {caller()}"
            if len(self.tombstones) > N_TOMBSTONES:
                self.tombstones.popitem(last=False)

    def get(self, handle: int, kind: type[T], code: int) -> T:
        """The live object of a handle. Raises AclError `code` when there is none of that kind."""
        thing = self.handles.get(handle)
        if isinstance(thing, kind):
            return thing
        raise AclError(code, self._why_not(handle, thing, kind))

    def _why_not(self, handle: int, thing: Any, kind: type) -> str:
        wanted = kind.__name__.lower()
        if thing is not None:
            return f"a {wanted} is needed, {handle:#x} is {thing}"
        return self.tombstones.get(handle) or f"{handle:#x} is no {wanted}"

    def origin(self) -> str:
        """Where the program is, for objects that it creates; only strict mode asks."""
        return caller() if self.settings.is_strict else "?"

    # --- memory --------------------------------------------------------------------------------------------------
    def span(self, address: int, n_bytes: int) -> Span:
        """The bytes at an address, with the block they are in. Raises AclError where they leave it."""
        block = self.table(address).find(address)
        if block is not None and address + n_bytes > block.address + block.n_bytes:
            beyond = address + n_bytes - block.address - block.n_bytes
            raise AclError(
                Code.RT_PARAM_INVALID,
                f"{n_bytes} bytes at {address:#x} end {beyond} bytes beyond {block} ({block.origin})",
            )
        return Span(address, n_bytes, block)

    def table(self, address: int) -> BlockTable:
        """The blocks among which an address would be found."""
        chip = self.chip_of(address)
        return self.host.table if chip is None else chip.memory.table

    def chip_of(self, address: int) -> Chip | None:
        """The chip whose address space holds the address; None for the host's."""
        return self.chips.get((address - DEVICE_BASE) // DEVICE_SPAN) if address >= DEVICE_BASE else None

    # --- reports -------------------------------------------------------------------------------------------------
    def record_failure(self, call: str, error: AclError) -> None:
        """Keep the message of a failed call for get_recent_err_msg; strict mode reports it."""
        self.thread.message = f"{call}: {error.reason} [{error.code}]"
        self.thread.code = error.code
        if self.settings.is_strict and not isinstance(error, Outcome):
            self.reports.add(Report(call, caller(), error.code, error.reason))

    def complain(self, call: str, text: str, code: int = 0) -> None:
        """Report a misuse that has no documented code. Strict mode only."""
        if self.settings.is_strict:
            self.reports.add(Report(call, caller(), code, text))


PROCESS = Process()


def _mark_forked() -> None:
    """The state of a forked child is its parent's: `check_ready` compares the pid from here on."""
    PROCESS.is_open = False


os.register_at_fork(after_in_child=_mark_forked)
