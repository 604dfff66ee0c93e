"""JPEGs that cost a decoder what ImageNet's do: the same sizes, bits per pixel and chroma subsampling, from a seed.

A natural photo has a power spectrum that falls as 1 / f^2, edges where objects end, texture that differs from object
to object, and less detail in colour than in brightness. So has each image here: filtered noise, shapes with a colour
and contrast of their own, sensor noise. What must match was measured on 1,000 ImageNet images: mean 468 x 401 pixels,
110 KB, 4.35 bits per pixel; 76.1 % 4:4:4, 20.3 % 4:2:0, 1.2 % 4:2:2, 0.1 % 4:4:0, 2.3 % gray; none progressive; nearly
every file has Huffman tables of its own; short side under 256 in 10 %, 512 or more in 5 %; three of four landscape.
"""

from __future__ import annotations

import io
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image

F32Array = npt.NDArray[np.float32]
U8Array = npt.NDArray[np.uint8]

SEED = 20211031
#: Of 320 images, how many have which chroma subsampling.
CHROMA_COUNTS = {"4:4:4": 243, "4:2:0": 65, "4:2:2": 4, "4:4:0": 1, "gray": 7}
#: Of 320 images, how many have which kind of size.
SIZE_COUNTS = {"camera": 208, "any": 62, "small": 32, "large": 16, "tall": 2}
N_IMAGES = sum(CHROMA_COUNTS.values())
PILLOW_SUBSAMPLING = {"4:4:4": 0, "4:2:2": 1, "4:2:0": 2, "gray": 0}
#: Two of three ImageNet files were saved at quality 96, the rest spreads below.
USUAL_QUALITY = 96
#: Grey levels of sensor noise; with the log-normal spread below it makes 4.35 bits per pixel.
NOISE_MEDIAN = 1.45
NOISE_SPREAD = 1.1


@dataclass(frozen=True)
class ImagePlan:
    """Everything that decides one image, short of its noise."""

    number: int
    width: int
    height: int
    chroma: str
    quality: int
    noise: float

    @property
    def name(self) -> str:
        return f"demo_{self.number:08d}.JPEG"


def plan_images() -> list[ImagePlan]:
    """Return the plans of all images, numbered from 1; the same on every machine."""
    rng = np.random.default_rng(SEED)
    chromas = rng.permutation(np.repeat(list(CHROMA_COUNTS), list(CHROMA_COUNTS.values())))
    kinds = rng.permutation(np.repeat(list(SIZE_COUNTS), list(SIZE_COUNTS.values())))
    return [
        ImagePlan(i + 1, *_size(str(kind), rng), str(chroma), _quality(rng), _noise(rng))
        for i, (chroma, kind) in enumerate(zip(chromas, kinds, strict=True))
    ]


def _size(kind: str, rng: np.random.Generator) -> tuple[int, int]:
    """Return (width, height) of one image of this kind."""
    if kind == "tall":  # over 2:1, where the order of Pillow's resize passes matters
        return int(rng.integers(150, 220)), 500
    if kind == "camera":
        long, short = 500, int(rng.choice([375, 375, 375, 333, 400]))
    elif kind == "small":
        short = int(rng.integers(90, 256))
        long = int(short * rng.uniform(1.0, 1.6))
    elif kind == "large":
        short = int(rng.integers(520, 1200))
        long = int(short * rng.choice([1.0, 4 / 3, 1.5]))
    else:
        short = int(rng.integers(256, 440))
        long = int(short * rng.uniform(1.0, 1.5))
    return (long, short) if rng.random() < 0.76 else (short, long)


def _quality(rng: np.random.Generator) -> int:
    return USUAL_QUALITY if rng.random() < 0.66 else int(rng.integers(80, 96))


def _noise(rng: np.random.Generator) -> float:
    return float(NOISE_MEDIAN * np.exp(NOISE_SPREAD * rng.standard_normal()))


def make_jpeg(plan: ImagePlan) -> bytes:
    """Return the image of ``plan`` as a baseline JPEG with optimised Huffman tables."""
    rgb = paint(plan, np.random.default_rng([SEED, plan.number]))
    if plan.chroma == "4:4:0":  # Pillow cannot write it
        return _jpeg_440(rgb, plan.quality)
    image = Image.fromarray(rgb)
    stream = io.BytesIO()
    image = image.convert("L") if plan.chroma == "gray" else image
    subsampling = PILLOW_SUBSAMPLING[plan.chroma]
    image.save(stream, "JPEG", quality=plan.quality, subsampling=subsampling, optimize=True)
    return stream.getvalue()


def _jpeg_440(rgb: U8Array, quality: int) -> bytes:
    sampling = [cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_440]
    options = [cv2.IMWRITE_JPEG_QUALITY, quality, cv2.IMWRITE_JPEG_OPTIMIZE, 1, *sampling]
    _, data = cv2.imencode(".jpg", rgb[:, :, ::-1], options)
    return bytes(data)


def paint(plan: ImagePlan, rng: np.random.Generator) -> U8Array:
    """Return a photo-like image. returned : (H, W, 3) uint8, RGB"""
    shape = (plan.height, plan.width)
    luma = 118 + 46 * _fractal(shape, 1.35, rng)
    chroma = [18 * _fractal(shape, 1.7, rng) for _ in range(2)]
    for _ in range(int(rng.integers(4, 10))):
        _add_shape(luma, chroma, rng)
    luma += plan.noise * rng.standard_normal(shape, np.float32) * (0.4 + luma.clip(0, 255) / 255)
    blue, red = chroma
    rgb = np.stack([luma + 1.4 * red, luma - 0.34 * blue - 0.71 * red, luma + 1.77 * blue], axis=-1)
    pixels: U8Array = rgb.clip(0, 255).round().astype(np.uint8)
    return pixels


def _fractal(shape: tuple[int, int], slope: float, rng: np.random.Generator) -> F32Array:
    """Return noise whose amplitude falls as 1 / f^slope, with mean 0 and standard deviation 1. returned : shape"""
    height, width = shape
    frequency = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)[None, :]).astype(np.float32)
    frequency[0, 0] = np.inf
    field = np.fft.irfft2(np.fft.rfft2(rng.standard_normal(shape, np.float32)) * frequency**-slope, shape)
    unit: F32Array = (field / field.std()).astype(np.float32)
    return unit


def _add_shape(luma: F32Array, chroma: list[F32Array], rng: np.random.Generator) -> None:
    """Paint one sharp-edged object, an ellipse or a slanted bar, with its own brightness, colour and contrast."""
    height, width = luma.shape
    y, x = np.ogrid[:height, :width]
    centre_y, centre_x = rng.uniform(0, height), rng.uniform(0, width)
    angle, radius = rng.uniform(0, np.pi), rng.uniform(0.06, 0.35) * min(height, width)
    along = (x - centre_x) * np.cos(angle) + (y - centre_y) * np.sin(angle)
    across = (y - centre_y) * np.cos(angle) - (x - centre_x) * np.sin(angle)
    stretch = rng.uniform(1.0, 3.0)
    if rng.random() < 0.5:
        inside = (along / stretch) ** 2 + across**2 < radius**2
    else:
        inside = (np.abs(along) < stretch * radius) & (np.abs(across) < 0.5 * radius)
    luma[inside] = rng.uniform(0.4, 1.3) * luma[inside] + rng.uniform(-50, 50)
    for plane in chroma:
        plane[inside] += rng.uniform(-30, 30)
