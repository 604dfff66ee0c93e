"""The part of the summary that says how fast a run was, how sure that is, and what limited it."""

from __future__ import annotations

import math
import textwrap
from typing import Any

from engine.stability import WIDEST_STABLE

WIDTH = 80
#: Figures start in this column.
INDENT = 20
#: Chips that differ from their median by more than this are listed.
SKEW_SHOWN_PERCENT = 2.0
#: A remedy of less than this would be no remedy.
SHORTEST_ADVICE_S = 10


def steady_lines(steady: dict[str, Any] | None) -> list[str]:
    """The steady state's rate with its interval, and UNSTABLE with what to do where that is wide."""
    if steady is None:
        return [f"  UNSTABLE          too short for a steady state: --min-duration {SHORTEST_ADVICE_S}"]
    rate, interval = steady["images_per_s"], steady["interval_95_percent"]
    if interval is None:
        unsure, advice = "too few results for an interval", SHORTEST_ADVICE_S
    else:
        width = (interval[1] - interval[0]) / rate
        unsure = f"+-{50 * width:.1f} % at 95 %, without fill and drain"
        needed_s = (steady["to_s"] - steady["from_s"]) * (width / WIDEST_STABLE) ** 2
        advice = max(SHORTEST_ADVICE_S, math.ceil(needed_s / 10) * 10)
    lines = [f"steady state        {rate:9.1f} images/s  {unsure}"]
    if steady["is_unstable"]:
        lines.append(f"  UNSTABLE          longer, e.g. --min-duration {advice}, or on a quieter host")
    return lines


def latency_line(latency: dict[str, Any]) -> str:
    """From an image's first byte to its rank."""
    p50, p95, p99, highest = (latency[name] for name in ("p50", "p95", "p99", "max"))
    return f"latency             {p50:9.1f} ms p50  {p95:.1f} p95  {p99:.1f} p99  {highest:.1f} max"


def chip_lines(devices: list[dict[str, Any]]) -> list[str]:
    """Each chip, where one differs from their median by more than 2 %."""
    if all(abs(device["skew_percent"]) <= SKEW_SHOWN_PERCENT for device in devices):
        return []
    return [
        f"  chip {device['device']:<3}          {device['interface_per_s']:9.1f} images/s  "
        f"{device['skew_percent']:+.1f} % of the median, {device['execute_percent']:.0f} % busy"
        for device in devices
    ]


def verdict_lines(verdict: dict[str, Any]) -> list[str]:
    """One sentence, folded."""
    return textwrap.wrap(
        verdict["text"], WIDTH, initial_indent="limit".ljust(INDENT), subsequent_indent=" " * INDENT,
        break_long_words=False, break_on_hyphens=False,
    )  # fmt: skip


def publish_lines(d: dict[str, Any]) -> list[str]:
    """Whether the figures may be published, where that was asked for; and that delays were injected."""
    lines = [f"INJECTED            {d['config']['inject']}: no figure of this host"] if d["config"]["inject"] else []
    if d["publish"] is not None:
        reasons = ", ".join(d["publish"]["reasons"])
        what = "long enough and stable" if d["publish"]["is_valid"] else f"NO: {reasons}"
        lines += textwrap.wrap("publish".ljust(INDENT) + what, WIDTH, subsequent_indent=" " * INDENT)
    return lines
