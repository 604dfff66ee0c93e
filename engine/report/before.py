"""Better or worse than before: a run against the earlier ones of its options on its host, in the perf log."""

from __future__ import annotations

from collections.abc import Mapping
from statistics import median
from typing import Any

from engine.perflog.compare import Question, compare, percent
from engine.perflog.log import LogOptions, PerfLog, entry_of, series_key, usual_runs, why_invalid
from engine.perflog.metrics import BY_NAME
from engine.perflog.statistics import FASTER, SLOWER
from engine.report.content import Card, plural

METRIC = BY_NAME["end_to_end"]
TONES = {SLOWER: "bad", FASTER: "good"}


def before_card(document: Mapping[str, Any], log: PerfLog) -> Card:
    """The change against the median of the earlier runs, and what `engine perf compare` says to the last of them."""
    this = entry_of(document, LogOptions("run"))
    rate, key = METRIC.rate(this), series_key(this)
    runs = [e for e in usual_runs(log) if series_key(e) == key and METRIC.rate(e) and not why_invalid(e)]
    own = next((at for at, entry in enumerate(runs) if entry["id"] == this["id"]), len(runs))
    earlier = runs[:own]
    if not earlier or rate is None:
        return Card("against before", "first", "no earlier run of these options on this host in the perf log")
    rates = [known for entry in earlier if (known := METRIC.rate(entry)) is not None]
    verdict = compare([{**earlier[-1], "pair": None}], [this], Question(), earlier).verdict
    span = f"{min(rates):,.1f} to {max(rates):,.1f} /s" if len(rates) > 1 else f"{rates[0]:,.1f} /s"
    note = f"{plural(len(rates), 'earlier run')}: {span}; {verdict}"
    return Card("against before", percent(rate / median(rates)), note, TONES.get(verdict, ""))
