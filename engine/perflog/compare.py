"""Runs against runs: a verdict per metric, what is not alike, and the text of it."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Any

from engine.errors import PerfError
from engine.perflog.fingerprint import COMPARED, differences, lookup
from engine.perflog.log import chosen_options, series_key, why_invalid
from engine.perflog.metrics import BY_NAME, METRICS, Metric, own_half_width, samples_inside
from engine.perflog.statistics import (
    FASTER,
    INCONCLUSIVE,
    SAME,
    SLOWER,
    NoiseFloor,
    Samples,
    Verdict,
    judge,
    noise_floor,
)
from engine.suggest import unknown

NOT_COMPARABLE = "not comparable"
DEFAULT_THRESHOLD = 0.03
#: Exit codes; every error of these commands is 3 too, so that 2 always means that something got slower.
EXIT_CODES = {FASTER: 0, SAME: 0, SLOWER: 2, INCONCLUSIVE: 3, NOT_COMPARABLE: 3}
EXIT_NO_CONCLUSION = 3
NO_ENTRIES: tuple[Mapping[str, Any], ...] = ()


@dataclass(frozen=True)
class Question:
    """What to compare by. `metric` decides; `across` are parts of the fingerprint that may differ."""

    threshold: float = DEFAULT_THRESHOLD
    metric: str = ""
    across: frozenset[str] = frozenset()

    def __post_init__(self) -> None:
        if not 0 < self.threshold < 1:
            raise PerfError(f"a threshold of {100 * self.threshold:g} % makes no sense: needed one such as 3%")
        if self.metric and self.metric not in BY_NAME:
            raise unknown("metric", self.metric, BY_NAME)
        short = {path.rpartition(".")[2] for path in COMPARED} | {"model", "dataset"}
        for name in self.across:
            if name not in short:
                raise unknown("part of the fingerprint", name, short)

    def allows(self, path: str) -> bool:
        """Whether the item at `path` may differ."""
        return bool(self.across & {*path.split("."), *path.rpartition(".")[::2]})


@dataclass(frozen=True)
class Row:
    """One metric. Values are medians, in the metric's unit."""

    metric: Metric
    base: float
    new: float
    verdict: Verdict


@dataclass(frozen=True)
class Comparison:
    """What was found. `verdict` is that of the deciding metric, which is the first row."""

    verdict: str
    rows: list[Row]
    unlike: dict[str, tuple[Any, Any]]
    config: dict[str, tuple[Any, Any]]
    n_base: int
    n_new: int
    floor: NoiseFloor
    threshold: float
    notes: list[str] = field(default_factory=list)

    @property
    def exit_code(self) -> int:
        return EXIT_CODES[self.verdict]


def compare(
    base: Sequence[Mapping[str, Any]],
    new: Sequence[Mapping[str, Any]],
    question: Question,
    history: Iterable[Mapping[str, Any]] = NO_ENTRIES,
) -> Comparison:
    """Judge `new` against `base`; `history` are other runs, for the noise floor."""
    notes = [f"left out {e['id']}: {why_invalid(e)}" for e in (*base, *new) if why_invalid(e)]
    base, new = [e for e in base if not why_invalid(e)], [e for e in new if not why_invalid(e)]
    unlike: dict[str, tuple[Any, Any]] = {}
    for entry in (*base[1:], *new):
        unlike |= {k: v for k, v in differences(base[0], entry).items() if not question.allows(k)} if base else {}
    pairs = match_pairs(base, new)
    if pairs:
        base, new = [pair[0] for pair in pairs], [pair[1] for pair in pairs]
    metrics = _metrics(base, new, question)
    compared = {entry["id"] for entry in (*base, *new)}
    past = [entry for entry in history if entry["id"] not in compared and not why_invalid(entry)]
    rows = [_row(metric, base, new, question, floor_of(metric, base, past), bool(pairs)) for metric in metrics]
    decided = NOT_COMPARABLE if unlike else rows[0].verdict.verdict if rows else INCONCLUSIVE
    if not rows:
        notes.append("no metric has a number on both sides")
    notes += _result_notes(base, new)
    if {entry["id"] for entry in base} & {entry["id"] for entry in new}:
        notes.append("a run is on both sides: it is compared with itself")
    floor = floor_of(metrics[0], base, past) if metrics else noise_floor([])
    config = _config_differences(base, new)
    return Comparison(decided, rows, unlike, config, len(base), len(new), floor, question.threshold, notes)


def match_pairs(
    base: Sequence[Mapping[str, Any]], new: Sequence[Mapping[str, Any]]
) -> list[tuple[Mapping[str, Any], Mapping[str, Any]]]:
    """Runs of one experiment side by side; empty unless all of both sides belong to pairs."""
    keyed = [{_pair_key(entry): entry for entry in side} for side in (base, new)]
    if not base or any(None in side for side in keyed):
        return []
    common = [key for key in keyed[0] if key in keyed[1]]
    sides = {lookup(e, "pair.side") for e in base}, {lookup(e, "pair.side") for e in new}
    if not common or sides != ({"base"}, {"new"}):
        return []
    return [(keyed[0][key], keyed[1][key]) for key in common]


def _pair_key(entry: Mapping[str, Any]) -> tuple[Any, Any] | None:
    pair = entry.get("pair")
    return (pair.get("experiment"), pair.get("number")) if isinstance(pair, Mapping) else None


def floor_of(metric: Metric, base: Sequence[Mapping[str, Any]], history: Sequence[Mapping[str, Any]]) -> NoiseFloor:
    """The noise floor of `metric` from earlier runs of the base's own configuration and host."""
    if not base:
        return noise_floor([])
    key = series_key(base[0])
    rates = [metric.rate(entry) for entry in history if series_key(entry) == key]
    return noise_floor([[rate for rate in rates if rate is not None]])


