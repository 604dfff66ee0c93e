"""Reference section 2: memory, copies, acl.util."""

from __future__ import annotations

import ctypes
import warnings

import numpy as np
import pytest

from tests.contract.conftest import DEVICE_TO_HOST, HOST_TO_DEVICE, Card


def pinned(card: Card, n_bytes: int) -> tuple[int, np.ndarray]:
    """Page-locked memory and an array over it."""
    address = card.ok(card.acl.rt.malloc_host(n_bytes))
    return address, np.frombuffer((ctypes.c_uint8 * n_bytes).from_address(address), np.uint8)


def test_a_round_trip_keeps_every_byte(card: Card) -> None:
    """Section 2, memcpy: host to device and back, pinned and pageable."""
    n = 100_000
    device = card.ok(card.acl.rt.malloc(n, 0))
    host, array = pinned(card, n)
    array[:] = np.random.default_rng(1).integers(0, 256, n)
    assert card.acl.rt.memcpy(device, n, host, n, HOST_TO_DEVICE) == 0
    back = np.zeros(n, np.uint8)
    assert card.acl.rt.memcpy(back.ctypes.data, n, device, n, DEVICE_TO_HOST) == 0
    assert (back == array).all()
    assert card.acl.rt.free(device) == 0
    assert card.acl.rt.free_host(host) == 0


def test_alignment_and_address_space(card: Card) -> None:
    """Section 2: device memory starts on 64 bytes, page-locked memory is usable by the host."""
    blocks = [card.ok(card.acl.rt.malloc(size, 2)) for size in (1, 33, 100)]
    assert all(block % 64 == 0 for block in blocks)
    host, array = pinned(card, 100)
    array[:] = 7
    assert host % 64 == 0
    for block in blocks:
        assert card.acl.rt.free(block) == 0
    assert card.acl.rt.free_host(host) == 0


def test_sizes_that_cannot_be(card: Card) -> None:
    """Section 2: size 0 is invalid, too much is 207001, peer-to-peer is not there."""
    assert card.acl.rt.malloc(0, 0) == (0, 100000)
    assert card.acl.rt.malloc(1 << 40, 0) == (0, 207001)
    assert card.acl.rt.malloc(64, 3)[1] != 0
    assert card.acl.rt.malloc(64, 9)[1] != 0
    assert card.acl.rt.malloc_host(0)[1] != 0


def test_copies_are_checked(card: Card) -> None:
    """Section 2: count <= dst_max, known kinds, host to host only synchronous."""
    device = card.ok(card.acl.rt.malloc(64, 0))
    host, _ = pinned(card, 64)
    other, _ = pinned(card, 64)
    assert card.acl.rt.memcpy(device, 32, host, 64, HOST_TO_DEVICE) in (100000, 107000)
    assert card.acl.rt.memcpy(device, 64, host, 64, 17) in (100000, 107000)
    assert card.acl.rt.memcpy(0, 64, host, 64, HOST_TO_DEVICE) in (100000, 107000)
    assert card.acl.rt.memcpy(other, 64, host, 64, 0) == 0
    assert card.acl.rt.memcpy_async(other, 64, host, 64, 0, 0) == 207000
    for address in (host, other):
        assert card.acl.rt.free_host(address) == 0
    assert card.acl.rt.free(device) == 0


def test_memset_and_device_to_device(card: Card) -> None:
    """Section 2: memset, memset_async, kind 3."""
    first, second = (card.ok(card.acl.rt.malloc(128, 0)) for _ in range(2))
    host, array = pinned(card, 128)
    assert card.acl.rt.memset(first, 128, 3, 128) == 0
    assert card.acl.rt.memset_async(first, 128, 9, 64, 0) == 0
    assert card.acl.rt.memcpy_async(second, 128, first, 128, 3, 0) == 0
    assert card.acl.rt.synchronize_stream(0) == 0
    assert card.acl.rt.memcpy(host, 128, second, 128, DEVICE_TO_HOST) == 0
    assert array.tolist() == [9] * 64 + [3] * 64
    assert card.acl.rt.free_host(host) == 0
    for address in (first, second):
        assert card.acl.rt.free(address) == 0


def test_the_other_allocators(card: Card) -> None:
    """Section 2: malloc_align32, malloc_cached with mem_flush and mem_invalidate."""
    aligned, cached = card.ok(card.acl.rt.malloc_align32(100, 0)), card.ok(card.acl.rt.malloc_cached(100, 0))
    assert card.acl.rt.mem_flush(cached, 100) == 0
    assert card.acl.rt.mem_invalidate(cached, 100) == 0
    for address in (aligned, cached):
        assert card.acl.rt.free(address) == 0


def test_memory_is_counted(card: Card) -> None:
    """Section 2, get_mem_info: (free, total, ret), DDR only."""
    free, total, ret = card.acl.rt.get_mem_info(0)
    assert ret == 0
    block = card.ok(card.acl.rt.malloc(1 << 20, 0))
    assert card.acl.rt.get_mem_info(0)[0] <= free - (1 << 20)
    assert card.acl.rt.free(block) == 0
    assert card.acl.rt.get_mem_info(0) == (free, total, 0)
    assert card.acl.rt.get_mem_info(1)[2] != 0


def test_bytes_and_pointers(card: Card) -> None:
    """Section 2, acl.util: bytes exactly; a copy back."""
    data = bytes(range(200))
    pointer = card.acl.util.bytes_to_ptr(data)
    assert card.acl.util.ptr_to_bytes(pointer, 200) == data
    for wrong in (bytearray(data), memoryview(data)):
        with pytest.raises(ValueError, match="bytes"):
            card.acl.util.bytes_to_ptr(wrong)


def test_arrays_and_pointers(card: Card) -> None:
    """Section 2, acl.util: deprecated, NumPy's own type numbers, a view of the memory."""
    array = np.arange(6, dtype=np.float32)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pointer = card.acl.util.numpy_to_ptr(array)
        view = card.acl.util.ptr_to_numpy(pointer, (2, 3), 11)
        address, kept = card.acl.util.numpy_contiguous_to_ptr(array.reshape(2, 3).T)
        again = card.acl.util.ptr_to_numpy(address, (3, 2), 11)
    assert view.tolist() == [[0, 1, 2], [3, 4, 5]]
    view[0, 0] = 9
    assert array[0] == 9
    assert (again == kept).all()
    with pytest.warns(Warning, match="numpy_to_ptr"):
        card.acl.util.numpy_to_ptr(array)
