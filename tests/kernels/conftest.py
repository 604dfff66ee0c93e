"""What the kernel tests share: presets, encoded synthetic images, and real ones where they exist."""

from __future__ import annotations

import io
import os
from pathlib import Path

import cv2
import numpy as np
import pytest
from numba.core import config
from PIL import Image, ImageFile

from kernels.spec import PreprocessSpec

_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
#: Room for the JPEG encoder, which refuses small noisy images with restart markers otherwise.
ImageFile.MAXBLOCK = 1 << 22
_HALF = (0.5, 0.5, 0.5)
PRESETS = {
    "resnet": PreprocessSpec(256, 224, "bilinear", _MEAN, _STD),
    "inceptionv3": PreprocessSpec(342, 299, "bilinear", _MEAN, _STD),
    "inceptionv4": PreprocessSpec(342, 299, "bilinear", _HALF, _HALF),
    "efficientnet-lite0": PreprocessSpec(256, 224, "bicubic", _MEAN, _STD),
}


def photo(width: int, height: int, seed: int = 0) -> Image.Image:
    """Smooth waves with noise: every pixel differs, and noise at full contrast makes bicubic weights clip."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width]
    waves = [127 + 90 * np.sin(x / (7 + c) + seed) * np.cos(y / (11 - c)) for c in range(3)]
    noise = rng.normal(0, rng.choice([1, 30, 200]), (height, width, 3))
    return Image.fromarray(np.clip(np.stack(waves, 2) + noise, 0, 255).astype(np.uint8))


def encode(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    """The image file's bytes."""
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def encode_440(image: Image.Image, quality: int = 90, restart: int = 0) -> bytes:
    """A JPEG whose chroma is halved down only, which Pillow cannot write."""
    options = [cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_440]
    options += [cv2.IMWRITE_JPEG_QUALITY, quality, cv2.IMWRITE_JPEG_RST_INTERVAL, restart]
    is_written, data = cv2.imencode(".jpg", np.asarray(image)[:, :, ::-1], options)
    assert is_written
    return bytes(data)


@pytest.fixture(scope="session")
def real_files() -> list[Path]:
    """Real ImageNet JPEGs; the test is skipped where there are none."""
    beside = Path(__file__).parents[3] / "shared" / "data" / "imagenet-sample"
    folder = Path(os.environ.get("ENGINE_IMAGENET_SAMPLE", beside))
    files = sorted(folder.rglob("*.JPEG"))
    if not files:
        pytest.skip("set ENGINE_IMAGENET_SAMPLE to a folder of ImageNet JPEGs to run this")
    return files


#: The file whose tests call no vector kernel.
_PLAIN = "test_plain.py"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """With NUMBA_DISABLE_JIT=1 only the scalar twins run, as plain Python: vectors are LLVM's."""
    if not config.DISABLE_JIT:
        return
    for item in items:
        if item.path.parent == Path(__file__).parent and item.path.name != _PLAIN:
            item.add_marker(pytest.mark.skip("vector kernels need numba's compiler: unset NUMBA_DISABLE_JIT"))
        else:  # int64 wraps in compiled code, too, which says nothing of it
            item.add_marker(pytest.mark.filterwarnings("ignore:overflow encountered in scalar:RuntimeWarning"))
