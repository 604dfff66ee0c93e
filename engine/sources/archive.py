"""A tar that nobody unpacked: each image is a range of its bytes."""

from __future__ import annotations

import os
import tarfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from engine.errors import DataError
from engine.names import NameTable, natural_key, order_key
from engine.sources.ahead import announce
from engine.sources.images import ImageSource
from engine.sources.suffixes import IMAGE_SUFFIXES
from kernels.host import HostPath
from kernels.spec import ImageError, PreprocessSpec, TensorFormat

#: WebDataset's member with the class of the image of the same name.
CLASS_SUFFIX = ".cls"
MAX_CLASS_DIGITS = 9
#: First bytes of what `tar -z`, `-j`, `-J` and `--zstd` write.
COMPRESSIONS = {b"\x1f\x8b": "gzip", b"BZh": "bzip2", b"\xfd7zXZ": "xz", b"\x28\xb5\x2f\xfd": "zstd"}
#: Where a tar's first header says that it is one.
MAGIC_AT, MAGIC = 257, b"ustar"

I64 = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class TarStore:
    """The samples are members of one tar.

    places : (n, 2) int64, offset and bytes of each        stamp : size and time of the archive when it was listed
    """

    plural: ClassVar[str] = "images"
    is_cut_at_first_dot: ClassVar[bool] = False

    path: Path
    places: I64 = field(repr=False)
    stamp: tuple[int, int]

    def check(self, names: NameTable, spec: PreprocessSpec) -> None:
        """Any image will do."""

    def open(self, names: NameTable, spec: PreprocessSpec, tensor: TensorFormat) -> TarSource:
        return TarSource(self, names, HostPath(spec, tensor))


class TarSource(ImageSource):
    """Reads members and preprocesses them as image files."""

    def __init__(self, store: TarStore, names: NameTable, preprocess: HostPath) -> None:
        super().__init__(names, preprocess)
        self._store = store
        try:
            self._fd = os.open(store.path, os.O_RDONLY | os.O_CLOEXEC)
            stamp = stamp_of(os.fstat(self._fd))
        except OSError as error:
            raise DataError(f"archive {store.path} cannot be read: {error.strerror}") from error
        if stamp != store.stamp:
            raise DataError(f"archive {store.path} has changed since it was listed: run again")

    def expect(self, samples: Sequence[int]) -> None:
        for offset, n_bytes in self._store.places[samples].tolist():
            announce(self._fd, offset, n_bytes)

    def read(self, sample: int) -> bytes:
        offset, n_bytes = self._store.places[sample].tolist()
        if not n_bytes:
            raise ImageError("the file is empty")
        try:
            data = os.pread(self._fd, n_bytes, offset)
        except OSError as error:
            raise ImageError(f"cannot be read from {self._store.path}: {error.strerror}") from error
        if len(data) != n_bytes:
            raise ImageError(f"{self._store.path} ends within it: {len(data)} of {n_bytes} bytes")
        return data


@dataclass(frozen=True)
class Member:
    """A file or a folder in the archive."""

    name: str
    offset: int
    n_bytes: int
    is_folder: bool


def is_archive(path: Path) -> bool:
    """Whether the file is a tar, or is called one."""
    if path.suffix == ".tar" or path.name.endswith((".tar.gz", ".tgz", ".tar.bz2", ".tar.xz", ".tar.zst")):
        return True
    try:
        with path.open("rb") as file:
            return file.read(MAGIC_AT + len(MAGIC))[MAGIC_AT:] == MAGIC
    except OSError:
        return False


def list_archive(path: Path) -> tuple[NameTable, TarStore, list[str] | None, npt.NDArray[np.int32] | None]:
    """Names, store, class folders and labels (of WebDataset's .cls members) of a tar. DataError for what is none."""
    found = list(_members(path))
    members = [member for member in found if not member.is_folder]
    images = [member for member in members if _suffix(member.name) in IMAGE_SUFFIXES]
    if not images:
        raise DataError(f"no images in the {len(members)} files of archive {path}")
    parent = os.path.commonpath([os.path.dirname(member.name) for member in images])
    by_name = {os.path.relpath(member.name, parent or "."): member for member in images}
    if len(by_name) < len(images):
        raise DataError(f"archive {path} holds {len(images) - len(by_name)} images twice: needed each name once")
    names = sorted(by_name, key=order_key)
    places = np.array([(by_name[name].offset, by_name[name].n_bytes) for name in names], np.int64)
    store = TarStore(path, places, stamp_of(path.stat()))
    labels = _labels(path, members, [by_name[name].name for name in names])
    folders = {name.rpartition("/")[0] for name in names}
    if not all(folder and "/" not in folder for folder in folders):
        return NameTable.of(path, names), store, None, labels
    empty = (os.path.relpath(member.name, parent or ".") for member in found if member.is_folder)
    folders.update(folder for folder in empty if "/" not in folder and folder not in (".", ".."))
    return NameTable.of(path, names), store, sorted(folders, key=natural_key), labels


def stamp_of(status: os.stat_result) -> tuple[int, int]:
    """What changes when a file is written again."""
    return status.st_size, status.st_mtime_ns


def _members(path: Path) -> Iterator[Member]:
    try:
        with path.open("rb") as file:
            _refuse_compressed(path, file.read(8))
            file.seek(0)
            with tarfile.open(fileobj=file, mode="r:") as tar:
                while (info := tar.next()) is not None:
                    name = os.path.normpath(info.name).lstrip("/")
                    if name.startswith(".."):  # tensors are written under the names of their images
                        raise DataError(f"archive {path} holds {info.name}, which is outside of it: make it again")
                    is_plain = info.isdir() or (info.isreg() and not info.issparse())
                    if is_plain and not os.path.basename(name).startswith("."):
                        yield Member(name, info.offset_data, info.size, info.isdir())
    except OSError as error:
        raise DataError(f"archive {path} cannot be read: {error.strerror}") from error
    except tarfile.TarError as error:
        raise DataError(f"archive {path} is no tar, or is cut short: {error}") from error


def _refuse_compressed(path: Path, head: bytes) -> None:
    for magic, name in COMPRESSIONS.items():
        if head.startswith(magic):
            raise DataError(f"archive {path} is compressed with {name}: needed a plain tar, so decompress it")


def _labels(path: Path, members: list[Member], images: list[str]) -> npt.NDArray[np.int32] | None:
    """The classes in the .cls members beside the images; None where there are no such members."""
    found = {os.path.splitext(member.name)[0]: member for member in members if _suffix(member.name) == CLASS_SUFFIX}
    if not found:
        return None
    labels = np.empty(len(images), np.int32)
    with path.open("rb") as file:
        for i, image in enumerate(images):
            member = found.get(os.path.splitext(image)[0])
            if member is None:
                raise DataError(f"{image} in archive {path} has no {CLASS_SUFFIX} member beside it, as others have")
            file.seek(member.offset)
            text = file.read(min(member.n_bytes, 64)).strip()
            if not text.isdigit() or len(text) > MAX_CLASS_DIGITS:
                raise DataError(f"{member.name} in archive {path} is no class from 0: {text[:20]!r}")
            labels[i] = int(text)
    return labels


def _suffix(name: str) -> str:
    return os.path.splitext(name)[1].lower()
