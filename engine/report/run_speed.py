"""The speed of a run on its page: the pipeline, rate and slots over time, chips, latencies, processes."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from typing import Any

from engine.perflog.fingerprint import lookup
from engine.perflog.metrics import number, parts_of
from engine.report import plots
from engine.report.content import Box, Cell, Figure, Flow, Part, Section, Table, plural

#: Which stage of the pipeline a verdict points at; `engine.verdict` has the names.
LIMITS = {
    "chip-bound": "chips",
    "slow-chip": "chips",
    "copy-bound": "chips",
    "window-bound": "chips",
    "feeder-bound": "chips",
    "numerics-bound": "chips",
    "decode-bound": "decoders",
    "read-bound": "decoders",
    "slot-bound": "slots",
    "hub-bound": "hub",
}
#: At most so many points of a line are drawn; neighbours are averaged.
MOST_POINTS = 400
#: Each part of the throughput covers so many batches of all chips.
BATCHES_PER_POINT = 4


def speed_sections(document: Mapping[str, Any]) -> list[Section]:
    """Those that the document has figures for."""
    stages = lookup(document, "steady.stages") or document.get("stages")
    sections = []
    if isinstance(stages, Mapping):
        what = "in steady state" if lookup(document, "steady.stages") else "over the whole run"
        parts: list[Part] = [pipeline(document, stages), _stage_table(stages, what)]
        sections.append(Section("pipeline", "The pipeline and its limit", parts))
    over_time = [f for f in (_throughput(document), _slots(document)) if f is not None]
    if over_time:
        sections.append(Section("time", "Over time", over_time))
    chips = _chips(document)
    if chips is not None:
        sections.append(Section("chips", "Chips", [chips]))
    latency = _latency(document)
    if latency is not None:
        sections.append(Section("latency", "Latency", [latency]))
    processes = document.get("processes")
    if isinstance(processes, list) and processes:
        sections.append(Section("processes", "Processes", [_process_table(processes)]))
    return sections


def pipeline(document: Mapping[str, Any], stages: Mapping[str, Any]) -> Flow:
    """The stages as boxes, and who waits for whom."""
    limit = LIMITS.get(str(lookup(document, "verdict.bottleneck")), "")
    chips = [d for d in _devices(document) if d.get("images_per_s") or d.get("n_images")]
    slots = lookup(document, "steady.slots") or document.get("slots") or {}
    decoders = [p for p in _processes(document) if p.get("role") == "decoder"]
    in_flight = lookup(slots, "mean.in_flight")
    held = "" if in_flight is None else f"{in_flight:.1f} at the chips, {lookup(slots, 'mean.free') or 0:.1f} free"
    boxes = [
        Box("read + decode + resize", plural(len(decoders) or _parallel(stages), "decoder"), _rate(_host_rate(stages)),
            _mean(decoders, "busy_percent"), limit == "decoders"),
        Box("slots", f"{slots.get('n_slots', '?')} x up to {slots.get('images_per_slot', '?')} images", held, None,
            limit == "slots"),
        Box("chips: copy, execute, copy", plural(len(chips), "chip"), _rate(number(stages, "execute.images_per_s")),
            _mean(chips, "execute_percent"), limit == "chips"),
        Box("hub: rank", "1 process", _rate(number(stages, "hub.images_per_s") or number(stages, "rank.images_per_s")),
            number(stages, "hub.busy_percent"), limit == "hub"),
    ]  # fmt: skip
    return Flow(boxes, _waits(document, decoders, chips))


def _waits(document: Mapping[str, Any], decoders: list[Any], chips: list[Any]) -> list[str]:
    lines = [str(lookup(document, "verdict.text") or "")]
    blocked, starved = _mean(decoders, "blocked_percent"), _mean(decoders, "starved_percent")
    if blocked is not None and starved is not None:
        lines.append(
            f"Decoders wait {blocked:.0f} % of their time for a free slot, which the chips give back, "
            f"and {starved:.0f} % for the hub."
        )
    idle, pressed = _mean(chips, "idle_percent"), _mean(chips, "pressed_percent")
    if idle is not None and pressed is not None:
        lines.append(
            f"Chips have nothing to do {idle:.0f} % of the time, waiting for decoders; for {pressed:.0f} % a batch was "
            "ready that their window had no room for."
        )
    return [line for line in lines if line]


def _host_rate(stages: Mapping[str, Any]) -> float | None:
    """What all decoders would sustain together: the stages of one image follow each other."""
    rates = [number(stages, f"{name}.images_per_s") for name in ("read", "decode", "resample")]
    known = [rate for rate in rates if rate]
    return 1 / sum(1 / rate for rate in known) if known else None


def _parallel(stages: Mapping[str, Any]) -> int:
    return int(number(stages, "decode.n_parallel") or 0)


def _rate(rate: float | None) -> str:
    return "" if rate is None else f"up to {rate:,.0f} images/s"


def _mean(items: list[Any], name: str) -> float | None:
    values = [item[name] for item in items if isinstance(item.get(name), (int, float))]
    return sum(values) / len(values) if values else None


def _devices(document: Mapping[str, Any]) -> list[Any]:
    devices = lookup(document, "steady.devices") or document.get("devices")
    return [d for d in devices if isinstance(d, Mapping)] if isinstance(devices, list) else []


def _processes(document: Mapping[str, Any]) -> list[Any]:
    processes = lookup(document, "steady.processes") or document.get("processes")
    return [p for p in processes if isinstance(p, Mapping)] if isinstance(processes, list) else []


def _stage_table(stages: Mapping[str, Any], what: str) -> Table:
    rows: list[tuple[Cell, ...]] = [
        (
            str(stage),
            round(number(values, "images_per_s") or 0),
            number(values, "ms_per_batch") or 0.0,
            int(number(values, "n_parallel") or 0),
            number(values, "busy_percent") or 0.0,
        )
        for stage, values in stages.items()
        if isinstance(values, Mapping) and number(values, "images_per_s")
    ]
    header = ("stage", "images/s if always busy", "ms per batch", "in parallel", "busy %")
    return Table(f"Stages {what}", header, rows, digits=2)


def _throughput(document: Mapping[str, Any]) -> Figure | None:
    parts = parts_of(document, MOST_POINTS, BATCHES_PER_POINT)
    if not parts:
        return None
    average = number(document, "throughput.end_to_end_per_s") or 0.0
    layout: dict[str, Any] = {"xaxis": {"title": {"text": "seconds"}}, "yaxis": {"title": {"text": "images/s"}}}
    layout["yaxis"]["rangemode"] = "tozero"
    start, end = lookup(document, "steady.from_s"), lookup(document, "steady.to_s")
    steady = ""
    if start is not None and end is not None:
        layout["shapes"] = [
            {"type": "rect", "x0": start, "x1": end, "y0": 0, "y1": 1, "yref": "paper", "fillcolor": plots.GREEN,
             "opacity": 0.10, "line": {"width": 0}}
        ]  # fmt: skip
        steady = f" The shaded part, {start:.1f} to {end:.1f} s, is the steady state."
    rates = [part.images_per_s for part in parts]
    alt = (
        f"Images per second over the run: {average:,.0f} on average, {min(rates):,.0f} to {max(rates):,.0f} in parts "
        f"of {BATCHES_PER_POINT} batches of each chip or more.{steady}"
    )
    rows = [(round(part.begin_s, 2), round(part.end_s, 2), part.images_per_s) for part in parts]
    table = Table("Throughput", ("from second", "to", "images/s"), rows)
    times = [parts[0].begin_s, *(part.end_s for part in parts)]
    steps = plots.line(times, [*rates, rates[-1]], "images/s", plots.BLUE)
    steps.line.shape = "hv"
    traces = [steps, plots.line([times[0], times[-1]], [average, average], "end-to-end", plots.GREY)]
    return plots.figure("throughput", "Throughput", alt, traces, layout, table)


def _slots(document: Mapping[str, Any]) -> Figure | None:
    timeline, interval_ms = document.get("timeline"), number(document, "timeline.interval_ms")
    if not isinstance(timeline, Mapping) or interval_ms is None or not timeline.get("free_slots"):
        return None
    states = (
        ("in_flight", "at the chips", plots.BLUE), ("ready_slots", "ready", plots.GREEN),
        ("filling_slots", "being filled", plots.ORANGE), ("free_slots", "free", plots.GREY),
    )  # fmt: skip
    traces, columns, times = [], [], [0.0]
    for name, title, colour in states:
        times, values = _thinned([float(v) for v in timeline.get(name, [])], interval_ms)
        if values:
            traces.append(plots.area(times, values, title, colour))
            columns.append((title, values))
    means = ", ".join(f"{sum(values) / len(values):.1f} {title}" for title, values in columns)
    rows: list[tuple[Cell, ...]] = [
        (round(t, 2), *row) for t, *row in zip(times, *(values for _, values in columns), strict=True)
    ]
    table = Table("Slots by state", ("second", *(title for title, _ in columns)), rows, digits=2)
    layout = {"xaxis": {"title": {"text": "seconds"}}, "yaxis": {"title": {"text": "slots"}}}
    return plots.figure(
        "slots", "Slot occupancy", f"Slots by state over the run; on average {means}.", traces, layout, table
    )


def _thinned(values: list[float], interval_ms: float) -> tuple[list[float], list[float]]:
    """(seconds, averages): at most MOST_POINTS of them."""
    step = -(-len(values) // MOST_POINTS)
    groups = [values[at : at + step] for at in range(0, len(values), step)]
    times = [(at * step + len(group) / 2) * interval_ms / 1e3 for at, group in enumerate(groups)]
    return times, [sum(group) / len(group) for group in groups]


def _chips(document: Mapping[str, Any]) -> Figure | None:
    devices = [d for d in _devices(document) if number(d, "images_per_s")]
    whole = {d.get("device"): d for d in document.get("devices") or [] if isinstance(d, Mapping)}
    if not devices:
        return None
    names = [f"chip {d.get('device')}" for d in devices]
    own = [number(whole.get(d.get("device"), {}), "interface_per_s") or 0.0 for d in devices]
    rates = [number(d, "images_per_s") or 0.0 for d in devices]
    traces = [
        plots.bars(names, own, "alone (interface)", plots.GREY),
        plots.bars(names, rates, "in this run", plots.BLUE),
    ]
    skew = max(abs(float(d.get("skew_percent") or 0)) for d in devices)
    alt = f"Images/s of {plural(len(devices), 'chip')}, alone and in this run; they differ by at most {skew:.1f} %."
    header = ("chip", "images/s", "alone", "executing %", "idle %", "skew %")
    rows: list[tuple[Cell, ...]] = [
        (name, rate, alone, *(float(d.get(key) or 0) for key in ("execute_percent", "idle_percent", "skew_percent")))
        for name, rate, alone, d in zip(names, rates, own, devices, strict=True)
    ]
    layout = {"barmode": "group", "bargap": max(0.4, 1 - 0.15 * len(devices)), "yaxis": {"title": {"text": "images/s"}}}
    return plots.figure("chips", "Rate of each chip", alt, traces, layout, Table("Chips", header, rows))


def _latency(document: Mapping[str, Any]) -> Figure | None:
    steady = lookup(document, "steady.latency_ms")
    latency = steady or document.get("latency_ms")
    histogram = latency.get("histogram") if isinstance(latency, Mapping) else None
    if not isinstance(histogram, Mapping) or not isinstance(latency, Mapping) or not histogram.get("counts"):
        return None
    edges, counts = histogram["edges_ms"], histogram["counts"]
    middles = [(a * b) ** 0.5 if a > 0 else b / 2 for a, b in pairwise(edges)][: len(counts)]
    if len(middles) != len(counts):
        return None
    quantiles = [(name, float(latency[name])) for name in ("p50", "p90", "p95", "p99", "max") if name in latency]
    layout: dict[str, Any] = {
        "xaxis": {"title": {"text": "ms, first byte read to rank"}},
        "yaxis": {"title": {"text": "images"}},
        "bargap": 0.05,
        "shapes": [
            {"type": "line", "x0": value, "x1": value, "y0": 0, "y1": 1, "yref": "paper",
             "line": {"color": plots.RED, "width": 1, "dash": "dot"}}
            for name, value in quantiles if name in ("p50", "p99")
        ],
        "annotations": [
            {"x": value, "y": 1, "yref": "paper", "text": name, "showarrow": False, "xanchor": "left"}
            for name, value in quantiles if name in ("p50", "p99")
        ],
    }  # fmt: skip
    widths = [b - a for a, b in pairwise(edges)]
    trace = plots.bars(middles, counts, "images", plots.PURPLE, width=widths[: len(counts)])
    when = "in the steady state" if steady else "in the whole run"
    alt = f"Latency of an image {when}: " + ", ".join(f"{name} {value:,.0f} ms" for name, value in quantiles) + "."
    table = Table("Latency", ("quantile", "ms"), quantiles)
    return plots.figure("latency", "Latency from first byte to rank", alt, [trace], layout, table)


def _process_table(processes: list[Any]) -> Table:
    names = ("busy_percent", "starved_percent", "blocked_percent", "cpu_s", "pss_mib")
    rows: list[tuple[Cell, ...]] = [
        (str(p.get("name")), *(float(p.get(name) or 0) for name in names)) for p in processes if isinstance(p, Mapping)
    ]
    return Table("Whole run", ("process", "busy %", "starved %", "blocked %", "CPU s", "memory MiB"), rows)
