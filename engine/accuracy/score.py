"""Top-1..Top-5 from the old tools' output files: every labelled image exactly once, or an error."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from engine.accuracy.dumps import DumpSet, find_dumps, read_dump
from engine.accuracy.guide import guide_document
from engine.collector import NAN, SCORED, TOP, Predictions
from engine.errors import DataError, DumpError, ModelError
from engine.index import DataIndex
from engine.labels.files import read_label_file
from engine.names import NameTable, natural_key, sample_key
from kernels.rank import rank_rows

F32 = npt.NDArray[np.float32]
I32 = npt.NDArray[np.int32]

#: Rows ranked at once: 1 MiB of scores, so that they are still in the cache.
CHUNK = 256
#: ImageNet's, and with a background class in front, as TensorFlow's models have it: label offsets as in the guide's
#: script.
KNOWN_CLASSES = {1000: 0, 1001: 1}


@dataclass(frozen=True)
class ScoreOptions:
    """How to read the dumps.

    n_classes : what a file must hold where that is neither 1000 nor 1001
    label_offset : added to labels; None for 1 with 1001 classes and 0 else, as the guide's script has it
    output : number of the model's output in the file names; None where there is only one
    dtype : of .bin files, float32 or float16
    ties : "guide": classes of equal score come in the order of NumPy's argsort on this host, as in the guide's script;
           "lower": the lower class comes first, as `engine run` has it on every host
    """

    n_classes: int | None = None
    label_offset: int | None = None
    output: int | None = None
    dtype: str = "float32"
    ties: str = "guide"


@dataclass(frozen=True)
class Score:
    """Accuracy of a folder of dumps.

    in_top : images whose class is among the first 1 .. 5        in_top_lower : the same with ties to the lower class
    n_tied : images whose class shares its score with another one        n_nan : images with a NaN, counted as wrong
    notes : what the user must know of the labels
    """

    index: DataIndex
    predictions: Predictions
    n_classes: int
    label_offset: int
    in_top: tuple[int, ...]
    in_top_lower: tuple[int, ...]
    n_tied: int
    n_nan: int
    notes: tuple[str, ...] = ()

    @property
    def n_images(self) -> int:
        return len(self.index)

    @property
    def document(self) -> dict[str, Any]:
        """The guide's result.json."""
        return guide_document(self.n_images, self.n_classes, self.in_top[: min(TOP, self.n_classes)])


def score_dumps(dump: Path, labels: Path | dict[str, int], options: ScoreOptions = ScoreOptions()) -> Score:
    """Score the files in `dump` against the labels, a label file or {image: class}.

    Raises DumpError where an image has no output or several, where an output belongs to no labelled image, and for
    files that hold no scores or unlike numbers of classes; ModelError for a number of classes that was not asked for;
    DataError for labels that cannot be used.
    """
    classes, notes = labels_by_key(labels)
    dumps = find_dumps(dump, options.output)
    _require_each_once(dumps, classes, "the labels" if isinstance(labels, dict) else str(labels))
    keys = sorted(classes, key=natural_key)
    n_classes = _n_classes(read_dump(dumps.paths[keys[0]], options.dtype), dumps.paths[keys[0]], options)
    offset = KNOWN_CLASSES.get(n_classes, 0) if options.label_offset is None else options.label_offset
    columns = np.array([classes[key] + offset for key in keys], np.int32)
    _require_columns(columns, keys, n_classes, offset)
    ranking = _Ranking(columns, options.ties)
    for start, rows in _chunks([dumps.paths[key] for key in keys], n_classes, options.dtype):
        ranking.add(start, rows)
    index = DataIndex(NameTable.of(dump, keys), columns - np.int32(offset))
    predictions = ranking.predictions
    in_top = tuple(predictions.n_in_top(k) for k in range(1, TOP + 1))
    lower = tuple(int(np.count_nonzero((ranking.lower >= 1) & (ranking.lower <= k))) for k in range(1, TOP + 1))
    n_nan = int(np.count_nonzero(predictions.states == NAN))
    return Score(index, predictions, n_classes, offset, in_top, lower, ranking.n_tied, n_nan, notes)


def labels_by_key(labels: Path | dict[str, int]) -> tuple[dict[str, int], tuple[str, ...]]:
    """({sample key: class}, notes on the file); DataError where two labelled names are one sample."""
    named, notes = (labels, ()) if isinstance(labels, dict) else _of_file(labels)
    classes: dict[str, int] = {}
    for name, class_id in named.items():
        key = sample_key(name)
        if key in classes:
            raise DataError(
                f"two labelled images are called {key}: dumps are told apart by what is before the first dot"
            )
        classes[key] = class_id
    if not classes:
        raise DataError(f"no labels in {labels}: needed one line 'NAME CLASS' per image")
    return classes, notes


