"""`engine guide-scripts`."""

from __future__ import annotations

from pathlib import Path

import click

from engine.commands.options import PATH
from engine.terminal import say


@click.command()
@click.argument("folder", metavar="DIR", type=PATH)
@click.option("--force", is_flag=True, help="Write over files of these names that are not ours.")
def command(folder: Path, force: bool) -> None:
    """Write the guide's scripts, done by the engine.

    Into DIR, with the same names and the same arguments.

    imagenet_torch_preprocess.py, gen_dataset_info.py, imagenet_acc_eval.py and resnext101_32x8d_pth2onnx.py. A shell
    script that calls them runs unchanged, with whatever python3 it names: they hand over to the one with the engine.
    """
    from engine.toolchain.guide import write_scripts

    for path in write_scripts(folder, force):
        say(str(path))
