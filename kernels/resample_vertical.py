"""The vertical pass with vectors: a row of the crop from row pairs in a ring, 16 pixels a step."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from numba.core import cgutils

from kernels.normalise import channel_constants, normalised, widened
from kernels.resample_horizontal import total
from kernels.resample_plan import BLOCK
from kernels.simd import (
    H32,
    I8,
    I32,
    V16,
    const,
    const64,
    fence,
    load,
    shuffle,
    splat,
    store,
    stream,
    vec,
    vector_op,
)
from kernels.simd16 import accumulate_pairs

alloca: Any = cgutils.alloca_once  # untyped in numba


class _Rows:
    """Code for the row pairs of one output row. n_pairs 0: any number of them, in a loop."""

    def __init__(self, b: Any, ring: Any, first: Any, count: Any, mask: Any, slot_bytes: Any, weights: Any) -> None:
        self.b, self.ring, self.first, self.count, self.mask = b, ring, first, count, mask
        self.slot_bytes, self.weights = slot_bytes, weights

    def operands(self, pair: Any) -> tuple[Any, tuple[Any, Any]]:
        """Address of a row pair, and both digits of its weights."""
        b = self.b
        address = b.add(self.ring, b.mul(b.and_(b.add(self.first, pair), self.mask), self.slot_bytes))
        return address, (self._weight(pair), self._weight(b.add(self.count, pair)))

    def _weight(self, index: Any) -> Any:
        b = self.b
        return b.bitcast(splat(b, load(b, b.add(self.weights, b.mul(index, const64(4))), I32), BLOCK), V16)

    def values(self, place: Any, fixed: list[Any]) -> Any:
        """Pixel values 0..255 of 16 dwords at `place` bytes of each pair. fixed: all pairs' operands, or a loop."""
        b = self.b

        def add_pair(pair: tuple[Any, tuple[Any, Any]], sums: list[Any]) -> list[Any]:
            rows = load(b, b.add(pair[0], place), V16)
            return [accumulate_pairs(b, s, rows, d) for s, d in zip(sums, pair[1], strict=True)]

        sums = [const(0, BLOCK), const(0, BLOCK)]
        for pair in fixed:
            sums = add_pair(pair, sums)
        if fixed:
            return total(b, *sums)
        slots = [alloca(b, H32) for _ in range(2)]
        for slot in slots:
            b.store(const(0, BLOCK), slot)
        with cgutils.for_range(b, self.count) as loop:
            totals = add_pair(self.operands(loop.index), [b.load(s) for s in slots])
            for slot, value in zip(slots, totals, strict=True):
                b.store(value, slot)
        return total(b, *(b.load(slot) for slot in slots))


def _steps(b: Any, n: Any) -> Iterator[Any]:
    """Loop over 16 pixels at a time, `n` in all; yields the first pixel of the step."""
    last = b.sub(n, const64(BLOCK))
    n_steps = b.udiv(b.add(n, const64(BLOCK - 1)), const64(BLOCK))
    with cgutils.for_range(b, n_steps) as loop:
        x = b.mul(loop.index, const64(BLOCK))
        yield b.select(b.icmp_unsigned(">", x, last), last, x)


def _write(b: Any, value: Any, address: Any, is_aligned: Any) -> None:
    """Past the caches where each vector of the row is a cache line: nobody reads a tensor on this core soon."""
    with b.if_else(is_aligned) as (aligned, other):
        with aligned:
            stream(b, value, address)
        with other:
            store(b, value, address)


def _normalised_plane(n_pairs: int) -> Any:
    def build(
        b: Any, ring: Any, first: Any, count: Any, mask: Any, slot_bytes: Any, weights: Any, norm: Any, out: Any, n: Any
    ) -> None:
        """One row of one plane, normalised; `norm` is the address of the channel's constants."""
        constants = channel_constants(b, norm, 0)
        rows = _Rows(b, ring, first, count, mask, slot_bytes, weights)
        fixed = [rows.operands(const64(pair)) for pair in range(n_pairs)]  # LLVM cannot lift them over the stores
        is_aligned = b.icmp_unsigned("==", b.and_(b.or_(out, b.mul(n, const64(4))), const64(63)), const64(0))
        for x in _steps(b, n):
            place = b.mul(x, const64(4))
            _write(b, normalised(b, rows.values(place, fixed), constants), b.add(out, place), is_aligned)

    return vector_op(9)(build)


def _packed_pixels(n_pairs: int) -> Any:
    def build(
        b: Any, ring: Any, first: Any, count: Any, mask: Any, slot_bytes: Any, weights: Any, out: Any, n: Any
    ) -> None:
        """One row of all three planes -> packed pixels, uint8."""
        rows = _Rows(b, ring, first, count, mask, slot_bytes, weights)
        fixed = [rows.operands(const64(pair)) for pair in range(n_pairs)]
        plane = b.mul(n, const64(4))
        for x in _steps(b, n):
            place = b.mul(x, const64(4))
            planes = []
            for _ in range(3):
                planes.append(b.trunc(rows.values(place, fixed), vec(I8, BLOCK)))
                place = b.add(place, plane)
            red_green = shuffle(b, planes[0], planes[1], range(2 * BLOCK))
            lanes = [i % 3 * BLOCK + i // 3 for i in range(3 * BLOCK)]
            target = b.add(out, b.mul(x, const64(3)))
            for part in range(3):
                picked = lanes[BLOCK * part : BLOCK * (part + 1)]
                store(b, shuffle(b, red_green, widened(b, planes[2]), picked), target, BLOCK * part)

    return vector_op(8)(build)


normalised_1, normalised_2, normalised_3, normalised_any = (_normalised_plane(n) for n in (1, 2, 3, 0))
packed_2, packed_any = (_packed_pixels(n) for n in (2, 0))

#: After the last row: what went past the caches is seen by whoever is told of it.
rows_written = vector_op(0)(fence)
