"""What is odd about an encoded image, from its headers: nothing here decodes pixels."""

from __future__ import annotations

import io
import warnings
from pathlib import PurePath

from PIL import Image

#: Oddities by bit, with what each means for a run.
ODDITIES = (
    ("progressive", "decoded by a library, several times slower"),
    ("arithmetic", "arithmetic coding: decoded by a library"),
    ("restart", "restart markers"),
    ("cmyk", "CMYK or YCCK, converted as Pillow does"),
    ("gray", "one channel, repeated"),
    ("alpha", "transparency, dropped as Pillow's convert('RGB') does"),
    ("palette", "palette"),
    ("deep", "more than 8 bits per channel"),
    ("rotated", "EXIF says turned or mirrored: used as stored, as the guide does"),
    ("animated", "several frames: the first is used"),
    ("not_jpeg", "another format than JPEG"),
    ("wrong_suffix", "the name says another format than the content"),
    ("trailing", "bytes after the end of the image"),
    ("unended", "no end marker: cut off, or sloppily written"),
    ("tiny", "short side below the crop: enlarged"),
    ("huge", "more than 16 million pixels"),
)
BIT = {name: 1 << i for i, (name, _) in enumerate(ODDITIES)}
#: Bits above the oddities: who decoded it, as `HostPath` calls them.
DECODERS = {"kernel": 1 << 28, "turbojpeg": 1 << 29, "opencv": 1 << 30, "pillow": 1 << 31}
HUGE_PIXELS = 16_000_000
ORIENTATION = 0x0112
_SUFFIXES = {
    "JPEG": {".jpg", ".jpeg", ".jpe"},
    "MPO": {".jpg", ".jpeg", ".jpe"},
    "PNG": {".png"},
    "GIF": {".gif"},
    "BMP": {".bmp"},
    "WEBP": {".webp"},
    "TIFF": {".tif", ".tiff"},
    "PPM": {".ppm"},
}
_ARITHMETIC = (0xC9, 0xCA, 0xCB, 0xCD, 0xCE, 0xCF)
_RESTART_INTERVAL = 0xDD


def oddities(name: str, data: bytes, crop: int) -> int:
    """Bits of what is odd about the file; 0 for one whose headers cannot be read. crop : side of the input, pixels"""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            image = Image.open(io.BytesIO(data))
            names = _of_image(image, crop) | _of_name(image.format or "", name)
            if image.format in ("JPEG", "MPO"):
                names |= _of_jpeg(data)
    except Exception:  # what Pillow raises on a damaged header depends on the format; decoding gives the reason
        return 0
    return sum(BIT[odd] for odd in names)


def _of_image(image: Image.Image, crop: int) -> set[str]:
    found = {
        "progressive": bool(image.info.get("progressive")),
        "cmyk": image.mode == "CMYK",
        "gray": image.mode in ("1", "L", "LA", "I", "I;16", "I;16B", "F"),
        "alpha": image.mode in ("LA", "PA", "RGBA") or "transparency" in image.info,
        "palette": image.mode in ("P", "PA"),
        "deep": image.mode in ("I", "I;16", "I;16B", "F"),
        "animated": getattr(image, "n_frames", 1) > 1,
        "tiny": min(image.size) < crop,
        "huge": image.width * image.height > HUGE_PIXELS,
        "rotated": image.getexif().get(ORIENTATION, 1) in range(2, 9),
    }
    return {name for name, holds in found.items() if holds}


def _of_name(kind: str, name: str) -> set[str]:
    found = set() if kind in ("JPEG", "MPO") else {"not_jpeg"}
    if PurePath(name).suffix.lower() not in _SUFFIXES.get(kind, set()):
        found.add("wrong_suffix")
    return found


def _of_jpeg(data: bytes) -> set[str]:
    """From the segments before the first scan, and from the end."""
    found, at = set(), 2
    while at + 4 <= len(data) and data[at] == 0xFF and data[at + 1] != 0xDA:
        marker = data[at + 1]
        if marker in _ARITHMETIC:
            found.add("arithmetic")
        if marker == _RESTART_INTERVAL and data[at + 4 : at + 6] != b"\0\0":
            found.add("restart")
        at += 1 if marker == 0xFF else 2 + int.from_bytes(data[at + 2 : at + 4], "big")
    end = data.rfind(b"\xff\xd9")
    if end < 0:
        found.add("unended")
    elif end + 2 < len(data):
        found.add("trailing")
    return found
