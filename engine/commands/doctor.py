"""`engine doctor`."""

from __future__ import annotations

import json
import sys

import click

from engine.terminal import say

#: Nothing on this host can run a model, or not the one that was asked for.
EXIT_UNFIT = 4


@click.command()
@click.option("--model", help="Also: which backends can run this model, as `engine run --model` takes it.")
@click.option("--batch", default=16, show_default=True, type=click.IntRange(1, 1024), help="Of the model.")
@click.option("--json", "is_json", is_flag=True, help="For programs.")
def command(model: str | None, batch: int, is_json: bool) -> None:
    """What can this host run, and what is missing?

    CANN, driver, chips, simulator, memory, libraries, kernels; and what to do.

    Exit code 0: fit to run on something. 4: not, or not with --model.
    """
    from engine.doctor import diagnose
    from engine.doctor_text import show

    diagnosis = diagnose(model, batch)
    say(json.dumps(diagnosis.document, indent=2) if is_json else show(diagnosis))
    if not diagnosis.usable:
        sys.exit(EXIT_UNFIT)
