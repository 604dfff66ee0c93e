"""The host path gives the guide's tensor, bit for bit, or the reference's reason."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kernels import reference
from kernels.host import HostPath
from kernels.spec import ImageError
from tests.kernels.conftest import PRESETS, encode, photo


@cache
def path(preset: str) -> HostPath:
    return HostPath(PRESETS[preset])


def run(data: bytes, preset: str) -> np.ndarray:
    out = np.full((3, PRESETS[preset].crop, PRESETS[preset].crop), np.nan, np.float32)
    path(preset)(data, out)
    return out


def assert_exact(data: bytes, preset: str) -> None:
    assert np.array_equal(run(data, preset).view(np.int32), reference.preprocess(data, PRESETS[preset]).view(np.int32))


_side = st.one_of(st.integers(1, 1500), st.integers(200, 600), st.sampled_from([1, 2, 255, 256, 257, 342, 512]))


@pytest.mark.parametrize("preset", PRESETS)
@settings(max_examples=30, deadline=None)
@given(width=_side, height=_side, seed=st.integers(0, 99))
def test_every_size_gives_the_tensor_of_the_reference(preset: str, width: int, height: int, seed: int) -> None:
    """Up- and downscaling, from one pixel to 1,500; thin images only while Pillow's own resize fits in memory."""
    while max(width, height) > 64 * min(width, height):
        width, height = (width + 1) // 2, (height + 1) // 2
        width, height = max(width, height // 64), max(height, width // 64)
    assert_exact(encode(photo(width, height, seed), "BMP"), preset)


@pytest.mark.parametrize(("width", "height"), [(1, 40), (40, 1), (1, 1), (256, 256), (256, 300), (300, 256), (2000, 9)])
def test_odd_sizes_give_the_tensor_of_the_reference(width: int, height: int) -> None:
    assert_exact(encode(photo(width, height)), "resnet")
    assert_exact(encode(photo(width, height)), "efficientnet-lite0")


@pytest.mark.parametrize("preset", PRESETS)
def test_real_images_give_the_tensor_of_the_reference(real_files: list[Path], preset: str) -> None:
    for file in real_files[:: 1 if preset == "resnet" else 5]:
        assert_exact(file.read_bytes(), preset)


@pytest.mark.parametrize("mode", ["L", "LA", "P", "RGBA", "CMYK", "1", "I;16"])
def test_every_mode_is_converted_as_pillow_does(mode: str) -> None:
    image = photo(300, 280)
    image = image.convert("L").convert("I").convert("I;16") if mode == "I;16" else image.convert(mode)
    assert_exact(encode(image, "TIFF" if mode == "CMYK" else "PNG"), "resnet")


@pytest.mark.parametrize("damage", ["empty", "text", "truncated", "header only"])
def test_what_pillow_refuses_is_refused_with_its_reason(damage: str) -> None:
    jpeg = encode(photo(320, 240), "JPEG")
    data = {"empty": b"", "text": b"hello", "truncated": jpeg[: len(jpeg) // 2], "header only": jpeg[:40]}[damage]
    with pytest.raises(ImageError) as expected:
        reference.decode_rgb(data)
    with pytest.raises(ImageError) as got:
        run(data, "resnet")
    assert str(got.value) == str(expected.value)
    assert "\n" not in str(got.value)
    assert "0x" not in str(got.value)


def test_a_decompression_bomb_is_refused() -> None:
    """13,400 x 13,400 pixels of nothing: refused from the header, before any memory is taken."""
    bomb = bytearray(encode(photo(8, 8), "BMP"))
    bomb[18:22] = bomb[22:26] = (13_400).to_bytes(4, "little")
    with pytest.raises(ImageError, match="decompression bomb"):
        run(bytes(bomb), "resnet")


def test_a_memoryview_is_as_good_as_bytes_and_out_may_be_a_view_of_a_slot() -> None:
    data = encode(photo(320, 240), "JPEG")
    slot = np.zeros((4, 3, 224, 224), np.float32)
    path("resnet")(memoryview(data), slot[2])
    assert np.array_equal(slot[2], reference.preprocess(data, PRESETS["resnet"]))
    assert not slot[[0, 1, 3]].any()


def test_an_output_of_another_shape_is_a_value_error() -> None:
    with pytest.raises(ValueError, match="C-contiguous float32"):
        path("resnet")(b"", np.zeros((3, 224, 225), np.float32))
