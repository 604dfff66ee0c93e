"""The bit reader: up to 64 bits of the scan at the top of a register, refilled without a branch.

State, kept in registers by the caller: `bits`, left aligned; `n_bits`, of which the low 6 bits are how many are valid;
`place`, the address of the next byte to load. A refill ORs eight bytes below the valid bits and advances by the whole
bytes among them, so at least 56 bits are valid then. A symbol takes at most 27 of them (a code of 16 and a DC value
of 11 bits; what a table entry drops is less), so 29 remain: enough to look the next symbol up *before* the next refill,
which then happens while the processor waits for the table. So a symbol waits for a shift, a load and a shift only.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from kernels.jit import inlined
from kernels.simd import U64, load_u64_be

_U1, _U3, _U7, _U49, _U56, _U63 = (U64(k) for k in (1, 3, 7, 49, 56, 63))


@inlined
def refill(bits: Any, n_bits: Any, place: Any) -> Any:
    """(bits, n_bits, place) with at least 56 valid bits. Reads 8 bytes at `place`."""
    bits |= load_u64_be(place) >> (n_bits & _U63)
    place += (~n_bits >> _U3) & _U7
    return bits, (n_bits & _U7) | _U56, place


@inlined
def is_beyond(n_bits: Any, place: Any, end: Any) -> bool:
    """Has a byte at or behind `end` been used?"""
    return bool(place - ((n_bits & _U63) >> _U3) > end)


@inlined
def extend(bits: Any, before: Any, size: Any, sign_shift: Any) -> Any:
    """The signed value in the `size` bits (0..15) that follow `before` bits (T.81 F.2.2.1, EXTEND)."""
    return extend_complement(bits, before, U64(15) - size, sign_shift)


@inlined
def extend_complement(bits: Any, before: Any, missing: Any, sign_shift: Any) -> Any:
    """As `extend`, with 15 - size: one shift less on the longest chain of the decoder.

    sign_shift : 63, from memory: LLVM turns a shift by a constant 63 into a comparison and three more instructions.
    """
    signed = np.int64(bits << before)
    invert = ~(signed >> np.int64(sign_shift))  # a leading 0 means negative: complement, take the bits, and back
    magnitude = np.int64((U64(signed ^ invert) >> _U49) >> missing)
    return U64((magnitude ^ invert) - invert)
