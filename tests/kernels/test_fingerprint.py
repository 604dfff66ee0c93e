"""The proof model sees every byte and its place."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kernels import reference
from kernels.fingerprint import fingerprint_hash, fingerprint_logits, logits_of_copies

_rng = np.random.default_rng(5)


@settings(max_examples=60, deadline=None)
@given(n_words=st.integers(0, 300), seed=st.integers(0, 2**32))
def test_the_hash_is_that_of_the_twin(n_words: int, seed: int) -> None:
    words = np.random.default_rng(seed).integers(0, 2**64, n_words, dtype=np.uint64)
    assert fingerprint_hash(words) == reference.fingerprint_hash(words)


@pytest.mark.parametrize("n_words", [1, 31, 32, 33, 600])
def test_any_flipped_bit_changes_the_hash(n_words: int) -> None:
    data = _rng.integers(0, 256, 8 * n_words, dtype=np.uint8)
    seen = {int(fingerprint_hash(data.view(np.uint64)))}
    for byte in range(len(data)):
        data[byte] ^= 1 << byte % 8
        seen.add(int(fingerprint_hash(data.view(np.uint64))))
        data[byte] ^= 1 << byte % 8
    assert len(seen) == len(data) + 1


def test_places_and_length_change_the_hash() -> None:
    words = _rng.integers(0, 2**64, 200, dtype=np.uint64)
    swapped = words.copy()
    swapped[[3, 35]] = swapped[[35, 3]]  # two words of one lane
    moved = np.roll(words, 1)
    longer = np.append(words, np.uint64(0))
    assert len({int(fingerprint_hash(w)) for w in (words, swapped, moved, longer, words[:-1])}) == 5


@pytest.mark.parametrize("n_classes", [1, 2, 7, 1000, 1001, 2048])
@pytest.mark.parametrize("n_bytes", [64, 1028])
def test_the_logits_are_a_permutation_of_integers_and_those_of_the_twin(n_classes: int, n_bytes: int) -> None:
    """1,028 bytes: not whole words, as a 299 x 299 float32 input."""
    rows = _rng.integers(0, 256, (5, n_bytes), dtype=np.uint8)
    got, expected = np.zeros((5, n_classes), np.float32), np.zeros((5, n_classes), np.float32)
    fingerprint_logits(rows, got)
    reference.fingerprint_logits(rows, expected)
    assert np.array_equal(got, expected)
    assert np.array_equal(np.sort(got, axis=1), np.tile(np.arange(1, n_classes + 1, dtype=np.float32), (5, 1)))
    assert np.array_equal(got.astype(np.float16).astype(np.float32), got)


def test_too_many_classes_are_a_value_error() -> None:
    with pytest.raises(ValueError, match="2048"):
        fingerprint_logits(np.zeros((1, 8), np.uint8), np.zeros((1, 2049), np.float32))


def _aligned(n_bytes: int, offset: int = 0) -> np.ndarray:
    """Bytes that begin `offset` behind a cache line, among others."""
    room = np.full(n_bytes + 128, 77, np.uint8)
    return room[-room.ctypes.data % 64 + offset :][:n_bytes]


@pytest.mark.parametrize("source_offset", [0, 8, 13])
@pytest.mark.parametrize(("n", "n_bytes"), [(1, 256), (3, 768), (2, 8192)])
def test_copying_and_hashing_at_once_gives_the_bytes_and_the_logits(n: int, n_bytes: int, source_offset: int) -> None:
    source = _aligned(n * n_bytes, source_offset)
    source[:] = _rng.integers(0, 256, n * n_bytes, dtype=np.uint8)
    room = _aligned(n * n_bytes + 64)
    rows = room[: n * n_bytes].reshape(n, n_bytes)
    got, expected = np.zeros((n, 10), np.float32), np.zeros((n, 10), np.float32)
    copy = logits_of_copies(rows, got)
    assert copy is not None
    copy(source.ctypes.data)
    reference.fingerprint_logits(source.reshape(n, n_bytes), expected)
    assert np.array_equal(rows.reshape(-1), source)
    assert np.array_equal(got, expected)
    assert (room[n * n_bytes :] == 77).all()


@pytest.mark.parametrize(("n_bytes", "offset"), [(256, 8), (320, 0)])
def test_rows_that_cannot_be_written_past_the_caches_are_none(n_bytes: int, offset: int) -> None:
    assert logits_of_copies(_aligned(n_bytes, offset).reshape(1, n_bytes), np.zeros((1, 8), np.float32)) is None
