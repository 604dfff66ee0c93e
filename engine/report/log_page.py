"""What the page of a perf log says."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from statistics import median
from typing import Any

from engine.errors import PerfError
from engine.perflog.compare import DEFAULT_THRESHOLD, percent
from engine.perflog.fingerprint import lookup
from engine.perflog.history import Series, series_of
from engine.perflog.log import PerfLog, chosen_options, usual_runs, why_invalid
from engine.perflog.metrics import BY_NAME
from engine.perflog.statistics import FASTER, FEWEST_RUNS
from engine.report import plots
from engine.report.content import Card, Figure, Page, Part, Section, Table, Text, plural

METRIC = BY_NAME["end_to_end"]
#: Series that get a plot: those with the newest runs, and with so many of them.
MOST_SERIES = 12
FEWEST_PLOTTED = 3
#: Options that every configuration's name has, or that say no more than how long it ran.
NAMED = {"model", "backend", "batch", "workers", "repeat", "limit", "min_duration", "min_images", "devices"}


def log_page(log: PerfLog) -> Page:
    """The page of a log: each configuration's trend, with its change points and their verdicts."""
    if not log.entries:
        raise PerfError(f"{log.path} holds no runs: there is nothing to show")
    series = series_of(usual_runs(log), METRIC, DEFAULT_THRESHOLD)
    plotted = [one for one in series if len(one.rates) >= FEWEST_PLOTTED]
    shown = plotted[:MOST_SERIES]
    sections = [_section(number, one) for number, one in enumerate(shown)]
    n_invalid = sum(1 for entry in log.entries if why_invalid(entry))
    marks = ["SIMULATED chips in some runs"] if any(entry.get("simulated") for entry in log.entries) else []
    if log.torn_bytes:
        marks.append(f"{log.torn_bytes} bytes of the log were torn or damaged and are left out")
    return Page(
        title=f"Perf log, {plural(len(log.entries), 'run')}",
        subtitle=f"{log.path.name}: {log.entries[0]['at'][:10]} to {log.entries[-1]['at'][:10]}",
        answer=_answer(series[0]) if series else "no run has an end-to-end rate",
        cards=[
            Card("runs", f"{len(log.entries):,}", f"{n_invalid} of them without a valid result"),
            Card("configurations", str(len(series)), "of one host each"),
            *(_newest_cards(series[0]) if series else []),
        ],
        sections=[*sections, Section("runs", "All runs", [*_left_out(len(series) - len(shown)), _table(log)])],
        marks=marks,
    )


def _left_out(n: int) -> list[Part]:
    what = plural(n, "configuration")
    return [Text([f"{what} with older or fewer runs than {FEWEST_PLOTTED} without a plot."])] if n else []


def _answer(series: Series) -> str:
    """Better or worse than before, for the configuration that was run last."""
    name, n = name_of(series.entries[-1]), len(series.rates)
    if n < 2 * FEWEST_RUNS:
        level = f"{median(series.rates):,.1f} images/s in {plural(n, 'run')}"
        return f"{name}: {level}; a change for good can be told from {2 * FEWEST_RUNS} runs on"
    if not series.changes:
        return f"{name}: no change for good in {n} runs, {median(series.rates):,.1f} images/s"
    change = series.changes[-1]
    since = len(series.rates) - change.first
    return f"{name}: {change.verdict.verdict}, {percent(change.verdict.ratio)} since {since} runs ago"


def _newest_cards(series: Series) -> list[Card]:
    last = series.rates[-1]
    first = series.changes[-1].first if series.changes else 0
    tone = "" if not series.changes else "good" if series.changes[-1].verdict.verdict == FASTER else "bad"
    level = median(series.rates[first:])
    return [
        Card("newest run", f"{last:,.1f} /s", name_of(series.entries[-1])),
        Card("level since the last change", f"{level:,.1f} /s", plural(len(series.rates) - first, "run"), tone),
    ]


