"""The host path of one image: encoded bytes to a normalised tensor in a slot."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from kernels import reference
from kernels.jpeg.decoder import JpegDecoder
from kernels.jpeg.frame import HEIGHT, OK, WIDTH
from kernels.resample import Resampler, whole
from kernels.spec import PreprocessSpec, TensorFormat

Array = npt.NDArray[Any]


class HostPath:
    """Decode, resize, crop and normalise. One object per decoder process: it owns its scratch memory."""

    def __init__(self, spec: PreprocessSpec, tensor: TensorFormat | None = None) -> None:
        self.spec = spec
        self.resample = Resampler(spec, tensor)
        self.tensor = self.resample.tensor
        self.jpeg = JpegDecoder()

    def __call__(self, data: bytes | memoryview, out: Array) -> str:
        """Write the image's tensor and return which decoder made its pixels: "kernel" or "pillow".

        data : the encoded file        out : of the tensor's dtype and shape, C-contiguous, e.g. a view of a slot

        Whatever the kernel does not take for a plain and sound JPEG goes to Pillow, whose verdict counts: ImageError
        with its reason, `out` then being undefined. Oracle: kernels.reference.tensor.
        """
        self.tensor.check(out, self.spec.crop)
        if self._by_kernel(data, out):
            return "kernel"
        rgb = reference.decode_rgb(data)
        self.resample(self.resample.plan(rgb.shape[1], rgb.shape[0]), whole(rgb), out)
        return "pillow"

    def _by_kernel(self, data: bytes | memoryview, out: Array) -> bool:
        """True if our decoder took the image."""
        encoded = np.frombuffer(data, np.uint8)
        encoded.flags.writeable = False  # one array type for bytes and memoryviews: numba compiles once
        if self.jpeg.header(encoded) != OK:
            return False
        plan = self.resample.plan(int(self.jpeg.frame[WIDTH]), int(self.jpeg.frame[HEIGHT]))
        if self.jpeg.pixels(encoded, plan.box) != OK:
            return False
        self.resample(plan, self.jpeg.region(), out)
        return True
