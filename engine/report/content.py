"""What a page is made of, whatever it is rendered to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

Cell = str | int | float


@dataclass(frozen=True)
class Card:
    """One number of the headline. tone : good, bad, warn or empty"""

    title: str
    value: str
    note: str = ""
    tone: str = ""


@dataclass(frozen=True)
class Table:
    """Rows of text and numbers; numbers are sorted as such and written with `digits` decimals."""

    caption: str
    header: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    digits: int = 1
    kind: str = "table"

    def text(self, cell: Cell) -> str:
        """A cell as it is shown."""
        return f"{cell:,.{self.digits}f}" if isinstance(cell, float) else f"{cell:,}" if isinstance(cell, int) else cell


@dataclass(frozen=True)
class Figure:
    """A plot for plotly. alt : what it shows, in a sentence; table : the same as numbers"""

    name: str
    title: str
    alt: str
    data: Sequence[Mapping[str, Any]]
    layout: Mapping[str, Any]
    table: Table | None = None
    kind: str = "figure"


@dataclass(frozen=True)
class Box:
    """One stage of the pipeline. busy : percent of its time, None where that means nothing"""

    title: str
    count: str
    rate: str
    busy: float | None
    is_limit: bool = False


@dataclass(frozen=True)
class Flow:
    """The pipeline from left to right; `waits` are sentences on who waits for whom."""

    boxes: Sequence[Box]
    waits: Sequence[str]
    kind: str = "flow"


@dataclass(frozen=True)
class Picture:
    """A thumbnail as a data URI; empty where there is none, and `lines` say why."""

    name: str
    source: str
    lines: Sequence[str]


@dataclass(frozen=True)
class Gallery:
    """Images with what was said of them."""

    pictures: Sequence[Picture]
    kind: str = "gallery"


@dataclass(frozen=True)
class Text:
    """Paragraphs."""

    lines: Sequence[str]
    kind: str = "text"


Part = Table | Figure | Flow | Gallery | Text


@dataclass(frozen=True)
class Section:
    """A heading and what is under it."""

    name: str
    title: str
    parts: Sequence[Part]


@dataclass(frozen=True)
class Page:
    """marks : words that must not be overlooked, such as SIMULATED        answer : the one sentence to take away"""

    title: str
    subtitle: str
    answer: str
    cards: Sequence[Card]
    sections: Sequence[Section]
    marks: Sequence[str] = field(default_factory=tuple)


def plural(n: int, noun: str) -> str:
    """``1 chip``, ``4 chips``."""
    return f"{n:,} {noun}" if n == 1 else f"{n:,} {noun}s"
