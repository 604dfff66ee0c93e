"""The scalar twins as plain Python, whose indices raise: with NUMBA_DISABLE_JIT=1, and compiled as ever without it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from numba.core import config

from bench.fuzz import damage
from kernels import reference
from kernels.coefficients import FILTERS, taps
from kernels.jpeg import twin
from kernels.jpeg.decoder import JpegDecoder
from kernels.jpeg.frame import AT_CODES, AT_HAS_CODE, AT_QUANT, AT_SEEN, HEIGHT, OK, WIDTH
from kernels.jpeg.markers import parse_header
from kernels.resample import horizontal, vertical
from kernels.spec import ImageError
from tests.kernels.conftest import encode, encode_440, photo

_decoder = JpegDecoder()
_ARRAYS = (AT_QUANT, AT_CODES, AT_HAS_CODE, AT_SEEN)
_FILES = {
    **{layout: encode(photo(21, 18), "JPEG", subsampling=layout) for layout in ("4:4:4", "4:2:2", "4:2:0")},
    "4:4:0": encode_440(photo(21, 18)),
    "gray": encode(photo(21, 18).convert("L"), "JPEG"),
    "restart": encode(photo(21, 18), "JPEG", restart_marker_blocks=1),
}


def decode(data: bytes) -> np.ndarray | None:
    """The twin's pixels; None for what it refuses. Small images only."""
    encoded = np.frombuffer(data, np.uint8)
    if config.DISABLE_JIT:
        code = parse_header(encoded, _decoder.frame, *(_decoder.array(slot) for slot in _ARRAYS))
    else:
        code = _decoder.header(encoded)
    if code != OK or _decoder.frame[WIDTH] * _decoder.frame[HEIGHT] > 1 << 12:
        return None
    code, pixels = twin.decode(_decoder, data)
    return pixels if code == OK else None


@pytest.mark.parametrize("layout", _FILES)
def test_the_twin_has_the_pixels_of_pillow(layout: str) -> None:
    pixels = decode(_FILES[layout])
    assert pixels is not None
    assert np.array_equal(pixels, reference.decode_rgb(_FILES[layout]))


def test_the_twin_has_the_pixels_of_pillow_or_none_of_damaged_files() -> None:
    """No index leaves its array; where there are pixels, Pillow has the same."""
    rng, n_decoded = np.random.default_rng(4), 0
    for i in range(150):
        data = damage(rng, list(_FILES.values())[i % len(_FILES)])
        pixels = decode(data)
        if pixels is not None:
            n_decoded += 1
            try:
                assert np.array_equal(pixels, reference.decode_rgb(data)), f"file {i}"
            except ImageError as error:
                pytest.fail(f"file {i}: pixels, where Pillow says: {error}")
    assert n_decoded > 5


@pytest.mark.parametrize("interpolation", FILTERS)
def test_the_loops_of_the_resampling_are_the_integer_twin(interpolation: str) -> None:
    rgb, n = np.asarray(photo(23, 19)), 6
    columns, rows = taps(23, 9, 1, n, interpolation), taps(19, 8, 1, n, interpolation)
    planes, out = np.zeros((3, rows.end - rows.first, n), np.uint8), np.zeros(3 * n * n, np.uint8)
    start = 3 * 23 * rows.first
    horizontal(rgb.reshape(-1), start, 3 * 23, planes.shape[1], columns.low, columns.count, columns.weights, planes)
    table = np.arange(256, dtype=np.uint8)[None].repeat(3, 0)
    vertical(rows.first, rows.low, rows.count, rows.weights, planes, np.zeros(n, np.int32), table, False, out)
    across = reference.resample_axis(rgb.transpose(1, 0, 2), 9, 1, n, interpolation).transpose(1, 0, 2)
    expected = reference.resample_axis(across, 8, 1, n, interpolation)
    assert np.array_equal(out.reshape(3, n, n), expected.transpose(2, 0, 1))


def test_without_the_compiler_the_twins_run_and_the_vectors_are_skipped() -> None:
    if config.DISABLE_JIT:
        pytest.skip("this is that run")
    files = [f"tests/kernels/test_{name}.py" for name in ("plain", "rank", "host")]
    command = [sys.executable, "-m", "pytest", *files, "-q", "-p", "no:cacheprovider"]
    environment = {**os.environ, "NUMBA_DISABLE_JIT": "1"}
    root = Path(__file__).parents[2]
    done = subprocess.run(command, env=environment, cwd=root, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
    assert "failed" not in done.stdout.splitlines()[-1]
    assert int(done.stdout.splitlines()[-1].split(" passed")[0].split()[-1]) >= len(_FILES) + len(FILTERS) + 1
    assert "vector kernels need numba's compiler" in done.stdout
