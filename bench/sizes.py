"""Is the resize exact for every preset and filter at any size, up and down?

Method: images of noise and waves, of seeded sizes from 1 to 1,500 pixels, through `Resampler` and through Pillow's two
passes (`kernels.reference`); the tensors must be equal bit for bit. Thin images are cut to a ratio of 64: Pillow's own
resize of the long side does not fit in memory otherwise.

    python -m bench.sizes [--sizes 2000] [--seed 0]
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter

import numpy as np
from PIL import Image

from engine.presets import PRESETS
from kernels import reference
from kernels.coefficients import FILTERS
from kernels.resample import Resampler, whole
from kernels.spec import PreprocessSpec

_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def specs() -> dict[str, PreprocessSpec]:
    """All presets, and each filter by its name."""
    filters = {name: PreprocessSpec(256, 224, name, _MEAN, _STD) for name in FILTERS}
    return {**{name: preset for name, preset in PRESETS.items()}, **filters}  # noqa: C416


def noise(rng: np.random.Generator) -> Image.Image:
    """An image of a drawn size; full contrast makes bicubic and Lanczos sums clip."""
    width, height = (int(v) for v in rng.integers(1, 1501, 2))
    width, height = max(width, height // 64), max(height, width // 64)
    return Image.fromarray(rng.integers(0, 256, (height, width, 3), np.uint8))


def is_exact(resample: Resampler, image: Image.Image) -> bool:
    """The kernels' tensor against the reference's."""
    spec = resample.spec
    width, height = reference.resized_size(*image.size, spec.resize)
    kind = Image.Resampling[spec.interpolation.upper()]
    resized = image.resize((width, image.height), kind).resize((width, height), kind)
    left, top = reference.crop_origin(width, spec.crop), reference.crop_origin(height, spec.crop)
    crop = np.asarray(resized.crop((left, top, left + spec.crop, top + spec.crop)))
    out = np.full((3, spec.crop, spec.crop), np.nan, np.float32)
    resample(resample.plan(*image.size), whole(np.asarray(image)), out)
    return out.tobytes() == reference.normalise_chw(crop, spec).tobytes()


def main() -> int:
    """Exit status 1 if any tensor differs."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    resamplers = {name: Resampler(spec) for name, spec in specs().items()}
    rng, wrong = np.random.default_rng(options.seed), Counter[str]()
    for _ in range(options.sizes):
        image = noise(rng)
        for name, resample in resamplers.items():
            if not is_exact(resample, image):
                wrong[name] += 1
                print(f"{name}: {image.size} differs")
    print(f"{options.sizes} sizes x {', '.join(resamplers)}: {sum(wrong.values())} tensors differ")
    return int(bool(wrong))


if __name__ == "__main__":
    sys.exit(main())
