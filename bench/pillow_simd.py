"""The pillow-simd peer of `bench.host`: a process of another interpreter, because pillow-simd takes Pillow's place.

Imports nothing of this project. Reads commands from standard input: `load PATH` (a file), `pass WAY` (all files once by
one of the ways below; answers CPU nanoseconds), `tensor WAY NUMBER` (answers the float32 tensor's bytes).

    CC="cc -mavx2" pip install numpy pillow-simd      in an environment of its own; PEER_PILLOW_SIMD=that python
"""

from __future__ import annotations

import io
import sys
import time
from typing import Any

import numpy as np
import PIL
from PIL import Image

RESIZE, CROP = 256, 224
MEAN = np.array((0.485, 0.456, 0.406), np.float32)
STD = np.array((0.229, 0.224, 0.225), np.float32)


def geometry(width: int, height: int) -> tuple[tuple[int, int], tuple[int, int]]:
    """Size after the resize of the short side, and the crop's corner."""
    short = min(width, height)
    size = int(RESIZE * width / short), int(RESIZE * height / short)
    return size, (round((size[0] - CROP) / 2.0), round((size[1] - CROP) / 2.0))


def guide(data: bytes) -> Any:
    """The guide's script."""
    image = Image.open(io.BytesIO(data)).convert("RGB")
    size, (left, top) = geometry(*image.size)
    image = image.resize(size, Image.Resampling.BILINEAR).crop((left, top, left + CROP, top + CROP))
    pixels = np.array(image, dtype=np.float32).transpose(2, 0, 1) / 255.0
    return (pixels - MEAN[:, None, None]) / STD[:, None, None]


def box(data: bytes) -> Any:
    """Only the crop's box is resized, and normalised by one multiplication and one addition."""
    image = Image.open(io.BytesIO(data)).convert("RGB")
    (width, height), (left, top) = geometry(*image.size)
    x, y = image.width / width, image.height / height
    source = (left * x, top * y, (left + CROP) * x, (top + CROP) * y)
    pixels = np.asarray(image.resize((CROP, CROP), Image.Resampling.BILINEAR, box=source))
    return np.ascontiguousarray((pixels * (1.0 / (255.0 * STD)) - MEAN / STD).transpose(2, 0, 1))


WAYS = {"guide": guide, "box": box}


def main() -> None:
    """Answer commands until standard input ends."""
    files: list[bytes] = []
    print(f"Pillow-SIMD {PIL.__version__}", flush=True)
    for line in sys.stdin:
        word, _, rest = line.strip().partition(" ")
        if word == "load":
            with open(rest, "rb") as file:
                files.append(file.read())
        elif word == "pass":
            began_ns = time.process_time_ns()
            for data in files:
                WAYS[rest](data)
            print(time.process_time_ns() - began_ns, flush=True)
        else:
            way, number = rest.split()
            sys.stdout.buffer.write(np.ascontiguousarray(WAYS[way](files[int(number)]), np.float32).tobytes())
            sys.stdout.buffer.flush()


if __name__ == "__main__":
    main()
