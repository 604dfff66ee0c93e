"""Classes from the names of class folders."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from engine.errors import DataError
from engine.labels.files import MAX_CLASS_DIGITS
from engine.labels.synsets import N_CLASSES, class_of_synset


def classes_of_folders(data: Path, folders: Sequence[str]) -> tuple[dict[str, int], tuple[str, ...]]:
    """{folder: class}, and what the user must know of it.

    Numbers (ImageNet-V2) are the classes themselves. Synsets of ILSVRC2012 have their places among its 1000, also
    where some are missing. Other folders are numbered in the order given; every folder counts, also an empty one.
    """
    if all(folder.isascii() and folder.isdigit() for folder in folders):
        return _numbers(data, folders), ()
    known = class_of_synset()
    if not all(folder in known for folder in folders):
        return {folder: place for place, folder in enumerate(folders)}, ()
    notes: tuple[str, ...] = ()
    if len(folders) < N_CLASSES:
        first = folders[0]
        notes = (
            f"{data} has {len(folders)} of the {N_CLASSES} synsets of ILSVRC2012: classes are the places among all "
            f"{N_CLASSES}, such as {known[first]} for {first}",
        )
    return {folder: known[folder] for folder in folders}, notes


def _numbers(data: Path, folders: Sequence[str]) -> dict[str, int]:
    classes: dict[str, int] = {}
    by_class: dict[int, str] = {}
    for folder in folders:
        if len(folder.lstrip("0")) > MAX_CLASS_DIGITS:
            raise DataError(f"class folder {data / folder} is too large a number to be a class")
        number = int(folder)
        if number in by_class:
            raise DataError(f"folders {by_class[number]} and {folder} of {data} are both class {number}: merge them")
        by_class[number] = folder
        classes[folder] = number
    return classes
