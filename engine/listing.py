"""Finds the samples of `--data`, whatever it is: which, in which order, and how they are stored."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt

from engine.errors import DataError
from engine.names import NameTable, natural_key, order_key
from engine.sources.archive import is_archive, list_archive
from engine.sources.base import Store
from engine.sources.images import ImageStore
from engine.sources.packed import list_packed
from engine.sources.packed_format import is_packed
from engine.sources.suffixes import IMAGE_SUFFIXES
from engine.sources.tensors import TENSOR_SUFFIX, TensorStore

NEEDED = "--data needs a folder of images or .bin tensors, an .info file, a packed file, or a tar"


@dataclass(frozen=True)
class Listing:
    """The samples at `data`, in the order of `order_key`, which is the same for every source.

    class_folders : all folders of the root, in order, where the samples lie in them; else None
    labels        : (n,) int32, where the data carry their labels themselves
    """

    data: Path
    names: NameTable
    store: Store
    class_folders: list[str] | None = None
    labels: npt.NDArray[np.int32] | None = None


@dataclass
class Folder:
    """What lies in one folder: names in order; hidden ones are left out."""

    images: list[str] = field(default_factory=list)
    tensors: list[str] = field(default_factory=list)
    folders: list[str] = field(default_factory=list)


def find_samples(data: Path, is_labelled: bool) -> Listing:
    """The samples at `data`. DataError where there are none.

    is_labelled : a label file gives the classes, so the samples lie in `data` itself and not in class folders
    """
    if data.is_dir():
        return _list_data_folder(data, is_labelled)
    if not data.exists():
        raise DataError(f"no folder {data}: {NEEDED}")
    if is_packed(data):
        names, store, labels = list_packed(data)
        return Listing(data, names, store, labels=labels)
    if data.suffix == ".info":
        from engine.sources.info import list_info

        return list_info(data)
    if is_archive(data):
        names, tar, folders, labels = list_archive(data)
        return Listing(data, names, tar, folders, labels)
    raise DataError(f"{data} is a file: {NEEDED}")


def _list_data_folder(data: Path, is_labelled: bool) -> Listing:
    found = scan_folder(data)
    has_files = bool(found.images or found.tensors)
    if is_labelled and not has_files:
        hint = f"; its {len(found.folders)} folders look like class folders: leave --labels out"
        raise no_samples(data, hint if found.folders else "")
    if not has_files and not found.folders:
        raise no_samples(data)
    if has_files:
        return _listing(data, found.images, found.tensors, None)
    images, tensors = [], []
    for folder in found.folders:
        inner = scan_folder(data / folder)
        images += [f"{folder}/{file}" for file in inner.images]
        tensors += [f"{folder}/{file}" for file in inner.tensors]
    if not images and not tensors:
        raise DataError(f"no images in the {len(found.folders)} folders of {data}")
    return _listing(data, images, tensors, found.folders)


def _listing(data: Path, images: list[str], tensors: list[str], class_folders: list[str] | None) -> Listing:
    if images and tensors:
        raise DataError(
            f"{data} holds {len(images)} images and {len(tensors)} {TENSOR_SUFFIX} files: "
            "needed one kind; move the others away"
        )
    store: Store = TensorStore() if tensors else ImageStore()
    return Listing(data, NameTable.of(data, images or tensors), store, class_folders)


def no_samples(data: Path, hint: str = "") -> DataError:
    """The error of a folder without samples."""
    kinds = ", ".join(sorted(IMAGE_SUFFIXES))
    return DataError(f"no images in {data}: needed files ending in {kinds}, or {TENSOR_SUFFIX} tensors{hint}")


def _is_folder(entry: os.DirEntry[str]) -> bool:
    """False for a link that leads to itself, too: it is then an image that cannot be read, and FAILED by name."""
    try:
        return entry.is_dir()
    except OSError:
        return False


def scan_folder(folder: Path) -> Folder:
    """What lies in `folder`."""
    found = Folder()
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.name.startswith("."):
                    continue
                if _is_folder(entry):
                    found.folders.append(entry.name)
                elif (suffix := os.path.splitext(entry.name)[1].lower()) in IMAGE_SUFFIXES:
                    found.images.append(entry.name)
                elif suffix == TENSOR_SUFFIX:
                    found.tensors.append(entry.name)
    except OSError as error:
        raise DataError(f"folder {folder} cannot be read: {error.strerror}") from error
    found.images.sort(key=order_key)
    found.tensors.sort(key=order_key)
    found.folders.sort(key=natural_key)
    return found
