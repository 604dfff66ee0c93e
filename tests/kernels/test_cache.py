"""Compiled kernels find a folder wherever one can be written."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from kernels.cache import cache_folder, sources_digest


@pytest.fixture(autouse=True)
def fresh(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    cache_folder.cache_clear()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "tmp"))
    (tmp_path / "tmp").mkdir()
    for name in ("ENGINE_KERNEL_CACHE", "NUMBA_CACHE_DIR"):
        monkeypatch.delenv(name, raising=False)


def test_the_folder_carries_the_instruction_set_and_the_sources(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("ENGINE_KERNEL_CACHE", str(tmp_path / "here"))
    assert cache_folder("avx2") == str(tmp_path / "here" / f"avx2-{sources_digest()}")
    assert cache_folder("generic") != cache_folder("avx2")


def test_a_folder_that_cannot_be_made_is_passed_over(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("ENGINE_KERNEL_CACHE", str(tmp_path / "file"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert cache_folder("avx2").startswith(str(tmp_path / "tmp" / f"engine-kernels-{os.getuid()}"))
    assert (Path(cache_folder("avx2")).parent.stat().st_mode & 0o777) == 0o700


def test_a_process_that_loads_a_kernel_leaves_scipy_alone() -> None:
    """numba imports scipy.linalg by itself, which takes as long as loading all kernels."""
    code = (
        "import sys, numpy, kernels.rank as r; i, f = numpy.zeros((1, 5), 'i4'), numpy.zeros((1, 5), 'f4');"
        "r.rank_rows(f, i[:, 0], i[:, 1].copy(), i, f.copy()); assert 'numba.np.arraymath' in sys.modules;"
        "assert 'scipy.linalg' not in sys.modules; import scipy.linalg"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
