"""``acl.mdl``: the vendor's names. Their types are in ``mdl.pyi``."""

from __future__ import annotations

from engine.pyacl_stubs import missing
from engine.pyacl_stubs.api_config import (
    create_config_handle,
    destroy_config_handle,
    load_with_config,
    set_config_opt,
)
from engine.pyacl_stubs.api_dataset import (
    add_dataset_buffer,
    create_dataset,
    destroy_dataset,
    get_dataset_buffer,
    get_dataset_num_buffers,
)
from engine.pyacl_stubs.api_desc import (
    create_desc,
    destroy_desc,
    get_cur_output_dims,
    get_desc,
    get_dynamic_batch,
    get_dynamic_hw,
    get_input_data_type,
    get_input_dims,
    get_input_dims_v2,
    get_input_dynamic_dims,
    get_input_dynamic_gear_count,
    get_input_format,
    get_input_index_by_name,
    get_input_name_by_index,
    get_input_size_by_index,
    get_num_inputs,
    get_num_outputs,
    get_output_data_type,
    get_output_dims,
    get_output_format,
    get_output_index_by_name,
    get_output_name_by_index,
    get_output_size_by_index,
    set_dynamic_batch_size,
    set_dynamic_hw_size,
    set_input_dynamic_dims,
)
from engine.pyacl_stubs.api_model import (
    execute,
    execute_async,
    load_from_file,
    load_from_file_with_mem,
    load_from_mem,
    load_from_mem_with_mem,
    query_size,
    unload,
)
from engine.pyacl_stubs.api_tensor import (
    get_dataset_tensor_desc,
    set_dataset_tensor_desc,
)

__all__ = [
    "add_dataset_buffer",
    "create_config_handle",
    "create_dataset",
    "create_desc",
    "destroy_config_handle",
    "destroy_dataset",
    "destroy_desc",
    "execute",
    "execute_async",
    "get_cur_output_dims",
    "get_dataset_buffer",
    "get_dataset_num_buffers",
    "get_dataset_tensor_desc",
    "get_desc",
    "get_dynamic_batch",
    "get_dynamic_hw",
    "get_input_data_type",
    "get_input_dims",
    "get_input_dims_v2",
    "get_input_dynamic_dims",
    "get_input_dynamic_gear_count",
    "get_input_format",
    "get_input_index_by_name",
    "get_input_name_by_index",
    "get_input_size_by_index",
    "get_num_inputs",
    "get_num_outputs",
    "get_output_data_type",
    "get_output_dims",
    "get_output_format",
    "get_output_index_by_name",
    "get_output_name_by_index",
    "get_output_size_by_index",
    "load_from_file",
    "load_from_file_with_mem",
    "load_from_mem",
    "load_from_mem_with_mem",
    "load_with_config",
    "query_size",
    "set_config_opt",
    "set_dataset_tensor_desc",
    "set_dynamic_batch_size",
    "set_dynamic_hw_size",
    "set_input_dynamic_dims",
    "unload",
]


def __getattr__(name: str) -> object:
    """What is not here: an AttributeError that tells why."""
    raise missing.attribute_error("mdl", name, __all__)
