"""A copy and the execute that reads it, done in one pass: nobody can tell, but for the time."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from engine import pyacl_stubs
from kernels import fingerprint
from kernels.reference import fingerprint_logits
from tests.simulator.conftest import Start

ROW_BYTES = 3 * 8 * 8 * 4
N_CLASSES = 10
BATCH = 4


class Program:
    """One stream, a batch in page-locked memory, and a count of what was done in one pass."""

    def __init__(self, acl: Any, om: str, monkeypatch: pytest.MonkeyPatch) -> None:
        self.acl = acl
        self.n_bytes, self.out_bytes = BATCH * ROW_BYTES, BATCH * N_CLASSES * 4
        self.model = acl.mdl.load_from_file(om)[0]
        self.host = acl.rt.malloc_host(self.n_bytes)[0]
        self.back = acl.rt.malloc_host(self.n_bytes)[0]
        self.device, self.out = acl.rt.malloc(self.n_bytes, 0)[0], acl.rt.malloc(self.out_bytes, 0)[0]
        self.sets = []
        for address, n_bytes in ((self.device, self.n_bytes), (self.out, self.out_bytes)):
            self.sets.append(acl.mdl.create_dataset())
            acl.mdl.add_dataset_buffer(self.sets[-1], acl.create_data_buffer(address, n_bytes))
        self.stream = acl.rt.create_stream()[0]
        self.n_joined = 0
        bind = fingerprint.logits_of_copies

        def counted(rows: Any, out: Any) -> Callable[[int], None]:
            joined = bind(rows, out)
            assert joined is not None

            def run(source: int) -> None:
                self.n_joined += 1
                joined(source)

            return run

        monkeypatch.setattr(fingerprint, "logits_of_copies", counted)

    def queue(self, fill: int, n: int = BATCH) -> None:
        """A copy of `n` images and an execute."""
        ctypes.memset(self.host, fill, n * ROW_BYTES)
        assert self.acl.rt.memcpy_async(self.device, self.n_bytes, self.host, n * ROW_BYTES, 1, self.stream) == 0
        assert self.acl.mdl.execute_async(self.model, *self.sets, self.stream) == 0

    def read(self, address: int, n_bytes: int) -> np.ndarray:
        """Device memory, as the host gets it."""
        assert self.acl.rt.memcpy(self.back, n_bytes, address, n_bytes, 2) == 0
        return np.frombuffer(ctypes.string_at(self.back, n_bytes), np.uint8)

    def check(self, fills: list[int]) -> None:
        """The device holds images of these values, and their scores."""
        rows = np.repeat(np.array(fills, np.uint8)[:, None], ROW_BYTES, axis=1)
        expected = np.empty((BATCH, N_CLASSES), np.float32)
        fingerprint_logits(rows, expected)
        assert (self.read(self.device, self.n_bytes) == rows.reshape(-1)).all()
        assert (self.read(self.out, self.out_bytes) == expected.view(np.uint8).reshape(-1)).all()


@pytest.fixture
def program(start: Start, tiny_om: Callable[..., str], monkeypatch: pytest.MonkeyPatch) -> Callable[..., Program]:
    return lambda **settings: Program(start(**settings), tiny_om(BATCH), monkeypatch)


def test_memory_and_scores_are_those_of_a_copy_and_an_execute(program: Callable[..., Program]) -> None:
    with_join = program()
    for fill in (3, 4):
        with_join.queue(fill)
        assert with_join.acl.rt.synchronize_stream(with_join.stream) == 0
        with_join.check([fill] * BATCH)
    assert with_join.n_joined == 2
    assert pyacl_stubs.reports() == []


def test_a_copy_of_a_part_of_the_batch_is_done_by_itself(program: Callable[..., Program]) -> None:
    """The rows that it leaves are those of the batch before."""
    parts = program()
    parts.queue(3)
    assert parts.acl.rt.synchronize_stream(parts.stream) == 0
    parts.queue(4, n=1)
    assert parts.acl.rt.synchronize_stream(parts.stream) == 0
    parts.check([4, 3, 3, 3])
    assert parts.n_joined == 1


def test_who_waits_for_the_copy_alone_gets_the_copy_alone(program: Callable[..., Program]) -> None:
    """An event between the two: its bytes are there before the execute has run."""
    alone = program()
    ctypes.memset(alone.host, 5, alone.n_bytes)
    event = alone.acl.rt.create_event()[0]
    alone.acl.rt.memcpy_async(alone.device, alone.n_bytes, alone.host, alone.n_bytes, 1, alone.stream)
    alone.acl.rt.record_event(event, alone.stream)
    alone.acl.mdl.execute_async(alone.model, *alone.sets, alone.stream)
    assert alone.acl.rt.synchronize_event(event) == 0
    assert (alone.read(alone.device, alone.n_bytes) == 5).all()
    assert alone.acl.rt.synchronize_stream(alone.stream) == 0
    alone.check([5] * BATCH)
    assert alone.n_joined == 0


def test_a_copy_that_fails_is_told_and_the_execute_reads_what_was_there(program: Callable[..., Program]) -> None:
    """507013: its source was freed. As if each had been done by itself."""
    failing = program(strictness="documented")
    failing.queue(3)
    assert failing.acl.rt.synchronize_stream(failing.stream) == 0
    failing.queue(4)
    assert failing.acl.rt.free_host(failing.host) == 0
    assert failing.acl.rt.synchronize_stream(failing.stream) == 507013
    assert "acl.rt.memcpy_async: page-locked host memory" in failing.acl.get_recent_err_msg()
    failing.check([3] * BATCH)
    assert failing.n_joined == 1


def test_an_execute_that_fails_leaves_the_bytes_of_the_copy(program: Callable[..., Program]) -> None:
    failing = program(faults="acl.mdl.execute_async:1=507011@queue")
    failing.queue(6)
    assert failing.acl.rt.synchronize_stream(failing.stream) == 507011
    assert (failing.read(failing.device, failing.n_bytes) == 6).all()


def test_a_source_that_was_changed_too_early_is_reported(program: Callable[..., Program]) -> None:
    changing = program()
    changing.queue(7)
    ctypes.memset(changing.host, 8, changing.n_bytes)
    assert changing.acl.rt.synchronize_stream(changing.stream) == 0
    assert "was changed between the call" in "\n".join(map(str, pyacl_stubs.reports()))
    changing.check([8] * BATCH)
