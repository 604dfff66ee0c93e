"""`engine diagnose`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from engine.commands.options import PATH
from engine.terminal import say, warn

if TYPE_CHECKING:
    from engine.accuracy.diagnose import Diagnosis, Evidence, Rerun


@click.command()
@click.argument("result", type=PATH)
@click.option("--data", type=PATH, help="Folder of the images.  [default: the run's]")
@click.option("--model", help="ONNX file, lite0 or simulated .om to run images with again.  [default: the run's]")
@click.option("--preset", help="How the images should be prepared.  [default: the run's, else resnet]")
@click.option("-n", "--images", default=100, show_default=True, type=click.IntRange(10), help="Images to run again.")
@click.option("--labels-only", is_flag=True, help="Run nothing, only look at the predictions.")
@click.option("-o", "--out", type=PATH, help="Also write the evidence as JSON.")
def command(result: Path, images: int, labels_only: bool, out: Path | None, **options: Any) -> None:
    """Why is an accuracy bad? Labels, channels, preprocessing.

    RESULT is the --out folder of `engine run`, or a predictions.csv (`engine score --predictions`) with --model and
    --data. Tries labels that are off by one, in the devkit's order, or for 1001 classes, and images with swapped
    channels, no normalisation, 0..255 pixels, NHWC layout or another preset: by preparing a sample of them anew and
    running it on ONNX Runtime. Prints the accuracy under each guess with its 95 % interval, and names the likely cause
    only where a guess is better on the same images beyond chance (McNemar, p < 0.003).

    \b
    engine diagnose result
    engine diagnose predictions.csv --data val --model resnet50.onnx
    """
    import json

    from engine.accuracy.diagnose import diagnose, document
    from engine.accuracy.measured import read_measured
    from engine.errors import DataError
    from engine.files import write_report

    measured = read_measured(result)
    if measured.images is None:
        raise DataError(f"{result} has no predictions per image: needed a run's folder or a predictions.csv")
    run = _run_document(result)
    rerun, skipped = (None, "--labels-only") if labels_only else _rerun(run, options, images)
    offset = run["model"]["label_offset"] if run else _offset_of(measured.images)
    diagnosis = diagnose(measured.images, offset, rerun, warn)
    diagnosis.skipped = diagnosis.skipped or skipped
    if out is not None:
        write_report(out, (json.dumps(document(diagnosis), indent=2) + "\n").encode())
    _tell(diagnosis)


def _run_document(result: Path) -> dict[str, Any] | None:
    import json

    from engine.errors import DataError

    path = (result if result.is_dir() else result.parent) / "run.json"
    if not path.is_file():
        return None
    try:
        document: dict[str, Any] = json.loads(path.read_text())
        return document if document["model"] and document["config"] else None
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise DataError(f"{path} is no run.json: {error}") from error


def _offset_of(images: Any) -> int:
    """The offset that the recorded ranks imply; 0 where no image is right."""
    import numpy as np

    right = images.ranks == 1
    offsets = np.unique(images.top_ids[right, 0] - images.labels[right])
    return int(offsets[0]) if len(offsets) == 1 else 0


def _rerun(run: dict[str, Any] | None, options: dict[str, Any], n_images: int) -> tuple[Rerun | None, str]:
    """What is needed to run images again, or why that cannot be done."""
    from engine.accuracy.diagnose import Rerun
    from engine.errors import ModelError
    from engine.onnx_scores import OnnxScores
    from engine.onnx_source import onnx_of
    from engine.presets import find_preset

    config = run["config"] if run else {}
    data, model = options["data"] or config.get("data"), options["model"] or config.get("model")
    preset = options["preset"] or config.get("preset") or "resnet"
    if not data or not model:
        return None, "no --data and --model"
    spec = find_preset(preset)
    try:
        source = onnx_of(model, spec.crop)
        scores = OnnxScores(source.path, spec.crop)
    except ModelError as error:
        if options["model"]:
            raise
        return None, str(error)
    if source.note:
        say(source.note)
    return Rerun(Path(data), preset, scores, n_images, config.get("exif_rotate", False)), ""


def _tell(diagnosis: Diagnosis) -> None:
    say(f"labels, by the recorded predictions of {diagnosis.labels[0].n} images   Top-1     95 % interval")
    for evidence in diagnosis.labels:
        say(_line(evidence))
    if diagnosis.images:
        say(f"images, {diagnosis.images[0].n} run again on ONNX Runtime{'':13}Top-1     95 % interval  as recorded")
        for evidence in diagnosis.images:
            say(_line(evidence))
    elif diagnosis.skipped:
        say(f"images were not tried: {diagnosis.skipped}")
    for finding in diagnosis.findings:
        say(finding)
    if diagnosis.cause:
        say(f"LIKELY CAUSE: {diagnosis.cause}")
    else:
        n = len(diagnosis.labels) + len(diagnosis.images)
        say(f"no likely cause found: none of {n} guesses is better than the result beyond chance")


def _line(evidence: Evidence) -> str:
    low, high = evidence.interval.low, evidence.interval.high
    agreement = "" if evidence.agreement is None else f"  {100 * evidence.agreement:10.1f} %"
    share = 100 * evidence.n_right / evidence.n
    return f"  {evidence.name:44} {share:7.2f} % {100 * low:7.2f} .. {100 * high:6.2f}{agreement}"
