"""Named baselines: runs that later ones are held against."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from engine.errors import PerfError
from engine.perflog.log import append, series_key, why_invalid

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


def set_baseline(name: str, entries: Sequence[Mapping[str, Any]], file: Path | None) -> None:
    """Keep `entries` as baseline `name`. Raises PerfError for runs that are no base for anything."""
    if not NAME.fullmatch(name):
        raise PerfError(f"baseline name {name!r}: needed letters, digits, dots, dashes, at most 64")
    for entry in entries:
        if why_invalid(entry):
            raise PerfError(f"run {entry['id']} is no baseline: {why_invalid(entry)}")
    keys = {series_key(entry) for entry in entries}
    if len(keys) > 1:
        raise PerfError(f"baseline {name!r}: the runs are of {len(keys)} configurations or hosts; needed one")
    at = datetime.fromtimestamp(time.time(), timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
    append([{"type": "baseline", "name": name, "ids": [entry["id"] for entry in entries], "at": at}], file)
