"""The JPEG decoder gives Pillow's pixels of any region, or none."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from bench.fuzz import GuardedDecoder, damaged_files, disagreement
from kernels import reference
from kernels.host import HostPath
from kernels.jpeg import twin
from kernels.jpeg.decoder import JpegDecoder
from kernels.jpeg.frame import BAD_REGION, CORRUPT, HEIGHT, OK, UNSUPPORTED, WIDTH
from kernels.jpeg.markers import ZIGZAG
from kernels.spec import ImageError
from tests.kernels.conftest import PRESETS, encode, encode_440, photo

_decoder = JpegDecoder()


def decode(data: bytes, box: tuple[int, int, int, int] | None = None) -> np.ndarray:
    encoded = np.frombuffer(data, np.uint8)
    assert _decoder.header(encoded) == OK
    assert _decoder.pixels(box or (0, 0, int(_decoder.frame[WIDTH]), int(_decoder.frame[HEIGHT]))) == OK
    return _decoder.region().view()


def code_of(data: bytes) -> int:
    encoded = np.frombuffer(data, np.uint8)
    code = _decoder.header(encoded)
    return code or _decoder.pixels((0, 0, int(_decoder.frame[WIDTH]), int(_decoder.frame[HEIGHT])))


@settings(max_examples=250, deadline=None)
@given(
    size=st.tuples(st.integers(8, 260), st.integers(8, 260)),
    layout=st.sampled_from(["4:4:4", "4:2:2", "4:2:0", "4:4:0", "gray"]),
    quality=st.integers(1, 100),
    optimize=st.booleans(),
    restart=st.sampled_from([0, 0, 1, 7, 100]),
    corners=st.tuples(*[st.floats(0, 1)] * 4),
)
def test_any_region_of_any_layout_has_the_pixels_of_pillow(
    size: tuple[int, int], layout: str, quality: int, optimize: bool, restart: int, corners: tuple[float, ...]
) -> None:
    width, height = size
    options: dict[str, Any] = {"quality": quality, "optimize": optimize, "restart_marker_blocks": restart}
    image = photo(width, height, quality)
    if layout == "gray":
        image = image.convert("L")
    elif layout != "4:4:0":
        options["subsampling"] = layout
    is_440 = layout == "4:4:0"
    data = encode_440(image, quality, restart) if is_440 else encode(image, "JPEG", **options)
    expected = reference.decode_rgb(data)
    assert np.array_equal(decode(data), expected)
    left, right = sorted(int(c * width) for c in corners[:2])
    top, bottom = sorted(int(c * height) for c in corners[2:])
    right, bottom = min(right + 1, width), min(bottom + 1, height)
    left, top = min(left, right - 1), min(top, bottom - 1)
    assert np.array_equal(decode(data, (left, top, right, bottom)), expected[top:bottom, left:right])


def test_real_images_have_the_pixels_of_pillow(real_files: list[Path]) -> None:
    for file in real_files:
        data = file.read_bytes()
        assert np.array_equal(decode(data), reference.decode_rgb(data)), file.name


def test_what_is_not_baseline_is_left_to_the_library() -> None:
    image = photo(64, 48)
    assert code_of(encode(image, "JPEG", progressive=True)) == UNSUPPORTED
    assert code_of(encode(image.convert("CMYK"), "JPEG")) == UNSUPPORTED
    assert code_of(encode(image, "JPEG", keep_rgb=True)) == UNSUPPORTED
    assert code_of(encode(image, "PNG")) == UNSUPPORTED
    assert code_of(encode(photo(7, 64), "JPEG")) == UNSUPPORTED


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"keep_rgb": True}])
def test_the_host_path_names_the_decoder_that_it_took(options: dict[str, Any]) -> None:
    data = encode(photo(300, 260), "JPEG", **options)
    out = np.zeros((3, 224, 224), np.float32)
    path = HostPath(PRESETS["resnet"])(data, out)
    assert path in (("turbojpeg", "opencv", "pillow") if options else ("kernel",))
    assert np.array_equal(out, reference.preprocess(data, PRESETS["resnet"]))


@pytest.mark.parametrize("cut", [1, 2, 3, 10, 500, 2000])
def test_a_file_that_is_cut_off_anywhere_is_refused_as_pillow_refuses_it(cut: int) -> None:
    """Also where only the EOI marker is missing, or what is behind the rows that the crop needs."""
    data = encode(photo(300, 260), "JPEG")[:-cut]
    with pytest.raises(ImageError) as expected:
        reference.decode_rgb(data)
    with pytest.raises(ImageError) as got:
        HostPath(PRESETS["resnet"])(data, np.zeros((3, 224, 224), np.float32))
    assert str(got.value) == str(expected.value)


def test_a_region_outside_of_the_image_is_refused() -> None:
    data = np.frombuffer(encode(photo(40, 30), "JPEG"), np.uint8)
    for box in ((0, 0, 41, 30), (0, 0, 40, 31), (-1, 0, 40, 30), (5, 5, 5, 30), (20, 0, 10, 30)):
        assert _decoder.header(data) == OK
        assert _decoder.pixels(box) == BAD_REGION


def test_damaged_files_give_the_pixels_of_pillow_or_none_and_stay_inside_of_the_arrays() -> None:
    """600 of the fuzz run's files; `python -m bench.fuzz` does 20,000."""
    decoder, rng = GuardedDecoder(), np.random.default_rng(1)
    for i, file in enumerate(damaged_files(600, seed=11)):
        assert not disagreement(decoder, file, rng).startswith("WRONG"), f"file {i}"
        assert decoder.are_guards_intact(), f"file {i}"


