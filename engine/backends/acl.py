"""Ascend chips through pyACL: the same code for `cann` (the vendor's `acl`) and `sim` (`engine.pyacl_stubs`).

Per chip one context and three streams, joined by events, so that the copies of one batch run beside the execution of
another:

    h2d      copy in ──event──┐                copy in ...
    execute                   └─ execute ──event──┐
    d2h                                           └─ copy out ── done

Every copy goes through pinned staging (on the 310, `memcpy_async` from pageable memory is undefined), `window` sets of
it per chip. A single execute stream, because one model id must not run on two streams at once. The only calls that
wait are `synchronize_event` (which releases the GIL) and the queue of free staging sets.
"""

from __future__ import annotations

import importlib
import threading
import time
from queue import SimpleQueue
from typing import Any

from engine.backends.acl_calls import OUT_OF_MEMORY, Acl, Call
from engine.backends.acl_model import AclModel, describe
from engine.backends.acl_staging import HOST_TO_DEVICE, TIME_LINE, Staging
from engine.backends.base import F32, Completion, Device, DeviceJob, Images
from engine.errors import DeviceError, ModelError

DEVICE_TO_HOST = 2
MS_NS = 1e6
#: Marks at which h2d, execute and d2h begin; each ends at the next.
BEGINS = (0, 2, 3)
#: Codes of load_from_file that say that the file is not for this chip or this version, and not that the chip failed.
UNUSABLE_MODEL = frozenset({100003, 100005, 100006, 100012, 100013, 100014, 100015, 145002, 145006, 500002, 545001})


class Bound(threading.local):
    """The context that a thread is in. A thread starts without one, and may serve several chips."""

    context = 0


