"""The data set: which samples, in which order, with which labels, and how they are stored."""

from __future__ import annotations

import codecs
import os
import re
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from engine.errors import DataError
from engine.names import NameTable, natural_key
from engine.sources.base import Store
from engine.sources.images import ImageStore

#: What ImageNet folders hold besides images (label files, notes, archives' leftovers) does not end in one of these.
IMAGE_SUFFIXES = frozenset({".jpeg", ".jpg", ".jpe", ".png", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm"})
WNID = re.compile(r"n\d{8}")
#: Classes are int32.
MAX_CLASS_DIGITS = 9


@dataclass(frozen=True)
class DataIndex:
    """All samples of a data set, in natural order.

    labels : (n,) int32, the class of each sample        store : how a decoder gets at the samples
    """

    names: NameTable
    labels: npt.NDArray[np.int32]
    store: Store = field(default_factory=ImageStore)

    def __len__(self) -> int:
        return len(self.names)

    def first(self, n: int) -> DataIndex:
        """The first `n` samples."""
        names = (self.names.name(i) for i in range(min(n, len(self))))
        return replace(self, names=NameTable.of(self.names.root, names), labels=self.labels[:n])


def read_index(data: Path, labels: Path | None) -> DataIndex:
    """Index of a flat folder with a label file, or of class folders without one; DataError for what is neither."""
    if not data.exists():
        raise DataError(f"no folder {data}: --data needs a folder of images")
    if not data.is_dir():
        raise DataError(f"{data} is a file: --data needs a folder of images")
    files, folders = _list_folder(data)
    if labels is not None:
        return _flat_index(data, files, folders, labels)
    if folders and not files:
        return _class_folder_index(data, folders)
    if not files:
        raise DataError(f"no images in {data}: needed files ending in {', '.join(sorted(IMAGE_SUFFIXES))}")
    raise DataError(f"{data} holds {len(files)} images without class folders: give their classes with --labels FILE")


def read_labels(path: Path) -> dict[str, int]:
    """The label file: one ``NAME CLASS`` per line; {stem of NAME: CLASS}. DataError names the line that is none."""
    try:
        content = path.read_bytes().removeprefix(codecs.BOM_UTF8)
    except FileNotFoundError:
        raise DataError(f"no label file {path}: needed one line 'NAME CLASS' per image") from None
    except OSError as error:
        raise DataError(f"label file {path} cannot be read: {error.strerror}") from error
    classes: dict[str, int] = {}
    # As bytes first: the names must be read as the folder's are, in whatever locale, and only newlines end a line.
    for number, line in enumerate(map(os.fsdecode, content.splitlines()), 1):
        if not line.strip():
            continue
        name, class_id = _label_line(path, number, line)
        if classes.setdefault(name, class_id) != class_id:
            raise DataError(f"{path}:{number}: {name} has class {classes[name]} above and class {class_id} here")
    return classes


def _label_line(path: Path, number: int, line: str) -> tuple[str, int]:
    fields = line.rsplit(maxsplit=1)
    if len(fields) != 2:
        raise DataError(f"{path}:{number}: needed 'NAME CLASS', got {line.strip()!r}")
    if not fields[1].isascii() or not fields[1].isdigit():
        raise DataError(f"{path}:{number}: class {fields[1]!r} is no number from 0: needed 'NAME CLASS'")
    if len(fields[1].lstrip("0")) > MAX_CLASS_DIGITS:
        raise DataError(f"{path}:{number}: class {fields[1][:20]!r} is too large to be a class")
    return Path(fields[0].strip()).stem, int(fields[1])


def _list_folder(folder: Path) -> tuple[list[str], list[str]]:
    """Names of the images and of the folders in `folder`, each in natural order; hidden ones are left out."""
    files, folders = [], []
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.name.startswith("."):
                    continue
                if entry.is_dir():
                    folders.append(entry.name)
                elif os.path.splitext(entry.name)[1].lower() in IMAGE_SUFFIXES:
                    files.append(entry.name)
    except OSError as error:
        raise DataError(f"folder {folder} cannot be read: {error.strerror}") from error
    return sorted(files, key=natural_key), sorted(folders, key=natural_key)


def _flat_index(data: Path, files: list[str], folders: list[str], labels: Path) -> DataIndex:
    if not files:
        hint = f"; its {len(folders)} folders look like class folders: leave --labels out" if folders else ""
        raise DataError(f"no images in {data}: needed files ending in {', '.join(sorted(IMAGE_SUFFIXES))}{hint}")
    classes = read_labels(labels)
    stems = [Path(name).stem for name in files]
    bare = [name for name, stem in zip(files, stems, strict=True) if stem not in classes]
    if bare:
        raise DataError(
            f"{len(bare)} of {len(files)} images have no label in {labels}, first {bare[0]}: add their lines"
        )
    present = set(stems)
    absent = [stem for stem in classes if stem not in present]
    if absent:
        raise DataError(
            f"{len(absent)} of {len(classes)} labels in {labels} name no image in {data}, first {absent[0]}: "
            "a missing image must not raise the accuracy; add the images or remove the lines"
        )
    if len(present) < len(stems):
        twice = next(stem for i, stem in enumerate(stems) if stem in stems[:i])
        raise DataError(f"several images in {data} are called {twice}: one label cannot serve two images")
    return DataIndex(NameTable.of(data, files), np.array([classes[stem] for stem in stems], np.int32))


def _class_folder_index(data: Path, folders: list[str]) -> DataIndex:
    """Class = place of the folder in sorted order; every folder counts as a class, also an empty one."""
    names: list[str] = []
    labels: list[int] = []
    wnids = all(WNID.fullmatch(folder) for folder in folders)
    for class_id, folder in enumerate(sorted(folders) if wnids else folders):
        files, _ = _list_folder(data / folder)
        names += [f"{folder}/{file}" for file in files]
        labels += [class_id] * len(files)
    if not names:
        raise DataError(f"no images in the {len(folders)} folders of {data}")
    return DataIndex(NameTable.of(data, names), np.array(labels, np.int32))
