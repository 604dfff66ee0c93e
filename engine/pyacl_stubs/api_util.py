"""``acl.util``: addresses of NumPy arrays and bytes, threads (reference sections 2 and 4)."""

from __future__ import annotations

import ctypes
import signal
import threading
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from engine.pyacl_stubs.codes import SUCCESS, AclError, Code, SimulatorFault
from engine.pyacl_stubs.entry import entry
from engine.pyacl_stubs.process import PROCESS

#: NumPy's numbers of types, which ptr_to_numpy takes.
NUMPY_TYPES: dict[int, str] = {
    0: "bool", 1: "int8", 2: "uint8", 3: "int16", 4: "uint16", 5: "int32", 6: "uint32", 7: "int64", 8: "uint64",
    9: "int64", 10: "uint64", 11: "float32", 12: "float64", 23: "float16",
}  # fmt: skip


def _raised(code: int) -> Any:
    raise SimulatorFault(f"failed with {code}")


def _deprecated(name: str, instead: str) -> None:
    warnings.warn(f"acl.util.{name} is deprecated: use acl.util.{instead}", DeprecationWarning, stacklevel=4)


def _array(value: Any) -> npt.NDArray[Any]:
    if not isinstance(value, np.ndarray):
        raise TypeError(f"a numpy.ndarray is needed, not {type(value).__name__}")
    return value


@entry("acl.util.numpy_to_ptr", _raised, needs_init=False)
def numpy_to_ptr(array: Any, /) -> int:
    """Address of an array's first byte; the array must outlive its use."""
    known = _array(array)
    _deprecated("numpy_to_ptr", "bytes_to_ptr")
    if not known.flags.c_contiguous:
        warnings.warn("the array is not contiguous: its bytes are not in its order", RuntimeWarning, stacklevel=3)
    return known.ctypes.data


@entry("acl.util.numpy_contiguous_to_ptr", _raised, needs_init=False)
def numpy_contiguous_to_ptr(array: Any, /) -> tuple[int, npt.NDArray[Any]]:
    """Address of a contiguous array, and that array, which must be kept."""
    _deprecated("numpy_contiguous_to_ptr", "bytes_to_ptr")
    contiguous = np.ascontiguousarray(_array(array))
    return contiguous.ctypes.data, contiguous


@entry("acl.util.ptr_to_numpy", _raised, needs_init=False)
def ptr_to_numpy(ptr: int, shape: tuple[int, ...], npy_type: int, /) -> npt.NDArray[Any]:
    """A view of host memory, which it does not keep alive."""
    _deprecated("ptr_to_numpy", "ptr_to_bytes")
    if not isinstance(shape, tuple):
        raise TypeError(f"the shape must be a tuple, not {type(shape).__name__}")
    if npy_type not in NUMPY_TYPES:
        raise ValueError(f"unknown NumPy type number {npy_type}")
    dtype = np.dtype(NUMPY_TYPES[npy_type])
    n_bytes = int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
    _check_host("acl.util.ptr_to_numpy", ptr, n_bytes)
    memory: Any = (ctypes.c_uint8 * n_bytes).from_address(ptr)
    return np.frombuffer(memory, dtype).reshape(shape)


@entry("acl.util.bytes_to_ptr", _raised, needs_init=False)
def bytes_to_ptr(data: Any, /) -> int:
    """Address of the storage of `bytes`, which must be kept."""
    if type(data) is not bytes:
        raise ValueError(f"bytes are needed, not {type(data).__name__}")
    address = ctypes.cast(ctypes.c_char_p(data), ctypes.c_void_p).value
    assert address is not None
    return address


@entry("acl.util.ptr_to_bytes", _raised, needs_init=False)
def ptr_to_bytes(ptr: int, size: int, /) -> bytes:
    """A copy of host memory."""
    _check_host("acl.util.ptr_to_bytes", ptr, size)
    return ctypes.string_at(ptr, size)


def _check_host(call: str, address: int, n_bytes: int) -> None:
    """Raise SimulatorFault where the host cannot read: on a real card the process would crash."""
    if not address:
        raise SimulatorFault(f"{call}: NULL pointer")
    if PROCESS.state != "ready":
        return
    if PROCESS.chip_of(address) is not None:
        raise SimulatorFault(f"{call}: {address:#x} is device memory: copy it to the host by acl.rt.memcpy first")
    if PROCESS.host.freed_block(address) is not None:
        raise SimulatorFault(f"{call}: {PROCESS.tombstones.get(address, f'{address:#x} is freed')}")
    block = PROCESS.host.table.find(address)
    if block is not None and address + n_bytes > block.address + block.n_bytes:
        raise SimulatorFault(f"{call}: {n_bytes} bytes at {address:#x} go beyond {block}")


class _CallerThread(threading.Thread):
    """A thread that keeps what its function raised."""

    error: BaseException | None = None

    def __init__(self, function: Callable[..., Any], args: Any) -> None:
        super().__init__(name="acl.util.start_thread", daemon=True)
        self._call = (function, args)

    def run(self) -> None:
        function, args = self._call
        try:
            function() if args is None else function(args)
        except BaseException as error:
            self.error = error


@entry("acl.util.start_thread", lambda code: (0, code), needs_init=False)
def start_thread(function: Any, args: Any, /) -> tuple[int, int]:
    """Run ``function(args)`` in a new thread; its id. As the vendor's, this resets SIGINT to end the process."""
    if not callable(function):
        raise TypeError(f"a function is needed, not {type(function).__name__}")
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    thread = _CallerThread(function, args)
    thread.start()
    assert thread.ident is not None
    PROCESS.threads[thread.ident] = thread
    return thread.ident, SUCCESS


@entry("acl.util.stop_thread", needs_init=False)
def stop_thread(tid: int, /) -> int:
    """Wait for the thread's end; the program must have told it to end. Raises RuntimeError if its function raised."""
    thread = PROCESS.threads.pop(tid, None)
    if thread is None:
        raise AclError(Code.INVALID_PARAM, f"{tid} is no thread of acl.util.start_thread")
    thread.join()
    if thread.error is not None:
        raise RuntimeError(f"the thread's function raised {thread.error!r}") from thread.error
    return SUCCESS
