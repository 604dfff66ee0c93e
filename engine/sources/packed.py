"""A packed file as a source: crops are read into a buffer, checked, and normalised into their rows."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from engine.errors import DataError
from engine.names import NameTable
from engine.sources.base import Array
from engine.sources.made_with import require_preset
from engine.sources.packed_format import HASH_BYTES, PackedLayout, read_packed
from kernels.fingerprint import fingerprint_hash
from kernels.normalise import normalise_crop
from kernels.reference import as_words
from kernels.spec import ImageError, PreprocessSpec, TensorFormat

U64Array = npt.NDArray[np.uint64]


@dataclass(frozen=True)
class PackedStore:
    """The samples are the crops of one packed file, in its order.

    made_with : the preset's name and numbers        failed : {sample: why it has no crop}
    """

    plural: ClassVar[str] = "crops"
    is_cut_at_first_dot: ClassVar[bool] = False

    path: Path
    layout: PackedLayout
    preset: str
    made_with: dict[str, object]
    failed: dict[int, str]

    def check(self, names: NameTable, spec: PreprocessSpec) -> None:
        """DataError if the crops were made in another way than the preset's."""
        require_preset(f"the crops of {self.path}", self.preset, self.made_with, spec, are_pixels=True)

    def open(self, names: NameTable, spec: PreprocessSpec, tensor: TensorFormat) -> PackedSource:
        return PackedSource(self, spec, tensor)


class PackedSource:
    """Reads crops by `pread`: a file that is cut short is an error of its samples and not a SIGBUS."""

    resample_ns = 0

    def __init__(self, store: PackedStore, spec: PreprocessSpec, tensor: TensorFormat) -> None:
        self._store = store
        self._spec = spec
        self._tensor = tensor
        layout = store.layout
        try:
            self._fd = os.open(store.path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError as error:
            raise DataError(f"packed file {store.path} cannot be read: {error.strerror}") from error
        self._data = np.zeros(-(-layout.crop_bytes // HASH_BYTES) + 1, np.uint64)
        self._bytes: Any = self._data.view(np.uint8)[: layout.crop_bytes]

    def expect(self, samples: Sequence[int]) -> None:
        """Nothing: the crops lie in the order of the samples, and the kernel reads on by itself."""

    def read(self, sample: int) -> U64Array:
        """The crop as words, filled with zeros, and its hash as the last word."""
        store, layout = self._store, self._store.layout
        if sample in store.failed:
            raise ImageError(store.failed[sample])
        try:
            n_bytes = os.preadv(self._fd, [self._bytes], layout.crop_at(sample))
            wanted = os.pread(self._fd, HASH_BYTES, layout.hash_at(sample))  # kept, all of them took 8 bytes a sample
        except OSError as error:
            raise ImageError(f"its crop in {store.path} cannot be read: {error.strerror}") from error
        if n_bytes != layout.crop_bytes:
            raise ImageError(f"its crop in {store.path} has {n_bytes} of {layout.crop_bytes} bytes")
        self._data[-1] = int.from_bytes(wanted, "little")
        return self._data

    def write(self, data: U64Array, row: Array) -> str:
        layout = self._store.layout
        if fingerprint_hash(data[:-1]) != data[-1]:
            raise ImageError(f"its crop in {self._store.path} is damaged: the hash is wrong")
        crop = data.view(np.uint8)[: layout.crop_bytes].reshape(layout.side, layout.side, 3)
        normalise_crop(crop, self._spec, self._tensor, row)
        return "packed"


def list_packed(path: Path) -> tuple[NameTable, PackedStore, npt.NDArray[np.int32] | None]:
    """Names, store and labels of a packed file."""
    layout, index = read_packed(path)
    store = PackedStore(path, layout, index.preset, index.spec, index.failed)
    return index.names, store, index.labels


def slow_crop(store: PackedStore, sample: int) -> Array:
    """(side, side, 3) uint8 of one sample, from the format's description. ImageError where it has none."""
    layout = store.layout
    if sample in store.failed:
        raise ImageError(store.failed[sample])
    with store.path.open("rb") as file:
        file.seek(layout.crop_at(sample))
        crop = np.frombuffer(file.read(layout.crop_bytes), np.uint8)
        file.seek(layout.hash_at(sample))
        expected = int.from_bytes(file.read(8), "little")
    if len(crop) != layout.crop_bytes or int(fingerprint_hash(as_words(crop))) != expected:
        raise ImageError("its crop is damaged")
    return crop.reshape(layout.side, layout.side, 3)
