"""Pixels of the crop to a tensor of any format: ``(v / 255 - mean) / std`` in float32, rounded to float16, or as it is.

v / 255 is a multiplication by a reciprocal in two parts, and so is t / std with a fused multiply-add, where that equals
the division for all 256 values of each channel, which is checked; without one t / std is a division. What neither of
them covers (a standard deviation for which the reciprocal is not exact, float16 on a processor that cannot convert,
crops below a vector) is looked up in a table of the 256 values.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt
from numba.core import cgutils

from kernels.address import address_of
from kernels.isa import INSTRUCTION_SET
from kernels.jit import inner, njit
from kernels.simd import (
    F16,
    F32,
    H32,
    I8,
    U64,
    call,
    const64,
    load,
    load_u8,
    load_u16,
    load_u32,
    shuffle,
    splat,
    store,
    store_u8,
    store_u16,
    store_u32,
    vec,
    vector_op,
)
from kernels.spec import PreprocessSpec, TensorFormat

Array = npt.NDArray[Any]
U8 = npt.NDArray[np.uint8]

#: Pixels of a step.
BLOCK = 16
HAS_FMA = INSTRUCTION_SET in ("avx512", "avx2", "neon")
#: Elsewhere LLVM calls a conversion routine that numba's programs do not have.
_HAS_HALF = HAS_FMA

#: Numbers of the formats in compiled code: dtype, then layout.
F32_NCHW, F32_NHWC, F16_NCHW, F16_NHWC, U8_NCHW, U8_NHWC = range(6)
_KINDS = {
    ("float32", "NCHW"): F32_NCHW,
    ("float32", "NHWC"): F32_NHWC,
    ("float16", "NCHW"): F16_NCHW,
    ("float16", "NHWC"): F16_NHWC,
    ("uint8", "NCHW"): U8_NCHW,
    ("uint8", "NHWC"): U8_NHWC,
}


def format_kind(tensor: TensorFormat) -> int:
    """The format's number."""
    return _KINDS[tensor.dtype, tensor.layout]


@cache
def normalise_table(spec: PreprocessSpec, tensor: TensorFormat) -> Array:
    """(3, 256), an element of the tensor for each value of each channel; float16 as its bits in uint16.

    Every step is in float32, as the guide's NumPy does it.
    """
    if tensor.dtype == "uint8":
        return np.tile(np.arange(256, dtype=np.uint8), (3, 1))
    values = np.arange(256, dtype=np.float32) / np.float32(255)
    mean, std = np.array(spec.mean, np.float32), np.array(spec.std, np.float32)
    table: Array = (values[None, :] - mean[:, None]) / std[:, None]
    return table if tensor.dtype == "float32" else table.astype(np.float16).view(np.uint16)


def elements(row: Array) -> Array:
    """A tensor's elements as (n,) of a type that numba has: float16 as uint16."""
    flat = row.reshape(-1)
    return flat.view(np.uint16) if flat.dtype == np.float16 else flat


@cache
def normalise_constants(spec: PreprocessSpec) -> npt.NDArray[np.float32]:
    """(7, 48) float32, the channels in turn, as 16 packed pixels have them.

    Rows: 1/255 in two parts, mean, 1/std in two parts, std, and 1 where the vectors' arithmetic is exact.
    """
    constants = np.zeros((7, 3), np.float32)
    for c in range(3):
        std = np.float32(spec.std[c])
        r, s = 1.0 / 255.0, 1.0 / float(std)
        high = _short(r)
        constants[:6, c] = high, r - high, spec.mean[c], s, s - float(np.float32(s)), std
    packed = np.ascontiguousarray(np.tile(constants, BLOCK))
    ramp = np.arange(256, dtype=np.uint8).repeat(3)
    probe = np.zeros(3 * 256, np.float32)
    _probe(ramp, packed, probe)
    expected = np.ascontiguousarray(normalise_table(spec, TensorFormat()).T).reshape(-1)
    packed[6] = np.array_equal(probe.view(np.int32), expected.view(np.int32))
    return packed