@pytest.mark.parametrize("seed", [2276, 4260])
def test_coefficients_that_overflow_sixteen_bits_are_left_to_the_library(seed: int) -> None:
    """libjpeg-turbo wraps or saturates, depending on the block: a quantisation step of 255 where the file had 2."""
    stream = io.BytesIO()
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (33, 34, 3), dtype=np.uint8)).save(
        stream, "JPEG", qtables=[[2] * 64, [2] * 64]
    )
    data = bytearray(stream.getvalue())
    table = data.find(b"\xff\xdb") + 5
    data[table : table + 64] = bytes([255] * 64)
    assert code_of(bytes(data)) == UNSUPPORTED


def test_a_broken_header_is_no_image() -> None:
    data = encode(photo(64, 48), "JPEG")
    assert code_of(data[:100]) in (CORRUPT, UNSUPPORTED)
    assert code_of(b"") == UNSUPPORTED


def test_the_zigzag_is_the_one_of_the_standard() -> None:
    assert ZIGZAG[:12].tolist() == [0, 1, 8, 16, 9, 2, 3, 10, 17, 24, 32, 25]
    assert sorted(ZIGZAG) == list(range(64))


def assert_twin_agrees(data: bytes) -> str:
    encoded = np.frombuffer(data, np.uint8)
    if _decoder.header(encoded) != OK or int(_decoder.frame[WIDTH] * _decoder.frame[HEIGHT]) > 1 << 14:
        return "not asked"
    expected, pixels = twin.decode(_decoder, data)
    code = _decoder.pixels((0, 0, int(_decoder.frame[WIDTH]), int(_decoder.frame[HEIGHT])))
    assert code == expected
    if code == OK:
        assert np.array_equal(_decoder.region().view(), pixels)
    return "pixels" if code == OK else "refused"


@pytest.mark.parametrize("subsampling", ["4:4:4", "4:2:2", "4:2:0", None])
@pytest.mark.parametrize("restart", [0, 3])
def test_the_scalar_twin_gives_the_same_pixels(subsampling: str | None, restart: int) -> None:
    image = photo(83, 61, seed=restart)
    options: dict[str, Any] = {"subsampling": subsampling} if subsampling else {}
    image = image if subsampling else image.convert("L")
    assert assert_twin_agrees(encode(image, "JPEG", restart_marker_blocks=restart, **options)) == "pixels"


def test_the_scalar_twin_gives_the_same_pixels_of_4_4_0() -> None:
    assert assert_twin_agrees(encode_440(photo(83, 61))) == "pixels"


def test_the_scalar_twin_gives_the_same_answer_to_damaged_files() -> None:
    verdicts = [assert_twin_agrees(file) for file in damaged_files(250, seed=3)]
    assert verdicts.count("pixels") > 5
    assert verdicts.count("refused") > 5


def test_no_array_of_the_kernels_is_indexed_beyond_its_ends() -> None:
    """The kernels compiled with NUMBA_BOUNDSCHECK over the fuzz run's first files: an index error ends the process."""
    command = [sys.executable, "-m", "bench.fuzz", "--files", "150", "--seed", "5"]
    root = Path(__file__).parents[2]
    done = subprocess.run(
        command, env={**os.environ, "NUMBA_BOUNDSCHECK": "1"}, cwd=root, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "same pixels as the twin and Pillow" in done.stdout
