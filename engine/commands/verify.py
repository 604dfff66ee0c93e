"""`engine verify`."""

from __future__ import annotations

from pathlib import Path

import click

from engine.commands.options import PATH
from engine.terminal import say


@click.command()
@click.argument("result_dir", type=PATH)
def command(result_dir: Path) -> None:
    """Score a finished run again, slowly, and compare.

    With Pillow, NumPy and one process; the predictions must be the same.
    """
    from engine.verify import verify_result

    verify_result(result_dir, say)