def _short(value: float) -> float:
    """The first 12 bits of a number: its product with one of 8 bits is exact in float32."""
    return float((np.array(value, np.float32).view(np.uint32) & np.uint32(0xFFFFF000)).view(np.float32))


def normalise_crop(crop: U8, spec: PreprocessSpec, tensor: TensorFormat, out: Array) -> None:
    """Write the tensor of a crop, with the values that the JPEG path gives for the same pixels.

    crop : (n, n, 3) uint8, C-contiguous      out : a row of `tensor`'s dtype and shape, C-contiguous, overwritten

    Oracle: kernels.reference.to_tensor.
    """
    shape = (spec.crop, spec.crop, 3)
    if crop.shape != shape or crop.dtype != np.uint8 or not crop.flags.c_contiguous:
        raise ValueError(f"crop must be C-contiguous uint8 of shape {shape}, got {crop.dtype} {crop.shape}")
    tensor.check(out, spec.crop)
    constants, table = normalise_constants(spec), normalise_table(spec, tensor)
    n, addresses = spec.crop * spec.crop, (address_of(a) for a in (crop, constants, table, out))
    _normalise(n, format_kind(tensor), *addresses)


@njit
def _normalise(n: int, kind: int, pixels: int, constants: int, table: int, out: int) -> None:
    normalise_pixels(U64(pixels), n, 0, n, kind, U64(constants), U64(table), U64(out))


@inner
def normalise_pixels(
    pixels: Any, n: int, first: int, plane: int, kind: int, constants: Any, table: Any, out: Any
) -> None:
    """The first `n` packed pixels -> elements of a tensor, from pixel `first` of a plane of `plane` pixels on.

    pixels, constants, table, out : addresses
    """
    width = 4 if kind in (F32_NCHW, F32_NHWC) else 2 if kind in (F16_NCHW, F16_NHWC) else 1
    is_packed = kind in (F32_NHWC, F16_NHWC, U8_NHWC)
    target = out + U64(width * first * (3 if is_packed else 1))
    if n >= BLOCK and is_by_vectors(kind, constants):
        _vectors_of_pixels(pixels, U64(n), kind, constants, target, U64(width * plane))
        return
    for i in range(n):
        for c in range(3):
            at = 3 * i + c if is_packed else c * plane + i
            value = load_u8(pixels + U64(3 * i + c))
            _copy_element(table + U64(width) * (U64(256 * c) + value), target + U64(width * at), width)


@inner
def _copy_element(source: Any, target: Any, width: int) -> None:
    if width == 4:
        store_u32(target, load_u32(source))
    elif width == 2:
        store_u16(target, load_u16(source))
    else:
        store_u8(target, load_u8(source))


@inner
def is_by_vectors(kind: int, constants: Any) -> bool:
    """Can the vectors make this format exactly? constants : address"""
    if kind in (U8_NCHW, U8_NHWC):
        return True
    is_exact = load_u32(constants + U64(192 * 6)) != U64(0)
    return bool(is_exact and (_HAS_HALF or kind in (F32_NCHW, F32_NHWC)))


@inner
def _vectors_of_pixels(pixels: Any, n: Any, kind: int, constants: Any, target: Any, plane: Any) -> None:
    if kind == F32_NCHW:
        _f32_planes(pixels, n, constants, target, plane)
    elif kind == F32_NHWC:
        _f32_packed(pixels, n, constants, target, plane)
    elif kind == F16_NCHW:
        _f16_planes(pixels, n, constants, target, plane)
    elif kind == F16_NHWC:
        _f16_packed(pixels, n, constants, target, plane)
    elif kind == U8_NCHW:
        _u8_planes(pixels, n, constants, target, plane)
    else:
        _u8_packed(pixels, n, constants, target, plane)


