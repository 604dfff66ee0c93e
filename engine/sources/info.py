"""The guide's ``.info`` files: one line ``INDEX PATH WIDTH HEIGHT`` per input."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from engine.errors import DataError
from engine.listing import Listing, scan_folder
from engine.names import NameTable, order_key, sample_key
from engine.sources.base import Store
from engine.sources.images import ImageStore
from engine.sources.suffixes import IMAGE_SUFFIXES
from engine.sources.tensors import TENSOR_SUFFIX, TensorStore
from kernels.spec import PreprocessSpec

NEEDED = "needed 'INDEX PATH WIDTH HEIGHT'"


@dataclass(frozen=True)
class InfoLine:
    """One line of an .info file; its path is absolute."""

    number: int
    path: str
    width: int
    height: int


@dataclass(frozen=True)
class InfoTensorStore(TensorStore):
    """Tensors whose width and height an .info file gives: `first` is its line for one of them."""

    info: Path
    first: InfoLine

    def check(self, names: NameTable, spec: PreprocessSpec) -> None:
        """DataError if the file's width and height are not the preset's."""
        if (self.first.width, self.first.height) != (spec.crop, spec.crop):
            raise DataError(
                f"{self.info}:{self.first.number}: tensors of {self.first.width} x {self.first.height} but the preset "
                f"makes {spec.crop} x {spec.crop}: choose the --preset that they were made with"
            )
        super().check(names, spec)


def list_info(info: Path) -> Listing:
    """The samples of an .info file, in the order of every source. DataError with file:line for what is wrong."""
    lines = [_parsed(info, number, line) for number, line in _numbered_lines(info)]
    if not lines:
        raise DataError(f"{info} is empty: {NEEDED} per input; make it with: engine info DIR {info} ...")
    root = Path(os.path.commonpath([os.path.dirname(line.path) for line in lines]))
    by_name = {os.path.relpath(line.path, root): line for line in lines}
    _refuse_twice(info, lines)
    names = sorted(by_name, key=order_key)
    folders = {name.rpartition("/")[0] for name in names}
    is_by_class = all(folder and "/" not in folder for folder in folders)
    return Listing(
        info, NameTable.of(root, names), _store(info, lines), scan_folder(root).folders if is_by_class else None
    )


def _numbered_lines(info: Path) -> list[tuple[int, str]]:
    try:
        lines = [os.fsdecode(line) for line in info.read_bytes().splitlines()]
    except OSError as error:
        raise DataError(f"{info} cannot be read: {error.strerror}") from error
    return [(number, line) for number, line in enumerate(lines, 1) if line.strip()]


def _parsed(info: Path, number: int, line: str) -> InfoLine:
    index, _, rest = line.strip().partition(" ")
    fields = rest.rsplit(maxsplit=2)
    if len(fields) != 3 or not all(text.isascii() and text.isdigit() for text in (index, *fields[1:])):
        raise DataError(f"{info}:{number}: {NEEDED}, got {line.strip()[:80]!r}")
    path = _existing(info, number, fields[0].strip())
    return InfoLine(number, path, int(fields[1]), int(fields[2]))


def _existing(info: Path, number: int, path: str) -> str:
    """Relative paths are the working directory's, as for the guide's tools, or else the .info file's own folder's."""
    places = dict.fromkeys((os.path.abspath(path), os.path.abspath(info.parent / path)))
    for place in places:
        if os.path.exists(place):
            return place
    raise DataError(f"{info}:{number}: no file {' or '.join(places)}: make the file again with: engine info")


def _refuse_twice(info: Path, lines: list[InfoLine]) -> None:
    first: dict[str, int] = {}
    for line in lines:
        folder = os.path.basename(os.path.dirname(line.path))
        key = f"{folder}/{sample_key(line.path)}"
        if first.setdefault(key, line.number) != line.number:
            raise DataError(f"{info}:{line.number}: {line.path} is the sample of line {first[key]} again")


def _store(info: Path, lines: list[InfoLine]) -> Store:
    suffixes = {os.path.splitext(line.path)[1].lower(): line for line in lines}
    if set(suffixes) == {TENSOR_SUFFIX}:
        sizes = {(line.width, line.height): line for line in lines}
        if len(sizes) > 1:
            (one, a), (other, b) = list(sizes.items())[:2]
            raise DataError(
                f"{info}: line {a.number} says {one[0]} x {one[1]} and line {b.number} {other[0]} x {other[1]}: "
                "needed one size for all tensors"
            )
        return InfoTensorStore(info, lines[0])
    for suffix, line in suffixes.items():
        if suffix not in IMAGE_SUFFIXES:
            raise DataError(f"{info}:{line.number}: {line.path} is neither an image nor a {TENSOR_SUFFIX} tensor")
    return ImageStore()
