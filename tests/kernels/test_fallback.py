"""What the kernel leaves is decoded by a library with Pillow's pixels, or FAILED with Pillow's reason."""

from __future__ import annotations

import ctypes.util
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from bench.libraries import KINDS, files_of
from kernels import fallback, reference
from kernels.fallback import Fallback, Library, libraries
from kernels.spec import ImageError

ROOT = Path(__file__).parents[2]
#: Kinds by the libraries that may decode them beside Pillow.
_BY_BOTH = ("progressive", "progressive, gray", "arithmetic, progressive")
_BY_TURBOJPEG = ("RGB", "baseline", "odd sampling", "arithmetic")


def path_of(kind: str) -> str:
    """The first library that is usable here and may decode the kind."""
    allowed = {"turbojpeg": _BY_BOTH + _BY_TURBOJPEG, "opencv": _BY_BOTH}
    usable = [one.name for one in libraries() if one.decode is not None and kind in allowed[one.name]]
    return (*usable, "pillow")[0]


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind not in ("12 bits", "lossless")])
def test_a_sound_file_is_decoded_by_the_first_library_that_may(kind: str) -> None:
    data = files_of(kind, 4, seed=1)[0]
    pixels, path = Fallback()(data)
    assert np.array_equal(pixels, reference.decode_rgb(data))
    assert path == path_of(kind)


@pytest.mark.parametrize("kind", KINDS)
def test_damaged_files_have_the_pixels_or_the_reason_of_pillow(kind: str) -> None:
    """`python -m bench.libraries` does 1,000 of each kind."""
    decode = Fallback()
    for i, data in enumerate(files_of(kind, 60, seed=2)):
        try:
            expected: np.ndarray | str = reference.decode_rgb(data)
        except ImageError as error:
            expected = str(error)
        try:
            found: np.ndarray | str = decode(data)[0]
        except ImageError as error:
            found = str(error)
        assert np.array_equal(found, expected), f"file {i}"


def test_opencv_gives_the_pixels_of_pillow_here() -> None:
    """It is a dependency: where it stops doing so, progressive images fall back to Pillow's speed."""
    opencv = {one.name: one for one in libraries()}["opencv"]
    assert opencv.decode is not None, opencv.text


def test_libturbojpeg_gives_the_pixels_of_pillow_here() -> None:
    turbojpeg = {one.name: one for one in libraries()}["turbojpeg"]
    if turbojpeg.decode is None:
        assert turbojpeg.text in (
            "no libturbojpeg found",
            "libturbojpeg.so.0 is older than 3.0, which PyTurboJPEG needs",
        )
        pytest.skip(f"{turbojpeg.text}: install libjpeg-turbo 3 to run this")
    assert turbojpeg.text.startswith("PyTurboJPEG ")


def test_a_library_with_other_pixels_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    def inverted() -> tuple[fallback.Decode, str]:
        return lambda data: 255 - reference.decode_rgb(data), "1.0"

    found = fallback._looked_for("odd", True, inverted)
    assert (found.decode, found.text) == (None, "gives other pixels than Pillow")
    monkeypatch.setattr(fallback, "libraries", lambda: (found,))
    assert Fallback()(files_of("progressive", 4, seed=1)[0])[1] == "pillow"


def test_a_library_that_is_not_there_is_not_used() -> None:
    def absent() -> tuple[fallback.Decode, str]:
        raise ImportError("No module named 'odd'")

    assert fallback._looked_for("odd", True, absent) == Library(
        "odd", "cannot be imported: No module named 'odd'", True
    )


def test_no_memory_is_no_reason_to_ask_another_library(monkeypatch: pytest.MonkeyPatch) -> None:
    """The process that got none ends: what follows would get none either."""

    def hungry(_data: bytes | memoryview) -> fallback.Array:
        raise MemoryError

    monkeypatch.setattr(fallback, "libraries", lambda: (Library("hungry", "", True, hungry),))
    with pytest.raises(MemoryError):
        Fallback()(files_of("progressive", 4, seed=1)[0])


def python(code: str, **variables: str) -> str:
    """What a fresh process prints."""
    command = [sys.executable, "-c", code]
    done = subprocess.run(
        command, env={**os.environ, **variables}, cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_a_libturbojpeg_older_than_3_is_not_used(tmp_path: Path) -> None:
    """Any library without version 3's functions stands in for one of version 2."""
    libc = Path("/proc/self/maps").read_text().partition("libc.so")[0].split()[-1] + "libc.so.6"
    (tmp_path / "libturbojpeg.so.0").symlink_to(libc)
    text = "from kernels.fallback import libraries; print(libraries()[0].text)"
    assert python(text, LD_LIBRARY_PATH=str(tmp_path)).endswith("is older than 3.0, which PyTurboJPEG needs")


def test_no_library_is_loaded_before_it_is_needed() -> None:
    """A run over plain JPEGs pays nothing for them."""
    code = """
import sys, io
import numpy as np
from PIL import Image
from engine.presets import find_preset
from kernels.host import HostPath
stream = io.BytesIO()
Image.new("RGB", (300, 260)).save(stream, "JPEG")
path = HostPath(find_preset("resnet"))(stream.getvalue(), np.zeros((3, 224, 224), np.float32))
print(path, [name for name in ("cv2", "turbojpeg") if name in sys.modules])
"""
    assert python(code) == "kernel []"


def test_where_libturbojpeg_is_looked_for_is_what_the_loader_calls_it() -> None:
    found = ctypes.util.find_library("turbojpeg")
    assert found in (None, fallback.TURBOJPEG_FILES[0])
