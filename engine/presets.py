"""The presets of the guide's preprocessing script, by name.

Numbers: the ModelZoo's ``imagenet_torch_preprocess.py`` (resnet, inceptionv3, inceptionv4) and the EfficientNet-Lite
release (256/224 with a bicubic filter and v -> (v - 127) / 128).
"""

from __future__ import annotations

from dataclasses import replace

from engine.suggest import unknown
from kernels.spec import PreprocessSpec

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
HALF = (0.5, 0.5, 0.5)

PRESETS: dict[str, PreprocessSpec] = {
    "resnet": PreprocessSpec(256, 224, "bilinear", IMAGENET_MEAN, IMAGENET_STD),
    "inceptionv3": PreprocessSpec(342, 299, "bilinear", IMAGENET_MEAN, IMAGENET_STD),
    "inceptionv4": PreprocessSpec(342, 299, "bilinear", HALF, HALF),
    "efficientnet-lite0": PreprocessSpec(256, 224, "bicubic", (127 / 255,) * 3, (128 / 255,) * 3),
}


def find_preset(name: str, *, exif_rotate: bool = False) -> PreprocessSpec:
    """The preset called `name`; ConfigError with the nearest known name otherwise."""
    if name not in PRESETS:
        raise unknown("preset", name, PRESETS)
    return replace(PRESETS[name], exif_rotate=exif_rotate)
