"""Vectors of int16, of any width: what LLVM does not find in its generic form is an x86 instruction by name here.

The instructions exist for 128, 256 and 512 bits; a wider vector than the processor has is done in parts. A kernel that
keeps many vectors at a time does better with `NATIVE_BITS`, of which the processor's registers hold 16 or 32.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir

from kernels.isa import INSTRUCTION_SET
from kernels.simd import HAS_AVX512, I8, I16, I32, call, clamp, shuffle, vec

#: Bits of a vector register.
NATIVE_BITS = {"avx512": 512, "avx2": 256}.get(INSTRUCTION_SET, 128)
_HAS_X86 = INSTRUCTION_SET in ("avx512", "avx2", "sse")

#: LLVM's names of an instruction, by bits.
_PMADDWD = {512: "llvm.x86.avx512.pmaddw.d.512", 256: "llvm.x86.avx2.pmadd.wd", 128: "llvm.x86.sse2.pmadd.wd"}
_PMULHW = {512: "llvm.x86.avx512.pmulh.w.512", 256: "llvm.x86.avx2.pmulh.w", 128: "llvm.x86.sse2.pmulh.w"}
_PACKSSDW = {512: "llvm.x86.avx512.packssdw.512", 256: "llvm.x86.avx2.packssdw", 128: "llvm.x86.sse2.packssdw.128"}
_PACKUSWB = {512: "llvm.x86.avx512.packuswb.512", 256: "llvm.x86.avx2.packuswb", 128: "llvm.x86.sse2.packuswb.128"}

#: What multiplies pairs of lanes: two numbers, the same for each pair, or a vector.
Weights = Any


def like(value: int, x: Any) -> Any:
    """The same constant in each lane of a vector of x's type."""
    return ir.Constant(x.type, [value & ((1 << x.type.element.width) - 1)] * x.type.count)


def _per_128(x: Any) -> int:
    return 128 // int(x.type.element.width)


def unpack(b: Any, x: Any, y: Any, *, high: bool) -> Any:
    """Interleave the low or high halves of x and y within each 128 bits (punpckl / punpckh)."""
    n, per = x.type.count, _per_128(x)
    lanes = []
    for group in range(0, n, per):
        first = group + (per // 2 if high else 0)
        for i in range(first, first + per // 2):
            lanes += [i, n + i]
    return shuffle(b, x, y, lanes)


def _joined(b: Any, x: Any, y: Any) -> Any:
    """x and y in one vector of twice the lanes, next to each other within each 128 bits of the result."""
    n, per = x.type.count, _per_128(x) // 2
    lanes = [lane for g in range(0, n, per) for base in (g, n + g) for lane in range(base, base + per)]
    return shuffle(b, x, y, lanes)


def _x86(b: Any, names: dict[int, str], element: Any, x: Any, y: Any) -> Any:
    """An instruction on as many bits as the processor has, part by part. element : of the result's lanes"""
    bits = x.type.count * x.type.element.width
    if bits <= NATIVE_BITS:
        return call(b, names[bits], vec(element, bits // element.width), x, y)
    n = x.type.count
    low, high = (
        _x86(b, names, element, shuffle(b, x, x, half), shuffle(b, y, y, half))
        for half in (range(n // 2), range(n // 2, n))
    )
    return shuffle(b, low, high, range(bits // element.width))


def multiply_add_pairs(b: Any, x: Any, weights: Weights) -> Any:
    """2n int16 -> n int32: ``x[2i] * w[2i] + x[2i+1] * w[2i+1]`` (pmaddwd)."""
    weights = _weights(x, weights)
    if _HAS_X86:
        return _x86(b, _PMADDWD, I32, x, weights)
    n = x.type.count
    wide = vec(I32, n // 2)
    even, odd = range(0, n, 2), range(1, n, 2)
    products = [b.mul(*(b.sext(shuffle(b, v, v, half), wide) for v in (x, weights))) for half in (even, odd)]
    return b.add(*products)


def _weights(x: Any, weights: Weights) -> Any:
    if isinstance(weights, tuple):
        return ir.Constant(x.type, [weight & 0xFFFF for weight in weights] * (x.type.count // 2))
    return weights


def accumulate_pairs(b: Any, total: Any, x: Any, weights: Weights) -> Any:
    """total + `multiply_add_pairs`, which AVX-512 VNNI does in one instruction (vpdpwssd)."""
    if HAS_AVX512:
        words = (b.bitcast(v, total.type) for v in (x, _weights(x, weights)))
        return call(b, f"llvm.x86.avx512.vpdpwssd.{32 * total.type.count}", total.type, total, *words)
    return b.add(total, multiply_add_pairs(b, x, weights))


def plus_minus_pairs(b: Any, base: Any, x: Any, weights: tuple[int, int]) -> tuple[Any, Any]:
    """base + and base - `multiply_add_pairs` by constant weights."""
    if HAS_AVX512:
        negative = (-weights[0], -weights[1])
        return accumulate_pairs(b, base, x, weights), accumulate_pairs(b, base, x, negative)
    product = multiply_add_pairs(b, x, weights)
    return b.add(base, product), b.sub(base, product)


def multiply_high(b: Any, x: Any, weight: int) -> Any:
    """``(x * weight) >> 16`` of int16 (pmulhw)."""
    if _HAS_X86:
        return _x86(b, _PMULHW, I16, x, like(weight, x))
    wide = b.sext(x, vec(I32, x.type.count))
    return b.trunc(b.ashr(b.mul(wide, like(weight, wide)), like(16, wide)), x.type)


def pack_int16(b: Any, x: Any, y: Any) -> Any:
    """int32 -> int16 with saturation, within each 128 bits (packssdw); undoes `unpack` low, high."""
    if _HAS_X86:
        return _x86(b, _PACKSSDW, I16, x, y)
    return _joined(b, *(b.trunc(clamp(b, v, -32768, 32767), vec(I16, v.type.count)) for v in (x, y)))


def pack_uint8(b: Any, x: Any, y: Any) -> Any:
    """int16 -> uint8 with saturation, within each 128 bits (packuswb)."""
    if _HAS_X86:
        return _x86(b, _PACKUSWB, I8, x, y)
    return _joined(b, *(b.trunc(clamp(b, v, 0, 255), vec(I8, v.type.count)) for v in (x, y)))
