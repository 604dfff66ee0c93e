"""The layer between the kernels and LLVM: memory by address, and vectors of 512 bits.

`@vector_op(n)` turns a builder function ``f(b, a0, .. a(n-1))`` into something that jitted code can call with n uint64
arguments; ``b`` is an llvmlite IRBuilder. Vectors are LLVM's own, 64 bytes wide on every processor: LLVM splits them
into what the processor has (AVX-512, AVX2, SSE, NEON), so each kernel is written once. Only where LLVM finds a bad
translation there is a second one, an x86 instruction by name: here behind HAS_AVX512, in `kernels.simd16` for all sets.

Nothing here checks a bound. Every caller states why its addresses are inside of its arrays.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from kernels.isa import INSTRUCTION_SET

HAS_AVX512 = INSTRUCTION_SET == "avx512"

#: An address, or any 64 bits, in jitted code. Unsigned: numba makes signed indices pay for wrap-around.
U64 = np.uint64

I1, I8, I16, I32, I64 = (ir.IntType(bits) for bits in (1, 8, 16, 32, 64))
F16, F32 = ir.HalfType(), ir.FloatType()


def vector_op(n_args: int, returns: Any = types.void) -> Callable[[Callable[..., Any]], Any]:
    """Decorator: a builder function of `n_args` uint64 becomes callable from jitted code."""
    names = ["typingctx", *(f"a{i}" for i in range(n_args))]
    parameters = [inspect.Parameter(name, inspect.Parameter.POSITIONAL_OR_KEYWORD) for name in names]

    def decorate(build: Callable[..., Any]) -> Any:
        def implement(_typingctx: Any, *_types: Any) -> Any:
            def generate(context: Any, b: Any, _signature: Any, args: Any) -> Any:
                result = build(b, *args)
                return context.get_dummy_value() if result is None else result

            return returns(*[types.uint64] * n_args), generate

        implement.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        implement.__name__ = build.__name__
        return intrinsic(implement)

    return decorate


# -- building blocks of builder functions: b is the IRBuilder, the rest are LLVM values unless typed


def vec(element: Any, n: int) -> Any:
    """Type of a vector."""
    return ir.VectorType(element, n)


def const(value: int | float, n: int, element: Any = I32) -> Any:
    """A vector with the same constant in each lane."""
    return ir.Constant(vec(element, n), [value] * n)


def const64(value: int) -> Any:
    """A 64-bit constant, for address arithmetic."""
    return ir.Constant(I64, value)


def at(b: Any, address: Any, offset: int) -> Any:
    """address + offset."""
    return b.add(address, const64(offset)) if offset else address


def load(b: Any, address: Any, kind: Any, offset: int = 0) -> Any:
    """Read a value or vector at any alignment."""
    return b.load(b.inttoptr(at(b, address, offset), kind.as_pointer()), align=1)


def store(b: Any, value: Any, address: Any, offset: int = 0) -> None:
    """Write a value or vector at any alignment."""
    b.store(value, b.inttoptr(at(b, address, offset), value.type.as_pointer()), align=1)


def stream(b: Any, value: Any, address: Any, offset: int = 0) -> None:
    """Write a vector at an alignment of 64 past the caches: nothing is read first, nothing thrown out of them.

    Other threads see it after a `fence`.
    """
    instruction = b.store(value, b.inttoptr(at(b, address, offset), value.type.as_pointer()), align=64)
    instruction.set_metadata("nontemporal", b.module.add_metadata([ir.Constant(I32, 1)]))


def fence(b: Any) -> None:
    """What was written before this is seen by other threads before what is written after it."""
    b.fence("seq_cst")


def shuffle(b: Any, x: Any, y: Any, lanes: Iterable[int]) -> Any:
    """Lanes of x, then of y, by constant index."""
    picked = list(lanes)
    return b.shuffle_vector(x, y, ir.Constant(vec(I32, len(picked)), picked))


def splat(b: Any, value: Any, n: int) -> Any:
    """A scalar in each lane."""
    undefined = ir.Constant(vec(value.type, n), ir.Undefined)
    first = b.insert_element(undefined, value, ir.Constant(I32, 0))
    return b.shuffle_vector(first, undefined, const(0, n))


def call(b: Any, name: str, returns: Any, *args: Any) -> Any:
    """An LLVM intrinsic by name."""
    insert: Any = cgutils.get_or_insert_function  # untyped
    function = insert(b.module, ir.FunctionType(returns, [a.type for a in args]), name)
    return b.call(function, args)


#: How far ahead of its loads a loop that only reads asks for memory. The processor's own prefetching stops at a page.
PREFETCH_BYTES = 16_384


def prefetch(b: Any, address: Any, offset: int = 0) -> None:
    """Ask for the 64 bytes `PREFETCH_BYTES` further on to be brought into L1; any address will do."""
    place = b.inttoptr(at(b, address, offset + PREFETCH_BYTES), I8.as_pointer())
    to_read, keep, data = (ir.Constant(I32, value) for value in (0, 3, 1))
    call(b, "llvm.prefetch.p0i8", ir.VoidType(), place, to_read, keep, data)


def gather32(b: Any, base: Any, index: Any) -> Any:
    """16 int32 from ``base + 4 * index``, lane by lane."""
    kind = vec(I32, 16)
    if HAS_AVX512:
        pointer, every = b.inttoptr(base, I8.as_pointer()), ir.Constant(vec(I1, 16), [1] * 16)
        return call(b, "llvm.x86.avx512.mask.gather.dpi.512", kind, index, pointer, index, every, ir.Constant(I32, 4))
    result = index
    for lane in range(16):
        place = ir.Constant(I32, lane)
        offset = b.mul(b.zext(b.extract_element(index, place), I64), const64(4))
        result = b.insert_element(result, load(b, b.add(base, offset), I32), place)
    return result


def clamp(b: Any, v: Any, low: int | Any, high: int | Any) -> Any:
    """Signed limits, the same in each lane."""
    low, high = const(low, v.type.count, v.type.element), const(high, v.type.count, v.type.element)
    v = b.select(b.icmp_signed("<", v, low), low, v)
    return b.select(b.icmp_signed(">", v, high), high, v)


# -- scalars by address


def _loader(kind: Any, *, swapped: bool = False, signed: bool = False) -> Any:
    def build(b: Any, address: Any) -> Any:
        value = load(b, address, kind)
        if swapped:
            value = b.bswap(value)
        if kind.width == 64:
            return value
        return b.sext(value, I64) if signed else b.zext(value, I64)

    return vector_op(1, types.uint64)(build)


def _storer(kind: Any) -> Any:
    def build(b: Any, address: Any, value: Any) -> None:
        store(b, value if kind.width == 64 else b.trunc(value, kind), address)

    return vector_op(2)(build)


load_u64_be = _loader(I64, swapped=True)
load_u64, load_u32, load_u16, load_u8 = _loader(I64), _loader(I32), _loader(I16), _loader(I8)
load_i8 = _loader(I8, signed=True)
store_u64, store_u32, store_u16, store_u8 = _storer(I64), _storer(I32), _storer(I16), _storer(I8)


@vector_op(1, types.uint64)
def trailing_zeros(b: Any, value: Any) -> Any:
    """Number of zero bits below the lowest one; 64 for 0."""
    return b.cttz(value, ir.Constant(I1, 0))


@vector_op(2, types.uint64)
def copy64_find_ff(b: Any, target: Any, source: Any) -> Any:
    """Copy 64 bytes and return the bit mask of those equal to 0xFF."""
    bytes64 = vec(I8, 64)
    value = load(b, source, bytes64)
    store(b, value, target)
    return b.bitcast(b.icmp_unsigned("==", value, const(255, 64, I8)), I64)


@vector_op(2, types.uint64)
def bytes_equal(b: Any, source: Any, value: Any) -> Any:
    """Bit mask of those of 64 bytes that are equal to a value."""
    bytes64 = vec(I8, 64)
    wanted = splat(b, b.trunc(value, I8), 64)
    return b.bitcast(b.icmp_unsigned("==", load(b, source, bytes64), wanted), I64)


@vector_op(3, types.uint64)
def copy64_kept(b: Any, target: Any, source: Any, kept: Any) -> Any:
    """Copy those of 64 bytes whose bit in `kept` is set, joined (VBMI2). Writes 64 bytes; returns how many count."""
    bytes64 = vec(I8, 64)
    value = load(b, source, bytes64)
    if HAS_AVX512:
        mask = b.bitcast(kept, vec(I1, 64))
        value = call(b, "llvm.x86.avx512.mask.compress.v64i8", bytes64, value, value, mask)
    store(b, value, target)
    return b.ctpop(kept)


# -- vectors of 512 bits

#: Lanes of int16; blocks of a batch in the JPEG kernels.
N_LANES = 32
V16, H32, B64, B32 = vec(I16, N_LANES), vec(I32, N_LANES // 2), vec(I8, 2 * N_LANES), vec(I8, N_LANES)
