"""``acl``: the vendor's names. Their types are in ``acl.pyi``."""

from __future__ import annotations

from engine.pyacl_stubs import mdl, rt, util
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

__all__ = [
    "create_data_buffer",
    "data_type_size",
    "destroy_data_buffer",
    "finalize",
    "get_data_buffer_addr",
    "get_data_buffer_size",
    "get_data_buffer_size_v2",
    "get_recent_err_msg",
    "get_soc_name",
    "get_version",
    "init",
    "mdl",
    "rt",
    "update_data_buffer",
    "util",
]
