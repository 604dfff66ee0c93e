"""Which library gives Pillow's pixels of which format, sound and damaged, and how fast?

Method: small files of each kind, made here or kept in tests/images/genuine, are decoded as they are and damaged as in
`bench.fuzz`, by every library that is installed (`kernels.fallback`) and by Pillow. A library may be used for a kind if
it never gave other pixels, nor pixels where Pillow refuses the file; files that it refuses cost time only. With --data,
also the CPU time per image, progressive forms of real JPEGs, interleaved.
Last answer: see docs/kernels.md. Not shown: files larger than 160 x 160, other versions than those printed.

    python -m bench.libraries [--files 1000] [--seed 0] [--data DIR]
"""

from __future__ import annotations

import argparse
import io
import statistics
import sys
import time
import warnings
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from bench.fuzz import damage
from kernels import reference
from kernels.fallback import Library, libraries
from kernels.spec import ImageError

Array = npt.NDArray[Any]
GENUINE = Path(__file__).parents[1] / "tests" / "images" / "genuine"
SAME, OTHER, TOO_MUCH, REFUSED = "same pixels", "OTHER PIXELS", "PIXELS WHERE PILLOW REFUSES", "refused"


def picture(rng: np.random.Generator) -> Image.Image:
    """Waves with noise, of a drawn size."""
    width, height = (int(v) for v in rng.integers(4, 160, 2))
    y, x = np.mgrid[:height, :width]
    base = 127 + 100 * np.sin(x / rng.uniform(2, 30)) * np.cos(y / rng.uniform(2, 30))
    pixels = base[..., None] + rng.normal(0, rng.choice([1, 20, 90]), (height, width, 3))
    return Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))


def encoded(image: Image.Image, kind: str, **options: Any) -> bytes:
    """The image file's bytes."""
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def _jpeg(rng: np.random.Generator, mode: str = "RGB", **options: Any) -> bytes:
    options = {"subsampling": int(rng.integers(3)), **options} if mode == "RGB" else options
    return encoded(picture(rng).convert(mode), "JPEG", quality=int(rng.integers(5, 100)), **options)


def _genuine(rng: np.random.Generator, pattern: str) -> bytes:
    return rng.choice(sorted(GENUINE.glob(pattern))).read_bytes()  # type: ignore[no-any-return]


def _other(rng: np.random.Generator, kind: str, mode: str = "RGB") -> bytes:
    image = picture(rng)
    return encoded(image.convert("L").convert("I;16") if mode == "I;16" else image.convert(mode), kind)


#: What the kernel leaves, by kind: makes one sound file.
KINDS: dict[str, Callable[[np.random.Generator], bytes]] = {
    "progressive": partial(_jpeg, progressive=True),
    "progressive, gray": partial(_jpeg, mode="L", progressive=True),
    "RGB": partial(_jpeg, keep_rgb=True, subsampling=0),
    "baseline": _jpeg,
    "odd sampling": partial(_genuine, pattern="*sampl*"),
    "arithmetic": partial(_genuine, pattern="arithmetic[!_]*"),
    "arithmetic, progressive": partial(_genuine, pattern="arithmetic_prog*"),
    "12 bits": partial(_genuine, pattern="12_bit*"),
    "lossless": partial(_genuine, pattern="lossless*"),
    "CMYK": partial(_jpeg, mode="CMYK"),
    "YCCK": partial(_genuine, pattern="ycck*"),
    "PNG": partial(_other, kind="PNG"),
    "PNG, 16 bits": partial(_other, kind="PNG", mode="I;16"),
    "GIF": partial(_other, kind="GIF", mode="P"),
    "WebP": partial(_other, kind="WEBP"),
    "TIFF": partial(_other, kind="TIFF"),
    "BMP": partial(_other, kind="BMP"),
}


def files_of(kind: str, n: int, seed: int) -> list[bytes]:
    """The first quarter sound, the others damaged."""
    rng = np.random.default_rng([seed, sorted(KINDS).index(kind)])
    sound = [KINDS[kind](rng) for _ in range(-(-n // 4))]
    return [*sound, *(damage(rng, sound[i % len(sound)]) for i in range(n - len(sound)))]


def expected_of(data: bytes) -> Array | None:
    """Pillow's pixels; None for a file that it refuses."""
    try:
        return reference.decode_rgb(data)
    except ImageError:
        return None


def verdict(library: Library, data: bytes, expected: Array | None) -> str:
    """What the library made of the file."""
    assert library.decode is not None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            found = library.decode(data)
    except Exception:  # each library has its own errors
        return REFUSED
    if expected is None:
        return TOO_MUCH
    return SAME if np.array_equal(found, expected) else OTHER


def table(found: list[Library], n: int, seed: int) -> None:
    """A line per kind and library."""
    print(f"{'kind':24} {'library':10} " + "  ".join((SAME, REFUSED, OTHER, TOO_MUCH)))
    for kind in KINDS:
        files = files_of(kind, n, seed)
        expected = [expected_of(data) for data in files]
        for library in found:
            counts = Counter(verdict(library, *case) for case in zip(files, expected, strict=True))
            columns = "  ".join(f"{counts[name]:{len(name)}d}" for name in (SAME, REFUSED, OTHER, TOO_MUCH))
            print(f"{kind:24} {library.name:10} {columns}", flush=True)


def speed(found: list[Library], folder: Path) -> None:
    """CPU milliseconds per image, progressive forms of the folder's first 40 JPEGs."""
    files = []
    for path in sorted(folder.rglob("*.JPEG"))[:40]:
        with Image.open(path) as image:
            files.append(encoded(image.convert("RGB"), "JPEG", progressive=True, quality=90))
    decoders = {"pillow": reference.decode_rgb, **{one.name: one.decode for one in found if one.decode}}
    times: dict[str, list[float]] = {name: [] for name in decoders}
    for _ in range(7):
        for name, decode in decoders.items():
            began = time.process_time()
            for data in files:
                decode(data)
            times[name].append((time.process_time() - began) / len(files) * 1e3)
    for name, each in times.items():
        print(f"{name:10} {statistics.median(each):.3f} ms of CPU per progressive image, {len(files)} images")


def main() -> int:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, default=1000, help="of each kind")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--data", type=Path)
    options = parser.parse_args()
    for library in libraries():
        print(f"{library.name}: {library.text}")
    found = [library for library in libraries() if library.decode is not None]
    table(found, options.files, options.seed)
    if options.data is not None:
        speed(found, options.data)
    return 0


if __name__ == "__main__":
    sys.exit(main())
