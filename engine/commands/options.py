"""What several commands share: option types, and a help in sections."""

from __future__ import annotations

import errno
import os
from collections.abc import Mapping
from itertools import groupby
from pathlib import Path
from typing import Any

import click

#: What no path can be asked about, whatever is to be done there; `Path.exists` raises it.
UNREACHABLE = (errno.EACCES, errno.ENAMETOOLONG)
#: Characters of a path that a message shows.
MOST_SHOWN = 100


class ReachablePath(click.Path):
    """A path, there or not, that may at least be looked for."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """A usage error where the name is too long or a folder on the way is closed to this user."""
        try:
            os.stat(value)
        except OSError as error:
            if error.errno in UNREACHABLE:
                name = os.fsdecode(value)
                short = name if len(name) <= MOST_SHOWN else f"{name[:MOST_SHOWN]}..."
                self.fail(f"{short}: {error.strerror}", param, ctx)
        return super().convert(value, param, ctx)


PATH = ReachablePath(path_type=Path)
EXIF_ROTATE = click.option(
    "--exif-rotate", is_flag=True, help="Turn images upright as EXIF says. Not what the guide does."
)


class SectionedCommand(click.Command):
    """A command whose help lists its many options in sections. sections : {--option: the title above it}"""

    def __init__(self, *args: Any, sections: Mapping[str, str], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._sections = sections

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """A list per section, in the order in which the options were declared."""
        title, rows = "Options", []
        for parameter in self.get_params(ctx):
            title = next((self._sections[flag] for flag in parameter.opts if flag in self._sections), title)
            record = parameter.get_help_record(ctx)
            if record is not None:
                rows.append((title, record))
        for title, members in groupby(rows, lambda row: row[0]):
            with formatter.section(title):
                formatter.write_dl([record for _, record in members])
