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

import ctypes
import importlib
import time
from collections.abc import Callable
from dataclasses import dataclass
from queue import SimpleQueue
from typing import Any

import numpy as np

from engine.backends.base import F32, Completion, Device, DeviceJob, ModelInfo
from engine.errors import DeviceError, ModelError
from engine.pyacl_stubs.codes import code_name

ACL_SUCCESS = 0
HUGE_FIRST = 0
HOST_TO_DEVICE = 1
DEVICE_TO_HOST = 2
#: Event flag ACL_EVENT_TIME_LINE: `event_elapsed_time` needs it.
TIME_LINE = 0x8
FLOAT32 = 0
MS_NS = 1e6


def check(ret: int, call: str, chip: int) -> None:
    """Raise DeviceError unless `ret` is ACL's success. Every pyACL call of this file goes through here."""
    if ret != ACL_SUCCESS:
        raise DeviceError(f"{call} failed on chip {chip}: {code_name(ret)} ({ret})", chip=chip, code=ret)


class Acl:
    """pyACL's calls for one chip, with their status checked: ``acl.rt("malloc", n, 0)`` returns the value alone."""

    def __init__(self, module: Any, chip: int) -> None:
        self.module = module
        self.chip = chip
        self._calls: dict[tuple[str, str], Callable[..., Any]] = {}

    def rt(self, call: str, *args: Any) -> Any:
        """`acl.rt.<call>`, which returns `ret` or `(value, ret)`."""
        return self._checked("rt", call, args)

    def mdl(self, call: str, *args: Any) -> Any:
        """`acl.mdl.<call>`, which returns `ret` or `(value, ret)`."""
        return self._checked("mdl", call, args)

    def _checked(self, group: str, call: str, args: tuple[Any, ...]) -> Any:
        function = self._calls.get((group, call))
        if function is None:
            function = self._calls[group, call] = getattr(getattr(self.module, group), call)
        result = function(*args)
        value, ret = result if isinstance(result, tuple) else (None, result)
        check(ret, f"acl.{group}.{call}", self.chip)
        return value


@dataclass
class Staging:
    """Buffers and events of one batch in flight."""

    host_in: int
    host_out: int
    images: F32  # (batch, channels, side, side) over host_in
    scores: F32  # (batch, n_classes) over host_out
    device_in: int
    device_out: int
    dataset_in: int
    dataset_out: int
    copied_in: int  # joins h2d to execute
    executed: int  # joins execute to d2h
    marks: tuple[int, int, int, int, int, int]  # begin and end of h2d, execute, d2h; the last one is `done`
    out: F32


