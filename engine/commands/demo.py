"""`engine demo`."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from engine.commands.options import PATH
from engine.terminal import say


@click.command()
@click.option("--out", type=PATH, default=Path("result"), show_default=True, help="Folder for the results.")
@click.option("--images", default=10_000, show_default=True, type=click.IntRange(1), help="Images to run, about.")
def command(out: Path, images: int) -> None:
    """Run the main job on images made here, and prove it right.

    Four SIMULATED chips, 320 images with the sizes of ImageNet, and a model whose scores are a hash of every byte that
    it got.
    """
    from engine.demo import run_demo

    sys.exit(run_demo(out, images, say))
