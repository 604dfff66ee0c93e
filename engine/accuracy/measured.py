"""What was measured: a run's folder, its predictions.csv, or a result.json of ours or of the guide's script."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from engine.accuracy.guide import TITLE
from engine.errors import DataError
from engine.names import sample_key
from engine.predictions_csv import read_rows

I32 = npt.NDArray[np.int32]

NEEDED = "needed the --out folder of a run, a predictions.csv, or a result.json"


@dataclass(frozen=True)
class Images:
    """Each image's prediction, in the order of the file.

    keys : what identifies them        labels : (n,) int32, as in the label file
    ranks : (n,) int32, 1 = right at first, 0 where there is no valid prediction
    top_ids : (n, 5) int32, classes of the model, best first, -1 where there is none
    """

    keys: list[str]
    names: list[str]
    labels: I32
    ranks: I32
    top_ids: I32


@dataclass(frozen=True)
class Measured:
    """An accuracy. in_top : {1 and 5: (fewest, most) images}: they differ where percentages were rounded."""

    source: str
    n_images: int
    in_top: dict[int, tuple[int, int]]
    images: Images | None = None

    def percent(self, k: int) -> float:
        """Middle of what is known of Top-k, in percent."""
        return 50 * sum(self.in_top[k]) / self.n_images


def read_measured(path: Path) -> Measured:
    """The accuracy in a folder or file; DataError for what holds none."""
    if path.is_dir():
        for name in ("predictions.csv", "result.json"):
            if (path / name).is_file():
                return read_measured(path / name)
        raise DataError(f"no predictions.csv and no result.json in {path}: {NEEDED}")
    if not path.exists():
        raise DataError(f"no {path}: {NEEDED}")
    if path.suffix.lower() == ".json":
        return _of_json(path)
    images = read_predictions(path)
    n = len(images.keys)
    _require_whole(path, n)
    counts = {k: int(np.count_nonzero((images.ranks >= 1) & (images.ranks <= k))) for k in (1, 5)}
    return Measured(str(path), n, {k: (count, count) for k, count in counts.items()}, images)


def _require_whole(path: Path, n: int) -> None:
    """DataError where the run.json beside the file says another number of images: the file was cut or changed."""
    try:
        expected = json.loads((path.parent / "run.json").read_text())["dataset"]["n_images"]
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return  # a predictions.csv on its own
    if path.name == "predictions.csv" and expected != n:
        raise DataError(
            f"{path} holds {n} images but its run.json says {expected}: it was cut or changed; run it again"
        )


def read_predictions(path: Path) -> Images:
    """A predictions.csv; DataError names the line that is none, and an interrupted run."""
    rows = read_rows(path)
    if not rows:
        raise DataError(f"no predictions in {path}: {NEEDED}")
    n = len(rows)
    images = Images([], [], np.zeros(n, np.int32), np.zeros(n, np.int32), np.full((n, 5), -1, np.int32))
    n_pending = 0
    for i, row in enumerate(rows):
        _take(images, i, row, path)
        n_pending += row.get("status") == "PENDING"
    if n_pending:
        raise DataError(f"{n_pending} of {n} images of {path} are PENDING: that run was interrupted; finish it first")
    if len(set(images.keys)) != n:
        raise DataError(f"{path} holds {n - len(set(images.keys))} images twice")
    return images


def _take(images: Images, i: int, row: dict[str, str], path: Path) -> None:
    """Put one row of the file into its place."""
    try:
        images.names.append(row["sample"])
        images.keys.append(sample_key(row["sample"]))
        if row["label"] == "":
            raise DataError(
                f"{path} is of a run without labels, so nothing in it is right or wrong: engine score makes an "
                "accuracy of its dumps and a label file"
            )
        images.labels[i] = int(row["label"])
        images.ranks[i] = int(row["rank"] or 0)
        ids = [int(word) for word in row["top5_ids"].split()]
        images.top_ids[i, : len(ids)] = ids
    except (KeyError, ValueError, AttributeError, TypeError, OverflowError) as error:
        raise DataError(f"{path}:{i + 2} is no whole line of a predictions.csv: {NEEDED}") from error


def _of_json(path: Path) -> Measured:
    """The guide's document: percentages rounded to two decimals."""
    try:
        document: Any = json.loads(path.read_text())
        values = {row["key"]: row["value"] for row in document["value"]}
        n = int(values["Number of images"])
        shares = {k: float(values[f"Top{k} accuracy"].rstrip("%")) for k in (1, 5) if f"Top{k} accuracy" in values}
        if document["title"] != TITLE or n < 1 or 1 not in shares or not all(0 <= s <= 100 for s in shares.values()):
            raise ValueError("it has another title, no images or no accuracy")
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}") from error
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise DataError(f"{path} is no result.json of the guide: {type(error).__name__} {error}") from error
    return Measured(str(path), n, {k: _counts(share, n) for k, share in shares.items()})


def _counts(percent: float, n: int) -> tuple[int, int]:
    """Counts of `n` images that print as this percentage of two decimals."""
    low = int(np.ceil((percent - 0.00501) * n / 100))
    high = int(np.floor((percent + 0.00501) * n / 100))
    return max(0, min(low, n)), min(n, max(high, low))
