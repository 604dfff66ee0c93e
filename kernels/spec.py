"""What to compute from an image: the numbers of a preset, and why an image was refused."""

from __future__ import annotations

from dataclasses import dataclass


class ImageError(ValueError):
    """An image that cannot be decoded. Its text is the reason, one line, without the file's name."""


@dataclass(frozen=True)
class PreprocessSpec:
    """Resize the short side, crop the centre, normalise: the guide's arithmetic.

    resize : pixels of the short side after the resize (long side: ``int(resize * long / short)``)
    crop   : side of the centre crop, pixels
    mean, std : of ``v / 255``, per channel R, G, B
    """

    resize: int
    crop: int
    interpolation: str  # "bilinear", "bicubic", "box", "hamming", "lanczos": Pillow's filters
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