class AclDevice:
    """One chip: context, streams, model, `window` staging sets."""

    def __init__(self, module: Any, chip: int, job: DeviceJob) -> None:
        self._acl = Acl(module, chip)
        rt, mdl = self._acl.rt, self._acl.mdl
        rt("set_device", chip)
        self._context = rt("create_context", chip)
        self._h2d, self._execute, self._d2h = (rt("create_stream") for _ in range(3))
        self._model_id = mdl("load_from_file", job.model)
        self._desc = module.mdl.create_desc()
        mdl("get_desc", self._desc, self._model_id)
        self.model = self._describe(job)
        self._image_bytes = int(np.prod(self.model.shape)) * 4
        self._free: SimpleQueue[Staging] = SimpleQueue()
        self._in_flight: SimpleQueue[Staging | None] = SimpleQueue()
        self._staging = [self._make_staging() for _ in range(job.window)]
        for staging in self._staging:
            self._free.put(staging)
        self._bound = False
        self._waiter_bound = False

    def submit(self, batch: F32, out: F32) -> int:
        """See `Device`. Copies into pinned memory, then only queues."""
        if not self._bound:  # a thread starts without a context
            self._acl.rt("set_context", self._context)
            self._bound = True
        full_ns = time.perf_counter_ns()
        staging = self._free.get()
        blocked_ns = time.perf_counter_ns() - full_ns
        n = len(batch)
        staging.images[:n] = batch
        staging.out = out
        self._queue(staging, n)
        self._in_flight.put(staging)
        return blocked_ns

    def wait(self) -> Completion | None:
        """See `Device`. Ends only in `synchronize_event`, which releases the GIL."""
        if not self._waiter_bound:
            self._acl.rt("set_context", self._context)
            self._waiter_bound = True
        staging = self._in_flight.get()
        if staging is None:
            return None
        self._acl.rt("synchronize_event", staging.marks[5])
        done_ns = time.perf_counter_ns()
        h2d, execute, d2h = (self._elapsed_ns(staging, i) for i in (0, 2, 4))
        staging.out[:] = staging.scores[: len(staging.out)]
        self._free.put(staging)
        return Completion(h2d, execute, d2h, done_ns)

    def close_input(self) -> None:
        self._in_flight.put(None)

    def close(self) -> None:
        """Release in the order that the runtime documents: model, buffers, events, streams, context, device."""
        rt, mdl = self._acl.rt, self._acl.mdl
        rt("set_context", self._context)
        for stream in (self._h2d, self._execute, self._d2h):
            rt("synchronize_stream", stream)
        mdl("unload", self._model_id)
        mdl("destroy_desc", self._desc)
        for staging in self._staging:
            self._free_staging(staging)
        for stream in (self._h2d, self._execute, self._d2h):
            rt("destroy_stream", stream)
        rt("destroy_context", self._context)
        rt("reset_device", self._acl.chip)

    def _queue(self, staging: Staging, n: int) -> None:
        """Queue the copy of `n` images in, the execution, and the copy of `n` rows out."""
        rt, mdl, marks = self._acl.rt, self._acl.mdl, staging.marks
        in_bytes, out_bytes = n * self._image_bytes, n * self.model.n_classes * 4
        rt("record_event", marks[0], self._h2d)
        rt("memcpy_async", staging.device_in, in_bytes, staging.host_in, in_bytes, HOST_TO_DEVICE, self._h2d)
        rt("record_event", marks[1], self._h2d)
        self._join(staging.copied_in, self._h2d, self._execute)
        rt("record_event", marks[2], self._execute)
        mdl("execute_async", self._model_id, staging.dataset_in, staging.dataset_out, self._execute)
        rt("record_event", marks[3], self._execute)
        self._join(staging.executed, self._execute, self._d2h)
        rt("record_event", marks[4], self._d2h)
        rt("memcpy_async", staging.host_out, out_bytes, staging.device_out, out_bytes, DEVICE_TO_HOST, self._d2h)
        rt("record_event", marks[5], self._d2h)

    def _join(self, event: int, first: int, then: int) -> None:
        """Stream `then` goes on after what stream `first` has queued so far. The reset lets the event serve again."""
        self._acl.rt("record_event", event, first)
        self._acl.rt("stream_wait_event", then, event)
        self._acl.rt("reset_event", event, then)

    def _elapsed_ns(self, staging: Staging, first_mark: int) -> int:
        begin, end = staging.marks[first_mark], staging.marks[first_mark + 1]
        return int(self._acl.rt("event_elapsed_time", begin, end) * MS_NS)

    def _describe(self, job: DeviceJob) -> ModelInfo:
        """What the model's description says, or ModelError with what does not fit a float32 image classifier."""
        mdl = self._acl.module.mdl
        n_inputs, n_outputs = mdl.get_num_inputs(self._desc), mdl.get_num_outputs(self._desc)
        if (n_inputs, n_outputs) != (1, 1):
            raise ModelError(
                f"{job.model} has {n_inputs} inputs and {n_outputs} outputs: needed a classifier with one image input "
                "and one output, compiled for a static batch"
            )
        types = mdl.get_input_data_type(self._desc, 0), mdl.get_output_data_type(self._desc, 0)
        if types != (FLOAT32, FLOAT32):
            raise ModelError(f"{job.model} has input and output types {types}: needed float32 (0) both")
        shape = self._acl.mdl("get_input_dims", self._desc, 0)["dims"]
        scores = self._acl.mdl("get_output_dims", self._desc, 0)["dims"]
        if len(shape) != 4 or shape[1] != 3:
            raise ModelError(f"{job.model} takes an input of shape {shape}: needed (batch, 3, H, W) images")
        if shape[0] != job.batch:
            raise ModelError(f"{job.model} was compiled for batch {shape[0]}: run it with --batch {shape[0]}")
        n_classes = int(np.prod(scores)) // job.batch
        return ModelInfo(job.model.rpartition("/")[2], job.batch, tuple(shape[1:]), n_classes)

    def _make_staging(self) -> Staging:
        rt = self._acl.rt
        batch, n_classes = self.model.batch, self.model.n_classes
        in_bytes = self._acl.module.mdl.get_input_size_by_index(self._desc, 0)
        out_bytes = self._acl.module.mdl.get_output_size_by_index(self._desc, 0)
        host_in, host_out = rt("malloc_host", in_bytes), rt("malloc_host", out_bytes)
        device_in, device_out = rt("malloc", in_bytes, HUGE_FIRST), rt("malloc", out_bytes, HUGE_FIRST)
        images = _float32_at(host_in, in_bytes).reshape(batch, *self.model.shape)
        images[:] = 0  # rows that a short batch leaves unwritten hold no NaN bit patterns of others
        scores = _float32_at(host_out, out_bytes).reshape(batch, n_classes)
        rt("memcpy", device_in, in_bytes, host_in, in_bytes, HOST_TO_DEVICE)
        sets = self._dataset(device_in, in_bytes), self._dataset(device_out, out_bytes)
        joins = rt("create_event"), rt("create_event")
        marks = tuple(rt("create_event_with_flag", TIME_LINE) for _ in range(6))
        return Staging(host_in, host_out, images, scores, device_in, device_out, *sets, *joins, marks, scores)

    def _dataset(self, address: int, n_bytes: int) -> int:
        module = self._acl.module
        dataset: int = module.mdl.create_dataset()
        self._acl.mdl("add_dataset_buffer", dataset, module.create_data_buffer(address, n_bytes))
        return dataset

    def _free_staging(self, staging: Staging) -> None:
        rt, module = self._acl.rt, self._acl.module
        for dataset in (staging.dataset_in, staging.dataset_out):
            check(
                module.destroy_data_buffer(module.mdl.get_dataset_buffer(dataset, 0)),
                "acl.destroy_data_buffer",
                self._acl.chip,
            )
            self._acl.mdl("destroy_dataset", dataset)
        for address in (staging.device_in, staging.device_out):
            rt("free", address)
        for address in (staging.host_in, staging.host_out):
            rt("free_host", address)
        for event in (staging.copied_in, staging.executed, *staging.marks):
            rt("destroy_event", event)


