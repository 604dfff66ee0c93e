"""Encoded images of every odd kind, made here: {name: file}."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

Encoded = dict[str, bytes]
GENUINE = Path(__file__).parent / "genuine"


def pixels(width: int, height: int, seed: int = 0) -> Image.Image:
    """Smooth noise."""
    coarse = np.random.default_rng(seed).integers(0, 256, (7, 7, 3), np.uint8)
    return Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)


def encode(image: Image.Image, kind: str = "JPEG", **options: Any) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def jpegs() -> Encoded:
    """What Pillow can write."""
    image = pixels(301, 267)
    files = {f"subsampling_{i}.JPEG": encode(image, subsampling=i) for i in range(3)}
    files |= {f"quality_{q}.JPEG": encode(image, quality=q) for q in (1, 50, 100)}
    files |= {
        "progressive.JPEG": encode(image, progressive=True),
        "progressive_gray.JPEG": encode(image.convert("L"), progressive=True),
        "optimised.JPEG": encode(image, optimize=True),
        "restart.JPEG": encode(image, restart_marker_blocks=3),
        "gray.JPEG": encode(image.convert("L")),
        "cmyk.JPEG": encode(image.convert("CMYK")),
        "comment.JPEG": encode(image, comment=b"\xff\xd9 no end"),
        "rgb.JPEG": encode(image, keep_rgb=True),
    }
    for orientation in range(1, 9):
        exif = Image.Exif()
        exif[0x0112] = orientation
        files[f"exif_{orientation}.JPEG"] = encode(image, exif=exif)
    return files


def sizes() -> Encoded:
    """Shapes at the ends."""
    shapes = [(1, 1), (1, 300), (300, 1), (8, 8), (7, 9), (256, 256), (255, 257), (256, 400), (224, 224), (3000, 40)]
    return {f"{w}x{h}.JPEG": encode(pixels(w, h)) for w, h in shapes}


def headers() -> Encoded:
    """A sound JPEG whose header says another coding process, precision, or colour transform."""
    plain = encode(pixels(301, 267))
    cmyk = encode(pixels(301, 267).convert("CMYK"))
    frame = plain.index(b"\xff\xc0")
    files = {}
    processes = {"extended": 0xC1, "progressive": 0xC2, "lossless": 0xC3, "arithmetic": 0xC9, "arithmetic_p": 0xCA}
    for name, code in processes.items():
        files[f"sof_{name}.JPEG"] = plain[: frame + 1] + bytes([code]) + plain[frame + 2 :]
    files["12_bit.JPEG"] = plain[: frame + 4] + b"\x0c" + plain[frame + 5 :]
    files["no_jfif.JPEG"] = plain[:2] + plain[20:]
    for transform in (0, 1, 2):
        adobe = b"\xff\xee\x00\x0eAdobe\x00\x64\x00\x00\x00\x00" + bytes([transform])
        files[f"adobe_{transform}.JPEG"] = plain[:2] + adobe + plain[20:]
        at = cmyk.index(b"Adobe") + 11
        files[f"cmyk_adobe_{transform}.JPEG"] = cmyk[:at] + bytes([transform]) + cmyk[at + 1 :]
    return files


def damaged() -> Encoded:
    """Trailing bytes, doubled files, and files cut off at each marker and in the scan."""
    plain = encode(pixels(301, 267), restart_marker_blocks=20)
    files = {"trailing.JPEG": plain + b"garbage" * 9, "twice.JPEG": plain + plain, "empty_header.JPEG": plain[:2]}
    ends = [at for at in range(len(plain) - 1) if plain[at] == 0xFF and plain[at + 1] not in (0, 0xFF)]
    steps = ends[:14] + ends[14::9] + [end + 2 for end in ends[:14]]
    return files | {f"cut_at_{at}.JPEG": plain[:at] for at in steps if at} | {"unended.JPEG": plain[:-2]}


def others() -> Encoded:
    """Other formats and modes, each called .JPEG."""
    image = pixels(301, 267)
    deep = Image.fromarray(np.random.default_rng(0).integers(0, 65536, (267, 301)).astype(np.uint16))
    palette = image.quantize(16)
    rgba = image.convert("RGBA")
    rgba.putalpha(Image.linear_gradient("L").resize(image.size))
    make: dict[str, Callable[[], bytes]] = {
        "png": lambda: encode(image, "PNG"),
        "png_16_bit": lambda: encode(deep, "PNG"),
        "png_alpha": lambda: encode(rgba, "PNG"),
        "png_gray_alpha": lambda: encode(rgba.convert("LA"), "PNG"),
        "png_palette": lambda: encode(palette, "PNG"),
        "png_palette_transparent": lambda: encode(palette, "PNG", transparency=3),
        "png_1_bit": lambda: encode(image.convert("1"), "PNG"),
        "gif": lambda: encode(palette, "GIF"),
        "gif_transparent": lambda: encode(palette, "GIF", transparency=2),
        "gif_animated": lambda: encode(palette, "GIF", save_all=True, append_images=[pixels(301, 267, 1).quantize(8)]),
        "bmp": lambda: encode(image, "BMP"),
        "tiff": lambda: encode(image, "TIFF"),
        "tiff_cmyk": lambda: encode(image.convert("CMYK"), "TIFF"),
        "webp": lambda: encode(image, "WEBP"),
        "webp_alpha": lambda: encode(rgba, "WEBP", lossless=True),
        "ppm": lambda: encode(image, "PPM"),
    }
    files = {f"{name}.JPEG": write() for name, write in make.items()}
    files |= {f"cut_{name}": data[: len(data) // 2] for name, data in files.items()}
    return files | {"text.JPEG": b"this is no image at all\n", "zeros.JPEG": bytes(4096), "one_byte.JPEG": b"\xff"}


def genuine() -> Encoded:
    """What Pillow cannot write: arithmetic coding, 12 and 16 bits, lossless, odd chroma sampling, YCCK.

    37 x 29 pixels of smooth noise, made by libjpeg-turbo 3.1.3: ``cjpeg`` with -arithmetic, -progressive, -precision 12
    or 16, -lossless 1 or 4, -sample 4x1, 4x2 and others; YCCK by PyTurboJPEG from CMYK pixels.
    """
    return {f"{path.stem}.JPEG": path.read_bytes() for path in sorted(GENUINE.glob("*.jpg"))}


KINDS: dict[str, Callable[[], Encoded]] = {
    "jpegs": jpegs,
    "sizes": sizes,
    "headers": headers,
    "genuine": genuine,
    "damaged": damaged,
    "others": others,
}


def zoo() -> Encoded:
    """All of them."""
    return {name: data for make in KINDS.values() for name, data in make().items()}
