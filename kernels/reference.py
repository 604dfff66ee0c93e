"""The slow, obvious twins that every kernel is tested against: Pillow and NumPy, no numba."""

from __future__ import annotations

import contextlib
import io
import math
import warnings
from collections.abc import Iterator
from typing import Any, cast

import numpy as np
import numpy.typing as npt
from PIL import Image

from kernels.spec import ImageError, PreprocessSpec, TensorFormat

Array = npt.NDArray[Any]

#: Bits of the fraction of a filter weight (Pillow's PRECISION_BITS, 32 - 8 - 2).
PRECISION_BITS = 22

#: Reach of a filter at scale 1, in source pixels to each side.
SUPPORT = {"box": 0.5, "bilinear": 1.0, "hamming": 1.0, "bicubic": 2.0, "lanczos": 3.0}

#: EXIF's tag of the orientation, and what turns an image with it upright.
ORIENTATION = 0x0112
TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}

#: Fingerprint: lanes that a word can fall in, and the odd multiplier of all of them.
LANES = 32
MULTIPLIER = 0x9E3779B97F4A7C15
MASK = (1 << 64) - 1


def decode_rgb(data: bytes | memoryview, *, exif_rotate: bool = False) -> Array:
    """``Image.open(...).convert("RGB")`` as (H, W, 3) uint8. Raises ImageError with Pillow's reason.

    exif_rotate : turned upright first, as ``ImageOps.exif_transpose`` does; EXIF that cannot be read says nothing
    """
    image = open_image(data)
    with _reasons():
        return np.asarray((upright(image) if exif_rotate else image).convert("RGB"))


def open_image(data: bytes | memoryview) -> Image.Image:
    """The image, of which Pillow has read the header. Raises ImageError with Pillow's reason."""
    with _reasons():
        return Image.open(io.BytesIO(data))


def upright(image: Image.Image) -> Image.Image:
    """The image as EXIF or XMP says that it is to be seen."""
    image.load()  # TIFF does it itself, here
    try:
        turn = image.getexif().get(ORIENTATION, 1)
    except MemoryError:
        raise
    except Exception:
        turn = 1
    return image.transpose(TURNS[turn]) if turn in TURNS else image


@contextlib.contextmanager
def _reasons() -> Iterator[None]:
    """Pillow's errors as ImageError; an image with too many pixels is refused from its header."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            yield
    except MemoryError:
        raise
    except Exception as error:  # what Pillow raises depends on the format: OSError, SyntaxError, struct.error, ...
        raise ImageError(one_line(error)) from error


def one_line(error: Exception) -> str:
    """The error's text on one line, without the address of the stream that Pillow prints in it."""
    text = " ".join(str(error).split()) or type(error).__name__
    return text.partition(" <_io.BytesIO")[0]


def resized_size(width: int, height: int, short: int) -> tuple[int, int]:
    """(width, height) after the guide's resize of the short side to `short` pixels."""
    if min(width, height) == short:
        return width, height
    if width < height:
        return short, int(short * height / width)
    return int(short * width / height), short


def crop_origin(size: int, crop: int) -> int:
    """First pixel of the centre crop: Python's round, half to even."""
    return round((size - crop) / 2.0)


def preprocess(data: bytes | memoryview, spec: PreprocessSpec) -> Array:
    """The guide's script: (3, crop, crop) float32, ``(v / 255 - mean) / std`` of the resized image's centre."""
    return normalise_chw(crop_rgb(data, spec), spec)


def tensor(data: bytes | memoryview, spec: PreprocessSpec, form: TensorFormat) -> Array:
    """`preprocess` in any format."""
    return to_tensor(crop_rgb(data, spec), spec, form)


def crop_rgb(data: bytes | memoryview, spec: PreprocessSpec) -> Array:
    """The resized image's centre: (crop, crop, 3) uint8."""
    image = Image.fromarray(decode_rgb(data, exif_rotate=spec.exif_rotate))
    width, height = resized_size(*image.size, spec.resize)
    resample = Image.Resampling[spec.interpolation.upper()]
    # one pass at a time: from Pillow 13.0 on a single call may resize tall images vertically first
    image = image.resize((width, image.height), resample).resize((width, height), resample)
    left, top = crop_origin(width, spec.crop), crop_origin(height, spec.crop)
    return np.asarray(image.crop((left, top, left + spec.crop, top + spec.crop)))


def to_tensor(crop: Array, spec: PreprocessSpec, form: TensorFormat) -> Array:
    """(n, n, 3) uint8 -> the tensor: float16 as NumPy rounds float32, uint8 as it is."""
    planes = crop.transpose(2, 0, 1) if form.dtype == "uint8" else normalise_chw(crop, spec)
    planes = planes if form.layout == "NCHW" else planes.transpose(1, 2, 0)
    return np.ascontiguousarray(planes.astype(form.numpy_dtype))


def normalise_chw(rgb: Array, spec: PreprocessSpec) -> Array:
    """(H, W, 3) uint8 -> (3, H, W) float32, every step rounded to float32."""
    mean = np.array(spec.mean, np.float32)[:, None, None]
    std = np.array(spec.std, np.float32)[:, None, None]
    planes: Array = (rgb.astype(np.float32).transpose(2, 0, 1) / np.float32(255.0) - mean) / std
    return np.ascontiguousarray(planes)


def _sinc(x: float) -> float:
    return 1.0 if x == 0.0 else math.sin(x * math.pi) / (x * math.pi)


