"""Which instruction set a process runs, and that all of them do the same."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from kernels import isa
from tests.kernels.operations import wrong_operations

OTHERS = [name for name in isa.available() if name != isa.INSTRUCTION_SET]
_SSE = {"ssse3": True, "sse4.1": True}
_AVX2 = {**_SSE, "avx2": True, "fma": True, "f16c": True}
_TESTS = ("test_jpeg.py", "test_resample.py", "test_normalise.py", "test_host.py", "test_rank.py")


@pytest.mark.parametrize(
    ("features", "machine", "expected"),
    [
        ({"sse2": True}, "x86_64", ("generic",)),
        ({"ssse3": True}, "x86_64", ("generic",)),
        (_SSE, "x86_64", ("sse", "generic")),
        ({**_SSE, "avx": True}, "x86_64", ("sse", "generic")),
        (_AVX2, "x86_64", ("avx2", "sse", "generic")),
        ({**_AVX2, "avx512f": True, "avx512bw": True}, "x86_64", ("avx2", "sse", "generic")),
        ({"neon": True}, "aarch64", ("neon", "generic")),
    ],
)
def test_a_processor_has_the_sets_whose_instructions_it_has(
    monkeypatch: pytest.MonkeyPatch, features: dict[str, bool], machine: str, expected: tuple[str, ...]
) -> None:
    monkeypatch.setattr(isa.binding, "get_host_cpu_features", lambda: features)
    monkeypatch.setattr(isa, "IS_AARCH64", machine == "aarch64")
    monkeypatch.delenv("ENGINE_KERNEL_ISA", raising=False)
    assert isa.available() == expected
    assert isa.chosen() == expected[0]
    assert isa.compiler_target(expected[0]) is None


def test_less_than_the_processor_has_is_compiled_for_the_least_processor(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(isa.binding, "get_host_cpu_features", lambda: _AVX2)
    monkeypatch.setattr(isa, "IS_AARCH64", False)
    assert [isa.compiler_target(name) for name in ("sse", "generic")] == [("nehalem", ""), ("x86-64", "")]


def test_a_set_that_the_processor_lacks_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(isa.binding, "get_host_cpu_features", lambda: _SSE)
    monkeypatch.setattr(isa, "IS_AARCH64", False)
    monkeypatch.setenv("ENGINE_KERNEL_ISA", "avx2")
    with pytest.raises(ValueError, match=r"'avx2' is not one of what this processor has: sse, generic$"):
        isa.chosen()


def test_every_operation_gives_the_bytes_of_numpy() -> None:
    assert wrong_operations() == set()


@pytest.mark.parametrize("name", OTHERS)
def test_every_operation_of_another_set_gives_the_bytes_of_numpy(name: str) -> None:
    _run_as(name, "-m", "tests.kernels.operations")


@pytest.mark.heavy
@pytest.mark.parametrize("name", OTHERS)
def test_the_kernels_pass_their_tests_on_another_set(name: str) -> None:
    """Decoder, resize, tensors and ranks, on the same inputs as on this set."""
    files = [str(path) for path in sorted(Path(__file__).parent.glob("test_*.py")) if path.name in _TESTS]
    _run_as(name, "-m", "pytest", "-q", "-p", "no:cacheprovider", *files)


def _run_as(instruction_set: str, *arguments: str) -> None:
    environment = {**os.environ, "ENGINE_KERNEL_ISA": instruction_set}
    root = Path(__file__).parents[2]
    done = subprocess.run(
        [sys.executable, *arguments], env=environment, cwd=root, capture_output=True, text=True, timeout=600
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
