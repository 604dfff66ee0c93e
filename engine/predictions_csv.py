"""predictions.csv: what was predicted of each image, one row each, in sample order."""

from __future__ import annotations

import csv
import sys
from collections.abc import Iterator
from pathlib import Path

from engine.collector import FAILED, NAN, PENDING, Predictions
from engine.errors import DataError
from engine.files import atomic_path
from engine.index import DataIndex

PREDICTIONS = "predictions.csv"
CSV_COLUMNS = ("sample", "label", "rank", "top5_ids", "top5_logits", "status")


def read_rows(path: Path) -> list[dict[str, str]]:
    """Its rows by column; DataError where it cannot be read. Names are as those of a folder are read, in any locale."""
    try:
        with path.open(encoding=sys.getfilesystemencoding(), errors="surrogateescape", newline="") as file:
            return list(csv.DictReader(file))
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}") from error
    except csv.Error as error:
        raise DataError(f"{path} is no predictions.csv: {error}") from error


def write_predictions(path: Path, index: DataIndex, predictions: Predictions) -> None:
    """One row per image in sample order; columns `CSV_COLUMNS`, five values separated by blanks.

    Label and rank are empty in a run without labels.
    """
    with (
        atomic_path(path) as temporary,
        temporary.open("w", encoding="utf-8", errors="surrogateescape", newline="") as file,
    ):
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(CSV_COLUMNS)
        writer.writerows(_rows(index, predictions))


def _rows(index: DataIndex, predictions: Predictions) -> Iterator[tuple[object, ...]]:
    for sample in range(len(index)):
        state = predictions.states[sample]
        has_scores = state not in (FAILED, PENDING)
        ids = " ".join(map(str, predictions.top_ids[sample].tolist())) if has_scores else ""
        logits = " ".join(f"{value:.9g}" for value in predictions.top_logits[sample].tolist()) if has_scores else ""
        rank = str(predictions.ranks[sample]) if predictions.ranks[sample] > 0 else ""
        label = str(index.labels[sample]) if index.is_labelled else ""
        yield index.names.name(sample), label, rank, ids, logits, _status(predictions, sample)


def _status(predictions: Predictions, sample: int) -> str:
    state = predictions.states[sample]
    if state == FAILED:
        return f"FAILED: {predictions.reasons[sample]}"
    return {PENDING: "PENDING", NAN: "NAN"}.get(int(state), "SCORED")
