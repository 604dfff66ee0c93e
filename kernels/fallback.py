"""What the JPEG kernel leaves: decoded by the first library that gives Pillow's pixels, or by Pillow.

Which library may take which format was settled by decoding sound and damaged files of each (docs/kernels.md):

    turbojpeg   every JPEG that Pillow opens as L or RGB; libturbojpeg >= 3, told to stop at the first warning
    opencv      progressive ones: of the others it reads no more than their rows, and accepts files that Pillow refuses
    pillow      everything else, and every file that the library complains about: Pillow's verdict counts

Pillow reads each header first: its refusals, its limit of pixels and its mode come before any library. A library is
used only if, here and now, it gives Pillow's pixels of four small files, whatever the versions of both are.
"""

from __future__ import annotations

import ctypes
import io
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from kernels import reference
from kernels.spec import ImageError

Array = npt.NDArray[Any]
#: Encoded file -> (H, W, 3) uint8, RGB; raises whatever it likes for a file that it does not take.
Decode = Callable[[bytes | memoryview], Array]

PILLOW = "pillow"
#: Where libturbojpeg is looked for: where the loader finds it, then where the project's own packages put it.
TURBOJPEG_FILES = (
    "libturbojpeg.so.0",
    "/opt/libjpeg-turbo/lib64/libturbojpeg.so",
    "/opt/libjpeg-turbo/lib/libturbojpeg.so",
)
#: A function that only libturbojpeg 3 and newer have, which is what PyTurboJPEG 2 needs.
_NEW_FUNCTION = "tj3Init"


@dataclass(frozen=True)
class Library:
    """A library that was looked for. decode : None if it is not used, for the reason in `text`"""

    name: str
    text: str
    takes_sequential: bool
    decode: Decode | None = None


class NotUsable(Exception):
    """Why a library is not used."""


class Fallback:
    """Decodes what the kernel leaves. Libraries are looked for when the first JPEG comes."""

    def __call__(self, data: bytes | memoryview) -> tuple[Array, str]:
        """Pixels, (H, W, 3) uint8, and which library made them. Raises ImageError with Pillow's reason."""
        header = _jpeg_header(data)
        if header is not None:
            for library in libraries():
                if library.decode is not None and (library.takes_sequential or header.is_progressive):
                    rgb = _attempt(library.decode, data, header)
                    if rgb is not None:
                        return rgb, library.name
        return reference.decode_rgb(data), PILLOW


@dataclass(frozen=True)
class _Header:
    width: int
    height: int
    is_progressive: bool


def _jpeg_header(data: bytes | memoryview) -> _Header | None:
    """What Pillow reads before any pixel; None for what it refuses, for other formats, and for CMYK."""
    try:
        image = reference.open_image(data)
    except ImageError:
        return None
    if image.format not in ("JPEG", "MPO") or image.mode not in ("L", "RGB"):
        return None
    return _Header(*image.size, bool(image.info.get("progressive")))


def _attempt(decode: Decode, data: bytes | memoryview, header: _Header) -> Array | None:
    try:
        rgb = decode(data)
    except MemoryError:
        raise
    except Exception:  # each library has its own errors; the next one, and Pillow at last, decides
        return None
    return rgb if rgb.shape == (header.height, header.width, 3) else None


@cache
def libraries() -> tuple[Library, ...]:
    """The libraries beside Pillow, in the order in which they are asked."""
    return _looked_for("turbojpeg", True, _open_turbojpeg), _looked_for("opencv", False, _open_opencv)


def _looked_for(name: str, takes_sequential: bool, open_library: Callable[[], tuple[Decode, str]]) -> Library:
    try:
        decode, version = open_library()
        _require_pixels_of_pillow(decode)
    except NotUsable as error:
        return Library(name, str(error), takes_sequential)
    except ImportError as error:
        return Library(name, f"cannot be imported: {error}", takes_sequential)
    return Library(name, version, takes_sequential, decode)


def _open_turbojpeg() -> tuple[Decode, str]:
    path = _new_turbojpeg()
    import turbojpeg  # after the file was found: it costs 70 ms

    decoder = turbojpeg.TurboJPEG(path)
    flags, kind = turbojpeg.TJFLAG_STOPONWARNING, turbojpeg.TJPF_RGB

    def decode(data: bytes | memoryview) -> Array:
        rgb: Array = decoder.decode(data, kind, flags=flags)
        return rgb

    return decode, f"PyTurboJPEG {turbojpeg.__version__} on {path}"


def _new_turbojpeg() -> str:
    """The first libturbojpeg >= 3."""
    found = []
    for path in TURBOJPEG_FILES:
        try:
            library = ctypes.CDLL(path)
        except OSError:
            continue
        if hasattr(library, _NEW_FUNCTION):
            return path
        found.append(path)
    if found:
        raise NotUsable(f"{found[0]} is older than 3.0, which PyTurboJPEG needs")
    raise NotUsable("no libturbojpeg found")


def _open_opencv() -> tuple[Decode, str]:
    import cv2

    how = cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION

    def decode(data: bytes | memoryview) -> Array:
        bgr = cv2.imdecode(np.frombuffer(data, np.uint8), how)
        if bgr is None:
            raise ValueError("OpenCV does not take this file")
        rgb: Array = cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB)
        return rgb

    return decode, f"OpenCV {cv2.__version__}"


def _require_pixels_of_pillow(decode: Decode) -> None:
    """NotUsable unless progressive JPEGs of each chroma layout have Pillow's pixels."""
    pixels = np.random.default_rng(0).integers(0, 256, (5, 6, 3), np.uint8)
    image = Image.fromarray(pixels).resize((61, 53), Image.Resampling.BICUBIC)
    kinds: list[tuple[Image.Image, dict[str, Any]]] = [(image, {"subsampling": i}) for i in range(3)]
    for picture, options in [*kinds, (image.convert("L"), {})]:
        stream = io.BytesIO()
        picture.save(stream, "JPEG", progressive=True, quality=80, **options)
        try:
            found = decode(stream.getvalue())
        except MemoryError:
            raise
        except Exception as error:
            raise NotUsable(f"cannot decode a progressive JPEG: {reference.one_line(error)}") from error
        if not np.array_equal(found, reference.decode_rgb(stream.getvalue())):
            raise NotUsable("gives other pixels than Pillow")
