"""Writes the guide's ``.info`` files: ``INDEX PATH WIDTH HEIGHT``, as ``gen_dataset_info.py`` does."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

from PIL import Image

from engine.errors import DataError
from engine.files import write_report
from engine.listing import scan_folder
from engine.sources.tensors import element_types, expected_sizes

#: The script's suffixes, in its order; it counts from 0 again for each.
JPEG_SUFFIXES = ("jpg", "jpeg", "JPG", "JPEG")
#: EXIF's tag of the orientation, and its values that exchange width and height: OpenCV turns such images.
ORIENTATION, TURNED = 0x0112, (5, 6, 7, 8)


def write_tensor_info(folder: str, info: Path, size: tuple[int, int], warn: Callable[[str], None]) -> int:
    """List the ``.bin`` files of `folder`, or of its folders where they lie there. Returns how many.

    folder : as it shall stand in the lines        size : (width, height), which all of them have

    DataError where there are none; files whose size is not the tensors' are warned of.
    """
    names = tensor_files(folder)
    if not names:
        raise DataError(f"no .bin files in {folder}: make them with engine preprocess SRC {folder}")
    width, height = size
    _write(info, [f"{i} {os.path.join(folder, name)} {width} {height}" for i, name in enumerate(names)])
    sizes = element_types(width) if width == height else {}
    wrong = [name for name in names if sizes and os.path.getsize(os.path.join(folder, name)) not in sizes]
    if wrong:
        n_bytes = os.path.getsize(os.path.join(folder, wrong[0]))
        warn(
            f"WARNING: {len(wrong)} of {len(names)} files are no tensors of {width} x {height}, such as "
            f"{wrong[0]} with {n_bytes} bytes: {expected_sizes(width)}"
        )
    return len(names)


def tensor_files(folder: str) -> list[str]:
    """Names of the tensors, relative to the folder, in the order of every source."""
    found = scan_folder(Path(folder))
    if found.tensors:
        return found.tensors
    return [f"{inner}/{name}" for inner in found.folders for name in scan_folder(Path(folder, inner)).tensors]


def write_image_info(folder: str, info: Path) -> int:
    """List the JPEG files of `folder` with their own sizes. Returns how many. DataError where there are none."""
    images = scan_folder(Path(folder)).images
    lines = []
    for suffix in JPEG_SUFFIXES:
        matching = [name for name in images if name.endswith(f".{suffix}")]
        lines += [
            f"{i} {os.path.join(folder, name)} {width} {height}"
            for i, (name, (width, height)) in enumerate(_with_sizes(folder, matching))
        ]
    if not lines:
        raise DataError(f"no images in {folder}: needed files ending in {', '.join(JPEG_SUFFIXES)}")
    _write(info, lines)
    return len(lines)


def _with_sizes(folder: str, names: list[str]) -> Iterator[tuple[str, tuple[int, int]]]:
    for name in names:
        path = os.path.join(folder, name)
        try:
            with Image.open(path) as image:
                width, height = image.size
                is_turned = image.getexif().get(ORIENTATION) in TURNED
        except (OSError, SyntaxError, ValueError) as error:
            raise DataError(f"{path} is no image that can be read: {error}") from error
        yield name, (height, width) if is_turned else (width, height)


def _write(info: Path, lines: list[str]) -> None:
    broken = next((line for line in lines if "\n" in line), None)
    if broken is not None:
        raise DataError(f"a name with a line break cannot stand in an .info file: {broken!r}")
    write_report(info, "".join(f"{line}\n" for line in lines).encode("utf-8", "surrogateescape"))
