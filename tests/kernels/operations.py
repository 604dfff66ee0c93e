"""Every operation of `kernels.simd16` on the same inputs, against NumPy: `python -m tests.kernels.operations`.

Vectors of 128, 256 and 512 bits must give the same bytes: what the operations do stays within 128 bits.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import numpy as np

from kernels import simd16
from kernels.isa import INSTRUCTION_SET
from kernels.jit import njit
from kernels.simd import I16, I32, U64, gather32, load, store, vec, vector_op

Array = np.ndarray[Any, Any]
_WIDTHS = (128, 256, 512)
_WEIGHTS, _FACTOR = (-25172, 12299), -22554


def _pairs(x: Array, y: Array) -> Array:
    products = x.astype(np.int64) * y
    return products[0::2] + products[1::2]


def _saturated(x: Array, y: Array, kind: type, per: int) -> Array:
    both = np.concatenate([x.reshape(4, per), y.reshape(4, per)], 1).reshape(-1)
    return np.clip(both, np.iinfo(kind).min, np.iinfo(kind).max)


def _interleaved(x: Array, y: Array, half: int) -> Array:
    groups = [v.reshape(4, 8)[:, 4 * half : 4 * half + 4] for v in (x, y)]
    return np.stack(groups, 2).reshape(-1)


#: name -> lanes of the inputs, the operation, and what NumPy makes of 64 bytes, and of which type.
OPERATIONS: dict[str, tuple[Any, Callable[..., Any], Callable[[Array, Array], Array], type]] = {
    "multiply_add_pairs": (I16, simd16.multiply_add_pairs, _pairs, np.int32),
    "accumulate_pairs": (
        I16,
        lambda b, x, y: simd16.accumulate_pairs(b, b.bitcast(y, vec(I32, y.type.count // 2)), x, y),
        lambda x, y: y.view(np.int32) + _pairs(x, y),
        np.int32,
    ),
    **{
        f"plus_minus_pairs, {name}": (
            I16,
            lambda b, x, y, i=i: simd16.plus_minus_pairs(b, b.bitcast(y, vec(I32, y.type.count // 2)), x, _WEIGHTS)[i],
            lambda x, y, sign=sign: y.view(np.int32) + sign * _pairs(x, np.tile(np.array(_WEIGHTS), 16)),
            np.int32,
        )
        for i, (name, sign) in enumerate({"plus": 1, "minus": -1}.items())
    },
    "multiply_high": (
        I16,
        lambda b, x, _y: simd16.multiply_high(b, x, _FACTOR),
        lambda x, _y: x.astype(np.int32) * _FACTOR >> 16,
        np.int16,
    ),
    "pack_int16": (I32, simd16.pack_int16, lambda x, y: _saturated(x, y, np.int16, 4), np.int16),
    "pack_uint8": (I16, simd16.pack_uint8, lambda x, y: _saturated(x, y, np.uint8, 8), np.uint8),
    **{
        f"unpack, high={high}": (
            I16,
            lambda b, x, y, high=high: simd16.unpack(b, x, y, high=high),
            lambda x, y, high=high: _interleaved(x, y, int(high)),
            np.int16,
        )
        for high in (False, True)
    },
}


@vector_op(3)
def _all_operations(b: Any, x: Any, y: Any, out: Any) -> None:
    """64 bytes of x and y -> 64 bytes for each width of each operation."""
    for i, (element, operation, _, _) in enumerate(OPERATIONS.values()):
        for j, bits in enumerate(_WIDTHS):
            for at in range(0, 64, bits // 8):
                lanes = vec(element, bits // element.width)
                result = operation(b, load(b, x, lanes, at), load(b, y, lanes, at))
                store(b, result, out, 64 * (len(_WIDTHS) * i + j) + at)


@vector_op(3)
def _gather(b: Any, table: Any, index: Any, out: Any) -> None:
    store(b, gather32(b, table, load(b, index, vec(I32, 16))), out)


@njit
def _run(x: Array, y: Array, out: Array) -> None:
    _all_operations(U64(x.ctypes.data), U64(y.ctypes.data), U64(out.ctypes.data))


@njit
def _run_gather(table: Array, index: Array, out: Array) -> None:
    _gather(U64(table.ctypes.data), U64(index.ctypes.data), U64(out.ctypes.data))


def _inputs() -> list[Array]:
    rng = np.random.default_rng(5)
    extremes = np.array([-32768, -32767, -256, -1, 0, 1, 127, 255, 256, 32767], np.int16)
    return [*(rng.choice(extremes, (2, 32)) for _ in range(40)), *rng.integers(-32768, 32768, (40, 2, 32), np.int16)]


def wrong_operations() -> set[str]:
    """The names of those that differ from NumPy on this process's instruction set."""
    wrong = set()
    got = np.zeros((len(OPERATIONS), len(_WIDTHS), 64), np.uint8)
    for x, y in (np.ascontiguousarray(pair) for pair in _inputs()):
        _run(x, y, got.reshape(-1))
        for i, (name, (element, _, expected, kind)) in enumerate(OPERATIONS.items()):
            lanes = np.int16 if element is I16 else np.int32
            wanted = expected(x.view(lanes), y.view(lanes)).astype(kind).tobytes()
            wrong |= {f"{name} ({bits} bits)" for j, bits in enumerate(_WIDTHS) if got[i, j].tobytes() != wanted}
    table, index = np.arange(1000, 1064, dtype=np.int32), np.arange(16, dtype=np.int32)[::-1] * 4
    picked = np.zeros(16, np.int32)
    _run_gather(table, index.copy(), picked)
    return wrong if np.array_equal(picked, table[index]) else wrong | {"gather32"}


if __name__ == "__main__":
    if differ := wrong_operations():
        sys.exit(f"{INSTRUCTION_SET}: {', '.join(sorted(differ))}")
    print(f"{INSTRUCTION_SET}: {len(OPERATIONS)} operations")