def filter_weight(name: str, x: float) -> float:
    """Pillow's filter functions (Resample.c), at `x` source pixels from the centre."""
    if name == "box":
        return 1.0 if -0.5 < x <= 0.5 else 0.0
    if name == "lanczos":
        return _sinc(x) * _sinc(x / 3.0) if -3.0 <= x < 3.0 else 0.0
    x = abs(x)
    if name == "bilinear":
        return 1.0 - x if x < 1.0 else 0.0
    if name == "hamming":
        if x == 0.0 or x >= 1.0:
            return float(x == 0.0)
        x *= math.pi
        return math.sin(x) / x * (float(np.float32(0.54)) + float(np.float32(0.46)) * math.cos(x))
    if x < 1.0:  # bicubic, a = -0.5
        return (1.5 * x - 2.5) * x * x + 1.0
    return (((x - 5.0) * x + 8.0) * x - 4.0) * -0.5 if x < 2.0 else 0.0


def coefficients(in_size: int, out_size: int, index: int, name: str) -> tuple[int, list[int]]:
    """First source pixel and the fixed-point weights of output `index` (Pillow's precompute_coeffs)."""
    scale = in_size / out_size
    filter_scale = max(scale, 1.0)
    support = SUPPORT[name] * filter_scale
    inverse = 1.0 / filter_scale  # Pillow multiplies; dividing instead moved pixels of 1 image in 334
    centre = (index + 0.5) * scale
    low = max(int(centre - support + 0.5), 0)
    high = min(int(centre + support + 0.5), in_size)
    weights = [filter_weight(name, (x - centre + 0.5) * inverse) for x in range(low, high)]
    total = sum(weights)
    if total != 0.0:
        weights = [weight / total for weight in weights]
    fixed = [weight * (1 << PRECISION_BITS) for weight in weights]
    return low, [int(weight - 0.5) if weight < 0 else int(weight + 0.5) for weight in fixed]


def resample_axis(image: Array, out_size: int, first: int, n: int, name: str) -> Array:
    """Outputs ``first .. first + n`` of a resize of axis 0 to `out_size`, in exact integers; uint8 -> uint8."""
    out = np.empty((n, *image.shape[1:]), np.uint8)
    for i in range(n):
        low, weights = coefficients(image.shape[0], out_size, first + i, name)
        taps = image[low : low + len(weights)].astype(np.int64)
        total = np.tensordot(np.array(weights, np.int64), taps, axes=1) + (1 << (PRECISION_BITS - 1))
        out[i] = np.clip(total >> PRECISION_BITS, 0, 255)
    return out


def resample(rgb: Array, spec: PreprocessSpec) -> Array:
    """Resize + centre crop of (H, W, 3) uint8 without Pillow: (crop, crop, 3) uint8."""
    height, width = rgb.shape[:2]
    out_width, out_height = resized_size(width, height, spec.resize)
    left, top = crop_origin(out_width, spec.crop), crop_origin(out_height, spec.crop)
    columns = resample_axis(rgb.transpose(1, 0, 2), out_width, left, spec.crop, spec.interpolation)
    return resample_axis(columns.transpose(1, 0, 2), out_height, top, spec.crop, spec.interpolation)


def rank_rows(logits: Array, labels: Array, ranks: Array, top_ids: Array, top_logits: Array) -> None:
    """Twin of `kernels.rank.rank_rows`, by a stable sort."""
    for i, row in enumerate(logits):
        n_classes = len(row)
        is_nan = np.isnan(row)
        order = np.lexsort((np.arange(n_classes), -np.where(is_nan, -np.inf, row), is_nan))
        label = int(labels[i])
        is_ranked = 0 <= label < n_classes and not is_nan.any()
        ranks[i] = int(np.flatnonzero(order == label)[0]) + 1 if is_ranked else 0
        top_ids[i], top_logits[i] = -1, 0.0
        best = order[:5]
        top_ids[i, : len(best)] = best
        top_logits[i, : len(best)] = row[best]


def splitmix64(value: int) -> int:
    """The finaliser of splitmix64: a bijection of 64-bit words that spreads every bit."""
    value = ((value ^ (value >> 30)) * 0xBF58476D1CE4E5B9) & MASK
    value = ((value ^ (value >> 27)) * 0x94D049BB133111EB) & MASK
    return value ^ (value >> 31)


def fingerprint_hash(words: Array) -> np.uint64:
    """Twin of `kernels.fingerprint.fingerprint_hash`: (n,) uint64 -> the hash of all words and their places."""
    lanes = np.zeros(LANES, np.uint64)
    n_whole = len(words) // LANES * LANES
    for block in words[:n_whole].reshape(-1, LANES):
        lanes = (lanes ^ (lanes >> np.uint64(29))) * np.uint64(MULTIPLIER) + block
    for i, word in enumerate(words[n_whole:]):
        lane = lanes[i : i + 1]
        lane[:] = (lane ^ (lane >> np.uint64(29))) * np.uint64(MULTIPLIER) + word
    value = 8 * len(words)
    for total in lanes.tolist():
        value = (value * MULTIPLIER + splitmix64(total)) & MASK
    return cast(np.uint64, np.uint64(splitmix64(value)))


def as_words(row: Array) -> Array:
    """(n_bytes,) uint8 -> (ceil(n_bytes / 8),) uint64, the last word filled with zeros."""
    padded = np.zeros(-(-len(row) // 8) * 8, np.uint8)
    padded[: len(row)] = row
    return padded.view(np.uint64)


def fingerprint_logits(rows: Array, out: Array) -> None:
    """Twin of `kernels.fingerprint.fingerprint_logits`."""
    n_classes = out.shape[1]
    for i, row in enumerate(rows):
        value = int(fingerprint_hash(as_words(row)))
        top = value % n_classes
        step = 1 + (value >> 32) % max(n_classes - 1, 1)
        while math.gcd(step, n_classes) != 1:
            step += 1
        for r in range(n_classes):
            out[i, (top + r * step) % n_classes] = n_classes - r
