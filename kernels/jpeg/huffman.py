"""Lookup tables of a Huffman code, built for each image: nearly every ImageNet file has its own optimised codes.

AC, for each 11 bits, **up to two symbols**, whose codes and the first one's value lie in those bits. Each field is a
byte, because a load is cheaper than a shift and a mask; what the next symbol waits for lies apart, and so stays in L1:

    2048 x  bits to drop; 0: the code is longer, take the slow path
            advance of both symbols; end of block advances by 96, which no other sum can reach
    2048 x  bits before the last symbol's value
            15 - size of the last symbol's value
            value of the first symbol, signed
            advance of the first symbol

The last symbol's value is not in the table: its bits are the next ones, and arithmetic makes the value. With a single
symbol the "first" one is stored over by the last.
DC, one uint32 for each 10 bits: 0-5 length of code and value, 8-13 length of the code, 16- size; 0: longer.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir

from kernels.jit import inner
from kernels.jpeg.frame import CORRUPT, N_TABLES, OK, TABLE_BYTES
from kernels.simd import I16, I32, U64, const, const64, gather32, load, splat, store, vec, vector_op

#: 11 bits: 8 KB a table, four of them in L1; 10 and 12 bits were no faster.
AC_BITS = 11
DC_BITS = 10
#: Where the second part of an AC table begins, and bytes of the whole.
AC_VALUES = 2 << AC_BITS
AC_BYTES = 6 << AC_BITS
END_OF_BLOCK = 96
#: Larger DC sizes do not occur in 8-bit files.
MAX_DC_SIZE = 11
#: Values of so many bits fit the signed byte of a first symbol.
_MAX_FIRST_SIZE = 7
_LANES = 16


@inner
def build_tables(codes: Any, has_code: Any, built: Any, canonical: Any, dc: Any, single: Any, ac: Any) -> int:
    """Build the tables of all codes present, except those that are still there from the last image.

    codes : (8, 272) uint8     built : (8, 273) uint8, the codes that the tables are of, and 1 when valid
    canonical : (2, 8, 17) int64, limits and offsets     dc : (4, 1024) uint32     ac : address of (4, AC_BYTES) bytes
    single : (2048,) int32, scratch
    """
    limits, offsets = canonical[0], canonical[1]
    for table in range(N_TABLES):
        if has_code[table] == 0 or _is_built(codes, built, table):
            continue
        built[table, TABLE_BYTES] = 0
        n_symbols = _canonical(codes, table, limits, offsets)
        if n_symbols < 0:
            return CORRUPT
        if table < 4:
            if not _fill_dc(codes, table, n_symbols, dc):
                return CORRUPT
        else:
            _fill_single(codes, table, single)
            _fill_pairs(single, ac + (table - 4) * AC_BYTES)
        for j in range(TABLE_BYTES):
            built[table, j] = codes[table, j]
        built[table, TABLE_BYTES] = 1
    return OK


@inner
def _is_built(codes: Any, built: Any, table: int) -> bool:
    different = built[table, TABLE_BYTES] ^ 1
    for j in range(TABLE_BYTES):
        different |= built[table, j] ^ codes[table, j]
    return bool(different == 0)


@inner
def _canonical(codes: Any, table: int, limits: Any, offsets: Any) -> int:
    """First code beyond each length, left aligned to 16 bits, and symbol index minus code (T.81 F.2.2.3).

    Returns the number of symbols, or -1 where the lengths are more than a prefix code can have.
    """
    code = 0
    n_symbols = 0
    for length in range(1, 17):
        offsets[table, length] = n_symbols - code
        n_symbols += np.int64(codes[table, length - 1])
        code += np.int64(codes[table, length - 1])
        if code > 1 << length:
            return -1
        limits[table, length] = code << (16 - length)
        code <<= 1
    return n_symbols


@inner
def _fill_dc(codes: Any, table: int, n_symbols: int, dc: Any) -> bool:
    for j in range(n_symbols):
        if codes[table, 16 + j] > MAX_DC_SIZE:
            return False
    at = 0  # at most 1 << DC_BITS: the lengths are a prefix code
    symbol = 16
    for length in range(1, DC_BITS + 1):
        for _ in range(np.int64(codes[table, length - 1])):
            size = np.int64(codes[table, symbol])
            dc[table, at : at + (1 << (DC_BITS - length))] = (length + size) | (length << 8) | (size << 16)
            symbol += 1
            at += 1 << (DC_BITS - length)
    dc[table, at:] = 0
    return True


@inner
def _fill_single(codes: Any, table: int, single: Any) -> None:
    """One symbol for each 11 bits: 0-4 length of the code (0: longer), 8-11 size, 16-23 advance."""
    at = 0
    index = 16
    for length in range(1, AC_BITS + 1):
        span = 1 << (AC_BITS - length)
        for _ in range(np.int64(codes[table, length - 1])):
            symbol = np.int64(codes[table, index])
            size = symbol & 15
            advance = END_OF_BLOCK if size == 0 and symbol != 0xF0 else (symbol >> 4) + 1
            single[at : at + span] = length | (size << 8) | (advance << 16)
            index += 1
            at += span
    single[at:] = 0


@inner
def _fill_pairs(single: Any, table: int) -> None:
    """Join each entry with the one that follows it where both fit in the 11 bits."""
    steps, values = U64(table), U64(table + AC_VALUES)
    for i in range(0, 1 << AC_BITS, _LANES):
        _pairs(U64(single.ctypes.data), U64(i), steps + U64(2 * i), values + U64(4 * i))


@vector_op(4)
def _pairs(b: Any, single: Any, first_index: Any, steps: Any, values: Any) -> None:
    """16 entries of a table, without a branch."""

    def k(value: int) -> Any:
        return const(value, _LANES)

    def field(word: Any, shift: int, mask: int) -> Any:
        return b.and_(b.lshr(word, k(shift)), k(mask))

    lanes = ir.Constant(vec(I32, _LANES), list(range(_LANES)))
    index = b.add(splat(b, b.trunc(first_index, I32), _LANES), lanes)
    entry = load(b, b.add(single, b.mul(first_index, const64(4))), vec(I32, _LANES))
    length, size, advance = field(entry, 0, 31), field(entry, 8, 15), field(entry, 16, 255)
    used = b.add(length, size)
    unused = b.sub(k(AC_BITS), used)
    unused = b.select(b.icmp_signed("<", unused, k(0)), k(0), unused)
    span = b.shl(k(1), size)
    largest = b.sub(span, k(1))
    raw = b.and_(b.lshr(index, unused), largest)
    is_negative = b.icmp_signed("<", raw, b.lshr(span, k(1)))
    value = b.sub(raw, b.select(is_negative, largest, k(0)))  # T.81 EXTEND
    follower = gather32(b, single, b.and_(b.shl(index, used), k((1 << AC_BITS) - 1)))
    length2, size2 = field(follower, 0, 31), field(follower, 8, 15)
    is_code = b.icmp_signed(">", length, k(0))
    is_pair = b.icmp_signed(">", length2, k(0))
    for condition in (
        is_code,
        b.icmp_signed("<", advance, k(END_OF_BLOCK)),
        b.icmp_signed("<=", size, k(_MAX_FIRST_SIZE)),
        b.icmp_signed("<=", b.add(used, length2), k(AC_BITS)),
    ):
        is_pair = b.and_(is_pair, condition)

    def of_pair(amount: Any) -> Any:
        return b.select(is_pair, amount, k(0))

    drop = b.add(used, of_pair(b.add(length2, size2)))
    total = b.add(advance, of_pair(field(follower, 16, 255)))
    before = b.add(length, of_pair(b.add(size, length2)))
    last = b.select(is_pair, size2, size)
    step = b.select(is_code, b.or_(drop, b.shl(total, k(8))), k(END_OF_BLOCK << 8))
    first = b.select(is_code, advance, k(END_OF_BLOCK))
    word = b.or_(before, b.shl(b.sub(k(15), last), k(8)))
    word = b.or_(word, b.or_(b.shl(b.and_(value, k(255)), k(16)), b.shl(first, k(24))))
    store(b, b.trunc(step, vec(I16, _LANES)), steps)
    store(b, word, values)
