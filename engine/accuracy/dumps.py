"""Finds and reads the output files of the old tools: one per image, called by the image.

The old benchmark tool writes ``<stem>_1.txt`` or ``.bin`` into ``dumpOutput_device<D>`` (outputs count from 1),
ais_bench ``<stem>_0.bin``, ``.npy`` or ``.txt`` (from 0), into one folder, or into ``device<D>`` for several chips.
"""

from __future__ import annotations

import os
import re
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from engine.errors import DataError, DumpError
from engine.names import sample_key
from kernels.decimal import NOT_SURE, parse_numbers

F32 = npt.NDArray[np.float32]

DUMP_NAME = re.compile(r"(.+)_([0-9]+)\.(txt|bin|npy)", re.DOTALL)
#: Folders of one chip each: the old tool's and ais_bench's.
CHIP_FOLDER = re.compile(r"(dumpOutput_device|device)[0-9]+")
#: ais_bench writes its summary beside the outputs.
NO_DUMPS = (".json",)
DTYPES = {"float32": "<f4", "float16": "<f2"}
#: Text is parsed as the guide's script does it, by way of double precision.
TEXT_TYPE = np.float64


@dataclass(frozen=True)
class DumpSet:
    """The output files of a folder.

    paths  : {sample key: file}, in no order        n_twice, first_twice : images with several files, and one of them
    """

    folder: Path
    output: int
    paths: dict[str, str]
    n_twice: int = 0
    first_twice: str = ""


def find_dumps(folder: Path, output: int | None = None) -> DumpSet:
    """The files of one output of the model; of its only one where `output` is None.

    Raises DataError where there is no such folder, DumpError for a folder without dumps, with files that are none, or
    with dumps of several outputs.
    """
    found: dict[int, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    strangers: list[str] = []
    for place in _places(folder):
        _scan(place, found, strangers)
    if strangers:
        raise DumpError(
            f"{len(strangers)} files in {folder} are no dumps, first {strangers[0]!r}: needed <image>_<output>.txt, "
            ".bin or .npy only, because the guide's script would count each file as an image"
        )
    if not found:
        raise DumpError(f"no dumps in {folder}: needed files such as ILSVRC2012_val_00000001_1.txt (or .bin, .npy)")
    if output is None and len(found) > 1:
        numbers = ", ".join(f"_{number} ({len(found[number])} files)" for number in sorted(found))
        raise DumpError(
            f"{folder} holds dumps of several outputs, {numbers}: say which one are the scores with --output"
        )
    number = min(found) if output is None else output
    if number not in found:
        raise DumpError(f"no dumps of output _{number} in {folder}: there are only those of _{min(found)}")
    files = found[number]
    twice = [key for key, paths in files.items() if len(paths) > 1]
    first = f"{twice[0]} in {files[twice[0]][0]} and {files[twice[0]][1]}" if twice else ""
    return DumpSet(folder, number, {key: paths[0] for key, paths in files.items()}, len(twice), first)


def _places(folder: Path) -> list[str]:
    """The folders of the chips in `folder`, or itself."""
    try:
        with os.scandir(folder) as entries:
            chips = sorted(entry.path for entry in entries if entry.is_dir() and CHIP_FOLDER.fullmatch(entry.name))
    except FileNotFoundError:
        raise DataError(f"no folder {folder}: needed the folder of the dumps") from None
    except NotADirectoryError:
        raise DataError(f"{folder} is a file: needed the folder of the dumps") from None
    except OSError as error:
        raise DataError(f"folder {folder} cannot be read: {error.strerror}") from error
    return chips or [os.fspath(folder)]


def _scan(place: str, found: dict[int, dict[str, list[str]]], strangers: list[str]) -> None:
    try:
        with os.scandir(place) as entries:
            for entry in entries:
                match = DUMP_NAME.fullmatch(entry.name)
                if match is not None:
                    found[int(match[2])][sample_key(match[1])].append(entry.path)
                elif not entry.name.startswith(".") and not entry.name.endswith(NO_DUMPS):
                    strangers.append(entry.name)
    except OSError as error:
        raise DataError(f"folder {place} cannot be read: {error.strerror}") from error


def read_dump(path: str, dtype: str = "float32") -> F32:
    """The scores in one file, flat, as float32. DumpError for what holds no scores.

    dtype : of the numbers in a .bin, which does not say it
    """
    try:
        if path.endswith(".npy"):
            return _checked(_read_npy(path), path)
        with open(path, "rb") as file:
            content = file.read()
    except OSError as error:
        raise DumpError(f"dump {path} cannot be read: {error.strerror}") from error
    if path.endswith(".txt"):
        return _checked(_parse_text(content, path), path)
    item = np.dtype(DTYPES[dtype])
    if len(content) % item.itemsize:
        raise DumpError(f"dump {path} has {len(content)} bytes, which are no whole number of {dtype} scores")
    return _checked(np.frombuffer(content, item), path)


def _checked(scores: npt.NDArray[Any], path: str) -> F32:
    if not scores.size:
        raise DumpError(f"dump {path} is empty: its image was not run; run it again")
    with np.errstate(over="ignore"):  # becomes infinite, as in the guide's script
        return np.ascontiguousarray(scores.reshape(-1), np.float32)


def _parse_text(content: bytes, path: str) -> npt.NDArray[Any]:
    numbers = np.empty(len(content) // 2 + 1, TEXT_TYPE)
    n = parse_numbers(content, numbers)
    if n != NOT_SURE:
        return numbers[:n]
    try:
        return np.fromstring(content.decode("ascii"), TEXT_TYPE, sep=" ")
    except ValueError:  # of the text or of its encoding
        raise DumpError(f"dump {path} holds something that is no number: needed blank-separated scores") from None


def _read_npy(path: str) -> npt.NDArray[Any]:
    try:
        scores = np.load(path, allow_pickle=False)
    except (ValueError, EOFError) as error:
        raise DumpError(f"dump {path} is no .npy array: {' '.join(str(error).split())}") from None
    if not isinstance(scores, np.ndarray) or scores.dtype.kind not in "fiu":
        raise DumpError(f"dump {path} is no array of numbers")
    return scores
