"""The proof model: logits that depend on every byte of the input, and on its place.

A word falls in lane ``i % 32`` and each lane is a Horner sum ``h = (h ^ (h >> 29)) * P + w`` with odd P. Shift-xor and
multiplication by an odd number are bijections modulo 2**64, so a change of a single word changes its lane for certain,
and the lanes are joined the same way. (Without the shift, the sign bits of two floats of one lane cancel.)
32 lanes are four AVX-512 registers: enough to hide the latency of the 64-bit multiplication.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import numpy as np
import numpy.typing as npt
from numba.core import cgutils

from kernels.jit import inner, njit
from kernels.reference import LANES, MULTIPLIER
from kernels.simd import I64, U64, const, const64, fence, load, prefetch, store, stream, vec, vector_op

F32 = npt.NDArray[np.float32]
U8 = npt.NDArray[np.uint8]
Words = npt.NDArray[np.uint64]

alloca: Any = cgutils.alloca_once  # untyped
_P = np.uint64(MULTIPLIER)
_MIX_1, _MIX_2 = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)
_S27, _S29, _S30, _S31, _S32 = np.uint64(27), np.uint64(29), np.uint64(30), np.uint64(31), np.uint64(32)

#: Logits are the integers C .. 1, and 2048 is the last below which float16 holds every integer.
MAX_CLASSES = 2048


def fingerprint_hash(words: Words) -> np.uint64:
    """A 64-bit hash of (n,) uint64 that depends on every byte, its place and n. Oracle: kernels.reference."""
    return cast(np.uint64, np.uint64(_hash(words, np.zeros(LANES, np.uint64))))


def fingerprint_logits(rows: U8, out: F32) -> None:
    """Write the proof model's logits of each row.

    rows : (N, n_bytes) uint8, C-contiguous, one input tensor each
    out  : (N, C) float32, overwritten, C <= 2048: class ``(top + r * step) % C`` gets ``C - r``, where the row's hash
           gives `top` and `step` (coprime to C); distinct integers, exact in float16 too

    Oracle: kernels.reference.fingerprint_logits.
    """
    _check_logits(rows, out)
    _logits(_as_words(rows), np.zeros(LANES, np.uint64), out)


def logits_of_copies(rows: U8, out: F32) -> Callable[[int], None] | None:
    """A function that copies input tensors from an address into `rows` and writes their logits, in one pass.

    As a copy followed by `fingerprint_logits`, at half of the memory traffic of the two. Whoever calls it has
    ``rows.nbytes`` bytes at that address, which do not overlap `rows`. None where the rows are not whole blocks of 256
    bytes at an alignment of 64: memory is written past the caches.
    """
    _check_logits(rows, out)
    if rows.shape[1] % (8 * LANES) != 0 or rows.ctypes.data % 64 != 0:
        return None
    words = rows.view(np.uint64)
    return lambda source: _copied_logits(source, words, np.zeros(LANES, np.uint64), out)


def _check_logits(rows: U8, out: F32) -> None:
    if len(rows) != len(out) or not 1 <= out.shape[1] <= MAX_CLASSES:
        raise ValueError(f"fingerprint_logits needs as many rows in out, of 1 to {MAX_CLASSES} classes: {out.shape}")


def _as_words(rows: U8) -> Words:
    """A view as words; a copy filled with zeros where the rows do not divide (a 299 x 299 float32 input does not)."""
    n_bytes = rows.shape[1]
    if n_bytes % 8 == 0 and rows.ctypes.data % 8 == 0:
        return rows.view(np.uint64)
    padded = np.zeros((len(rows), -(-n_bytes // 8) * 8), np.uint8)
    padded[:, :n_bytes] = rows
    return padded.view(np.uint64)


@vector_op(3)
def _whole_blocks(b: Any, words: Any, n_blocks: Any, lanes: Any) -> None:
    """Fold `n_blocks` blocks of 32 words into the 32 lanes, which stay in registers."""
    _fold(b, words, n_blocks, lanes, None)


@vector_op(4)
def _copied_blocks(b: Any, words: Any, n_blocks: Any, lanes: Any, to: Any) -> None:
    """The same, and write the words to `to`, aligned to 64 bytes."""
    _fold(b, words, n_blocks, lanes, to)
    fence(b)


def _fold(b: Any, words: Any, n_blocks: Any, lanes: Any, to: Any) -> None:
    kind = vec(I64, 8)
    slots = [alloca(b, kind) for _ in range(LANES // 8)]
    for i, slot in enumerate(slots):
        b.store(load(b, lanes, kind, 64 * i), slot)
    multiplier, shift = const(MULTIPLIER, 8, I64), const(29, 8, I64)
    with cgutils.for_range(b, n_blocks) as loop:
        offset = b.mul(loop.index, const64(8 * LANES))
        block = b.add(words, offset)
        for i, slot in enumerate(slots):
            prefetch(b, block, 64 * i)
            read = load(b, block, kind, 64 * i)
            if to is not None:
                stream(b, read, b.add(to, offset), 64 * i)
            h = b.load(slot)
            h = b.mul(b.xor(h, b.lshr(h, shift)), multiplier)
            b.store(b.add(h, read), slot)
    for i, slot in enumerate(slots):
        store(b, b.load(slot), lanes, 64 * i)


@inner
def _mix(value: Any) -> Any:
    value = (value ^ (value >> _S30)) * _MIX_1
    value = (value ^ (value >> _S27)) * _MIX_2
    return value ^ (value >> _S31)


@njit
def _hash(words: Words, lanes: Words) -> Any:
    lanes[:] = 0
    n_words = words.shape[0]
    n_whole = n_words // LANES * LANES
    _whole_blocks(U64(words.ctypes.data), U64(n_whole // LANES), U64(lanes.ctypes.data))
    for lane in range(n_words - n_whole):
        lanes[lane] = (lanes[lane] ^ (lanes[lane] >> _S29)) * _P + words[n_whole + lane]
    return _joined(lanes, n_words)


@inner
def _joined(lanes: Words, n_words: int) -> Any:
    """The hash of `n_words` words that were folded into the lanes."""
    value = np.uint64(8 * n_words)
    for lane in range(LANES):
        value = value * _P + _mix(lanes[lane])
    return _mix(value)


@inner
def _gcd(a: int, b: int) -> int:
    while b > 0:
        a, b = b, a % b
    return a


@njit
def _logits(rows: Words, lanes: Words, out: F32) -> None:
    for i in range(rows.shape[0]):
        _write_logits(_hash(rows[i], lanes), out[i])


@njit
def _copied_logits(source: Any, rows: Words, lanes: Words, out: F32) -> None:
    n_words = rows.shape[1]
    for i in range(rows.shape[0]):
        lanes[:] = 0
        row = U64(source) + U64(8 * n_words) * U64(i)
        _copied_blocks(row, U64(n_words // LANES), U64(lanes.ctypes.data), U64(rows[i].ctypes.data))
        _write_logits(_joined(lanes, n_words), out[i])


@inner
def _write_logits(value: Any, out: F32) -> None:
    """One row of logits, from its hash."""
    n_classes = out.shape[0]
    class_id = np.int64(value % np.uint64(n_classes))
    step = 1 + np.int64((value >> _S32) % np.uint64(max(n_classes - 1, 1)))
    while _gcd(step, n_classes) != 1:
        step += 1
    step %= n_classes
    for r in range(n_classes):
        out[class_id] = np.float32(n_classes - r)
        class_id += step
        if class_id >= n_classes:
            class_id -= n_classes
