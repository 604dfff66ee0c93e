"""``acl.mdl``: load, describe, execute (reference section 3)."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from pathlib import Path

from engine.pyacl_stubs import model as models
from engine.pyacl_stubs.api_dataset import dataset_of
from engine.pyacl_stubs.chip import CHEAP_NS
from engine.pyacl_stubs.codes import SUCCESS, AclError, Code
from engine.pyacl_stubs.entry import entry, with_zero
from engine.pyacl_stubs.memory import Block, Span
from engine.pyacl_stubs.model import DYNAMIC_INPUT, WORK_BYTES, Dataset, Model, tensor_bytes
from engine.pyacl_stubs.numerics import Numerics
from engine.pyacl_stubs.om import VENDOR_MAGIC, Om, OmError, TensorSpec, parse_om
from engine.pyacl_stubs.process import PROCESS, Context
from engine.pyacl_stubs.profile import Profile, ProfileError
from engine.pyacl_stubs.schedule import Stream
from engine.pyacl_stubs.tasks import Task
from engine.pyacl_stubs.work import (
    check_alive,
    hold_or_wait,
    queue_task,
    raise_first_error,
    record_on,
    stream_of,
    wait_for,
)


# --- load ----------------------------------------------------------------------------------------------------------
@entry("acl.mdl.load_from_file", with_zero)
def load_from_file(path: str, /) -> tuple[int, int]:
    """Load an .om into the current context."""
    return load(read_file(path)), SUCCESS


@entry("acl.mdl.load_from_mem", with_zero)
def load_from_mem(model_ptr: int, size: int, /) -> tuple[int, int]:
    """Load an .om that lies in host memory."""
    return load(read_memory(model_ptr, size)), SUCCESS


@entry("acl.mdl.load_from_file_with_mem", with_zero)
def load_from_file_with_mem(
    path: str, work_ptr: int, work_size: int, weight_ptr: int, weight_size: int, /
) -> tuple[int, int]:
    """Load an .om; its memory on the device is the caller's where the pointers are not 0."""
    return load(read_file(path), (work_ptr, work_size), (weight_ptr, weight_size)), SUCCESS


@entry("acl.mdl.load_from_mem_with_mem", with_zero)
def load_from_mem_with_mem(
    model_ptr: int, size: int, work_ptr: int, work_size: int, weight_ptr: int, weight_size: int, /
) -> tuple[int, int]:
    """The same from host memory."""
    return load(read_memory(model_ptr, size), (work_ptr, work_size), (weight_ptr, weight_size)), SUCCESS


@entry("acl.mdl.query_size", lambda code: (0, 0, code))
def query_size(path: str, /) -> tuple[int, int, int]:
    """Bytes of work and weight memory on the device."""
    return *_sizes(read_file(path)), SUCCESS


def _sizes(om: Om) -> tuple[int, int]:
    tensors = sum(tensor_bytes(spec, om) for spec in (*om.inputs, *om.outputs))
    return WORK_BYTES + tensors, max(1 << 20, len(om.payload))


def read_file(path: str) -> Om:
    """The .om of a file. Raises AclError."""
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        raise AclError(Code.GE_MODEL_PATH_INVALID, f"cannot read the model {path}: {error.strerror}") from None
    return _parse(data, path)


def read_memory(address: int, size: int) -> Om:
    """The .om that lies in host memory. Raises AclError."""
    if not address or size <= 0:
        raise AclError(Code.INVALID_PARAM, f"no model at {address:#x} of {size} bytes")
    if PROCESS.chip_of(address) is not None:
        raise AclError(Code.GE_MODEL_ADDR_INVALID, "the model must lie in host memory, the run mode being host")
    PROCESS.span(address, size)
    return _parse(ctypes.string_at(address, size), f"the model at {address:#x}")


def _parse(data: bytes, name: str) -> Om:
    try:
        om = parse_om(data, name)
    except OmError as error:
        code = Code.DESERIALIZE_MODEL if data.startswith(VENDOR_MAGIC) else Code.PARSE_MODEL
        raise AclError(code, str(error)) from None
    soc = PROCESS.profile.soc
    if om.soc != soc:
        raise AclError(
            PROCESS.settings.soc_mismatch_code,
            f"{name} was made for {om.soc}, this chip is an {soc}: make it with --soc {soc}",
        )
    return om


