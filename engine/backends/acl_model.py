"""What a loaded model says of its inputs and outputs, and whether a classifier run can use it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any, Literal

import numpy as np

from engine.backends.acl_calls import Acl
from engine.backends.base import DeviceJob, ModelInfo
from engine.errors import ModelError
from kernels.spec import TensorFormat

#: ACL's numbers of the types that images and scores can have here.
IMAGE_TYPES: dict[int, Literal["float32", "float16", "uint8"]] = {0: "float32", 1: "float16", 4: "uint8"}
SCORE_TYPES = {0: "float32", 1: "float16"}
NHWC = 1
#: The input that a dynamic batch model has more (ACL_DYNAMIC_TENSOR_NAME), and that of dynamic AIPP.
DYNAMIC_BATCH_INPUT = "ascend_mbatch_shape_data"
DYNAMIC_AIPP_INPUT = "ascend_dynamic_aipp_data"


@dataclass(frozen=True)
class AclModel:
    """A model on a chip.

    input_bytes  : of each input's buffer, in the model's order; those of a dynamic model hold its largest gear
    output_bytes : of the output's buffer      score_dtype : of the output's elements
    gears        : batch sizes of a dynamic model, ascending; empty for a static one
    gear_index   : which input is told the gear; -1 for a static model
    """

    info: ModelInfo
    input_bytes: tuple[int, ...]
    output_bytes: int
    score_dtype: np.dtype[Any]
    gears: tuple[int, ...]
    gear_index: int

    @property
    def image_index(self) -> int:
        """Which input is the images."""
        return 1 if self.gear_index == 0 else 0

    @property
    def image_bytes(self) -> int:
        """Of one image."""
        return math.prod(self.info.shape) * self.info.tensor.numpy_dtype.itemsize

    @property
    def row_bytes(self) -> int:
        """Of one image's scores."""
        return self.info.n_classes * self.score_dtype.itemsize

    def n_rows(self, n: int) -> int:
        """What is executed for `n` images: a static model's whole batch, or a dynamic one's gear."""
        return self.gear(n) if self.gears else self.info.batch

    def gear(self, n: int) -> int:
        """The smallest gear that takes `n` images."""
        return next(gear for gear in self.gears if gear >= n)


def describe(acl: Acl, desc: int, job: DeviceJob) -> AclModel:
    """The model behind a description; ModelError with what does not fit an image classifier or this run."""
    mdl = acl.module.mdl
    n_inputs, n_outputs = mdl.get_num_inputs(desc), mdl.get_num_outputs(desc)
    names = [mdl.get_input_name_by_index(desc, i) for i in range(n_inputs)]
    if DYNAMIC_AIPP_INPUT in names:
        raise ModelError(f"{job.model} was compiled with dynamic AIPP: needed static AIPP (aipp_mode: static) or none")
    gear_index = names.index(DYNAMIC_BATCH_INPUT) if DYNAMIC_BATCH_INPUT in names else -1
    if n_outputs != 1 or n_inputs != (1 if gear_index < 0 else 2):
        raise ModelError(
            f"{job.model} has {n_inputs} inputs ({', '.join(names)}) and {n_outputs} outputs: "
            "needed a classifier with one image input and one output of class scores"
        )
    gears = _gears(acl, desc, job) if gear_index >= 0 else ()
    input_bytes = tuple(mdl.get_input_size_by_index(desc, i) for i in range(n_inputs))
    image_index = 1 if gear_index == 0 else 0
    shape, tensor = _image(acl, desc, image_index, job)
    rows = max(gears, default=job.batch)
    needed = rows * math.prod(shape) * tensor.numpy_dtype.itemsize
    if input_bytes[image_index] != needed:
        raise ModelError(
            f"{job.model} takes {input_bytes[image_index]} bytes for {rows} images of {list(shape)} {tensor.dtype}, "
            f"which are {needed}: with AIPP, needed input_format RGB888_U8 of the crop's size"
        )
    n_classes, score_dtype = _scores(acl, desc, job, rows)
    info = ModelInfo(PurePath(job.model).name, job.batch, shape, n_classes, tensor)
    return AclModel(info, input_bytes, mdl.get_output_size_by_index(desc, 0), score_dtype, gears, gear_index)


def _gears(acl: Acl, desc: int, job: DeviceJob) -> tuple[int, ...]:
    gears = tuple(sorted(acl.mdl("get_dynamic_batch", desc)["batch"]))
    if not gears:
        raise ModelError(f"{job.model} has dynamic image sizes or dims: needed a static or a dynamic batch")
    if job.batch not in gears:
        names = ", ".join(map(str, gears))
        raise ModelError(f"{job.model} was compiled for the batch sizes {names}: run it with --batch one of them")
    return gears


def _image(acl: Acl, desc: int, index: int, job: DeviceJob) -> tuple[tuple[int, ...], TensorFormat]:
    """(shape of one image, its format)"""
    number = acl.module.mdl.get_input_data_type(desc, index)
    if number not in IMAGE_TYPES:
        raise ModelError(f"{job.model} takes images of ACL type {number}: needed {_list(IMAGE_TYPES)}")
    dims = acl.mdl("get_input_dims", desc, index)["dims"]
    is_nhwc = acl.module.mdl.get_input_format(desc, index) == NHWC
    if len(dims) != 4 or 3 not in (dims[1], dims[3]):
        raise ModelError(
            f"{job.model} takes an input of shape {dims}: needed (batch, 3, H, W) or (batch, H, W, 3) images"
        )
    if dims[0] not in (-1, job.batch):
        raise ModelError(f"{job.model} was compiled for batch {dims[0]}: run it with --batch {dims[0]}")
    layout: Literal["NCHW", "NHWC"] = "NHWC" if dims[1] != 3 or (is_nhwc and dims[3] == 3) else "NCHW"
    return tuple(dims[1:]), TensorFormat(IMAGE_TYPES[number], layout)


def _scores(acl: Acl, desc: int, job: DeviceJob, rows: int) -> tuple[int, np.dtype[Any]]:
    """(classes, type of a score)"""
    number = acl.module.mdl.get_output_data_type(desc, 0)
    if number not in SCORE_TYPES:
        raise ModelError(f"{job.model} gives scores of ACL type {number}: needed {_list(SCORE_TYPES)}")
    dims = acl.mdl("get_output_dims", desc, 0)["dims"]
    if not dims or dims[0] != rows or math.prod(dims) < 2 * rows:
        raise ModelError(
            f"{job.model} gives an output of shape {dims} for {rows} images: needed (batch, classes) scores"
        )
    return math.prod(dims) // rows, np.dtype(SCORE_TYPES[number])


def _list(types: dict[int, Any]) -> str:
    return " or ".join(f"{name} ({number})" for number, name in types.items())
