"""`engine verify`."""

from __future__ import annotations

from pathlib import Path

import click

from engine.commands.options import PATH
from engine.terminal import say


@click.command()
@click.argument("result_dir", type=PATH)
def command(result_dir: Path) -> None:
    """Score the samples of a finished run again, slowly and in one process, and compare the predictions."""
    from engine.verify import verify_result

    verify_result(result_dir, say)