def load(om: Om, work: tuple[int, int] = (0, 0), weight: tuple[int, int] = (0, 0)) -> int:
    """Load into the current context; the model's id. work, weight : (address, bytes) of the caller's, 0 for none"""
    context = PROCESS.context()
    needed = _sizes(om)
    origin = PROCESS.origin()
    model = Model(PROCESS.new_model_id(), om, context, origin, *_numerics_and_rates(om))
    for (address, n_bytes), n_needed in zip((work, weight), needed, strict=True):
        if address == 0:
            model.memory.append(_allocate(context, n_needed, f"{origin} (load)"))
        elif n_bytes < n_needed or not PROCESS.span(address, n_bytes).is_device:
            raise AclError(
                Code.INVALID_PARAM, f"{n_bytes} bytes at {address:#x}: the model needs {n_needed} on the device"
            )
    PROCESS.models[model.id] = model
    return model.id


def _numerics_and_rates(om: Om) -> tuple[Numerics, Profile]:
    try:
        profile = PROCESS.profile_named(om.profile) if om.profile else PROCESS.profile
        return PROCESS.numerics.numerics(om), profile
    except (OmError, ProfileError) as error:
        raise AclError(Code.GE_LOAD_MODEL, str(error)) from None


def _allocate(context: Context, n_bytes: int, origin: str) -> Block:
    """Device memory of the system's own: it counts, but programs cannot find it."""
    memory = context.device.chip.memory
    if n_bytes > memory.free_bytes:
        raise AclError(Code.RT_MEMORY_ALLOCATION, f"a model needs {n_bytes} bytes, {memory.free_bytes} are free")
    memory.used_bytes += n_bytes
    return Block(0, n_bytes, 0, None, origin, context.device.id, n_bytes)


@entry("acl.mdl.unload")
def unload(model_id: int, /) -> int:
    """Take a model off the device; its executions must be done."""
    model = model_of(model_id, PROCESS.context())
    if model.last is not None and not model.last.is_done:
        PROCESS.complain("acl.mdl.unload", f"{model}, loaded at {model.origin}, still executes: synchronise before")
        model.last.finish()
    for block in model.memory:
        model.context.device.chip.memory.used_bytes -= block.cost
    del PROCESS.models[model_id]
    return SUCCESS


def model_of(model_id: int, context: Context) -> Model:
    """A loaded model. Raises AclError 100011, or 107004 where it was loaded in another context."""
    model: Model | None = PROCESS.models.get(model_id)
    if model is None:
        raise AclError(Code.INVALID_MODEL_ID, f"no model {model_id} is loaded")
    if model.context is not context:
        raise AclError(
            Code.RT_MODEL_CONTEXT,
            f"{model}, loaded at {model.origin}, belongs to {model.context}, this thread is in {context}",
        )
    return model


# --- execute -------------------------------------------------------------------------------------------------------
@entry("acl.mdl.execute")
def execute(model_id: int, input: int, output: int, /) -> int:
    """Run a model and return when it is done. Holds the GIL."""
    context = PROCESS.context()
    stream = Stream(context, 0, "acl.mdl.execute")
    context.device.chip.settle()
    task = _queue_execute(model_id, (input, output), stream, context)
    record = record_on(stream)
    if record.time_ns is not None:  # computed here: the worker cannot run while the GIL is held
        hold_or_wait(task.start_ns)
        task.finish()
        hold_or_wait(record.time_ns)
    wait_for(record, context.device.chip)
    raise_first_error(stream)
    check_alive(context.device.chip)
    return SUCCESS


@entry("acl.mdl.execute_async")
def execute_async(model_id: int, input: int, output: int, stream: int, /) -> int:
    """Queue a run of a model. Holds the GIL, for as long as queueing takes."""
    context = PROCESS.context()
    _queue_execute(model_id, (input, output), stream_of(stream, context), context)
    return SUCCESS


