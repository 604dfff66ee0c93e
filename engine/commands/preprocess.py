"""`engine preprocess`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from engine.commands.options import EXIF_ROTATE, PATH
from engine.terminal import say


@click.command()
@click.argument("src", type=PATH)
@click.argument("dst", type=PATH)
@click.option(
    "--preset", default="resnet", show_default=True, help="resnet, inceptionv3, inceptionv4, efficientnet-lite0."
)
@click.option(
    "--format",
    "form",
    default="bin",
    show_default=True,
    type=click.Choice(("bin", "packed")),
    help="bin: DST is a folder of one file per image. packed: DST is one file.",
)
@click.option(
    "--dtype",
    type=click.Choice(("float32", "float16", "uint8")),
    help="Of .bin files; uint8 is the crop, not normalised.  [default: float32]",
)
@click.option("--labels", type=PATH, help="Label file for the images; a packed file carries their classes.")
@EXIF_ROTATE
@click.option("--workers", type=click.IntRange(1, 256), help="Processes.  [default: as many as cores]")
def command(
    src: Path, dst: Path, preset: str, form: str, dtype: str | None, labels: Path | None, **options: Any
) -> None:
    """Make tensors of images, on all cores (guide: 4.2).

    As the guide's imagenet_torch_preprocess.py does, from the images in SRC to files in DST.

    `.bin` files are byte-identical to the script's. A packed file has a quarter of their size and is read by
    `engine run --data FILE` with the same predictions. What is complete is kept: a command that was interrupted or
    killed goes on when it is given again. Images that cannot be decoded are named, and the exit code is then 8.
    """
    from engine.preprocess.job import PreprocessConfig

    config = PreprocessConfig(src, dst, preset, form, dtype, labels, **options)
    if form == "packed":
        from engine.preprocess.packing import preprocess_to_packed

        preprocess_to_packed(config, say)
    else:
        from engine.preprocess.bins import preprocess_to_bins

        preprocess_to_bins(config, say)