def _float32_at(address: int, n_bytes: int) -> F32:
    """A view of host memory that pyACL allocated."""
    memory: Any = (ctypes.c_uint8 * n_bytes).from_address(address)
    return np.frombuffer(memory, np.float32)


class AclBackend:
    """All chips of this process."""

    def __init__(self, module: Any, job: DeviceJob) -> None:
        self._module = module
        check(module.init(), "acl.init", -1)
        n_chips, ret = module.rt.get_device_count()
        check(ret, "acl.rt.get_device_count", -1)
        absent = [chip for chip in job.devices if chip >= n_chips]
        if absent:
            raise DeviceError(f"no device {absent[0]}: this host has {n_chips} chips, 0-{n_chips - 1}", chip=absent[0])
        self._chips = [AclDevice(module, chip, job) for chip in job.devices]
        self.devices: dict[int, Device] = dict(zip(job.devices, self._chips, strict=True))
        self.model = self._chips[0].model
        self.device_name = module.get_soc_name() or "Ascend"
        self.simulated = bool(job.options.get("simulated"))
        self.profile = str(job.options.get("profile", "")) if self.simulated else ""

    def close(self) -> None:
        for chip in self._chips:
            chip.close()
        self._chips = []
        check(self._module.finalize(), "acl.finalize", -1)


def open_backend(job: DeviceJob) -> AclBackend:
    """On the vendor's `acl`, or on the simulator where the job's options say so."""
    if job.options.get("simulated"):
        stubs = importlib.import_module("engine.pyacl_stubs")
        stubs.configure(
            stubs.Settings(
                profile=job.options["profile"],
                strictness="documented",
                process_number=job.process_number,
                **job.options.get("settings", {}),
            )
        )
        return AclBackend(importlib.import_module("engine.pyacl_stubs.acl"), job)
    return AclBackend(importlib.import_module("acl"), job)
