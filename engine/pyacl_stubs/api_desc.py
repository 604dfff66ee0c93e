"""``acl.mdl`` and ``acl``: model descriptions, dynamic batch, sizes of types (reference section 3)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from engine.pyacl_stubs.api_dataset import dataset_of
from engine.pyacl_stubs.api_model import model_of
from engine.pyacl_stubs.codes import SUCCESS, AclError, Code
from engine.pyacl_stubs.entry import bare_zero, entry, with_dict, with_zero
from engine.pyacl_stubs.model import (
    DTYPE_CODES,
    DYNAMIC_INPUT,
    DYNAMIC_INPUT_SPEC,
    FORMAT_CODES,
    Desc,
    Model,
    tensor_bytes,
)
from engine.pyacl_stubs.om import TensorSpec
from engine.pyacl_stubs.process import PROCESS

#: ACL_DT_UNDEFINED and ACL_FORMAT_UNDEFINED.
UNDEFINED = -1
#: Bytes of each ACL type.
TYPE_BYTES = {0: 4, 1: 2, 2: 1, 3: 4, 4: 1, 6: 2, 7: 2, 8: 4, 9: 8, 10: 8, 11: 8, 12: 1, 16: 8, 17: 16, 27: 2}
Dims = dict[str, Any]


def _undefined(code: int) -> int:
    return UNDEFINED


def _empty(code: int) -> str:
    return ""


@entry("acl.mdl.create_desc", bare_zero)
def create_desc() -> int:
    """An empty description."""
    handle = PROCESS.new_handle()
    PROCESS.register(handle, Desc(handle, PROCESS.origin()))
    return handle


@entry("acl.mdl.destroy_desc")
def destroy_desc(desc: int, /) -> int:
    """End a description."""
    PROCESS.get(desc, Desc, Code.INVALID_PARAM)
    PROCESS.forget(desc, "acl.mdl.destroy_desc")
    return SUCCESS


@entry("acl.mdl.get_desc")
def get_desc(desc: int, model_id: int, /) -> int:
    """Fill a description with a loaded model's."""
    known = PROCESS.get(desc, Desc, Code.INVALID_PARAM)
    known.model = model_of(model_id, PROCESS.context())
    return SUCCESS


def _model(desc: int) -> Model:
    known = PROCESS.get(desc, Desc, Code.INVALID_PARAM)
    if known.model is None:
        raise AclError(Code.INVALID_PARAM, f"{known}, created at {known.origin}, is empty: call acl.mdl.get_desc")
    return known.model


def _tensor(specs: Sequence[TensorSpec], index: int) -> TensorSpec:
    if not 0 <= index < len(specs):
        raise AclError(Code.INVALID_PARAM, f"index {index} of {len(specs)} tensors")
    return specs[index]


@entry("acl.mdl.get_num_inputs", bare_zero)
def get_num_inputs(desc: int, /) -> int:
    """Inputs, with the extra one of a dynamic model."""
    return len(_model(desc).inputs)


@entry("acl.mdl.get_num_outputs", bare_zero)
def get_num_outputs(desc: int, /) -> int:
    """Outputs."""
    return len(_model(desc).om.outputs)


@entry("acl.mdl.get_input_size_by_index", bare_zero)
def get_input_size_by_index(desc: int, index: int, /) -> int:
    """Bytes for the largest batch."""
    model = _model(desc)
    return tensor_bytes(_tensor(model.inputs, index), model.om)


@entry("acl.mdl.get_output_size_by_index", bare_zero)
def get_output_size_by_index(desc: int, index: int, /) -> int:
    """Bytes for the largest batch."""
    model = _model(desc)
    return tensor_bytes(_tensor(model.om.outputs, index), model.om)


def _dims(spec: TensorSpec, batch: int | None = None) -> Dims:
    dims = list(spec.dims) if batch is None or spec is DYNAMIC_INPUT_SPEC else [batch, *spec.dims[1:]]
    return {"name": spec.name, "dimCount": len(dims), "dims": dims}


@entry("acl.mdl.get_input_dims", with_dict)
def get_input_dims(desc: int, index: int, /) -> tuple[Dims, int]:
    """Dims; -1 for a dynamic batch."""
    return _dims(_tensor(_model(desc).inputs, index)), SUCCESS


@entry("acl.mdl.get_input_dims_v2", with_dict)
def get_input_dims_v2(desc: int, index: int, /) -> tuple[Dims, int]:
    """Dims whose product is the size, with static AIPP too."""
    return _dims(_tensor(_model(desc).inputs, index)), SUCCESS


@entry("acl.mdl.get_output_dims", with_dict)
def get_output_dims(desc: int, index: int, /) -> tuple[Dims, int]:
    """Dims of the largest batch."""
    model = _model(desc)
    return _dims(_tensor(model.om.outputs, index), model.om.batch), SUCCESS


@entry("acl.mdl.get_cur_output_dims", with_dict)
def get_cur_output_dims(desc: int, index: int, /) -> tuple[Dims, int]:
    """Dims of the batch that is set; of the largest where none is."""
    model = _model(desc)
    return _dims(_tensor(model.om.outputs, index), model.batch or model.om.batch), SUCCESS


@entry("acl.mdl.get_input_data_type", _undefined)
def get_input_data_type(desc: int, index: int, /) -> int:
    """ACL's number of the type."""
    return DTYPE_CODES[_tensor(_model(desc).inputs, index).dtype]


