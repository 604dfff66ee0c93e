"""Decimal text to doubles: bit for bit what `float` makes of each word, or not sure."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernels.decimal import NOT_SURE, parse_numbers

finite = st.floats(allow_nan=False, allow_infinity=False)
printed = st.builds(
    lambda value, form: form % value, finite, st.sampled_from(["%.6g", "%.9g", "%f", "%r", "%.17e", "%+d"])
)
blanks = st.sampled_from([" ", "  ", "\n", "\t", " \r\n"])


@pytest.fixture(scope="module", autouse=True)
def compiled() -> None:
    """Before hypothesis counts the time."""
    parse_numbers(b"1", np.zeros(1))


def parsed(text: str) -> list[float] | None:
    out = np.full(len(text) // 2 + 1, np.nan)
    n = parse_numbers(text.encode(), out)
    return None if n == NOT_SURE else out[:n].tolist()


@given(st.lists(st.tuples(printed, blanks), max_size=30))
def test_numbers_are_those_of_float_or_it_is_not_sure(words: list[tuple[str, str]]) -> None:
    text = "".join(word + blank for word, blank in words)
    found = parsed(text)
    if found is not None:
        expected = [float(word) for word, _ in words]
        assert np.array(found).tobytes() == np.array(expected).tobytes()


@given(st.lists(st.floats(-1e6, 1e6, width=32), min_size=1, max_size=200), st.sampled_from(["%.6g", "%.9g", "%f"]))
def test_it_is_sure_of_scores_as_tools_print_them(values: list[float], form: str) -> None:
    words = [form % value for value in values if value == 0 or abs(value) > 1e-6]
    found = parsed(" ".join(words) + " \n")
    assert found is not None
    assert np.array(found).tobytes() == np.array([float(word) for word in words]).tobytes()


@given(st.text("0123456789+-.eE xn\n", max_size=40))
def test_any_text_is_read_as_float_reads_it_or_left_to_others(text: str) -> None:
    found = parsed(text)
    if found is not None:
        assert found == [float(word) for word in text.split()]


@pytest.mark.parametrize(
    "text",
    ["nan", "inf", "1e", "1e+", "--1", "1.2.3", ".", "-", "1x", "0x10", "1e30", "1e-30", "9007199254740993", "1,2"],
)
def test_what_it_cannot_be_sure_of_is_said(text: str) -> None:
    assert parsed("1.5 " + text) is None


def test_more_numbers_than_fit_are_not_written() -> None:
    out = np.zeros(2)
    assert parse_numbers(b"1 2 3", out) == NOT_SURE
    assert parse_numbers(b"", out) == 0
    assert parse_numbers(b" \n ", out) == 0
