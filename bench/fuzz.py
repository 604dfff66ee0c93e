"""Is the JPEG decoder safe, and of Pillow's opinion, on damaged files?

Method: small JPEGs of all layouts are damaged (bits flipped, bytes changed, cut out, doubled, markers inserted, cut
off) and decoded whole and as a random region, every array of the decoder lying between guard zones. It must not crash,
and leave the guards as they were. The scalar twin, every index of which is checked, must give the same return code and
pixels; where they are pixels, Pillow must accept the file and give the same ones.
Last answer: see docs/kernels.md. Not shown: files larger than 200 x 200.

    python -m bench.fuzz [--files 20000] [--seed 0]
"""

from __future__ import annotations

import argparse
import io
import sys
from collections import Counter
from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageFile

from kernels.jpeg import twin
from kernels.jpeg.decoder import JpegDecoder
from kernels.jpeg.frame import HEIGHT, OK, WIDTH
from kernels.reference import decode_rgb
from kernels.spec import ImageError

U8 = npt.NDArray[np.uint8]

#: Room for the JPEG encoder, which refuses small noisy images with restart markers otherwise.
ImageFile.MAXBLOCK = 1 << 22
GUARD_BYTES = 4096
GUARD_VALUE = 0xA5
_MARKERS = (0xC4, 0xC0, 0xC2, 0xD0, 0xD3, 0xD7, 0xD8, 0xD9, 0xDA, 0xDB, 0xDC, 0xDD, 0xE0, 0xE2, 0xEE, 0xFE, 0xFF, 0x01)


class GuardedDecoder(JpegDecoder):
    """Every array between two guard zones."""

    def __init__(self) -> None:
        self._guarded: list[U8] = []
        super().__init__()

    def _allocate(self, shape: int | tuple[int, ...], kind: Any) -> Any:
        n_bytes = int(np.prod(shape)) * np.dtype(kind).itemsize
        memory = np.full(n_bytes + 2 * GUARD_BYTES, GUARD_VALUE, np.uint8)
        self._guarded.append(memory)
        array = memory[GUARD_BYTES : GUARD_BYTES + n_bytes]
        array[:] = 0
        return array.view(kind).reshape(shape)

    def are_guards_intact(self) -> bool:
        """False once anything was written outside of the arrays."""
        return all(
            (m[:GUARD_BYTES] == GUARD_VALUE).all() and (m[-GUARD_BYTES:] == GUARD_VALUE).all() for m in self._guarded
        )


def sound_files(rng: np.random.Generator, n: int) -> list[bytes]:
    """JPEGs of all chroma layouts, qualities, table kinds and restart intervals."""
    files = []
    for i in range(n):
        width, height = (int(v) for v in rng.integers(8, 200, 2))
        y, x = np.mgrid[:height, :width]
        base = 127 + 100 * np.sin(x / rng.uniform(2, 30)) * np.cos(y / rng.uniform(2, 30))
        pixels = base[..., None] + rng.normal(0, rng.choice([1, 20, 90]), (height, width, 3))
        image = Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))
        stream = io.BytesIO()
        options: dict[str, Any] = {"quality": int(rng.integers(5, 101)), "optimize": bool(rng.integers(2))}
        if i % 4 == 3:
            image = image.convert("L")
        else:
            options["subsampling"] = i % 4
        if rng.integers(3) == 0:
            options["restart_marker_blocks"] = int(rng.integers(1, 40))
        image.save(stream, "JPEG", **options)
        files.append(stream.getvalue())
    return files


def damage(rng: np.random.Generator, file: bytes) -> bytes:
    """One to four damages, half of them in the header."""
    data = bytearray(file)
    for _ in range(rng.integers(1, 5)):
        scan = max(file.find(b"\xff\xda"), 2)
        n = len(data)
        if n < 20:
            break
        at = int(rng.integers(2, min(scan + 20, n - 8))) if rng.integers(2) else int(rng.integers(2, n - 8))
        kind = rng.integers(7)
        if kind == 0:
            data[at] ^= 1 << int(rng.integers(8))
        elif kind == 1:
            data[at] = int(rng.integers(256))
        elif kind == 2:
            del data[at : at + int(rng.integers(1, 40))]
        elif kind == 3:
            data[at:at] = data[at : at + int(rng.integers(1, 40))]
        elif kind == 4:
            data[at : at + 2] = bytes((0xFF, int(rng.choice(_MARKERS))))
        elif kind == 5:
            data[at : at + 8] = rng.bytes(8)
        else:
            del data[int(n * rng.uniform(0.3, 1)) :]
    return bytes(data)


def disagreement(decoder: JpegDecoder, file: bytes, rng: np.random.Generator) -> str:
    """What the decoder did, and "" or the complaint."""
    data = np.frombuffer(file, np.uint8)
    if decoder.header(data) != OK:
        return "left to the library"
    width, height = int(decoder.frame[WIDTH]), int(decoder.frame[HEIGHT])
    if width * height > 1 << 20:
        return "left out: large"
    left, right = sorted(rng.choice(width + 1, 2, replace=False).tolist())
    top, bottom = sorted(rng.choice(height + 1, 2, replace=False).tolist())
    code, pixels = twin.decode(decoder, file)
    verdict = "left to the library"
    boxes = ((0, 0, width, height), (left, top, right, bottom))
    for box in boxes:
        decoder.header(data)
        got = decoder.pixels(box)
        if box == boxes[0] and got != code:
            return f"WRONG: return code {got}, the twin's is {code}"
        if got != OK:
            continue
        part = decoder.region().view()
        if code == OK and not np.array_equal(part, pixels[box[1] : box[3], box[0] : box[2]]):
            return "WRONG: other pixels than the twin"
        try:
            expected = decode_rgb(file)
        except ImageError as error:
            return f"WRONG: pixels, where Pillow says: {error}"
        if not np.array_equal(part, expected[box[1] : box[3], box[0] : box[2]]):
            return "WRONG: other pixels than Pillow"
        verdict = "same pixels as the twin and Pillow"
    return verdict


def damaged_files(n: int, seed: int) -> Iterator[bytes]:
    """A reproducible stream of damaged files."""
    rng = np.random.default_rng(seed)
    corpus = sound_files(rng, 64)
    for i in range(n):
        yield damage(rng, corpus[i % len(corpus)])


def main() -> int:
    """Exit status 1 if anything is wrong."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    decoder, rng, verdicts = GuardedDecoder(), np.random.default_rng(options.seed), Counter[str]()
    for i, file in enumerate(damaged_files(options.files, options.seed)):
        verdict = disagreement(decoder, file, rng)
        verdicts[verdict] += 1
        if verdict.startswith("WRONG"):
            print(f"file {i}: {verdict}")
        if not decoder.are_guards_intact():
            print(f"file {i}: written outside of an array")
            return 1
    for verdict, count in verdicts.most_common():
        print(f"{count:7d} {verdict}")
    return int(any(verdict.startswith("WRONG") for verdict in verdicts))


if __name__ == "__main__":
    sys.exit(main())
