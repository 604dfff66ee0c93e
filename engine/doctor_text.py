"""A diagnosis as text of at most 80 columns."""

from __future__ import annotations

import textwrap

from engine.doctor import Diagnosis, Line

WIDTH = 80
NAME_WIDTH = 14


def show(diagnosis: Diagnosis) -> str:
    """Sections, their findings with a mark, what to do, and what can be run."""
    parts = []
    for section in diagnosis.sections:
        parts.append(section.title)
        parts += [part for line in section.lines for part in _lines(line)]
    fit = ", ".join(f"{backend} ({on})" for backend, on in diagnosis.usable.items())
    parts.append(_wrapped(f"fit to run on: {fit}" if fit else "fit to run on: nothing", "", "  "))
    return "\n".join(parts)


def _lines(line: Line) -> list[str]:
    indent = " " * (NAME_WIDTH + 6)
    shown = [_wrapped(f"{line.text}", f"  {line.mark:<3} {line.name:<{NAME_WIDTH}}"[: len(indent) + 40], indent)]
    if line.remedy:
        shown.append(_wrapped(f"-> {line.remedy}", indent, indent + "   "))
    return shown


def _wrapped(text: str, first: str, rest: str) -> str:
    """Words are not broken: a path or a command must stay whole to be copied."""
    separator = "" if first.endswith(" ") or not first else " "
    return textwrap.fill(
        text,
        WIDTH,
        initial_indent=first + separator,
        subsequent_indent=rest,
        break_long_words=False,
        break_on_hyphens=False,
    )
