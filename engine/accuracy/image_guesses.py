"""How images might have been prepared instead: each guess turns a crop's pixels into the tensor that a model sees."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from engine.presets import HALF, IMAGENET_MEAN, IMAGENET_STD, PRESETS
from kernels.spec import PreprocessSpec

F32 = npt.NDArray[np.float32]
U8 = npt.NDArray[np.uint8]

#: Caffe's models take BGR pixels of 0..255 less these means of its ILSVRC2012 reference model.
CAFFE_BGR_MEAN = (104.0, 117.0, 123.0)


@dataclass(frozen=True)
class ImageGuess:
    """One way to prepare images.

    spec   : resize and crop        remedy : what the model or the tensors want if it is right
    tensor : crop (crop, crop, 3) uint8, RGB -> (3, crop, crop) float32
    """

    name: str
    remedy: str
    spec: PreprocessSpec
    tensor: Callable[[U8], F32]


def image_guesses(preset: str) -> list[ImageGuess]:
    """The first one is the preset as it was used; then what differs from it in one respect."""
    spec = PRESETS[preset]

    def normalised(rgb: U8, mean: tuple[float, ...] = spec.mean, std: tuple[float, ...] = spec.std) -> F32:
        values = rgb.astype(np.float32) / np.float32(255)
        return _planes((values - np.array(mean, np.float32)) / np.array(std, np.float32))

    guesses = [
        ImageGuess(f"as configured (preset {preset})", "", spec, normalised),
        ImageGuess("BGR instead of RGB", "swap the channels", spec, lambda rgb: normalised(rgb[:, :, ::-1])),
        ImageGuess(
            "not normalised, 0..1", "only divide by 255", spec, lambda rgb: normalised(rgb, (0.0,) * 3, (1.0,) * 3)
        ),
        ImageGuess("pixels of 0..255", "no scale at all", spec, lambda rgb: _planes(rgb.astype(np.float32))),
        ImageGuess(
            "BGR 0..255 less Caffe's mean",
            "Caffe's preprocessing",
            spec,
            lambda rgb: _planes(rgb[:, :, ::-1].astype(np.float32) - np.array(CAFFE_BGR_MEAN, np.float32)),
        ),
        ImageGuess(
            "NHWC instead of NCHW",
            "transpose the tensors, or compile with the right --input_format",
            spec,
            lambda rgb: normalised(rgb).transpose(1, 2, 0).reshape(3, spec.crop, spec.crop),
        ),
    ]
    for name, (mean, std) in {
        "mean and std 0.5": (HALF, HALF),
        "ImageNet's mean": (IMAGENET_MEAN, IMAGENET_STD),
    }.items():
        if (mean, std) != (spec.mean, spec.std):
            guesses.append(
                ImageGuess(
                    f"normalised by {name}",
                    "another preset or other means",
                    spec,
                    lambda rgb, mean=mean, std=std: normalised(rgb, mean, std),  # type: ignore[misc]
                )
            )
    guesses += [
        _other_preset(name, other) for name, other in PRESETS.items() if name != preset and other.crop == spec.crop
    ]
    return guesses


def _other_preset(name: str, spec: PreprocessSpec) -> ImageGuess:
    mean, std = np.array(spec.mean, np.float32), np.array(spec.std, np.float32)

    def tensor(rgb: U8) -> F32:
        return _planes((rgb.astype(np.float32) / np.float32(255) - mean) / std)

    return ImageGuess(f"preset {name}", f"use --preset {name}", spec, tensor)


def _planes(values: F32) -> F32:
    return np.ascontiguousarray(values.transpose(2, 0, 1), np.float32)
