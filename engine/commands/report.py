"""`engine report`."""

from __future__ import annotations

from pathlib import Path

import click

from engine.commands.options import PATH
from engine.terminal import say

FORMATS = ("html", "md")


@click.command()
@click.argument("source", type=PATH)
@click.option("-o", "--output", type=PATH, help="File.  [default: report.html; md: standard output]")
@click.option("--format", "form", default="html", show_default=True, help="html or md.")
@click.option("--against", type=PATH, help="Another run's folder: list the images that are predicted otherwise.")
@click.option("--log", "log_file", type=PATH, help="Perf log with earlier runs.  [default: in the user's data folder]")
def command(source: Path, output: Path | None, form: str, against: Path | None, log_file: Path | None) -> None:
    """Make one page of a run, a sweep or a perf log.

    SOURCE is the folder of a run or of a sweep, or a log. The page works offline.
    """
    from engine.files import write_report
    from engine.report.html import html_of
    from engine.report.markdown import markdown_of
    from engine.report.source import page_of
    from engine.suggest import unknown

    if form not in FORMATS:
        raise unknown("format", form, FORMATS)
    page = page_of(source, against, log_file)
    if form == "md" and output is None:
        say(markdown_of(page))
        return
    path = output or Path("report.html")
    write_report(path, html_of(page) if form == "html" else markdown_of(page).encode("utf-8", "replace"))
    say(f"{path}: {path.stat().st_size / 1e6:.1f} MB")
