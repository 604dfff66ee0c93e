"""``acl.mdl`` and ``acl``: datasets and data buffers (reference section 3)."""

from __future__ import annotations

from engine.pyacl_stubs.codes import SUCCESS, AclError, Code
from engine.pyacl_stubs.entry import bare_zero, entry, with_zero
from engine.pyacl_stubs.model import DataBuffer, Dataset
from engine.pyacl_stubs.process import PROCESS


def dataset_of(handle: int) -> Dataset:
    """A live dataset. Raises AclError 100000."""
    return PROCESS.get(handle, Dataset, Code.INVALID_PARAM)


def buffer_of(handle: int) -> DataBuffer:
    """A live data buffer. Raises AclError 100000."""
    return PROCESS.get(handle, DataBuffer, Code.INVALID_PARAM)


@entry("acl.mdl.create_dataset", bare_zero)
def create_dataset() -> int:
    """An empty dataset."""
    handle = PROCESS.new_handle()
    PROCESS.register(handle, Dataset(handle, PROCESS.origin()))
    return handle


@entry("acl.mdl.destroy_dataset")
def destroy_dataset(dataset: int, /) -> int:
    """End a dataset, not its buffers."""
    dataset_of(dataset)
    PROCESS.forget(dataset, "acl.mdl.destroy_dataset")
    return SUCCESS


@entry("acl.create_data_buffer", bare_zero)
def create_data_buffer(ptr: int, size: int, /) -> int:
    """A buffer object over memory of the caller's."""
    handle = PROCESS.new_handle()
    PROCESS.register(handle, DataBuffer(handle, PROCESS.origin(), ptr, size))
    return handle


@entry("acl.destroy_data_buffer")
def destroy_data_buffer(buffer: int, /) -> int:
    """End a buffer object, not its memory."""
    buffer_of(buffer)
    PROCESS.forget(buffer, "acl.destroy_data_buffer")
    return SUCCESS


@entry("acl.get_data_buffer_addr", bare_zero)
def get_data_buffer_addr(buffer: int, /) -> int:
    """Address of a buffer's memory."""
    return buffer_of(buffer).address


@entry("acl.get_data_buffer_size", bare_zero)
def get_data_buffer_size(buffer: int, /) -> int:
    """Deprecated: `get_data_buffer_size_v2`."""
    return buffer_of(buffer).n_bytes


@entry("acl.get_data_buffer_size_v2", bare_zero)
def get_data_buffer_size_v2(buffer: int, /) -> int:
    """Bytes of a buffer's memory."""
    return buffer_of(buffer).n_bytes


@entry("acl.update_data_buffer")
def update_data_buffer(buffer: int, ptr: int, size: int, /) -> int:
    """Point a buffer at other memory."""
    known = buffer_of(buffer)
    known.address, known.n_bytes = ptr, size
    return SUCCESS


@entry("acl.mdl.add_dataset_buffer", with_zero)
def add_dataset_buffer(dataset: int, buffer: int, /) -> tuple[int, int]:
    """Append a buffer."""
    dataset_of(dataset).buffers.append(buffer_of(buffer))
    return dataset, SUCCESS


@entry("acl.mdl.get_dataset_num_buffers", bare_zero)
def get_dataset_num_buffers(dataset: int, /) -> int:
    """How many buffers."""
    return len(dataset_of(dataset).buffers)


@entry("acl.mdl.get_dataset_buffer", bare_zero)
def get_dataset_buffer(dataset: int, index: int, /) -> int:
    """A buffer; 0 if the index is out of range."""
    buffers = dataset_of(dataset).buffers
    if not 0 <= index < len(buffers):
        raise AclError(Code.INVALID_PARAM, f"buffer {index} of {len(buffers)}")
    return buffers[index].handle
