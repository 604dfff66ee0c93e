"""A loaded model, its description and the datasets it runs on."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from engine.pyacl_stubs.codes import AclError, Code
from engine.pyacl_stubs.memory import Block, Span
from engine.pyacl_stubs.numerics import Computation, Numerics
from engine.pyacl_stubs.om import Om, OmError, TensorSpec
from engine.pyacl_stubs.process import Context
from engine.pyacl_stubs.profile import Profile
from engine.pyacl_stubs.tasks import Effect, Joinable, Move, Task

#: ACL's numbers of the types; NumPy's are different ones.
DTYPE_CODES = {"float32": 0, "float16": 1, "int8": 2, "int32": 3, "uint8": 4, "int64": 9}
FORMAT_CODES = {"NCHW": 0, "NHWC": 1, "ND": 2}
#: Name of the input that a dynamic batch model has more (ACL_DYNAMIC_TENSOR_NAME), and its bytes: one int64.
DYNAMIC_INPUT = "ascend_mbatch_shape_data"
DYNAMIC_INPUT_SPEC = TensorSpec(DYNAMIC_INPUT, (1, 1), "int64", "ND")
#: Memory that a loaded model takes of its chip beside its weights.
WORK_BYTES = 16 << 20


#: Model.computations is emptied when a program that allocates per image has filled it.
MAX_COMPUTATIONS = 64
Spans = Sequence[Span]


@dataclass(eq=False)
class Model:
    """One load of an .om: belongs to the context it was loaded in.

    last : its latest execution; a model must not run on two streams at once
    """

    id: int
    om: Om
    context: Context
    origin: str
    numerics: Numerics
    profile: Profile
    memory: list[Block] = field(default_factory=list)
    last: Task | None = None
    #: The gear that was set last; 0 before that.
    batch: int = 0
    #: How long the host needs for a batch, as of the latest; nothing is known before the first.
    cost_ns: int = 1 << 62
    #: On the memory of recent executions, by batch and addresses; device addresses are never used again.
    computations: dict[tuple[int, ...], Computation] = field(default_factory=dict)

    def __post_init__(self) -> None:
        om = self.om
        #: What the description lists: with dynamic batch one input more.
        self.inputs = (*om.inputs, DYNAMIC_INPUT_SPEC) if om.is_dynamic else om.inputs
        self.needed_bytes: dict[TensorSpec, int] = {
            spec: tensor_bytes(spec, om) for spec in (*self.inputs, *om.outputs)
        }

    def __str__(self) -> str:
        return f"model {self.id} of device {self.context.device.id}"


@dataclass(eq=False)
class Desc:
    """A model description; empty until get_desc."""

    handle: int
    origin: str
    model: Model | None = None

    def __str__(self) -> str:
        return f"model description {self.handle:#x}"


@dataclass(eq=False)
class DataBuffer:
    """An address and a size; does not own the memory."""

    handle: int
    origin: str
    address: int
    n_bytes: int
    #: The memory as the latest execution found it; holds as long as its block lives and the address is the same.
    span: Span | None = None

    def __str__(self) -> str:
        return f"data buffer {self.handle:#x}"


@dataclass(eq=False)
class Dataset:
    """Inputs or outputs of an execution. batch : of a dynamic model, 0 until it is set."""

    handle: int
    origin: str
    buffers: list[DataBuffer] = field(default_factory=list)
    batch: int = 0
    #: By index of the buffer: the shape that a tensor description gave it, and that description's handle.
    shapes: dict[int, tuple[int, ...]] = field(default_factory=dict)
    descs: dict[int, int] = field(default_factory=dict)

    def __str__(self) -> str:
        return f"dataset {self.handle:#x}"


def tensor_bytes(spec: TensorSpec, om: Om) -> int:
    """Bytes of a tensor for the largest batch."""
    return 8 if spec is DYNAMIC_INPUT_SPEC else spec.row_bytes * om.batch


def _view(span: Span, spec: TensorSpec, batch: int) -> npt.NDArray[Any]:
    n_bytes = spec.row_bytes * batch
    memory: Any = span.view()
    return np.frombuffer(memory, np.uint8, n_bytes).view(spec.dtype).reshape(batch, *spec.dims[1:])


@dataclass(eq=False)
class Execution(Joinable):
    """The effect of an execute: one batch. Raises AclError when its memory or its network fails.

    is_wrong : a fault script has it compute wrongly
    """

    model: Model
    ins: Spans
    outs: Spans
    batch: int
    is_wrong: bool

    def __call__(self) -> None:
        for span in (*self.ins, *self.outs):
            span.check_live()
        self._compute(self._computation().run)

    def joined_with(self, before: Effect) -> Effect | None:
        """With a copy of exactly its images from page-locked memory, where the model can do that."""
        if not isinstance(before, Move) or not before.source.is_pinned or before.to.address != self.ins[0].address:
            return None
        n_bytes = self.model.om.inputs[0].row_bytes * self.batch
        if before.source.n_bytes != n_bytes or not all(span.is_live for span in (*self.ins, *self.outs)):
            return None
        copy_and_run = self._computation().copy_and_run
        if copy_and_run is None:
            return None
        before.check()
        return partial(self._compute, partial(copy_and_run, before.source.real))

    def _compute(self, run: Callable[[], None]) -> None:
        began_ns = time.thread_time_ns()  # not the wall's: what other processes do to this one is no cost of the model
        try:
            run()
        except OmError as error:
            raise AclError(Code.RT_MODEL_EXECUTE, str(error)) from None
        except Exception as error:  # whatever the network raises is a failed execution, not a crash of the worker
            text = " ".join(f"{type(error).__name__}: {error}".split())
            raise AclError(Code.RT_MODEL_EXECUTE, f"{self.model} failed: {text}") from None
        self.model.cost_ns = time.thread_time_ns() - began_ns
        if self.is_wrong:
            for out in self._computation().outputs:
                out[...] = np.roll(out, 1, axis=-1)

    def _computation(self) -> Computation:
        """The model's numbers on this memory; most batches use the memory of an earlier one."""
        model, key = self.model, (self.batch, *(span.address for span in (*self.ins, *self.outs)))
        computation = model.computations.get(key)
        if computation is None:
            if len(model.computations) >= MAX_COMPUTATIONS:
                model.computations.clear()
            ins, outs = (
                [_view(span, spec, self.batch) for span, spec in zip(group, specs, strict=True)]
                for group, specs in ((self.ins, model.om.inputs), (self.outs, model.om.outputs))
            )
            computation = model.computations[key] = model.numerics(ins, outs)
        return computation
