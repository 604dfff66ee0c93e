"""``acl``: the vendor's names. Their types are in ``acl.pyi``."""

from __future__ import annotations

from engine.pyacl_stubs import mdl, missing, rt, util
from engine.pyacl_stubs.api_dataset import (
    create_data_buffer,
    destroy_data_buffer,
    get_data_buffer_addr,
    get_data_buffer_size,
    get_data_buffer_size_v2,
    update_data_buffer,
)
from engine.pyacl_stubs.api_desc import (
    data_type_size,
)
from engine.pyacl_stubs.api_lifecycle import (
    finalize,
    get_recent_err_msg,
    get_soc_name,
    get_version,
    init,
)
from engine.pyacl_stubs.api_tensor import (
    create_tensor_desc,
    destroy_tensor_desc,
    float16_to_float,
    float_to_float16,
    get_tensor_desc_dim_v2,
    get_tensor_desc_element_count,
    get_tensor_desc_format,
    get_tensor_desc_num_dims,
    get_tensor_desc_size,
    get_tensor_desc_type,
)

blas, fv, himpi, media, op, prof, tdt = map(missing.module, sorted(missing.MODULES))

__all__ = [
    "create_data_buffer",
    "create_tensor_desc",
    "data_type_size",
    "destroy_data_buffer",
    "destroy_tensor_desc",
    "finalize",
    "float16_to_float",
    "float_to_float16",
    "get_data_buffer_addr",
    "get_data_buffer_size",
    "get_data_buffer_size_v2",
    "get_recent_err_msg",
    "get_soc_name",
    "get_tensor_desc_dim_v2",
    "get_tensor_desc_element_count",
    "get_tensor_desc_format",
    "get_tensor_desc_num_dims",
    "get_tensor_desc_size",
    "get_tensor_desc_type",
    "get_version",
    "init",
    "mdl",
    "rt",
    "update_data_buffer",
    "util",
]


def __getattr__(name: str) -> object:
    """What is not here: an AttributeError that tells why."""
    raise missing.attribute_error("acl", name, __all__)
