"""Plots in plotly's own terms, built through its validated classes."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from engine.report.content import Figure, Table

#: Legible on white and on black.
COLOURS = ("#3b82c4", "#e0873a", "#4aa564", "#c8504b", "#8a6fc0", "#8a8f98")
BLUE, ORANGE, GREEN, RED, PURPLE, GREY = COLOURS


def figure(name: str, title: str, alt: str, traces: Sequence[Any], layout: Mapping[str, Any], table: Table) -> Figure:
    """A figure from plotly's traces; axes and margins as everywhere."""
    import plotly.graph_objects as go

    made = go.Figure(data=list(traces))
    made.update_layout(
        template="none",
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
        margin={"l": 60, "r": 20, "t": 46, "b": 48},
        legend={"orientation": "h", "y": 1.01, "yanchor": "bottom"},
        font={"size": 13},
        colorway=list(COLOURS),
        xaxis={"automargin": True, "gridcolor": "#ddd"},
        yaxis={"automargin": True, "gridcolor": "#ddd"},
    )
    made.update_layout(**layout)
    plain = json.loads(made.to_json())
    return Figure(name, title, alt, plain["data"], plain["layout"], table)


def line(x: Sequence[float], y: Sequence[float], name: str, colour: str, **more: Any) -> Any:
    """A line without marks."""
    import plotly.graph_objects as go

    return go.Scatter(x=list(x), y=list(y), name=name, mode="lines", line={"color": colour, "width": 1.6}, **more)


def area(x: Sequence[float], y: Sequence[float], name: str, colour: str) -> Any:
    """A layer of a stack."""
    import plotly.graph_objects as go

    return go.Scatter(
        x=list(x), y=list(y), name=name, mode="lines", stackgroup="all", line={"width": 0.5, "color": colour},
        fillcolor=colour,
    )  # fmt: skip


def bars(x: Sequence[Any], y: Sequence[float], name: str, colour: str | Sequence[str], **more: Any) -> Any:
    """Upright bars."""
    import plotly.graph_objects as go

    colours = colour if isinstance(colour, str) else list(colour)
    return go.Bar(x=list(x), y=list(y), name=name, marker={"color": colours}, **more)


def points(x: Sequence[Any], y: Sequence[float], name: str, colour: str, **more: Any) -> Any:
    """Marks without a line."""
    import plotly.graph_objects as go

    return go.Scatter(x=list(x), y=list(y), name=name, mode="markers", marker={"color": colour, "size": 8}, **more)


def heat(x: Sequence[str], y: Sequence[str], z: Sequence[Sequence[float | None]], unit: str) -> Any:
    """A heat map with its numbers in it."""
    import plotly.graph_objects as go

    text = [["" if value is None else f"{value:.0f}" for value in row] for row in z]
    return go.Heatmap(
        x=list(x), y=list(y), z=[list(row) for row in z], text=text, texttemplate="%{text}", colorscale="Viridis",
        colorbar={"title": {"text": unit}, "thickness": 12}, xgap=2, ygap=2,
    )  # fmt: skip
