"""The ways to make one normalised tensor of one JPEG that `bench.host` compares: ours, the guide's, other libraries'.

Each peer is a function of the file's bytes that returns (3, 224, 224) float32. A peer whose library is missing is left
out with the reason; bench/requirements.txt lists them. pillow-simd takes Pillow's place, so it needs an interpreter of
its own: `bench.pillow_simd`.
"""

from __future__ import annotations

import importlib
import io
from collections.abc import Callable
from typing import Any

import numpy as np
from PIL import Image

from bench.guide import F32, SPEC, guide
from kernels.host import HostPath
from kernels.jpeg.frame import HEIGHT, WIDTH
from kernels.reference import crop_origin, resized_size

Peer = Callable[[bytes], Any]

_MEAN, _STD = (np.array(v, np.float32) for v in (SPEC.mean, SPEC.std))


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


def pillow_draft(data: bytes) -> F32:
    """Pillow with `draft`: libjpeg scales by a power of two in the inverse DCT where the image is that much larger."""
    file = Image.open(io.BytesIO(data))
    file.draft("RGB", (SPEC.resize, SPEC.resize))
    side = (SPEC.crop, SPEC.crop)
    image = file.convert("RGB")
    box = box_of_crop(*image.size)
    return multiply_add(np.asarray(image.resize(side, Image.Resampling.BILINEAR, box=box, reducing_gap=2.0)))


def torchvision_v1() -> Peer:
    """torchvision's first transforms, on a Pillow image: the usual evaluation script."""
    torch: Any = importlib.import_module("torch")
    transforms: Any = importlib.import_module("torchvision.transforms")
    torch.set_num_threads(1)
    steps = [transforms.Resize(SPEC.resize), transforms.CenterCrop(SPEC.crop), transforms.ToTensor()]
    compose = transforms.Compose([*steps, transforms.Normalize(SPEC.mean, SPEC.std)])
    return lambda data: compose(Image.open(io.BytesIO(data)).convert("RGB")).numpy()


def torchvision_v2() -> Peer:
    """torchvision's second transforms, on a tensor decoded by torchvision."""
    torch: Any = importlib.import_module("torch")
    v2: Any = importlib.import_module("torchvision.transforms.v2")
    tv_io: Any = importlib.import_module("torchvision.io")
    torch.set_num_threads(1)
    steps = [v2.Resize(SPEC.resize, antialias=True), v2.CenterCrop(SPEC.crop), v2.ToDtype(torch.float32, scale=True)]
    compose = v2.Compose([*steps, v2.Normalize(SPEC.mean, SPEC.std)])

    def run(data: bytes) -> F32:
        encoded = torch.frombuffer(bytearray(data), dtype=torch.uint8)
        tensor: F32 = compose(tv_io.decode_jpeg(encoded, mode=tv_io.ImageReadMode.RGB)).numpy()
        return tensor

    run(_small_jpeg())  # a build without its image library raises here
    return run


def kornia() -> Peer:
    """kornia-rs: libjpeg-turbo and a bilinear resize without antialias, in Rust."""
    library: Any = importlib.import_module("kornia_rs")

    def run(data: bytes) -> F32:
        image = library.io.decode_image_jpegturbo(data, "rgb")
        width, height = resized_size(image.shape[1], image.shape[0], SPEC.resize)
        image = np.asarray(library.imgproc.resize(image, (height, width), "bilinear"))
        left, top = crop_origin(width, SPEC.crop), crop_origin(height, SPEC.crop)
        return multiply_add(image[top : top + SPEC.crop, left : left + SPEC.crop])

    run(_small_jpeg())
    return run


def dali() -> Peer:
    """NVIDIA DALI on the CPU, an image at a time in one thread; CPU time counts all of its threads."""
    pipeline: Any = importlib.import_module("nvidia.dali.pipeline")
    fn: Any = importlib.import_module("nvidia.dali.fn")
    types: Any = importlib.import_module("nvidia.dali.types")
    files: list[Any] = []
    pipe = pipeline.Pipeline(1, 1, None, exec_async=False, exec_pipelined=False, prefetch_queue_depth=1)
    with pipe:
        encoded = fn.external_source(source=lambda: [files.pop()], dtype=types.UINT8, ndim=1)
        image = fn.decoders.image(encoded, device="cpu", output_type=types.RGB)
        image = fn.resize(image, resize_shorter=SPEC.resize, interp_type=types.INTERP_LINEAR, antialias=True)
        mean, std = ([255 * value for value in values] for values in (SPEC.mean, SPEC.std))
        crop = {"crop": (SPEC.crop, SPEC.crop), "dtype": types.FLOAT, "output_layout": "CHW"}
        pipe.set_outputs(fn.crop_mirror_normalize(image, mean=mean, std=std, **crop))
    pipe.build()

    def run(data: bytes) -> F32:
        files.append(np.frombuffer(data, np.uint8))
        tensor: F32 = pipe.run()[0].at(0)
        return tensor

    return run


def _small_jpeg() -> bytes:
    stream = io.BytesIO()
    Image.new("RGB", (300, 260)).save(stream, "JPEG")
    return stream.getvalue()


def read_only() -> Peer:
    """The bytes once, copied: what reading a file from the page cache costs at least."""
    return lambda data: np.frombuffer(data, np.uint8).copy()


def simplejpeg_decode() -> Peer:
    """Only the decode: the lower bound of whatever uses libjpeg-turbo."""
    library: Any = importlib.import_module("simplejpeg")
    return lambda data: library.decode_jpeg(data)


def pillow_decode(data: bytes) -> None:
    """Only the decode, by the libjpeg-turbo in Pillow's wheel."""
    Image.open(io.BytesIO(data)).load()


def kernel_decode(*, is_whole: bool) -> Peer:
    """Only the decode, by ours: the whole image or the crop's region."""
    path = HostPath(SPEC)
    jpeg, resample = path.jpeg, path.resample

    def run(data: bytes) -> None:
        jpeg.header(np.frombuffer(data, np.uint8))
        width, height = int(jpeg.frame[WIDTH]), int(jpeg.frame[HEIGHT])
        jpeg.pixels((0, 0, width, height) if is_whole else resample.plan(width, height).box)

    return run


GUIDE, ENGINE = "guide (Pillow + NumPy)", "engine kernels"

#: name -> how to make it; the first is what the others are compared with. "only" in the name: makes no tensor.
PEERS: dict[str, Callable[[], Peer]] = {
    GUIDE: lambda: guide,
    ENGINE: kernel,
    "Pillow, box of the crop": lambda: pillow_box,
    "Pillow, draft + box": lambda: pillow_draft,
    "simplejpeg + Pillow box": simplejpeg_box,
    "OpenCV INTER_AREA": lambda: opencv("INTER_AREA"),
    "OpenCV INTER_LINEAR": lambda: opencv("INTER_LINEAR"),
    "torchvision v1": torchvision_v1,
    "torchvision v2": torchvision_v2,
    "kornia-rs": kornia,
    "DALI, CPU": dali,
    "copy only": read_only,
    "decode only: simplejpeg": simplejpeg_decode,
    "decode only: Pillow": lambda: pillow_decode,
    "decode only: engine, whole": lambda: kernel_decode(is_whole=True),
    "decode only: engine, region": lambda: kernel_decode(is_whole=False),
}


def named(name: str) -> Peer:
    """A peer, made anew: for processes, which cannot be sent a function that has no name."""
    return PEERS[name]()