def _of_file(path: Path) -> tuple[dict[str, int], tuple[str, ...]]:
    file = read_label_file(path)
    return file.classes, file.notes


def _require_each_once(dumps: DumpSet, classes: dict[str, int], where: str) -> None:
    """The guide's script divides by the number of files: a missing image would raise the accuracy."""
    missing = [key for key in classes if key not in dumps.paths]
    extra = [key for key in dumps.paths if key not in classes]
    wrong = []
    if missing:
        wrong.append(f"{len(missing)} of {len(classes)} images of {where} have no output, first {missing[0]}")
    if extra:
        wrong.append(f"{len(extra)} outputs belong to no image of {where}, first {extra[0]}")
    if dumps.n_twice:
        wrong.append(f"{dumps.n_twice} images have several outputs, first {dumps.first_twice}")
    if wrong:
        raise DumpError(
            f"dumps in {dumps.folder}: {'; '.join(wrong)}: each labelled image needs exactly one output; run the "
            "missing ones, or give the labels of the images that were run"
        )


def _n_classes(first: F32, path: str, options: ScoreOptions) -> int:
    n = len(first)
    if options.n_classes is not None:
        if n != options.n_classes:
            raise ModelError(f"dump {path} holds {n} scores, not the {options.n_classes} of --classes{_half(n, path)}")
    elif n not in KNOWN_CLASSES:
        raise ModelError(
            f"dump {path} holds {n} scores: needed 1000, or 1001 with a background class; say --classes {n} if the "
            f"model has so many{_half(n, path)}"
        )
    return n


def _half(n: int, path: str) -> str:
    """float16 read as float32 has half as many numbers."""
    return "; or are they float16? then say --dtype float16" if path.endswith(".bin") and 2 * n in KNOWN_CLASSES else ""


def _require_columns(columns: I32, keys: Sequence[str], n_classes: int, offset: int) -> None:
    outside = np.flatnonzero((columns < 0) | (columns >= n_classes))
    if len(outside):
        first = int(outside[0])
        raise DataError(
            f"{len(outside)} labels are no class of the model's {n_classes}, first {keys[first]} with class "
            f"{int(columns[first]) - offset} (label offset {offset}): are they counted from 1, or of another data set?"
        )


def _chunks(paths: list[str], n_classes: int, dtype: str) -> Iterator[tuple[int, F32]]:
    """(first sample, rows) of the files in order; the rows are overwritten by the next ones."""
    rows = np.empty((min(CHUNK, len(paths)), n_classes), np.float32)
    bar = tqdm(total=len(paths), desc="score", unit="img", disable=not sys.stderr.isatty(), file=sys.stderr)
    with bar:
        for start in range(0, len(paths), CHUNK):
            chunk = paths[start : start + CHUNK]
            for row, path in zip(rows, chunk, strict=False):
                scores = read_dump(path, dtype)
                if len(scores) != n_classes:
                    raise DumpError(
                        f"dump {path} holds {len(scores)} scores, the one of {paths[0]} {n_classes}: run it again"
                    )
                row[:] = scores
            yield start, rows[: len(chunk)]
            bar.update(len(chunk))


class _Ranking:
    """Predictions of the rows so far, in the order of ties that was asked for."""

    def __init__(self, columns: I32, ties: str) -> None:
        self._columns = columns
        self._is_guide = ties == "guide"
        self.predictions = Predictions.empty(len(columns))
        self.lower = np.zeros(len(columns), np.int32)  # ranks with ties to the lower class
        self.n_tied = 0

    def add(self, start: int, rows: F32) -> None:
        """rows : (n, n_classes) float32 of the samples from `start` on"""
        kept, part = self.predictions, slice(start, start + len(rows))
        columns = self._columns[part]
        rank_rows(rows, columns, kept.ranks[part], kept.top_ids[part], kept.top_logits[part])
        self.lower[part] = kept.ranks[part]
        kept.states[part] = np.where(kept.ranks[part] > 0, SCORED, NAN)
        own = rows[np.arange(len(rows)), columns]
        tied = np.flatnonzero((rows == own[:, None]).sum(axis=1) > 1)
        self.n_tied += len(tied)
        if self._is_guide:
            for i in tied[kept.ranks[part][tied] > 0]:
                order = np.argsort(-rows[i])
                kept.ranks[start + i] = int(np.flatnonzero(order == columns[i])[0]) + 1
                ids = order[:TOP].astype(np.int32)
                kept.top_ids[start + i, : len(ids)] = ids
