"""Decimal text to numbers, correctly rounded, without a string per number."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from kernels.jit import njit

F64 = npt.NDArray[np.float64]
U8 = npt.NDArray[np.uint8]

#: Powers of ten that are exact in double precision.
EXACT_POWERS = 22
#: Whole numbers below this are exact in double precision.
EXACT_WHOLE = 1 << 53
#: Digits whose value cannot overflow int64.
MOST_DIGITS = 18
NOT_SURE = -1
_POWERS = np.array([10.0**k for k in range(EXACT_POWERS + 1)])
_ZERO, _NINE, _PLUS, _MINUS, _POINT, _SMALL_E, _LARGE_E = 48, 57, 43, 45, 46, 101, 69


def parse_numbers(text: bytes, out: F64) -> int:
    """Write the numbers of a text to `out`; returns how many, or `NOT_SURE` if another parser must look at it.

    text : ASCII numbers such as -1.25 or 3e-5, between blanks or newlines        out : (n,) float64, overwritten

    A number of at most 18 digits whose whole value is below 2**53 and whose power of ten is within +-22 is one exact
    product or quotient of doubles, so it is rounded once, as ``float(text)`` rounds it (W. D. Clinger, How to read
    floating point numbers accurately, 1990). NOT_SURE for any other number, for what is none, and for more numbers
    than fit. Oracle: ``float`` of each word.
    """
    found: int = _parse(np.frombuffer(text, np.uint8), out, _POWERS)
    return found


@njit
def _parse(text: U8, out: F64, powers: F64) -> int:
    n_bytes, n, i = len(text), 0, 0
    while True:
        while i < n_bytes and (text[i] == 32 or (9 <= text[i] <= 13)):
            i += 1
        if i == n_bytes:
            return n
        if n == len(out):
            return NOT_SURE
        is_negative = text[i] == _MINUS
        if is_negative or text[i] == _PLUS:
            i += 1
        whole, n_digits, power, first = 0, 0, 0, i
        has_point = False
        while i < n_bytes:
            byte = np.int64(text[i])
            if _ZERO <= byte <= _NINE:
                whole = whole * 10 + (byte - _ZERO)
                n_digits += whole > 0
                power -= has_point
            elif byte == _POINT and not has_point:
                has_point = True
            else:
                break
            if n_digits > MOST_DIGITS:
                return NOT_SURE
            i += 1
        if i - first == has_point:  # no digit
            return NOT_SURE
        if i < n_bytes and (text[i] == _SMALL_E or text[i] == _LARGE_E):
            i += 1
            sign = 1
            if i < n_bytes and (text[i] == _MINUS or text[i] == _PLUS):
                sign = -1 if text[i] == _MINUS else 1
                i += 1
            exponent, first = 0, i
            while i < n_bytes and _ZERO <= text[i] <= _NINE and exponent < 10_000:
                exponent = exponent * 10 + (np.int64(text[i]) - _ZERO)
                i += 1
            if i == first:
                return NOT_SURE
            power += sign * exponent
        if i < n_bytes and text[i] != 32 and not (9 <= text[i] <= 13):
            return NOT_SURE
        if whole >= EXACT_WHOLE or power > EXACT_POWERS or power < -EXACT_POWERS:
            return NOT_SURE
        value = np.float64(whole)
        value = value * powers[power] if power >= 0 else value / powers[-power]
        out[n] = -value if is_negative else value
        n += 1
