"""`engine info`."""

from __future__ import annotations

from pathlib import Path

import click

from engine.commands.options import PATH, ReachablePath
from engine.terminal import say, warn


@click.command()
@click.argument("folder", metavar="DIR", type=ReachablePath())
@click.argument("info", metavar="INFO", type=PATH)
@click.option("--width", default=224, show_default=True, type=click.IntRange(1), help="Width of the tensors.")
@click.option("--height", default=224, show_default=True, type=click.IntRange(1), help="Height of the tensors.")
@click.option(
    "--type",
    "kind",
    default="bin",
    show_default=True,
    type=click.Choice(("bin", "jpg")),
    help="bin: the .bin tensors in DIR. jpg: its JPEG files, each with its own size.",
)
def command(folder: str, info: Path, width: int, height: int, kind: str) -> None:
    """List tensors in an .info file (guide: 4.3).

    Writes the tensors in DIR into INFO, as the guide's gen_dataset_info.py does.

    One line per file, 'INDEX PATH WIDTH HEIGHT', in natural order; PATH begins with DIR as you give it. The old
    benchmark tool reads it, and so does `engine run --data INFO`.
    """
    from engine.info_file import write_image_info, write_tensor_info

    n = write_tensor_info(folder, info, (width, height), warn) if kind == "bin" else write_image_info(folder, info)
    say(f"{n} lines in {info}")