class AclDevice:
    """One chip: context, streams, model, staging sets. After the first error every call raises that same error."""

    def __init__(self, module: Any, chip: int, job: DeviceJob, bound: Bound) -> None:
        self._acl = Acl(module, chip)
        self._bound = bound
        rt = self._acl.rt
        rt("set_device", chip)
        self._context = rt("create_context", chip)
        self._h2d, self._execute, self._d2h = (rt("create_stream") for _ in range(3))
        self._model_id = self._load(job.model)
        self._desc = self._acl.made(module.mdl.create_desc(), "acl.mdl.create_desc")
        self._acl.mdl("get_desc", self._desc, self._model_id)
        self.model: AclModel = describe(self._acl, self._desc, job)
        self._staging = self._make_staging(job.window)
        self._free: SimpleQueue[Staging | None] = SimpleQueue()
        self._in_flight: SimpleQueue[Staging | None] = SimpleQueue()
        for staging in self._staging:
            self._free.put(staging)
        self._lock = threading.Lock()
        self._zero = self._zero_event() if job.is_traced else None
        self.error: DeviceError | None = None

    @property
    def window(self) -> int:
        """Batches that can be in flight: what was asked for, or as many as the chip had memory for."""
        return len(self._staging)

    def submit(self, batch: Images, out: F32) -> None:
        """See `Device`. Copies into pinned memory, then only queues."""
        try:
            self._bind()
            staging = self._free.get()
            if staging is None:  # the waiting thread met an error
                assert self.error is not None
                raise self.error
            n = len(batch)
            staging.take(batch)
            staging.poison()
            staging.out = out
            self._queue(staging, n)
        except DeviceError as error:
            raise self._first(error) from error
        self._in_flight.put(staging)

    def wait(self) -> Completion | None:
        """See `Device`. Ends only in `synchronize_event`, which releases the GIL."""
        try:
            self._bind()
            staging = self._in_flight.get()
            if staging is None:
                return None
            self._acl.run(staging.until_done)
            done_ns = time.perf_counter_ns()
            self._acl.run(staging.until_told)
            h2d, execute, d2h = (self._elapsed_ns(staging.marks[i], staging.marks[i + 1]) for i in BEGINS)
            began_ns = self._began_ns(staging)
            if staging.has_no_scores(len(staging.out)):
                self._acl.rt("synchronize_stream", self._execute)  # tells why, unless it does not know either
                raise DeviceError(
                    f"chip {self._acl.chip} executed a batch without scores", self._acl.chip, 0, "restart"
                )
        except DeviceError as error:
            first = self._first(error)
            self._free.put(None)
            raise first from error
        with self._lock:  # once the chip counts as failed, its slots are other chips'
            if self.error is not None:
                raise self.error
            staging.out[:] = staging.scores[: len(staging.out)]
        self._free.put(staging)
        return Completion(h2d, execute, d2h, done_ns, self.model.n_rows(len(staging.out)), began_ns)

    def close_input(self) -> None:
        self._in_flight.put(None)

    def close(self) -> None:
        """Release in the order that the runtime documents: model, buffers, events, streams, context, device.

        A chip that has failed is left to the end of the process: its calls would fail or hang.
        """
        if self.error is not None:
            return
        rt, mdl = self._acl.rt, self._acl.mdl
        self._bind()
        streams = self._h2d, self._execute, self._d2h
        for stream in streams:
            rt("synchronize_stream", stream)
        mdl("unload", self._model_id)
        mdl("destroy_desc", self._desc)
        for staging in self._staging:
            staging.release()
        if self._zero is not None:
            rt("destroy_event", self._zero[0])
        for stream in streams:
            rt("destroy_stream", stream)
        rt("destroy_context", self._context)
        rt("reset_device", self._acl.chip)

    def _bind(self) -> None:
        """Put the calling thread into this chip's context."""
        if self._bound.context != self._context:
            self._acl.rt("set_context", self._context)
            self._bound.context = self._context

    def _load(self, path: str) -> int:
        try:
            model_id: int = self._acl.mdl("load_from_file", path)
        except DeviceError as error:
            if error.code not in UNUSABLE_MODEL:
                raise
            soc = self._acl.module.get_soc_name() or "an unknown soc"
            raise ModelError(
                f"{path} cannot be loaded on this {soc} ({error}): compile it with --soc_version={soc} and this CANN"
            ) from error
        return model_id

    def _make_staging(self, window: int) -> list[Staging]:
        """As many sets as are asked for, or as fit: one at least, else the chip's error."""
        made = [Staging(self._acl, self.model)]
        try:
            while len(made) < window:
                made.append(Staging(self._acl, self.model))
        except DeviceError as error:
            if error.code not in OUT_OF_MEMORY:
                raise
        return made

    def _first(self, error: DeviceError) -> DeviceError:
        """The chip's first error, which is this one unless there was one."""
        with self._lock:
            if self.error is None:
                self.error = error
            return self.error

    def _queue(self, staging: Staging, n: int) -> None:
        """Queue the copy of `n` images in, the execution, and the copy of `n` rows out."""
        calls = staging.calls.get(n)
        if calls is None:
            calls = staging.calls[n] = self._calls(staging, n)
        self._acl.run(calls)

    def _calls(self, staging: Staging, n: int) -> list[Call]:
        """What queues `n` images: the same calls each time, so they are put together once."""
        call, model, marks = self._acl.call, self.model, staging.marks
        h2d, execute, d2h = self._h2d, self._execute, self._d2h
        in_bytes, out_bytes = n * model.image_bytes, n * model.row_bytes
        poison = staging.device_out, out_bytes, staging.host_out, out_bytes
        calls = [
            call("rt.memcpy_async", *poison, HOST_TO_DEVICE, h2d),  # a failed execution leaves no other batch's scores
            call("rt.record_event", marks[0], h2d),
            call("rt.memcpy_async", staging.device_in, in_bytes, staging.host_in, in_bytes, HOST_TO_DEVICE, h2d),
            call("rt.record_event", marks[1], h2d),
            *self._join(staging.copied_in, h2d, execute),
        ]
        if model.gears:
            gear = model.gear(n)
            told = staging.dataset_in, model.gear_index, gear
            calls.append(call("mdl.set_dynamic_batch_size", self._model_id, *told))
        return [
            *calls,
            call("rt.record_event", marks[2], execute),
            call("mdl.execute_async", self._model_id, staging.dataset_in, staging.dataset_out, execute),
            call("rt.record_event", marks[3], execute),
            *self._join(staging.executed, execute, d2h),
            call("rt.memcpy_async", staging.host_out, out_bytes, staging.device_out, out_bytes, DEVICE_TO_HOST, d2h),
            call("rt.record_event", marks[4], d2h),
        ]

    def _join(self, event: int, first: int, then: int) -> list[Call]:
        """Stream `then` goes on after what stream `first` has queued so far. The reset lets the event serve again."""
        call = self._acl.call
        return [
            call("rt.record_event", event, first),
            call("rt.stream_wait_event", then, event),
            call("rt.reset_event", event, then),
        ]

    def _elapsed_ns(self, begin: int, end: int) -> int:
        return int(self._acl.rt("event_elapsed_time", begin, end) * MS_NS)

    def _zero_event(self) -> tuple[int, int]:
        """An event that is complete, and when it was on the host's clock: the chip's clock is read from there."""
        event = self._acl.rt("create_event_with_flag", TIME_LINE)
        self._acl.rt("record_event", event, self._h2d)
        self._acl.rt("synchronize_event", event)
        return event, time.perf_counter_ns()

    def _began_ns(self, staging: Staging) -> tuple[int, ...]:
        """When h2d, execute and d2h of this batch began, where that is wanted."""
        if self._zero is None:
            return ()
        event, at_ns = self._zero
        return tuple(at_ns + self._elapsed_ns(event, staging.marks[i]) for i in BEGINS)


