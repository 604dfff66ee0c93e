"""Shorter logs: what nobody will ask for again goes, what a baseline names stays."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engine.perflog.log import HEADER, PerfLog, default_log, read_log, series_key, why_invalid
from engine.records import rewrite_records

NS_PER_DAY = 86_400 * 10**9


@dataclass(frozen=True)
class PruneRule:
    """What goes: all but the newest `keep` runs of a configuration, runs older than `days`, runs without a result."""

    keep: int | None = None
    days: float | None = None
    drops_invalid: bool = False


def doomed(log: PerfLog, rule: PruneRule) -> set[str]:
    """Ids of the runs that `rule` removes."""
    named = {id_ for ids in log.baselines.values() for id_ in ids}
    seen: dict[str, int] = {}
    found = set()
    for entry in reversed(log.entries):
        key = series_key(entry)
        seen[key] = seen.get(key, 0) + 1
        is_old = rule.days is not None and time.time_ns() - entry["at_ns"] > rule.days * NS_PER_DAY
        is_many = rule.keep is not None and seen[key] > rule.keep
        is_bad = rule.drops_invalid and bool(why_invalid(entry))
        if (is_old or is_many or is_bad) and entry["id"] not in named:
            found.add(entry["id"])
    return found


def prune(file: Path | None, rule: PruneRule) -> int:
    """Remove what `rule` says; the number of runs that went. Others may append meanwhile."""
    gone = doomed(read_log(file), rule)

    def is_kept(record: Any) -> bool:
        return not (isinstance(record, dict) and record.get("type") == "run" and record.get("id") in gone)

    rewrite_records(file or default_log(), HEADER, is_kept)
    return len(gone)
