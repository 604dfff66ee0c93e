"""`engine compare`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from engine.commands.options import PATH
from engine.terminal import say

if TYPE_CHECKING:
    from engine.accuracy.compare import Comparison, TopResult

#: Flipped images on the terminal; --out has them all.
MOST_FLIPS_SHOWN = 20


@click.command()
@click.argument("result", type=PATH)
@click.option("--reference", help="A model of the shipped table (resnext101_32x8d), 79.312,94.526, or another run.")
@click.option("--weights", help="Which weights of the table, such as IMAGENET1K_V2.  [default: the first]")
@click.option("--top1", type=float, help="Reference Top-1 in percent, such as 79.312.")
@click.option("--top5", type=float, help="Reference Top-5 in percent, such as 94.526.")
@click.option(
    "--points", default=1.0, show_default=True, type=click.FloatRange(0, 100), help="Absolute gate: points below."
)
@click.option(
    "--relative",
    default=99.0,
    show_default=True,
    type=click.FloatRange(0, 100),
    help="Relative gate: least percent of the reference.",
)
@click.option("-o", "--out", type=PATH, help="Also write everything, with all flipped images, as JSON.")
def command(
    result: Path,
    reference: str | None,
    weights: str | None,
    top1: float | None,
    top5: float | None,
    points: float,
    relative: float,
    out: Path | None,
) -> None:
    """Is an accuracy as good as its reference? (guide: 6.2)

    RESULT is the --out folder of `engine run`, its predictions.csv, or a result.json (also the guide's own). Two gates
    apply to Top-1 and Top-5, and the stricter decides: not more than 1 point below the reference, and not less than
    99 % of it.

    Against published figures the number of images matters: 50,000 validation images decide, a sample only if it is
    large enough for the gate. Against another run on the same images, image by image, far fewer do.

    Exit code: 0 met, 11 not met, 12 undecided (too few images).

    \b
    engine compare result --reference resnext101_32x8d
    engine compare result.json --top1 79.312 --top5 94.526
    engine compare result_fp16 --reference result_fp32
    """
    import json

    from engine.accuracy.compare import Gate, compare, compare_runs
    from engine.accuracy.measured import read_measured
    from engine.accuracy.references import custom_reference, find_reference, numbers_reference
    from engine.errors import ConfigError
    from engine.files import write_report

    if (reference is None) == (top1 is None and top5 is None):
        raise ConfigError("compare with what? give either --reference MODEL (or another run), or --top1 and --top5")
    gate = Gate(points, relative)
    measured = read_measured(result)
    if reference is None:
        comparison = compare(measured, custom_reference(top1, top5), gate)
    elif Path(reference).exists() or "/" in reference:
        comparison = compare_runs(measured, read_measured(Path(reference)), gate)
    else:
        published = numbers_reference(reference) or find_reference(reference, weights)
        comparison = compare(measured, published, gate)
    if out is not None:
        write_report(out, (json.dumps(comparison.document, indent=2) + "\n").encode("utf-8", "surrogateescape"))
    _tell(comparison)
    comparison.raise_for_verdict()


def _tell(comparison: Comparison) -> None:
    say(f"{comparison.measured}, {comparison.n_images} images")
    say(f"against {comparison.reference}\n  {comparison.source}")
    for top in comparison.tops:
        say("\n".join(_top_lines(top, comparison.is_paired)))
    _tell_flips(comparison)


def _top_lines(top: TopResult, is_paired: bool) -> list[str]:
    from engine.accuracy.compare import five

    low, high = top.interval
    lines = [f"Top-{top.k}  {five(top.measured)} %  reference {five(top.reference)} %"]
    if is_paired:
        lines += [
            f"  difference     {top.measured - top.reference:+.3f} points, 95 % {low:+.3f} .. {high:+.3f} (paired)",
            f"  {top.n_gained} gained, {top.n_lost} lost; McNemar p = {top.p_exact:.3g} exact, {top.p_mid:.3g} mid-p",
        ]
    else:
        lines.append(f"  95 % interval  {five(low)} .. {five(high)} %  (Wilson)")
    marks = {name: "  (stricter: decides)" if top.stricter == name else "" for name in ("absolute", "relative")}
    lines += [
        f"  absolute gate  >= {five(top.absolute_gate)} %{marks['absolute']}",
        f"  relative gate  >= {five(top.relative_gate)} %{marks['relative']}",
        f"  gate {top.verdict}: {top.reason}",
    ]
    return lines


def _tell_flips(comparison: Comparison) -> None:
    if not comparison.is_paired:
        return
    say(f"{len(comparison.flips)} of {comparison.n_images} images have another first class")
    order = {"lost": 0, "gained": 1, "other": 2}
    for flip in sorted(comparison.flips, key=lambda flip: order[flip.change])[:MOST_FLIPS_SHOWN]:
        say(f"  {flip.change:6} {flip.sample}: class {flip.label}, was {flip.was}, now {flip.now}")
    if len(comparison.flips) > MOST_FLIPS_SHOWN:
        say(f"  and {len(comparison.flips) - MOST_FLIPS_SHOWN} more: --out FILE has all")