def _metrics(base: Sequence[Mapping[str, Any]], new: Sequence[Mapping[str, Any]], question: Question) -> list[Metric]:
    """Those that every run of both sides has, the deciding one first."""
    have = [m for m in METRICS if base and new and all(m.rate(entry) is not None for entry in (*base, *new))]
    if question.metric:
        asked = BY_NAME[question.metric]
        return [asked, *(m for m in have if m is not asked)] if asked in have else []
    return have


def _row(
    metric: Metric,
    base: Sequence[Mapping[str, Any]],
    new: Sequence[Mapping[str, Any]],
    question: Question,
    floor: NoiseFloor,
    is_paired: bool,
) -> Row:
    sides = [_samples(metric, entries) for entries in (base, new)]
    verdict = judge(sides[0], sides[1], question.threshold, floor, is_paired)
    values = [median(value for e in entries if (value := metric.value(e)) is not None) for entries in (base, new)]
    return Row(metric, values[0], values[1], verdict)


def _samples(metric: Metric, entries: Sequence[Mapping[str, Any]]) -> Samples:
    rates = [rate for entry in entries if (rate := metric.rate(entry)) is not None]
    intervals = samples_inside(entries[0], metric) if len(entries) == 1 else []
    return Samples(rates, intervals, own_half_width(entries[0]) if len(entries) == 1 else 0.0)


def _config_differences(
    base: Sequence[Mapping[str, Any]], new: Sequence[Mapping[str, Any]]
) -> dict[str, tuple[Any, Any]]:
    if not base or not new:
        return {}
    chosen = chosen_options(base[0]), chosen_options(new[0])
    theirs, ours = base[0]["config"], new[0]["config"]
    names = [name for name in sorted({*chosen[0], *chosen[1]}) if chosen[0].get(name) != chosen[1].get(name)]
    return {name: (theirs.get(name), ours.get(name)) for name in names if theirs.get(name) != ours.get(name)}


def _result_notes(base: Sequence[Mapping[str, Any]], new: Sequence[Mapping[str, Any]]) -> list[str]:
    hashes = {entry.get("predictions_sha256") for entry in (*base, *new)} - {None, ""}
    return ["the predictions differ: they did not compute the same"] if len(hashes) > 1 else []


def percent(ratio: float) -> str:
    """A ratio as a signed change."""
    return "n/a" if math.isnan(ratio) else f"{100 * (ratio - 1):+.2f} %"


def text_of(comparison: Comparison) -> str:
    """For a terminal of 80 columns."""
    lines = []
    for row in comparison.rows:
        v = row.verdict
        interval = "" if math.isnan(v.low) else f"  [{percent(v.low)}, {percent(v.high)}]"
        lines.append(f"{row.metric.title:<22}{row.base:10.4g} -> {row.new:<10.4g} {row.metric.unit}")
        lines.append(f"  {v.verdict:<14}{percent(v.ratio):>9}{interval}{_p(v)}")
        if v.reason:
            lines.append(f"  {v.reason}")
    lines += [_basis(comparison), *_remarks(comparison), f"verdict             {verdict_line(comparison)}"]
    return "\n".join(lines)


def markdown_of(comparison: Comparison) -> str:
    """A table for a pull request."""
    lines = [f"**{verdict_line(comparison)}**", "", "| metric | base | new | change | 95 % interval | p | verdict |"]
    lines.append("|---|---:|---:|---:|---|---:|---|")
    for row in comparison.rows:
        v = row.verdict
        interval = "" if math.isnan(v.low) else f"{percent(v.low)} to {percent(v.high)}"
        p = "" if math.isnan(v.p) else f"{v.p:.2g}"
        values = f"{row.base:.4g} | {row.new:.4g} | {percent(v.ratio)} | {interval} | {p} | {v.verdict}"
        lines.append(f"| {row.metric.title}, {row.metric.unit} | {values} |")
    return "\n".join([*lines, "", _basis(comparison), *(f"- {remark}" for remark in _remarks(comparison))])


def verdict_line(comparison: Comparison) -> str:
    """One sentence."""
    if comparison.verdict == NOT_COMPARABLE:
        return f"{NOT_COMPARABLE}: {', '.join(sorted(comparison.unlike))} differ"
    if not comparison.rows:
        return f"{INCONCLUSIVE}: nothing to compare"
    row = comparison.rows[0]
    what = f"{comparison.verdict}: {row.metric.title} {percent(row.verdict.ratio)}"
    return f"{what}; {row.verdict.reason}" if row.verdict.reason else what


def _p(verdict: Verdict) -> str:
    return "" if math.isnan(verdict.p) else f"  p {verdict.p:.2g}"


def _basis(comparison: Comparison) -> str:
    floor = comparison.floor
    noise = f"{100 * floor.sd:.2f} % a run" if floor.is_known else "not known: too few earlier runs like these"
    return (
        f"{comparison.n_base} and {comparison.n_new} runs, threshold {100 * comparison.threshold:g} %, "
        f"noise floor {noise}"
    )


def _remarks(comparison: Comparison) -> list[str]:
    lines = [f"unlike {path}: {_short(a)} / {_short(b)}" for path, (a, b) in comparison.unlike.items()]
    lines += [f"option {name}: {_short(a)} -> {_short(b)}" for name, (a, b) in comparison.config.items()]
    return lines + comparison.notes


def _short(value: Any) -> str:
    text = "none" if value is None or value == "" else str(value)
    return text if len(text) <= 40 else text[:37] + "..."
