"""Arrays, functions and the clock by address: what one compiled call needs to do a whole image.

A stage of the host path is compiled by itself and takes one number, the address of an int64 array of sizes and
addresses. So the call from Python costs a quarter of a microsecond whatever it works on, stages compile at the same
time in two processes, and one of them can call the next.
"""

from __future__ import annotations

import ctypes
from typing import Any

import numba
import numpy as np
import numpy.typing as npt
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from kernels.jit import inlined
from kernels.simd import I32, I64

_CLOCK_MONOTONIC = 1
# untyped in numba
_carray: Any = getattr(numba, "carray")  # noqa: B009
_types: Any = types


def address_of(array: npt.NDArray[Any]) -> int:
    """Address of an array's first element. The caller keeps the array alive."""
    return int(array.__array_interface__["data"][0])


def clock_address() -> int:
    """Address of the C library's clock_gettime, for `monotonic_ns`."""
    return int(ctypes.cast(ctypes.CDLL(None).clock_gettime, ctypes.c_void_p).value or 0)


def _pointer(_typingctx: Any, _address: Any, dtype: Any) -> Any:
    """A pointer to elements of `dtype`."""

    def generate(context: Any, b: Any, signature: Any, args: Any) -> Any:
        return b.inttoptr(args[0], context.get_value_type(signature.return_type))

    return _types.CPointer(dtype.dtype)(types.int64, dtype), generate


@inlined
def array_at(address: int, shape: Any, dtype: Any) -> Any:
    """The array that lies at an address; without reference counting, and with bounds where numba checks them."""
    return _carray(pointer(address, dtype), shape)


@inlined
def listed(slots: Any, slot: int, dtype: Any) -> Any:
    """The one-dimensional array whose address and length are in two slots of an int64 array."""
    return array_at(slots[slot], (slots[slot + 1],), dtype)


def list_array(slots: npt.NDArray[np.int64], slot: int, array: npt.NDArray[Any]) -> None:
    """Write an array's address and number of elements for `listed`."""
    slots[slot], slots[slot + 1] = address_of(array), array.size


def _call_stage(_typingctx: Any, _function: Any, _argument: Any) -> Any:
    """Call ``int64 f(int64)`` at an address."""

    def generate(_context: Any, b: Any, _signature: Any, args: Any) -> Any:
        function = b.inttoptr(args[0], ir.FunctionType(I64, [I64]).as_pointer())
        return b.call(function, [args[1]])

    return types.int64(types.int64, types.int64), generate


def _monotonic_ns(_typingctx: Any, _clock: Any) -> Any:
    """CLOCK_MONOTONIC, the clock of time.perf_counter_ns; the argument is `clock_address`."""

    def generate(_context: Any, b: Any, _signature: Any, args: Any) -> Any:
        insert: Any = cgutils.alloca_once
        timespec = insert(b, ir.ArrayType(I64, 2))
        function = b.inttoptr(args[0], ir.FunctionType(I32, [I32, timespec.type]).as_pointer())
        b.call(function, [ir.Constant(I32, _CLOCK_MONOTONIC), timespec])
        zero = ir.Constant(I32, 0)
        seconds, rest = (b.load(b.gep(timespec, [zero, ir.Constant(I32, i)])) for i in range(2))
        return b.add(b.mul(seconds, ir.Constant(I64, 1_000_000_000)), rest)

    return types.int64(types.int64), generate


pointer: Any = intrinsic(_pointer)
call_stage: Any = intrinsic(_call_stage)
monotonic_ns: Any = intrinsic(_monotonic_ns)
