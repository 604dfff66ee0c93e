"""Copies past the caches copy."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kernels.stream import stream_copy


@settings(max_examples=100, deadline=None)
@given(
    n_bytes=st.integers(0, 2000), source_offset=st.integers(0, 70), offset=st.integers(0, 70), seed=st.integers(0, 99)
)
def test_every_byte_is_copied_and_none_beside(n_bytes: int, source_offset: int, offset: int, seed: int) -> None:
    """Sizes that are whole blocks and others, at any alignment."""
    n_bytes = n_bytes // 256 * 256 if seed % 2 else n_bytes
    source = np.random.default_rng(seed).integers(0, 256, n_bytes + 80, dtype=np.uint8)[source_offset:][:n_bytes]
    room = np.full(n_bytes + 320, 77, np.uint8)
    start = -room.ctypes.data % 64 + (offset if seed % 3 else 0)
    stream_copy(source, room[start : start + n_bytes])
    assert np.array_equal(room[start : start + n_bytes], source)
    assert (room[:start] == 77).all()
    assert (room[start + n_bytes :] == 77).all()


def test_other_sizes_are_a_value_error() -> None:
    with pytest.raises(ValueError, match="as many bytes in out as in source, got 2 and 3"):
        stream_copy(np.zeros(3, np.uint8), np.zeros(2, np.uint8))
