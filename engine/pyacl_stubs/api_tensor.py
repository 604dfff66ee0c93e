"""``acl`` and ``acl.mdl``: tensor descriptions, half precision (documentation: aclTensorDesc, aclFloat16)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from engine.pyacl_stubs.api_dataset import dataset_of
from engine.pyacl_stubs.api_desc import TYPE_BYTES, UNDEFINED
from engine.pyacl_stubs.codes import SUCCESS, AclError, Code
from engine.pyacl_stubs.entry import bare_zero, entry, with_zero
from engine.pyacl_stubs.process import PROCESS


@dataclass(eq=False)
class TensorDesc:
    """Type, dims and format of a tensor, in ACL's numbers."""

    handle: int
    origin: str
    dtype: int
    dims: tuple[int, ...]
    format: int

    def __str__(self) -> str:
        return f"tensor description {self.handle:#x}"


def _desc(handle: int) -> TensorDesc:
    return PROCESS.get(handle, TensorDesc, Code.INVALID_PARAM)


@entry("acl.create_tensor_desc", bare_zero)
def create_tensor_desc(data_type: int, dims: Any, format: int, /) -> int:
    """A description; dims is a list of int."""
    if not isinstance(dims, (list, tuple)) or not all(isinstance(dim, int) for dim in dims):
        raise TypeError(f"acl.create_tensor_desc() argument 2 must be a list of int, not {dims!r}")
    handle = PROCESS.new_handle()
    PROCESS.register(handle, TensorDesc(handle, PROCESS.origin(), data_type, tuple(dims), format))
    return handle


@entry("acl.destroy_tensor_desc", needs_init=False)
def destroy_tensor_desc(desc: int, /) -> None:
    """End a description; returns nothing."""
    _desc(desc)
    PROCESS.forget(desc, "acl.destroy_tensor_desc")


@entry("acl.get_tensor_desc_type", lambda code: UNDEFINED)
def get_tensor_desc_type(desc: int, /) -> int:
    """ACL's number of the type."""
    return _desc(desc).dtype


@entry("acl.get_tensor_desc_format", lambda code: UNDEFINED)
def get_tensor_desc_format(desc: int, /) -> int:
    """ACL's number of the format."""
    return _desc(desc).format


@entry("acl.get_tensor_desc_num_dims", bare_zero)
def get_tensor_desc_num_dims(desc: int, /) -> int:
    """How many dims."""
    return len(_desc(desc).dims)


@entry("acl.get_tensor_desc_dim_v2", with_zero)
def get_tensor_desc_dim_v2(desc: int, index: int, /) -> tuple[int, int]:
    """One of the dims."""
    dims = _desc(desc).dims
    if not 0 <= index < len(dims):
        raise AclError(Code.INVALID_PARAM, f"dim {index} of {len(dims)}")
    return dims[index], SUCCESS


@entry("acl.get_tensor_desc_element_count", bare_zero)
def get_tensor_desc_element_count(desc: int, /) -> int:
    """Product of the dims; 0 where one is not known."""
    dims = _desc(desc).dims
    return 0 if any(dim < 0 for dim in dims) else math.prod(dims)


@entry("acl.get_tensor_desc_size", bare_zero)
def get_tensor_desc_size(desc: int, /) -> int:
    """Bytes; 0 where a dim or the type is not known."""
    known = _desc(desc)
    return 0 if any(dim < 0 for dim in known.dims) else math.prod(known.dims) * TYPE_BYTES.get(known.dtype, 0)


@entry("acl.mdl.set_dataset_tensor_desc", with_zero)
def set_dataset_tensor_desc(dataset: int, desc: int, index: int, /) -> tuple[int, int]:
    """Say which shape a buffer of the dataset holds; an execute compares it with the model's."""
    known, described = dataset_of(dataset), _desc(desc)
    if not 0 <= index < len(known.buffers):
        raise AclError(Code.INVALID_PARAM, f"buffer {index} of {len(known.buffers)}")
    known.shapes[index] = described.dims
    known.descs[index] = desc
    return dataset, SUCCESS


@entry("acl.mdl.get_dataset_tensor_desc", bare_zero)
def get_dataset_tensor_desc(dataset: int, index: int, /) -> int:
    """The description that was set; 0 where none was."""
    return dataset_of(dataset).descs.get(index, 0)


@entry("acl.float_to_float16", bare_zero, needs_init=False)
def float_to_float16(value: Any, /) -> int:
    """The 16 bits of the nearest half."""
    return int(np.float16(float(value)).view(np.uint16))


@entry("acl.float16_to_float", lambda code: 0.0, needs_init=False)
def float16_to_float(bits: int, /) -> float:
    """The value of 16 bits."""
    return float(np.uint16(bits & 0xFFFF).view(np.float16))
