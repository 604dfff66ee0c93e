"""``acl.util``: the vendor's names. Their types are in ``util.pyi``."""

from __future__ import annotations

from engine.pyacl_stubs import missing
from engine.pyacl_stubs.api_util import (
    bytes_to_ptr,
    numpy_contiguous_to_ptr,
    numpy_to_ptr,
    ptr_to_bytes,
    ptr_to_numpy,
    start_thread,
    stop_thread,
)

__all__ = [
    "bytes_to_ptr",
    "numpy_contiguous_to_ptr",
    "numpy_to_ptr",
    "ptr_to_bytes",
    "ptr_to_numpy",
    "start_thread",
    "stop_thread",
]


def __getattr__(name: str) -> object:
    """What is not here: an AttributeError that tells why."""
    raise missing.attribute_error("util", name, __all__)
