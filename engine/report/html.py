"""A page as one HTML file: no server, no network, nothing outside of it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import lru_cache
from importlib import resources
from typing import Any

from engine import __version__
from engine.report.content import Figure, Page


def html_of(page: Page) -> bytes:
    """The file. Whatever came from data sets, labels or logs is escaped."""
    import jinja2

    environment = jinja2.Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
    figures = {figure.name: {"data": figure.data, "layout": figure.layout} for figure in _figures(page)}
    text = environment.from_string(_template("page.html")).render(
        page=page,
        style=_template("style.css"),
        script=_template("page.js"),
        plotly=_plotly() if figures else "",
        figures=_json(figures) if figures else "",
        footer=f"engine {__version__}; the file holds all that it shows and works offline",
    )
    return text.encode("utf-8", "replace")


def _figures(page: Page) -> Iterator[Figure]:
    for section in page.sections:
        for part in section.parts:
            if isinstance(part, Figure):
                yield part


def _json(value: Any) -> str:
    """JSON that cannot end its script element."""
    text = json.dumps(value, allow_nan=False)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _template(name: str) -> str:
    return (resources.files("engine.report") / "templates" / name).read_text("utf-8")


@lru_cache
def _plotly() -> str:
    """plotly.js of the installed plotly package, 4.8 MB."""
    from plotly.offline import get_plotlyjs

    text: str = get_plotlyjs()
    return text.replace("</script", "<\\/script")
