"""Image files: read whole, decoded and preprocessed in the decoder."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar

from engine.names import NameTable
from engine.sources.ahead import FilesAhead
from engine.sources.base import Array
from kernels.host import HostPath
from kernels.spec import ImageError, PreprocessSpec, TensorFormat


@dataclass(frozen=True)
class ImageStore:
    """One encoded image per file."""

    plural: ClassVar[str] = "images"
    is_cut_at_first_dot: ClassVar[bool] = False

    def check(self, names: NameTable, spec: PreprocessSpec) -> None:
        """Any image will do."""

    def open(self, names: NameTable, spec: PreprocessSpec, tensor: TensorFormat) -> ImageSource:
        return ImageSource(names, HostPath(spec, tensor))


class ImageSource:
    """Reads and preprocesses image files."""

    def __init__(self, names: NameTable, preprocess: HostPath) -> None:
        self._names = names
        self._preprocess = preprocess
        self._ahead = FilesAhead(names)

    @property
    def resample_ns(self) -> int:
        return self._preprocess.last_resample_ns

    def expect(self, samples: Sequence[int]) -> None:
        self._ahead.expect(samples)

    def read(self, sample: int) -> bytes:
        return _read_whole(lambda: self._ahead.open(sample))

    def write(self, data: bytes, row: Array) -> str:
        return self._preprocess(data, row)


def read_file(path: str) -> bytes:
    """The whole file; ImageError with the system's reason where it cannot be read, is empty or no file."""
    return _read_whole(lambda: os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK))  # as FilesAhead opens it


def _read_whole(opened: Callable[[], int]) -> bytes:
    try:
        fd = opened()
        try:
            status = os.fstat(fd)
            if not stat.S_ISREG(status.st_mode):
                raise ImageError("is no regular file")
            data = os.read(fd, status.st_size + 1)
        finally:
            os.close(fd)
    except OSError as error:
        raise ImageError(f"cannot be read: {error.strerror}") from error
    if not data:
        raise ImageError("the file is empty")
    return data
