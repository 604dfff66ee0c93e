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
    """Run the main job on images made here, through four simulated chips, and prove that it is right."""
    from engine.demo import run_demo

    sys.exit(run_demo(out, images, say))
