"""Strict mode as a sanitizer: a correct program is silent, each mutation of it is reported by name."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from engine import pyacl_stubs
from engine.pyacl_stubs import acl as simulator
from engine.pyacl_stubs.codes import SimulatorFault
from kernels.fingerprint import fingerprint_logits
from tests.simulator.conftest import Start
from tests.simulator.pipeline import ROW_BYTES, Pipeline

#: What is done wrong, and words of the report that it must cause.
MUTATIONS = {
    "no wait for the copy in": "race: acl.mdl.execute",
    "no wait for the execute": "race: acl.rt.memcpy_async",
    "no wait for the end": "race: acl.rt.memcpy_async",
    "swapped datasets": "needs",
    "swapped source and target": "does not fit its target",
    "pageable staging": "is pageable",
    "fill again before the copy is done": "was changed between the call",
    "free before the execute is done": "is still in use",
    "one model on two streams": "two streams at once",
    "forgotten context": "belongs to",
    "model left loaded": "before its own release: model 1",
    "staging left allocated": "not released: page-locked host memory",
    "context before its streams": "before its own release",
    "used after free": "was freed by acl.rt.free at pipeline.py:",
}


def texts() -> str:
    """All reports, one a line."""
    return "\n".join(map(str, pyacl_stubs.reports()))


@pytest.mark.parametrize("clock", ["virtual", "real"])
def test_a_correct_program_is_silent_and_right(start: Start, tiny_om: Callable[..., str], clock: str) -> None:
    """No report, not even of leaks, and the results are those of the inputs."""
    pipeline = Pipeline(start(clock=clock), tiny_om())
    pipeline.run()
    assert texts() == ""
    for i, result in enumerate(pipeline.results):
        expected = np.empty((1, 10), np.float32)
        fingerprint_logits(np.full((1, ROW_BYTES), i + 1, np.uint8), expected)
        assert (result == expected).all()


@pytest.mark.parametrize("wrong", MUTATIONS)
def test_a_mutation_is_caught(start: Start, tiny_om: Callable[..., str], wrong: str) -> None:
    """The report names the call, the object and the place."""
    Pipeline(start(), tiny_om(), wrong).run()
    assert MUTATIONS[wrong] in texts()
    assert "pipeline.py:" in texts()


def test_a_report_says_where_the_object_was_created(start: Start) -> None:
    """A destroyed stream is named with its birth and its end."""
    acl = start()
    stream = acl.rt.create_stream()[0]
    acl.rt.destroy_stream(stream)
    assert acl.rt.synchronize_stream(stream) == 107017
    text = pyacl_stubs.reports()[-1].text
    assert text.count("test_strict.py:") == 2
    assert "created at" in text


def test_the_host_cannot_follow_device_pointers(start: Start) -> None:
    """On a card the process would crash; here acl.util says why."""
    acl = start()
    block = acl.rt.malloc(64, 0)[0]
    with pytest.raises(SimulatorFault, match="is device memory"):
        acl.util.ptr_to_bytes(block, 64)


def test_a_late_write_to_freed_host_memory_is_found(start: Start) -> None:
    """Freed memory stays in quarantine, marked."""
    import ctypes

    acl = start()
    address = acl.rt.malloc_host(4096)[0]
    acl.rt.free_host(address)
    ctypes.memset(address, 1, 16)
    big = acl.rt.malloc_host(80 << 20)[0]
    acl.rt.free_host(big)
    assert "was written to after it was freed" in texts()


def test_fresh_memory_is_not_zero(start: Start) -> None:
    """The content of malloc is not initialised, and strict mode shows it."""
    acl = start()
    block, host = acl.rt.malloc(64, 0)[0], acl.rt.malloc_host(64)[0]
    assert acl.rt.memcpy(host, 64, block, 64, 2) == 0
    assert acl.util.ptr_to_bytes(host, 64) == b"\xa5" * 64


@pytest.mark.parametrize("strictness", ["documented", "off"])
def test_without_strictness_there_are_codes_only(
    start: Start, tiny_om: Callable[..., str], strictness: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """The program with a leak and a race ends without a word."""
    Pipeline(start(strictness=strictness), tiny_om(), "no wait for the copy in").run()
    assert pyacl_stubs.reports() == []
    assert capsys.readouterr().err == ""


def test_a_pageable_address_that_is_not_mapped_is_an_error_not_a_crash(start: Start) -> None:
    """Documented mode queues it; the next synchronise tells."""
    acl = start(strictness="documented")
    block = acl.rt.malloc(64, 0)[0]
    assert acl.rt.memcpy_async(block, 64, 0x1000, 64, 1, 0) == 0
    assert acl.rt.synchronize_stream(0) == 507013
    assert acl.rt.synchronize_stream(0) == 0
    assert simulator.rt.memcpy(block, 64, 0x1000, 64, 1) == 507013


def test_a_misuse_in_a_loop_is_told_a_few_times(start: Start, capsys: pytest.CaptureFixture[str]) -> None:
    """All are kept, five are printed."""
    acl = start()
    for _ in range(50):
        assert acl.rt.free(12345) == 100000
    assert len(pyacl_stubs.reports()) == 50
    assert capsys.readouterr().err.count("\n") == 5
