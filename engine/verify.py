"""`engine verify`: the same samples again, through Pillow, NumPy and one process, against a run's predictions."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from engine.errors import ConfigError, DataError, MismatchError
from engine.index import DataIndex, read_index
from engine.models import FINGERPRINT, Target, resolve_model, simulated_soc
from engine.predictions_csv import PREDICTIONS, read_rows
from engine.presets import find_preset
from engine.sources.slow import slow_tensor
from kernels import reference
from kernels.spec import ImageError, PreprocessSpec, TensorFormat

F32 = npt.NDArray[np.float32]
Images = npt.NDArray[Any]
#: Predictions that differ and are listed on the terminal.
MOST_LISTED = 20


@dataclass(frozen=True)
class Row:
    """What is compared of one sample: its rank and top-5 ids as predictions.csv spells them; FAILED has neither."""

    rank: str
    top5_ids: str


def verify_result(result: Path, say: Callable[[str], None]) -> None:
    """Say ``N of N predictions identical``; MismatchError after listing those that are not."""
    document = _read_document(result)
    config = document["config"]
    labels = Path(config["labels"]) if config["labels"] else None
    index = read_index(Path(config["data"]), labels, config.get("no_labels", False))
    if config["limit"] is not None:
        index = index.first(config["limit"])
    found = _read_predictions(result, index)
    spec = find_preset(config["preset"], exif_rotate=config.get("exif_rotate", False))
    scores = _scorer(document, config, spec)
    form = TensorFormat(*document["model"]["input"])
    offset, n_classes = document["model"]["label_offset"], document["model"]["n_classes"]
    different = []
    for sample in tqdm(range(len(index)), desc="verify", unit="img", disable=not sys.stderr.isatty(), file=sys.stderr):
        row = score_slowly(index, sample, (spec, form), scores, (offset, n_classes))
        if row != found[sample]:
            different.append(f"{index.names.name(sample)}: run {_show(found[sample])}, reference {_show(row)}")
    for line in different[:MOST_LISTED]:
        say(line)
    say(f"{len(index) - len(different)} of {len(index)} predictions identical")
    if different:
        raise MismatchError(f"{len(different)} of {len(index)} predictions differ from the slow reference path")


def score_slowly(
    index: DataIndex,
    sample: int,
    made: tuple[PreprocessSpec, TensorFormat],
    scores: Callable[[Images], F32],
    columns: tuple[int, int],
) -> Row:
    """One sample by Pillow and NumPy, wherever it is stored.

    made : how an input is made, and its format        columns : (label offset, classes of the model)
    """
    offset, n_classes = columns
    try:
        tensor = slow_tensor(index.store, index.names, sample, *made)
    except (ImageError, OSError):
        return Row("", "")
    ranks, ids, logits = np.empty(1, np.int32), np.empty((1, 5), np.int32), np.empty((1, 5), np.float32)
    row = scores(tensor[None]).reshape(1, n_classes)
    reference.rank_rows(row, index.columns(offset)[sample : sample + 1], ranks, ids, logits)
    return Row(str(ranks[0]) if ranks[0] > 0 else "", " ".join(map(str, ids[0].tolist())))


def _scorer(document: dict[str, Any], config: dict[str, Any], spec: PreprocessSpec) -> Callable[[Images], F32]:
    """The run's model on one tensor, without the engine's pipeline."""
    soc = simulated_soc(config["profile"]) if config["backend"] == "sim" else ""
    target = Target(config["batch"], spec.crop, soc, spec)
    model = resolve_model(config["model"], config["backend"], target)
    if model.sha256 != document["model"]["sha256"]:
        raise DataError(
            f"model {config['model']} has changed since the run: its hash {model.sha256[:16]} "
            f"is not {document['model']['sha256'][:16]}"
        )
    if model.reference == FINGERPRINT:
        return lambda tensor: _fingerprint(tensor, document["model"]["n_classes"])
    if model.reference is None:
        raise ConfigError(f"model {config['model']} runs only on its device: nothing here can check its predictions")
    return _onnx_scorer(Path(model.reference))


def _fingerprint(tensor: Images, n_classes: int) -> F32:
    scores = np.empty((1, n_classes), np.float32)
    reference.fingerprint_logits(tensor.view(np.uint8).reshape(1, -1), scores)
    return scores


def _onnx_scorer(path: Path) -> Callable[[Images], F32]:
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    image = session.get_inputs()[0]
    n_fixed = image.shape[0] if isinstance(image.shape[0], int) else 1

    def scores(tensor: Images) -> F32:
        whole = np.zeros((n_fixed, *tensor.shape[1:]), tensor.dtype)
        whole[0] = tensor[0]
        out: F32 = session.run(None, {image.name: whole})[0][0].astype(np.float32)
        return out

    return scores


def _read_document(result: Path) -> dict[str, Any]:
    path = result / "run.json"
    try:
        document: dict[str, Any] = json.loads(path.read_text())
    except FileNotFoundError:
        raise DataError(f"no {path}: needed the --out folder of a finished run") from None
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(f"{path} cannot be read: {error}") from error
    if document["config"]["backend"] == "null":
        raise ConfigError(f"{result} is a run on the null device, which predicts nothing")
    return document


def _read_predictions(result: Path, index: DataIndex) -> list[Row]:
    path = result / PREDICTIONS
    rows = read_rows(path)
    names = [row.get("sample") for row in rows]
    if names != [index.names.name(sample) for sample in range(len(index))]:
        raise DataError(f"{path} lists {len(names)} samples that are not the {len(index)} images of {index.names.root}")
    return [Row(row["rank"], row["top5_ids"]) for row in rows]


def _show(row: Row) -> str:
    return f"rank {row.rank or '-'} top-5 {row.top5_ids or '-'}"
