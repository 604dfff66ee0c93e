"""`engine parity`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from engine.commands.options import PATH
from engine.config import DEFAULT_PROFILE
from engine.terminal import say

if TYPE_CHECKING:
    from engine.accuracy.parity import Parity

#: Images that are listed on the terminal; --out has all.
MOST_SHOWN = 5


@click.command()
@click.argument("a")
@click.argument("b")
@click.option("--data", type=PATH, required=True, help="Images or tensors to compare on.")
@click.option("-n", "--images", default=64, show_default=True, type=click.IntRange(1), help="How many of them.")
@click.option(
    "--backend-a", help="cann, sim or onnxruntime.  [default: by the file: .onnx, lite0 onnxruntime, .om auto]"
)
@click.option("--backend-b", help="The same for B.")
@click.option("--preset", default="resnet", show_default=True, help="Preprocessing of the images.")
@click.option("--preset-b", help="Preprocessing for B.  [default: as for A]")
@click.option(
    "--min-cosine", default=0.999, show_default=True, type=click.FloatRange(-1, 1), help="Gate, of each image."
)
@click.option(
    "--min-agreement",
    default=99.0,
    show_default=True,
    type=click.FloatRange(0, 100),
    help="Gate: percent of images with the same first class.",
)
@click.option("--max-abs", type=click.FloatRange(0), help="Gate: greatest difference of a score.  [default: none]")
@click.option("--profile", default=DEFAULT_PROFILE, show_default=True, help="Rates of the simulated chips.")
@click.option("-o", "--out", type=PATH, help="Also write all images as JSON.")
def command(
    a: str,
    b: str,
    data: Path,
    images: int,
    backend_a: str | None,
    backend_b: str | None,
    preset: str,
    preset_b: str | None,
    min_cosine: float,
    min_agreement: float,
    max_abs: float | None,
    profile: str,
    out: Path | None,
) -> None:
    """Do two models or backends compute the same scores?

    A and B are what `engine run --model` takes: an ONNX and the .om compiled from it, float32 and float16, lite0 and
    another export of it. Prints cosine, greatest difference and Top-1 agreement, and the images that differ most.
    Exit code: 0 within the gates, 11 outside.

    \b
    engine parity resnet50.onnx resnet50_bs16.om --data val
    engine parity lite0 lite0 --backend-b sim --data val -n 200
    """
    import json

    from engine.accuracy.parity import ParityGate, Side, compare_scores, score_side
    from engine.files import write_report
    from engine.presets import find_preset
    from engine.warming import warm_up

    warm_up(find_preset(preset), say)  # here, where it can be said, and not in each side's process
    sides = Side(a, backend_a, preset, profile=profile), Side(b, backend_b, preset_b or preset, profile=profile)
    gate = ParityGate(min_cosine, min_agreement, max_abs)
    parity = compare_scores(*(score_side(side, data, images) for side in sides))
    if out is not None:
        text = json.dumps(parity.document(gate), indent=2) + "\n"
        write_report(out, text.encode("utf-8", "surrogateescape"))
    _tell(parity)
    parity.raise_for_gate(gate)
    say("within the gates")


def _tell(parity: Parity) -> None:
    import numpy as np

    n = len(parity.images)
    cosines = np.array([image.cosine for image in parity.images])
    differences = np.array([image.max_abs for image in parity.images])
    low, high = (100 * bound for bound in (parity.agreement.low, parity.agreement.high))
    say(f"A  {parity.about_a}\nB  {parity.about_b}\n{n} images")
    say(f"cosine      least {cosines.min():.8f}  median {np.median(cosines):.8f}")
    say(f"difference  most {differences.max():.3g}  median {np.median(differences):.3g}  of any score")
    say(f"Top-1       {parity.n_agree} of {n} agree, 95 % within {low:.2f} .. {high:.2f} %")
    say(f"Top-5       {parity.n_top5} of {n} have the same five classes")
    say("images that differ most:")
    for image in parity.worst(MOST_SHOWN):
        tops = f"class {image.top_a}" if image.top_a == image.top_b else f"class {image.top_a} -> {image.top_b}"
        say(f"  {image.name}: cosine {image.cosine:.8f}, difference {image.max_abs:.3g}, {tops}")
