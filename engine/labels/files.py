"""Label files of the kinds that people have, each told from the others by its content.

NAME CLASS        the guide's ``val_label.txt``; CLASS is a number from 0, or a synset such as n01440764
numbers only      the devkit's ``ILSVRC2012_validation_ground_truth.txt``: 1 to 1000 in the devkit's order, line i
                  for image ILSVRC2012_val_<i>; converted
synsets only      the same with synsets (``imagenet_2012_validation_synset_labels.txt``)
ImageId,...       Kaggle's ``LOC_val_solution.csv``: ``ImageId,PredictionString``, the string begins with a synset
"""

from __future__ import annotations

import codecs
import csv
import os
import stat
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from engine.errors import DataError
from engine.files import amount
from engine.labels.synsets import N_CLASSES, VALIDATION_NAME, WNID, canary_warning, class_of_devkit, class_of_synset

#: Ten million lines have some hundred megabytes.
MOST_BYTES = 1 << 30
#: Classes are int32.
MAX_CLASS_DIGITS = 9
KAGGLE_HEADER = "ImageId,PredictionString"
#: One line of a file: its number from 1, and its text.
Line = tuple[int, str]


@dataclass(frozen=True)
class LabelFile:
    """What a label file says.

    classes : {name of the image without folder and suffix: class}
    is_by_line : line i is for ILSVRC2012_val_<i>        notes : what the user must know of it
    """

    path: Path
    classes: dict[str, int]
    is_by_line: bool = False
    notes: tuple[str, ...] = ()


def read_labels(path: Path) -> dict[str, int]:
    """{stem of the image's name: class} of a label file of any known kind. DataError names the line that is none."""
    return read_label_file(path).classes


def read_label_file(path: Path) -> LabelFile:
    """The label file, whatever its kind; DataError with the line that does not belong there."""
    lines = [(number, line) for number, line in enumerate(_lines(path), 1) if line.strip()]
    words = [line.split() for _, line in lines]
    notes: list[str] = []
    is_by_line = bool(words) and all(len(word) == 1 for word in words)
    if lines and lines[0][1].strip() == KAGGLE_HEADER:
        labels = _kaggle(path, lines[1:])
    elif is_by_line and all(_is_number(word[0]) for word in words):
        labels = _devkit(path, lines)
        notes.append(f"labels {path}: the devkit's ground truth, converted from its order to sorted synsets")
    elif is_by_line and all(WNID.fullmatch(word[0]) for word in words):
        labels = ((n, VALIDATION_NAME.format(n), _synset(path, n, line.strip())) for n, line in lines)
    else:
        is_by_line = False
        labels = (_name_and_class(path, number, line) for number, line in lines)
    classes = _collected(path, labels)
    warning = canary_warning(classes)
    return LabelFile(path, classes, is_by_line, (*notes, *([warning] if warning else [])))


def _lines(path: Path) -> Iterable[str]:
    try:
        with path.open("rb") as file:
            if not (stat.S_ISREG(mode := os.fstat(file.fileno()).st_mode) or stat.S_ISFIFO(mode)):
                raise DataError(f"label file {path} is no file: needed one line 'NAME CLASS' per image")
            content = file.read(MOST_BYTES + 1)
    except FileNotFoundError:
        raise DataError(f"no label file {path}: needed one line 'NAME CLASS' per image") from None
    except OSError as error:
        raise DataError(f"label file {path} cannot be read: {error.strerror}") from error
    if len(content) > MOST_BYTES:
        raise DataError(f"label file {path} has more than {amount(MOST_BYTES)}: needed one line 'NAME CLASS' per image")
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raise DataError(f"label file {path} is UTF-16 text, as Windows tools write it: save it as UTF-8")
    content = content.removeprefix(codecs.BOM_UTF8)
    # As bytes first: the names must be read as the folder's are, in whatever locale, and only newlines end a line.
    return map(os.fsdecode, content.splitlines())


def _collected(path: Path, labels: Iterable[tuple[int, str, int]]) -> dict[str, int]:
    classes: dict[str, int] = {}
    for number, name, class_id in labels:
        if classes.setdefault(name, class_id) != class_id:
            raise DataError(f"{path}:{number}: {name} has class {classes[name]} above and class {class_id} here")
    return classes


def _name_and_class(path: Path, number: int, line: str) -> tuple[int, str, int]:
    fields = line.rsplit(maxsplit=1)
    if len(fields) != 2:
        raise DataError(f"{path}:{number}: needed 'NAME CLASS', got {line.strip()!r}")
    name, text = Path(fields[0].strip()).stem, fields[1]
    if WNID.fullmatch(text):
        return number, name, _synset(path, number, text)
    if not _is_number(text):
        raise DataError(f"{path}:{number}: class {text!r} is no number from 0: needed 'NAME CLASS'")
    if len(text.lstrip("0")) > MAX_CLASS_DIGITS:
        raise DataError(f"{path}:{number}: class {text[:20]!r} is too large to be a class")
    return number, name, int(text)


def _devkit(path: Path, lines: Iterable[Line]) -> Iterator[tuple[int, str, int]]:
    for number, line in lines:
        text = line.strip()
        value = int(text) if len(text) <= MAX_CLASS_DIGITS else N_CLASSES + 1
        if not 1 <= value <= N_CLASSES:
            raise DataError(
                f"{path}:{number}: {text[:20]} is no number from 1 to {N_CLASSES}: a file of numbers without names is "
                "read as the devkit's ground truth; needed that, or lines 'NAME CLASS'"
            )
        yield number, VALIDATION_NAME.format(number), class_of_devkit(value)


def _kaggle(path: Path, lines: Iterable[Line]) -> Iterator[tuple[int, str, int]]:
    for number, line in lines:
        row = next(csv.reader([line]))
        boxes = row[1].split() if len(row) == 2 else []
        synsets = boxes[::5]
        if not boxes or len(boxes) % 5 or not all(map(WNID.fullmatch, synsets)):
            raise DataError(f"{path}:{number}: needed 'IMAGE,SYNSET X Y X Y ...', got {line.strip()[:60]!r}")
        if len(set(synsets)) > 1:
            raise DataError(f"{path}:{number}: {row[0]} has boxes of {len(set(synsets))} synsets: needed one class")
        yield number, Path(row[0].strip()).stem, _synset(path, number, synsets[0])


def _synset(path: Path, number: int, wnid: str) -> int:
    if wnid not in class_of_synset():
        raise DataError(f"{path}:{number}: {wnid} is none of the {N_CLASSES} synsets of ILSVRC2012")
    return class_of_synset()[wnid]


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit()
