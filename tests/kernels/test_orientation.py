"""`exif_rotate`: the tensor of the image that Pillow's exif_transpose makes."""

from __future__ import annotations

import io
import struct
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps

from bench.fuzz import damage
from kernels import reference
from kernels.host import HostPath
from kernels.orientation import UNKNOWN, UPRIGHT, orientation, turned
from kernels.spec import ImageError
from tests.kernels.conftest import PRESETS, encode, photo

_SPEC = replace(PRESETS["resnet"], exif_rotate=True)


@cache
def host() -> HostPath:
    return HostPath(_SPEC)


def exif(turn: int, order: str = "<", kind: int = 3, count: int = 1) -> bytes:
    """An EXIF segment's content with an orientation between two other tags."""
    head = b"II*\0" if order == "<" else b"MM\0*"
    entries = [struct.pack(order + "HHI4s", tag, 2, 2, b"x\0\0\0") for tag in (0x010F, 0x0131)]
    value = struct.pack(order + "I", turn) if kind == 4 else struct.pack(order + "HH", turn, 0)
    entries.insert(1, struct.pack(order + "HHI4s", 0x0112, kind, count, value))
    return b"Exif\0\0" + head + struct.pack(order + "IH", 8, len(entries)) + b"".join(entries) + bytes(4)


def with_segments(jpeg: bytes, *contents: bytes) -> bytes:
    segments = [b"\xff\xe1" + struct.pack(">H", len(content) + 2) + content for content in contents]
    return jpeg[:2] + b"".join(segments) + jpeg[2:]


def by_pillow(data: bytes) -> np.ndarray:
    with Image.open(io.BytesIO(data)) as image:
        return np.asarray(ImageOps.exif_transpose(image).convert("RGB"))


def made(data: bytes) -> tuple[np.ndarray, str]:
    out = np.full((3, 224, 224), np.nan, np.float32)
    path = host()(data, out)
    return out, path


@settings(max_examples=60, deadline=None)
@given(
    turn=st.integers(0, 10),
    order=st.sampled_from("<>"),
    size=st.tuples(st.integers(8, 400), st.integers(8, 400)),
    options=st.sampled_from([{}, {"progressive": True}, {"subsampling": "4:4:4"}, {"restart_marker_blocks": 5}]),
)
def test_any_orientation_gives_the_tensor_of_exif_transpose(
    turn: int, order: str, size: tuple[int, int], options: dict[str, object]
) -> None:
    data = with_segments(encode(photo(*size, seed=turn), "JPEG", **options), exif(turn, order))
    assert orientation(data) == (turn if turn in range(1, 9) else UPRIGHT)
    assert np.array_equal(reference.decode_rgb(data, exif_rotate=True), by_pillow(data))
    out, path = made(data)
    assert np.array_equal(out.view(np.int32), reference.preprocess(data, _SPEC).view(np.int32))
    assert (path == "kernel") == ("progressive" not in options)


@pytest.mark.parametrize("turn", range(1, 9))
def test_pixels_are_turned_as_pillow_turns_them(turn: int) -> None:
    rgb = np.asarray(photo(5, 3))
    image = Image.fromarray(rgb)
    expected = image if turn == 1 else image.transpose(reference.TURNS[turn])
    assert np.array_equal(turned(rgb, turn), np.asarray(expected))


_XMP = b'http://ns.adobe.com/xap/1.0/\0<x:xmpmeta><rdf:Description tiff:Orientation="6"/></x:xmpmeta>'


@pytest.mark.parametrize(
    ("segments", "expected"),
    [
        ([], UPRIGHT),
        ([_XMP], UNKNOWN),
        ([_XMP, exif(8)], 8),
        ([exif(1), _XMP], UNKNOWN),
        ([exif(6), exif(3)], UNKNOWN),
        ([exif(6, kind=4)], UNKNOWN),
        ([exif(6, count=2)], UNKNOWN),
        ([b"Exif\0\0II+\0" + exif(6)[10:]], UNKNOWN),
        ([exif(6)[:30]], UNKNOWN),
        ([b"Exif\0\0"], UNKNOWN),
        ([exif(6).replace(b"\x08\0\0\0", b"\xff\0\0\0", 1)], UNKNOWN),
    ],
)
def test_what_is_not_plain_is_read_by_pillow(segments: list[bytes], expected: int) -> None:
    data = with_segments(encode(photo(300, 260), "JPEG"), *segments)
    assert orientation(data) == expected
    out, path = made(data)
    assert np.array_equal(out, reference.preprocess(data, _SPEC))
    assert path == ("pillow" if expected == UNKNOWN else "kernel")


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("turn", [1, 6])
def test_other_formats_are_turned_as_exif_transpose_turns_them(kind: str, turn: int) -> None:
    tags = Image.Exif()
    tags[reference.ORIENTATION] = turn
    data = encode(photo(300, 260), kind, exif=tags.tobytes())
    assert np.array_equal(reference.decode_rgb(data, exif_rotate=True), by_pillow(data))
    assert np.array_equal(made(data)[0], reference.preprocess(data, _SPEC))


def test_damaged_headers_have_the_tensor_or_the_reason_of_the_reference() -> None:
    rng = np.random.default_rng(5)
    sound = [with_segments(encode(photo(90, 70), "JPEG"), exif(turn, order)) for turn in (3, 6) for order in "<>"]
    for i in range(400):
        file = bytearray(sound[i % len(sound)])
        if i % 2:
            file = bytearray(damage(rng, bytes(file)))
        else:  # in the EXIF segment
            file[int(rng.integers(4, 70))] = int(rng.integers(256))
        data = bytes(file)
        try:
            expected: bytes | str = reference.preprocess(data, _SPEC).tobytes()
        except ImageError as error:
            expected = str(error)
        try:
            found: bytes | str = made(data)[0].tobytes()
        except ImageError as error:
            found = str(error)
        assert found == expected, f"file {i}"


def test_without_the_option_no_orientation_is_looked_at() -> None:
    data = with_segments(encode(photo(300, 260), "JPEG"), exif(6))
    out = np.zeros((3, 224, 224), np.float32)
    assert HostPath(PRESETS["resnet"])(data, out) == "kernel"
    assert np.array_equal(out, reference.preprocess(data, PRESETS["resnet"]))
    assert not np.array_equal(out, made(data)[0])
