"""Copies of more than the caches hold: past them, so that what is in them stays.

A copy that goes through the caches reads the target's memory before it writes it, and throws out what the code on this
core, and on others that share a cache, worked with. Here the target is written without either.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from numba.core import cgutils

from kernels.jit import njit
from kernels.simd import I64, U64, const64, fence, load, prefetch, stream, vec, vector_op

U8 = npt.NDArray[np.uint8]

#: Bytes of one step of the loop: four registers of 64.
BLOCK_BYTES = 256
#: Alignment of what is written past the caches: whole cache lines.
LINE_BYTES = 64


def stream_copy(source: U8, out: U8) -> None:
    """Copy (n_bytes,) into (n_bytes,), both C-contiguous.

    `out` is best aligned to 64 bytes and whole blocks of 256; anything else is copied as NumPy does.
    """
    if len(source) != len(out):
        raise ValueError(f"stream_copy needs as many bytes in out as in source, got {len(out)} and {len(source)}")
    if not _copy(source, out):
        out[:] = source


@vector_op(3)
def _copy_blocks(b: Any, source: Any, n_blocks: Any, to: Any) -> None:
    kind = vec(I64, 8)
    with cgutils.for_range(b, n_blocks) as loop:
        offset = b.mul(loop.index, const64(BLOCK_BYTES))
        for at in range(0, BLOCK_BYTES, LINE_BYTES):
            prefetch(b, b.add(source, offset), at)
            stream(b, load(b, b.add(source, offset), kind, at), b.add(to, offset), at)
    fence(b)


@njit
def _copy(source: U8, out: U8) -> bool:
    """Copy, unless the target has another size or place than the loop can write."""
    n_bytes, to = U64(out.size), U64(out.ctypes.data)
    if n_bytes % U64(BLOCK_BYTES) != 0 or to % U64(LINE_BYTES) != 0:
        return False
    # both have n_bytes, which are n_bytes / BLOCK_BYTES whole blocks
    _copy_blocks(U64(source.ctypes.data), n_bytes // U64(BLOCK_BYTES), to)
    return True
