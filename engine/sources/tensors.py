"""``.bin`` tensors as the guide's preprocessing script writes them: the elements of one input, no header."""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from engine.errors import DataError
from engine.names import NameTable
from engine.sources.ahead import FilesAhead
from engine.sources.base import Array
from engine.sources.made_with import read_manifest, require_preset
from kernels.normalise import normalise_crop
from kernels.spec import ImageError, PreprocessSpec, TensorFormat

TENSOR_SUFFIX = ".bin"
CHANNELS = 3


def element_types(crop: int) -> dict[int, np.dtype[Any]]:
    """{bytes of a file: type of its elements} for crops of this side."""
    n = CHANNELS * crop * crop
    return {n * np.dtype(name).itemsize: np.dtype(name) for name in ("<f4", "<f2", "u1")}


def expected_sizes(crop: int) -> str:
    """The sizes that a tensor can have, and why."""
    sizes = " or ".join(f"{n_bytes} bytes ({dtype.name})" for n_bytes, dtype in element_types(crop).items())
    return f"needed {sizes} for {CHANNELS} x {crop} x {crop} elements of the preset"


@dataclass(frozen=True)
class TensorStore:
    """One input per file: float32 or float16 (3, side, side), normalised; or uint8 (side, side, 3), the crop's pixels.

    Which of them is told by the file's size.
    """

    plural: ClassVar[str] = "tensors"
    is_cut_at_first_dot: ClassVar[bool] = True

    def check(self, names: NameTable, spec: PreprocessSpec) -> None:
        """DataError if the first file has no size that the preset makes, or the tensors are another preset's."""
        path = names.path(0)
        try:
            n_bytes = os.stat(path).st_size
        except OSError:
            return  # it fails by name, as any other would
        if n_bytes not in element_types(spec.crop):
            raise DataError(f"{path} has {n_bytes} bytes: {expected_sizes(spec.crop)}; is it another --preset's?")
        made = read_manifest(names.root)
        if spec.exif_rotate and not made:
            raise DataError(
                f"{names.root} holds tensors, which --exif-rotate cannot turn: make them with it, from images"
            )
        if made:
            are_pixels = made.get("dtype") == "uint8"
            what = f"the tensors in {names.root}"
            require_preset(what, str(made.get("preset")), made.get("spec", {}), spec, are_pixels=are_pixels)

    def open(self, names: NameTable, spec: PreprocessSpec, tensor: TensorFormat) -> TensorSource:
        return TensorSource(names, spec, tensor)


class TensorSource:
    """Reads tensors into a buffer of its own and copies them to their rows."""

    resample_ns = 0

    def __init__(self, names: NameTable, spec: PreprocessSpec, tensor: TensorFormat) -> None:
        self._names = names
        self._spec = spec
        self._tensor = tensor
        self._types = element_types(spec.crop)
        self._buffer = np.empty(max(self._types), np.uint8)
        self._ahead = FilesAhead(names)

    def expect(self, samples: Sequence[int]) -> None:
        self._ahead.expect(samples)

    def read(self, sample: int) -> Array:
        try:
            fd = self._ahead.open(sample)
            try:
                return self._read(fd)
            finally:
                os.close(fd)
        except OSError as error:
            raise ImageError(f"cannot be read: {error.strerror}") from error

    def _read(self, fd: int) -> Array:
        status = os.fstat(fd)
        if not stat.S_ISREG(status.st_mode):
            raise ImageError("is no regular file")
        dtype = self._types.get(status.st_size)
        if dtype is None:
            raise ImageError(f"has {status.st_size} bytes: {expected_sizes(self._spec.crop)}")
        data: Any = self._buffer[: status.st_size]
        if os.readv(fd, [data]) != status.st_size:
            raise ImageError(f"ended before its {status.st_size} bytes were read")
        elements: Array = data.view(dtype)
        return elements

    def write(self, data: Array, row: Array) -> str:
        side = self._spec.crop
        if data.dtype == np.uint8:
            normalise_crop(data.reshape(side, side, CHANNELS), self._spec, self._tensor, row)
        elif self._tensor.dtype == "uint8":
            raise ImageError(f"holds normalised {data.dtype.name} values, but the model takes uint8 pixels")
        else:
            planes = data.reshape(CHANNELS, side, side)
            row[...] = planes if self._tensor.layout == "NCHW" else planes.transpose(1, 2, 0)
        return f"tensor {data.dtype.name}"