class AclBackend:
    """All chips of this process."""

    def __init__(self, module: Any, job: DeviceJob) -> None:
        self._acl = Acl(module, -1)
        self._acl.top("init")
        n_chips = self._acl.rt("get_device_count")
        absent = [chip for chip in job.devices if chip >= n_chips]
        if absent:
            raise DeviceError(f"no device {absent[0]}: this host has {n_chips} chips, 0-{n_chips - 1}", chip=absent[0])
        bound = Bound()
        self._chips = [AclDevice(module, chip, job, bound) for chip in job.devices]
        self.devices: dict[int, Device] = dict(zip(job.devices, self._chips, strict=True))
        self.model = self._chips[0].model.info
        self.device_name = module.get_soc_name() or "Ascend"
        self.simulated = bool(job.options.get("simulated"))
        self.profile = str(job.options.get("profile", "")) if self.simulated else ""
        self.notices = [
            f"chip {number} has memory for {chip.window} batches in flight, not --window {job.window}"
            for number, chip in zip(job.devices, self._chips, strict=True)
            if chip.window < job.window
        ]

    def close(self) -> None:
        """Release the chips; with a failed one among them, finalize is left to the end of the process."""
        for chip in self._chips:
            chip.close()
        has_failed = any(chip.error is not None for chip in self._chips)
        self._chips = []
        if not has_failed:
            self._acl.top("finalize")


def open_backend(job: DeviceJob) -> AclBackend:
    """On the vendor's `acl`, or on the simulator where the job's options say so."""
    if job.options.get("simulated"):
        stubs = importlib.import_module("engine.pyacl_stubs")
        stubs.configure(
            stubs.Settings(
                **{
                    "profile": job.options["profile"],
                    "strictness": "documented",
                    "process_number": job.process_number,
                    **job.options.get("settings", {}),
                }
            )
        )
        return AclBackend(importlib.import_module("engine.pyacl_stubs.acl"), job)
    return AclBackend(importlib.import_module("acl"), job)