@entry("acl.mdl.get_output_data_type", _undefined)
def get_output_data_type(desc: int, index: int, /) -> int:
    """ACL's number of the type."""
    return DTYPE_CODES[_tensor(_model(desc).om.outputs, index).dtype]


@entry("acl.mdl.get_input_format", _undefined)
def get_input_format(desc: int, index: int, /) -> int:
    """ACL's number of the format."""
    return FORMAT_CODES[_tensor(_model(desc).inputs, index).format]


@entry("acl.mdl.get_output_format", _undefined)
def get_output_format(desc: int, index: int, /) -> int:
    """ACL's number of the format."""
    return FORMAT_CODES[_tensor(_model(desc).om.outputs, index).format]


@entry("acl.mdl.get_input_name_by_index", _empty)
def get_input_name_by_index(desc: int, index: int, /) -> str:
    """Name of an input."""
    return _tensor(_model(desc).inputs, index).name


@entry("acl.mdl.get_output_name_by_index", _empty)
def get_output_name_by_index(desc: int, index: int, /) -> str:
    """Name of an output."""
    return _tensor(_model(desc).om.outputs, index).name


@entry("acl.mdl.get_input_index_by_name", with_zero)
def get_input_index_by_name(desc: int, name: str, /) -> tuple[int, int]:
    """Index of an input."""
    return _index(_model(desc).inputs, name), SUCCESS


@entry("acl.mdl.get_output_index_by_name", with_zero)
def get_output_index_by_name(desc: int, name: str, /) -> tuple[int, int]:
    """Index of an output."""
    return _index(_model(desc).om.outputs, name), SUCCESS


def _index(specs: Sequence[TensorSpec], name: str) -> int:
    for index, spec in enumerate(specs):
        if spec.name == name:
            return index
    raise AclError(Code.INVALID_PARAM, f"no tensor {name!r}, only {', '.join(spec.name for spec in specs)}")


@entry("acl.mdl.get_dynamic_batch", with_dict)
def get_dynamic_batch(desc: int, /) -> tuple[Dims, int]:
    """The gears; none of a static model."""
    om = _model(desc).om
    gears = list(om.gears) if om.is_dynamic else []
    return {"batchCount": len(gears), "batch": gears}, SUCCESS


@entry("acl.mdl.get_dynamic_hw", with_dict)
def get_dynamic_hw(desc: int, index: int, /) -> tuple[Dims, int]:
    """Dynamic image sizes: the simulator has none."""
    _model(desc)
    return {"hwCount": 0, "hw": []}, SUCCESS


@entry("acl.mdl.get_input_dynamic_gear_count", with_zero)
def get_input_dynamic_gear_count(desc: int, index: int, /) -> tuple[int, int]:
    """Gears of dynamic dims: the simulator has none. index : -1"""
    _model(desc)
    return 0, SUCCESS


@entry("acl.mdl.get_input_dynamic_dims", lambda code: ([], code))
def get_input_dynamic_dims(desc: int, index: int, gear_count: int, /) -> tuple[list[Dims], int]:
    """Dynamic dims of each gear: the simulator has none."""
    _model(desc)
    return [], SUCCESS


@entry("acl.mdl.set_input_dynamic_dims")
def set_input_dynamic_dims(model_id: int, dataset: int, index: int, dims: Any, /) -> int:
    """Choose dynamic dims: no model of the simulator has any."""
    model, _ = model_of(model_id, PROCESS.context()), dataset_of(dataset)
    if not isinstance(dims, dict):
        raise TypeError(f"acl.mdl.set_input_dynamic_dims() argument 4 must be dict, not {type(dims).__name__}")
    raise AclError(Code.MODEL_NOT_DYNAMIC, f"{model} has no dynamic dims")


@entry("acl.mdl.set_dynamic_hw_size")
def set_dynamic_hw_size(model_id: int, dataset: int, index: int, height: int, width: int, /) -> int:
    """Choose an image size: no model of the simulator has several."""
    model, _ = model_of(model_id, PROCESS.context()), dataset_of(dataset)
    raise AclError(Code.MODEL_NOT_DYNAMIC, f"{model} has no dynamic image sizes")


@entry("acl.mdl.set_dynamic_batch_size")
def set_dynamic_batch_size(model_id: int, dataset: int, index: int, batch: int, /) -> int:
    """Choose the gear of the next execute on this dataset."""
    model, inputs = model_of(model_id, PROCESS.context()), dataset_of(dataset)
    if not model.om.is_dynamic:
        raise AclError(Code.MODEL_NOT_DYNAMIC, f"{model} was compiled for batch {model.om.batch} only")
    if index >= len(model.inputs) or model.inputs[index].name != DYNAMIC_INPUT or index >= len(inputs.buffers):
        raise AclError(Code.INVALID_PARAM, f"input {index} is not {DYNAMIC_INPUT}")
    if batch not in model.om.gears:
        raise AclError(Code.GE_DYNAMIC_BATCH_SIZE_INVALID, f"batch {batch} is none of {list(model.om.gears)}")
    inputs.batch = model.batch = batch
    return SUCCESS


@entry("acl.data_type_size", bare_zero, needs_init=False)
def data_type_size(data_type: int, /) -> int:
    """Bytes of an ACL type; 0 for one without."""
    return TYPE_BYTES.get(data_type, 0)
