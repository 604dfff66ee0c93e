"""A page as Markdown, for terminals and pull requests: plots as their numbers, no pictures."""

from __future__ import annotations

from engine.perflog.table import plain
from engine.report.content import Figure, Flow, Gallery, Page, Part, Table

#: Rows of a table, and pictures, that are written out.
MOST_ROWS = 40


def markdown_of(page: Page) -> str:
    """Everything that can be read."""
    lines = [f"# {_safe(page.title)}", "", _safe(page.subtitle), ""]
    lines += [f"**{_safe(mark)}**" for mark in page.marks]
    lines += ["", f"**{_safe(page.answer)}**", "", "| | | |", "|---|---:|---|"]
    lines += [f"| {_safe(card.title)} | {_safe(card.value)} | {_safe(card.note)} |" for card in page.cards]
    for section in page.sections:
        lines += ["", f"## {_safe(section.title)}"]
        for part in section.parts:
            lines += ["", *_part(part)]
    return "\n".join(lines) + "\n"


def _part(part: Part) -> list[str]:
    if isinstance(part, Table):
        return [f"*{_safe(part.caption)}*", "", *_table(part)]
    if isinstance(part, Figure):
        table = _table(part.table) if part.table is not None else []
        return [f"*{_safe(part.title)}.* {_safe(part.alt)}", "", *table]
    if isinstance(part, Flow):
        stages = [
            f"| {_safe(box.title)} | {_safe(box.count)} | {_safe(box.rate)} | "
            f"{'' if box.busy is None else f'{box.busy:.0f} %'} | {'the limit' if box.is_limit else ''} |"
            for box in part.boxes
        ]
        return ["| stage | | rate | busy | |", "|---|---|---|---:|---|", *stages, "", *map(_safe, part.waits)]
    if isinstance(part, Gallery):
        return [f"- {_safe(p.name)}: {_safe('; '.join(p.lines))}" for p in part.pictures[:MOST_ROWS]]
    return [_safe(line) for line in part.lines]


def _table(table: Table) -> list[str]:
    marks = ["---:" if table.rows and isinstance(cell, (int, float)) else "---" for cell in _first(table)]
    lines = [f"| {' | '.join(map(_safe, table.header))} |", f"|{'|'.join(marks)}|"]
    lines += [f"| {' | '.join(_safe(table.text(cell)) for cell in row)} |" for row in table.rows[:MOST_ROWS]]
    if len(table.rows) > MOST_ROWS:
        lines.append(f"\nand {len(table.rows) - MOST_ROWS} more")
    return lines


def _first(table: Table) -> list[object]:
    return list(table.rows[0]) if table.rows else list(table.header)


def _safe(text: str) -> str:
    """One line in which nothing of a file name is Markdown."""
    return "".join(f"\\{c}" if c in "\\`*_[]<>|#" else c for c in plain(text))
