"""The data set: which samples, in which order, with which labels, and how they are stored."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from engine.errors import ConfigError, DataError
from engine.labels.files import LabelFile, read_label_file
from engine.labels.folders import classes_of_folders
from engine.listing import Listing, find_samples
from engine.names import NameTable, sample_key
from engine.sources.base import Store
from engine.sources.images import ImageStore

I32 = npt.NDArray[np.int32]

#: Class of every sample of a run without labels.
UNLABELLED = -1


@dataclass(frozen=True)
class DataIndex:
    """All samples of a data set, in natural order.

    labels : (n,) int32, the class of each sample, or UNLABELLED for all
    store  : how a decoder gets at the samples
    notes  : what the user must know of the labels, one line each
    """

    names: NameTable
    labels: I32
    store: Store = field(default_factory=ImageStore)
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.names)

    @property
    def is_labelled(self) -> bool:
        """The classes are known, so the run has an accuracy."""
        return len(self) == 0 or int(self.labels[0]) != UNLABELLED

    def columns(self, offset: int) -> I32:
        """(n,) int32, each sample's class as a column of the model's output; UNLABELLED where there are no classes."""
        if not self.is_labelled or not offset:
            return self.labels
        return (self.labels + offset).astype(np.int32)

    def first(self, n: int) -> DataIndex:
        """The first `n` samples."""
        names = (self.names.name(i) for i in range(min(n, len(self))))
        return replace(self, names=NameTable.of(self.names.root, names), labels=self.labels[:n])


def read_index(data: Path, labels: Path | None, no_labels: bool = False) -> DataIndex:
    """Index of the samples at `data` with their classes; DataError for what is none.

    data   : a folder of images or tensors, class folders of them, an .info file, a packed file
    labels : the label file; None where the data carry their labels or lie in class folders
    no_labels : leave the classes unknown, whatever the data carry; only ever on request, so that a forgotten label file
                does not cost the accuracy
    """
    if no_labels:
        if labels is not None:
            raise ConfigError(f"--labels {labels} and --no-labels contradict each other: leave one of them out")
        listing = find_samples(data, is_labelled=False)
        return _index(listing, np.full(len(listing.names), UNLABELLED, np.int32))
    listing = find_samples(data, is_labelled=labels is not None)
    if labels is not None:
        file = read_label_file(labels)
        return _index(listing, _labels_by_file(listing, file), file.notes)
    if listing.labels is not None:
        return _index(listing, listing.labels)
    if listing.class_folders is not None:
        classes, notes = classes_of_folders(data, listing.class_folders)
        folders = (listing.names.name(sample).partition("/")[0] for sample in range(len(listing.names)))
        return _index(listing, np.array([classes[folder] for folder in folders], np.int32), notes)
    raise DataError(
        f"{data} holds {len(listing.names)} {listing.store.plural} without class folders: "
        "give their classes with --labels FILE, or ask for a run without accuracy by --no-labels"
    )


def _index(listing: Listing, labels: I32, notes: tuple[str, ...] = ()) -> DataIndex:
    return DataIndex(listing.names, labels, listing.store, notes)


def _labels_by_file(listing: Listing, file: LabelFile) -> I32:
    """Class of each sample, by its name; every sample must have one, and every label a sample."""
    names = [listing.names.name(sample) for sample in range(len(listing.names))]
    data, plural, classes = listing.data, listing.store.plural, file.classes
    stems = [Path(name).stem for name in names]
    if listing.store.is_cut_at_first_dot:
        classes, stems = _cut_at_first_dot(file), [sample_key(name) for name in names]
    bare = [name for name, stem in zip(names, stems, strict=True) if stem not in classes]
    if bare:
        remedy = (
            "its lines have no names and are for ILSVRC2012_val_00000001 onwards"
            if file.is_by_line
            else "add their lines"
        )
        raise DataError(f"{len(bare)} of {len(names)} {plural} have no label in {file.path}, first {bare[0]}: {remedy}")
    present = set(stems)
    absent = [stem for stem in classes if stem not in present]
    if absent:
        raise DataError(
            f"{len(absent)} of {len(classes)} labels in {file.path} name no image in {data}, first {absent[0]}: "
            "a missing image must not raise the accuracy; add the images or remove the lines"
        )
    if len(present) < len(stems):
        seen: set[str] = set()
        twice = next(stem for stem in stems if stem in seen or seen.add(stem))  # type: ignore[func-returns-value]
        raise DataError(f"several {plural} in {data} are called {twice}: one label cannot serve two")
    return np.array([classes[stem] for stem in stems], np.int32)


def _cut_at_first_dot(file: LabelFile) -> dict[str, int]:
    classes: dict[str, int] = {}
    for name, class_id in file.classes.items():
        if classes.setdefault(sample_key(name), class_id) != class_id:
            raise DataError(
                f"{file.path} gives several classes to names that begin with {sample_key(name)!r}, and tensors are "
                "named up to the first dot: run on the images instead"
            )
    return classes
