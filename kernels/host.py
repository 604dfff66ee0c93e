"""The host path of one image: encoded bytes to a normalised tensor in a slot."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from kernels import reference
from kernels.resample import Resampler
from kernels.spec import PreprocessSpec

F32 = npt.NDArray[np.float32]


class HostPath:
    """Decode, resize, crop and normalise. One object per decoder process: it owns its scratch memory."""

    def __init__(self, spec: PreprocessSpec) -> None:
        self.spec = spec
        self._resample = Resampler(spec)

    def __call__(self, data: bytes | memoryview, out: F32) -> str:
        """Write the image's tensor and return which decoder made its pixels: "pillow".

        data : the encoded file        out : (3, crop, crop) float32, C-contiguous, e.g. a view of a slot

        Raises ImageError with the reason; `out` is then undefined. Oracle: kernels.reference.preprocess.
        """
        shape = (3, self.spec.crop, self.spec.crop)
        if out.shape != shape or out.dtype != np.float32 or not out.flags.c_contiguous:
            raise ValueError(f"out must be C-contiguous float32 of shape {shape}, got {out.dtype} {out.shape}")
        self._resample(reference.decode_rgb(data), out)
        return "pillow"
