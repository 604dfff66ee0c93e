"""The ways to make one normalised tensor of one JPEG that `bench.host` compares: ours, the guide's, other libraries'.

Each peer is a function of the file's bytes that returns (3, 224, 224) float32. A peer whose library is missing is left
out; bench/requirements.txt lists them.
"""

from __future__ import annotations

import importlib
import io
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from kernels.host import HostPath
from kernels.reference import crop_origin, resized_size
from kernels.spec import PreprocessSpec

F32 = npt.NDArray[np.float32]
Peer = Callable[[bytes], Any]

SPEC = PreprocessSpec(256, 224, "bilinear", (0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
_MEAN, _STD = (np.array(v, np.float32) for v in (SPEC.mean, SPEC.std))


def guide(data: bytes) -> F32:
    """The guide's script: Pillow resizes the whole image, NumPy normalises."""
    image = Image.open(io.BytesIO(data)).convert("RGB")
    size = resized_size(*image.size, SPEC.resize)
    if size != image.size:
        image = image.resize(size, Image.Resampling.BILINEAR)
    left, top = (crop_origin(side, SPEC.crop) for side in image.size)
    pixels = np.array(image.crop((left, top, left + SPEC.crop, top + SPEC.crop)), dtype=np.float32)
    return ((pixels.transpose(2, 0, 1) / 255.0) - _MEAN[:, None, None]) / _STD[:, None, None]  # type: ignore[no-any-return]


def box_of_crop(width: int, height: int) -> tuple[float, float, float, float]:
    """The source box of the crop, for a resize of nothing else."""
    out_width, out_height = resized_size(width, height, SPEC.resize)
    left, top = crop_origin(out_width, SPEC.crop), crop_origin(out_height, SPEC.crop)
    x, y = width / out_width, height / out_height
    return left * x, top * y, (left + SPEC.crop) * x, (top + SPEC.crop) * y


def multiply_add(pixels: Any) -> F32:
    """Normalisation as one multiplication and one addition: float rounding differs."""
    scale = 1.0 / (255.0 * _STD)
    planes: F32 = np.ascontiguousarray((pixels * scale - _MEAN / _STD).transpose(2, 0, 1))
    return planes


def pillow_box(data: bytes) -> F32:
    """Pillow, resizing the crop's box only."""
    image = Image.open(io.BytesIO(data)).convert("RGB")
    side = (SPEC.crop, SPEC.crop)
    return multiply_add(np.asarray(image.resize(side, Image.Resampling.BILINEAR, box=box_of_crop(*image.size))))


def kernel() -> Peer:
    """This project's host path, into a slot that is used again."""
    path, slot = HostPath(SPEC), np.zeros((3, SPEC.crop, SPEC.crop), np.float32)

    def run(data: bytes) -> F32:
        path(data, slot)
        return slot

    return run


def opencv(interpolation: str) -> Peer:
    """OpenCV decodes and resizes: INTER_LINEAR has no antialias, INTER_AREA averages."""
    cv2: Any = importlib.import_module("cv2")
    cv2.setNumThreads(1)

    def run(data: bytes) -> F32:
        image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
        size = resized_size(image.shape[1], image.shape[0], SPEC.resize)
        image = cv2.resize(image, size, interpolation=getattr(cv2, interpolation))
        left, top = crop_origin(size[0], SPEC.crop), crop_origin(size[1], SPEC.crop)
        return multiply_add(image[top : top + SPEC.crop, left : left + SPEC.crop, ::-1])

    return run


def simplejpeg_box() -> Peer:
    """simplejpeg (libjpeg-turbo 3) decodes, Pillow resizes the crop's box."""
    library: Any = importlib.import_module("simplejpeg")

    def run(data: bytes) -> F32:
        image = Image.fromarray(library.decode_jpeg(data))
        side = (SPEC.crop, SPEC.crop)
        return multiply_add(np.asarray(image.resize(side, Image.Resampling.BILINEAR, box=box_of_crop(*image.size))))

    return run


def simplejpeg_decode() -> Peer:
    """Only the decode: the lower bound of whatever uses libjpeg-turbo."""
    library: Any = importlib.import_module("simplejpeg")
    return lambda data: library.decode_jpeg(data)


def pillow_decode(data: bytes) -> None:
    """Only the decode, by the libjpeg-turbo in Pillow's wheel."""
    Image.open(io.BytesIO(data)).load()


def kernel_decode() -> Peer:
    """Only the decode of the region, by ours."""
    from kernels.jpeg.frame import HEIGHT, WIDTH

    path = HostPath(SPEC)
    jpeg, resample = path.jpeg, path.resample

    def run(data: bytes) -> None:
        encoded = np.frombuffer(data, np.uint8)
        jpeg.header(encoded)
        jpeg.pixels(resample.plan(int(jpeg.frame[WIDTH]), int(jpeg.frame[HEIGHT])).box)

    return run


#: name -> how to make it; the first is what the others are compared with. "decode" in the name: makes no tensor.
PEERS: dict[str, Callable[[], Peer]] = {
    "guide (Pillow + NumPy)": lambda: guide,
    "engine kernels": kernel,
    "Pillow, box of the crop": lambda: pillow_box,
    "simplejpeg + Pillow box": simplejpeg_box,
    "OpenCV INTER_AREA": lambda: opencv("INTER_AREA"),
    "OpenCV INTER_LINEAR": lambda: opencv("INTER_LINEAR"),
    "decode only: simplejpeg": simplejpeg_decode,
    "decode only: Pillow": lambda: pillow_decode,
    "decode only: engine, region": kernel_decode,
}
