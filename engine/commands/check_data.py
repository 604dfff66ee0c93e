"""`engine check-data`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from engine.commands.options import EXIF_ROTATE, PATH
from engine.errors import EXIT_INTERRUPTED
from engine.terminal import say


@click.command()
@click.argument("data", type=PATH)
@click.option("--labels", type=PATH, help="Label file: also check that each image has its label.")
@click.option("--quarantine", type=PATH, help="Write the names of images that fail, with reasons, to this file.")
@click.option(
    "--preset", default="resnet", show_default=True, help="resnet, inceptionv3, inceptionv4, efficientnet-lite0."
)
@EXIF_ROTATE
@click.option("--workers", type=click.IntRange(1, 256), help="Processes.  [default: as many as cores]")
def command(data: Path, labels: Path | None, quarantine: Path | None, **options: Any) -> None:
    """Decode every image without a model: what is odd or broken.

    Exit code 0: all can be decoded, 8: some cannot.
    """
    from engine.checkdata import CheckRequest, check_data

    if not check_data(CheckRequest(data, labels, quarantine, **options), say):
        sys.exit(EXIT_INTERRUPTED)