def normalised(b: Any, values: Any, constants: list[Any]) -> Any:
    """int32 0..255 -> ``(v / 255 - mean) / std`` in float32; constants as the rows of `normalise_constants`."""
    floats = vec(F32, BLOCK)
    v = b.sitofp(values, floats)
    high, low, mean, reciprocal, rest, std = constants
    if not HAS_FMA:
        return b.fdiv(b.fsub(b.fadd(b.fmul(v, high), b.fmul(v, low)), mean), std)  # v * high is exact

    def times(x: Any, high: Any, low: Any) -> Any:
        return call(b, f"llvm.fma.v{BLOCK}f32", floats, x, high, b.fmul(x, low))

    return times(b.fsub(times(v, high, low), mean), reciprocal, rest)


def channel_constants(b: Any, constants: Any, channel: int) -> list[Any]:
    """Those of one channel in every lane; `constants` is the address of `normalise_constants`."""
    return [splat(b, load(b, constants, F32, 192 * i + 4 * channel), BLOCK) for i in range(6)]


def _element(b: Any, values: Any, constants: list[Any], kind: Any) -> Any:
    """int32 0..255 -> elements of type `kind`."""
    if kind is I8:
        return b.trunc(values, vec(I8, BLOCK))
    floats = normalised(b, values, constants)
    return floats if kind is F32 else b.fptrunc(floats, vec(kind, BLOCK))


def _pixel_op(kind: Any, width: int, *, is_packed: bool) -> Any:
    """Packed pixels -> elements of `width` bytes."""

    def build(b: Any, pixels: Any, n: Any, constants: Any, out: Any, plane: Any) -> None:
        if is_packed:
            by_part = [
                [load(b, constants, vec(F32, BLOCK), 192 * i + 64 * part) for i in range(6)] for part in range(3)
            ]
        else:
            by_part = [channel_constants(b, constants, channel) for channel in range(3)]
        last = b.sub(n, const64(BLOCK))
        n_steps = b.udiv(b.add(n, const64(BLOCK - 1)), const64(BLOCK))
        with cgutils.for_range(b, n_steps) as loop:
            x = b.mul(loop.index, const64(BLOCK))
            x = b.select(b.icmp_unsigned(">", x, last), last, x)  # the last step does some pixels again
            source = b.add(pixels, b.mul(x, const64(3)))
            parts = [load(b, source, vec(I8, BLOCK), 16 * part) for part in range(3)]
            if not is_packed:
                lanes = shuffle(b, shuffle(b, parts[0], parts[1], range(32)), widened(b, parts[2]), range(48))
                parts = [shuffle(b, lanes, lanes, range(channel, 48, 3)) for channel in range(3)]
            for part, values in enumerate(parts):
                result = _element(b, b.zext(values, H32), by_part[part], kind)
                if is_packed:
                    store(b, result, b.add(out, b.mul(x, const64(3 * width))), 16 * width * part)
                else:
                    store(b, result, b.add(b.add(out, b.mul(plane, const64(part))), b.mul(x, const64(width))))

    return vector_op(5)(build)


def widened(b: Any, value: Any) -> Any:
    """Twice the lanes, to join a vector with a longer one."""
    return shuffle(b, value, value, [*range(value.type.count)] * 2)


_half = F16 if _HAS_HALF else I8  # never called without: see is_by_vectors
_f32_planes, _f32_packed = _pixel_op(F32, 4, is_packed=False), _pixel_op(F32, 4, is_packed=True)
_f16_planes, _f16_packed = _pixel_op(_half, 2, is_packed=False), _pixel_op(_half, 2, is_packed=True)
_u8_planes, _u8_packed = _pixel_op(I8, 1, is_packed=False), _pixel_op(I8, 1, is_packed=True)


@njit
def _probe(pixels: Any, constants: Any, out: Any) -> None:
    """The vectors' result for packed pixels, exact or not."""
    n = U64(pixels.shape[0] // 3)
    _f32_packed(U64(pixels.ctypes.data), n, U64(constants.ctypes.data), U64(out.ctypes.data), n)
