"""`engine score`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from engine.commands.options import PATH
from engine.terminal import say, warn

if TYPE_CHECKING:
    from engine.accuracy.score import Score


@click.command()
@click.argument("dump", type=PATH)
@click.argument("labels", type=PATH)
@click.option("-o", "--out", type=PATH, default=Path("result.json"), show_default=True, help="The JSON to write.")
@click.option("--predictions", type=PATH, help="Also write each image's prediction, as CSV, for compare and diagnose.")
@click.option("--classes", type=click.IntRange(2), help="Scores per image.  [default: 1000 or 1001]")
@click.option(
    "--label-offset", type=click.IntRange(-1, 1), help="Added to labels.  [default: 1 for 1001 scores, else 0]"
)
@click.option(
    "--output", type=click.IntRange(0), help="Number of the scores in the file names, where there are several."
)
@click.option(
    "--dtype", type=click.Choice(("float32", "float16")), default="float32", show_default=True, help="Of .bin."
)
@click.option(
    "--ties",
    type=click.Choice(("guide", "lower")),
    default="guide",
    show_default=True,
    help="Order of equal scores: of NumPy's sort as in the guide's script, or the lower class first.",
)
def command(dump: Path, labels: Path, out: Path, predictions: Path | None, **options: object) -> None:
    """Top-1..Top-5 from dumped outputs (guide: 6.1).

    Of the old benchmark tool, ais_bench or `engine run --dump`.

    DUMP is the folder with one file per image (IMAGE_1.txt, IMAGE_0.bin, .npy), or the folder above dumpOutput_device0,
    dumpOutput_device1 and so on. LABELS has one line 'NAME CLASS' per image. The JSON is the one that the guide's
    imagenet_acc_eval.py writes, byte for byte. Images without output, outputs without image and images with several
    outputs are an error (exit code 10): the accuracy is over all labelled images, or there is none.

    \b
    engine score result/dumpOutput_device0 val_label.txt -o result.json
    """
    import json

    from engine.accuracy.score import ScoreOptions, score_dumps
    from engine.files import named_by_user, write_report
    from engine.predictions_csv import write_predictions

    score = score_dumps(
        dump,
        labels,
        ScoreOptions(
            n_classes=options["classes"],  # type: ignore[arg-type]
            label_offset=options["label_offset"],  # type: ignore[arg-type]
            output=options["output"],  # type: ignore[arg-type]
            dtype=str(options["dtype"]),
            ties=str(options["ties"]),
        ),
    )
    write_report(out, json.dumps(score.document).encode())
    if predictions is not None:
        with named_by_user(predictions):
            write_predictions(predictions, score.index, score.predictions)
    for note in score.notes:
        warn(note)
    _tell(score, out)


def _tell(score: Score, out: Path) -> None:
    tops = " ".join(f"{100 * count / score.n_images:.3f}" for count in score.in_top)
    of = f"{score.n_images} images, {score.n_classes} classes, label offset {score.label_offset}"
    say(f"Top-1..Top-5 {tops} %  of {of}")
    if score.n_nan:
        warn(f"{score.n_nan} images have NaN scores and count as wrong; the guide's script would rank around them")
    if score.in_top != score.in_top_lower:
        lower = " ".join(f"{100 * count / score.n_images:.3f}" for count in score.in_top_lower)
        warn(
            f"{score.n_tied} images have another class with their own score: their order is that of NumPy's sort "
            f"on this host, as in the guide's script; with ties to the lower class (--ties lower): {lower} %"
        )
    say(f"written to {out}")
