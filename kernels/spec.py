"""What to compute from an image: the numbers of a preset, the form of the tensor, and why an image was refused."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

DTYPES = ("float32", "float16", "uint8")
LAYOUTS = ("NCHW", "NHWC")


class ImageError(ValueError):
    """An image that cannot be decoded. Its text is the reason, one line, without the file's name."""


@dataclass(frozen=True)
class PreprocessSpec:
    """Resize the short side, crop the centre, normalise: the guide's arithmetic.

    resize : pixels of the short side after the resize (long side: ``int(resize * long / short)``)
    crop   : side of the centre crop, pixels
    mean, std : of ``v / 255``, per channel R, G, B
    exif_rotate : turn each image upright first, which the guide does not
    """

    resize: int
    crop: int
    interpolation: str  # "bilinear", "bicubic", "box", "hamming", "lanczos": Pillow's filters
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    exif_rotate: bool = False


@dataclass(frozen=True)
class TensorFormat:
    """How an image's tensor lies in memory.

    dtype  : float32: normalised. float16: that, rounded to nearest even. uint8: the crop's pixels, not normalised
             (the model or the chip normalises)
    layout : NCHW: three planes R, G, B. NHWC: packed pixels
    """

    dtype: Literal["float32", "float16", "uint8"] = "float32"
    layout: Literal["NCHW", "NHWC"] = "NCHW"

    def __post_init__(self) -> None:
        if self.dtype not in DTYPES:
            raise ValueError(f"unknown tensor dtype {self.dtype!r}, known: {', '.join(DTYPES)}")
        if self.layout not in LAYOUTS:
            raise ValueError(f"unknown tensor layout {self.layout!r}, known: {', '.join(LAYOUTS)}")

    @property
    def numpy_dtype(self) -> np.dtype[Any]:
        """The element type."""
        return np.dtype(self.dtype)

    def shape(self, crop: int) -> tuple[int, int, int]:
        """Shape of one image's tensor."""
        return (3, crop, crop) if self.layout == "NCHW" else (crop, crop, 3)

    def row_bytes(self, crop: int) -> int:
        """Bytes of one image's tensor."""
        return 3 * crop * crop * self.numpy_dtype.itemsize

    def check(self, out: Any, crop: int) -> None:
        """Raise ValueError unless the array `out` is a C-contiguous tensor of this format."""
        shape = self.shape(crop)
        if out.shape != shape or out.dtype != self.numpy_dtype or not out.flags.c_contiguous:
            raise ValueError(f"out must be C-contiguous {self.dtype} of shape {shape}, got {out.dtype} {out.shape}")


#: What the guide's models take.
FLOAT32_NCHW = TensorFormat()