def name_of(entry: Mapping[str, Any]) -> str:
    """A configuration in a few words."""
    config = entry["config"]
    model = lookup(entry, "model.name") or config.get("model")
    decoders = f", {plural(config['workers'], 'decoder')}" if isinstance(config.get("workers"), int) else ""
    others = {name: value for name, value in chosen_options(entry).items() if name not in NAMED and value != ""}
    more = "".join(f", {name} {value}" for name, value in sorted(others.items()) if value is not None)
    return f"{model}, {config.get('backend')}, batch {config.get('batch')}{decoders}{more}"


def _section(number: int, series: Series) -> Section:
    parts: list[Part] = [_trend(number, series)]
    if series.changes:
        rows = [
            (
                series.entries[c.first]["at"][:16],
                c.verdict.verdict,
                percent(c.verdict.ratio),
                f"{percent(c.verdict.low)} to {percent(c.verdict.high)}",
                series.entries[c.first]["id"],
                _revision(series.entries[c.first - 1]) + " to " + _revision(series.entries[c.first]),
            )
            for c in series.changes
        ]
        header = ("first run after it", "verdict", "change", "95 % interval", "run", "revision")
        parts.append(Table("Changes for good", header, rows))
    return Section(f"series-{number}", name_of(series.entries[-1]), parts)


def _trend(number: int, series: Series) -> Figure:
    xs = list(range(1, len(series.rates) + 1))
    traces = [plots.points(xs, series.rates, "run", plots.BLUE, text=[e["at"][:16] for e in series.entries])]
    bounds = [0, *(change.first for change in series.changes), len(series.rates)]
    levels = []
    for at, (a, b) in enumerate(pairwise(bounds)):
        level = median(series.rates[a:b])
        levels.append(f"{level:,.0f} for {plural(b - a, 'run')}")
        traces.append(plots.line([a + 0.6, b + 0.4], [level, level], "level" if not at else "level after a change",
                                 plots.GREY, showlegend=at == 0))  # fmt: skip
    layout = {
        "xaxis": {"title": {"text": "run"}, "tickformat": "d", "dtick": max(1, len(xs) // 10)},
        "yaxis": {"title": {"text": METRIC.unit}},
        "shapes": [
            {"type": "line", "x0": c.first + 0.5, "x1": c.first + 0.5, "y0": 0, "y1": 1, "yref": "paper",
             "line": {"color": plots.RED if c.verdict.ratio < 1 else plots.GREEN, "width": 2, "dash": "dash"}}
            for c in series.changes
        ],
        "annotations": [
            {"x": c.first + 0.5, "y": 1, "yref": "paper", "text": percent(c.verdict.ratio), "showarrow": False,
             "xanchor": "left"}
            for c in series.changes
        ],
    }  # fmt: skip
    alt = f"End-to-end rate in images/s of {plural(len(xs), 'run')}: {', then '.join(levels)}."
    rows = [(e["at"][:16], rate, e["id"]) for e, rate in zip(series.entries, series.rates, strict=True)]
    table = Table("Runs", ("at (UTC)", METRIC.unit, "run"), rows)
    return plots.figure(f"trend-{number}", "End-to-end rate, run by run", alt, traces, layout, table)


def _table(log: PerfLog) -> Table:
    names = {id_: name for name, ids in log.baselines.items() for id_ in ids}
    rows = [
        (
            e["at"][:16],
            e["id"],
            name_of(e),
            METRIC.value(e) or "",
            e["command"],
            e["label"],
            names.get(e["id"], ""),
            why_invalid(e),
        )
        for e in log.entries
    ]
    header = ("at (UTC)", "run", "configuration", METRIC.unit, "command", "label", "baseline", "invalid because")
    return Table("Newest first", header, rows[::-1])


def _revision(entry: Mapping[str, Any]) -> str:
    return str(lookup(entry, "environment.engine_git.revision") or "unknown")[:9]