def _queue_execute(model_id: int, datasets: tuple[int, int], stream: Stream, context: Context) -> Task:
    model = model_of(model_id, context)
    input_set, output_set = dataset_of(datasets[0]), dataset_of(datasets[1])
    batch = _batch(model, input_set)
    ins = _spans(model, input_set, model.inputs, Code.MODEL_INPUT_NOT_MATCH)[: len(model.om.inputs)]
    outs = _spans(model, output_set, model.om.outputs, Code.MODEL_OUTPUT_NOT_MATCH)
    is_wrong = PROCESS.faults is not None and PROCESS.faults.due("wrong") is not None
    chip = context.device.chip
    task = Task(stream, "acl.mdl.execute", models.Execution(model, ins, outs, batch, is_wrong))
    if not PROCESS.settings.is_off and _is_concurrent(model, stream):
        stream.fail(
            "acl.mdl.execute_async",
            AclError(
                Code.RT_MODEL_EXECUTE, f"{model} runs on another stream at the same time: load it once per stream"
            ),
        )
        PROCESS.complain("acl.mdl.execute_async", f"{model}, loaded at {model.origin}, runs on two streams at once")
    duration_ns = chip.execute_ns(model.profile, batch)
    queue_task(task, chip.compute, duration_ns, (ins, outs), chip, model.cost_ns < max(CHEAP_NS, duration_ns // 16))
    model.last = task
    return task


def _is_concurrent(model: Model, stream: Stream) -> bool:
    """The model's last run is on another stream, and nothing orders this one after it."""
    last = model.last
    if last is None or last.stream is stream or last.is_done:
        return False
    return max(PROCESS.clock.now_ns(), stream.tail_ns) < last.end_ns


def _batch(model: Model, dataset: Dataset) -> int:
    if not model.om.is_dynamic:
        return model.om.batch
    if dataset.batch not in model.om.gears:
        raise AclError(
            Code.GE_DYNAMIC_BATCH_SIZE_INVALID,
            f"{model} has dynamic batch: call acl.mdl.set_dynamic_batch_size before each execute",
        )
    return dataset.batch


def _spans(model: Model, dataset: Dataset, specs: Sequence[TensorSpec], mismatch: int) -> list[Span]:
    """The device memory of a dataset, checked against what the model needs. Raises AclError."""
    if len(dataset.buffers) != len(specs):
        extra = (
            f" ({DYNAMIC_INPUT} among them)" if model.om.is_dynamic and mismatch == Code.MODEL_INPUT_NOT_MATCH else ""
        )
        raise AclError(mismatch, f"{dataset} has {len(dataset.buffers)} buffers, {model} needs {len(specs)}{extra}")
    if dataset.shapes:
        _check_shapes(model, dataset, specs)
    return [_span(model, buffer, spec) for buffer, spec in zip(dataset.buffers, specs, strict=True)]


def _check_shapes(model: Model, dataset: Dataset, specs: Sequence[TensorSpec]) -> None:
    """Raise AclError where a tensor description says another shape than the model has: there are no dynamic shapes."""
    for index, shape in dataset.shapes.items():
        dims = specs[index].dims
        if len(shape) != len(dims) or any(-1 != has != needs != -1 for has, needs in zip(shape, dims, strict=True)):
            raise AclError(
                Code.GE_SHAPE_INVALID, f"{specs[index].name} of {model} is {list(dims)}, its description {list(shape)}"
            )


def _span(model: Model, buffer: models.DataBuffer, spec: TensorSpec) -> Span:
    needed = model.needed_bytes[spec]
    span = buffer.span
    if span is not None and buffer.n_bytes >= needed == span.n_bytes and buffer.address == span.address:
        block = span.block
        if block is not None and block.is_live and block.device == model.context.device.id:
            return span
    if buffer.n_bytes < needed:
        raise AclError(
            PROCESS.settings.buffer_size_code,
            f"{buffer} has {buffer.n_bytes} bytes, {spec.name} of {model} needs {needed}",
        )
    span = PROCESS.span(buffer.address, needed)
    if not span.is_device:
        why = PROCESS.tombstones.get(buffer.address) or "not allocated device memory"
        raise AclError(Code.RT_PARAM_INVALID, f"{spec.name} of {model} is at {buffer.address:#x}: {why}")
    if span.block is not None and span.block.device != model.context.device.id:
        raise AclError(Code.RT_PARAM_INVALID, f"{spec.name} of {model} is in {span.block}")
    buffer.span = span
    return span
