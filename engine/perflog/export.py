"""The log for other tools: CSV, github-action-benchmark, asv; and back in from other logs."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import pstdev
from typing import Any

from engine.errors import PerfError
from engine.files import atomic_write
from engine.perflog.fingerprint import lookup
from engine.perflog.log import append, entries_of_path, read_log, why_invalid
from engine.perflog.metrics import METRICS, Metric, interval_rates

FORMATS = ("github-benchmark", "asv", "csv")
#: Options and facts that identify a configuration, in the order of the CSV's columns.
CONFIG_COLUMNS = ("model", "backend", "devices", "batch", "workers", "window", "slots", "preset")


def csv_of(entries: Sequence[Mapping[str, Any]]) -> str:
    """One row per run; numbers with full precision, empty where there is none."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    names = [metric.name for metric in METRICS]
    writer.writerow(
        ["id", "at", "command", "label", *CONFIG_COLUMNS, *names, "top1", "revision", "simulated", "invalid"]
    )
    for entry in entries:
        config = entry["config"]
        values = [value if (value := metric.value(entry)) is not None else "" for metric in METRICS]
        devices = " ".join(map(str, config["devices"])) if isinstance(config.get("devices"), list) else ""
        options = [devices if name == "devices" else config.get(name, "") for name in CONFIG_COLUMNS]
        facts = [lookup(entry, "accuracy.top1"), _revision(entry), entry.get("simulated"), why_invalid(entry)]
        row = [entry["id"], entry["at"], entry["command"], entry["label"], *options, *values, *facts]
        writer.writerow([_harmless(cell) for cell in row])
    return text.getvalue()


def _harmless(cell: Any) -> Any:
    """Text that a spreadsheet would take for a formula gets a leading apostrophe."""
    return f"'{cell}" if isinstance(cell, str) and cell[:1] in ("=", "+", "-", "@", "\t", "\r") else cell


def github_benchmark_of(entries: Sequence[Mapping[str, Any]]) -> str:
    """The newest valid run of each configuration, in the form of `customBiggerIsBetter` of github-action-benchmark."""
    newest: dict[str, Mapping[str, Any]] = {}
    for entry in entries:
        if not why_invalid(entry):
            newest[_name(entry)] = entry
    rows = []
    for name, entry in newest.items():
        for metric in METRICS:
            rate = metric.rate(entry)
            if rate is not None and metric.is_rate:  # one file has one direction: times are left out
                spread = _spread(metric, entry)
                extra = f"run {entry['id']} at {entry['at']}, revision {_revision(entry) or 'unknown'}"
                rows.append({"name": f"{name} {metric.title}", "unit": metric.unit, "value": rate, "extra": extra})
                if spread is not None:
                    rows[-1]["range"] = f"± {spread:.4g}"
    return json.dumps(rows, indent=2) + "\n"


def _spread(metric: Metric, entry: Mapping[str, Any]) -> float | None:
    """Standard error of the end-to-end rate over the intervals inside the run."""
    rates = interval_rates(entry) if metric.name == "end_to_end" else []
    return pstdev(rates) / math.sqrt(len(rates)) if len(rates) > 1 else None


def write_asv(entries: Sequence[Mapping[str, Any]], folder: Path) -> int:
    """A folder of results as asv keeps it (`results_dir`); the number of runs in it.

    Rates are `track_` benchmarks with their unit. asv takes lower for better: read its colours the other way round.
    """
    usable = [entry for entry in entries if not why_invalid(entry) and _revision(entry)]
    if not usable:
        raise PerfError("no run to export for asv: needed valid runs of an engine in a git work tree")
    names = sorted({(_name(entry), metric) for entry in usable for metric in METRICS}, key=lambda pair: str(pair[0]))
    benchmarks: dict[str, Any] = {"version": 2}
    for name, metric in names:
        key = _asv_name(name, metric)
        benchmarks[key] = {
            "code": "", "name": key, "param_names": [], "params": [], "timeout": 60.0, "type": "track",
            "unit": metric.unit, "version": "1",
        }  # fmt: skip
    machine = str(lookup(usable[-1], "environment.cpu") or "unknown")
    place = folder / "engine"
    place.mkdir(parents=True, exist_ok=True)
    facts = {"machine": "engine", "cpu": machine, "os": str(lookup(usable[-1], "environment.os") or ""), "version": 1}
    _dump(folder / "benchmarks.json", benchmarks)
    _dump(place / "machine.json", facts)
    by_revision: dict[str, list[Mapping[str, Any]]] = {}
    for entry in usable:
        by_revision.setdefault(_revision(entry), []).append(entry)
    for revision, group in by_revision.items():
        _dump(place / f"{revision[:8]}-engine.json", _asv_results(revision, group, facts))
    return len(usable)


def _asv_results(revision: str, entries: Sequence[Mapping[str, Any]], facts: Mapping[str, Any]) -> dict[str, Any]:
    results = {
        _asv_name(_name(entry), metric): [[value], [], "1", entry["at_ns"] // 10**6]
        for entry in entries
        for metric in METRICS
        if (value := metric.value(entry)) is not None
    }
    python = str(lookup(entries[-1], "environment.python") or "")
    return {
        "version": 2, "commit_hash": revision, "env_name": "engine", "date": entries[-1]["at_ns"] // 10**6,
        "params": dict(facts), "python": python, "requirements": {}, "env_vars": {}, "durations": {},
        "result_columns": ["result", "params", "version", "started_at"], "results": results,
    }  # fmt: skip


def _asv_name(name: str, metric: Metric) -> str:
    return "engine.track_" + "".join(c if c.isalnum() else "_" for c in f"{name} {metric.name}")


def _name(entry: Mapping[str, Any]) -> str:
    """What a configuration is called."""
    config = entry["config"]
    chips = config.get("devices")
    n_chips = f"{len(chips)} chips" if isinstance(chips, list) else ""
    words = [config.get("model"), config.get("backend"), f"batch {config.get('batch')}", n_chips]
    return " ".join(str(word) for word in words if word)


def _revision(entry: Mapping[str, Any]) -> str:
    return str(lookup(entry, "environment.engine_git.revision") or "")


def _dump(path: Path, content: Any) -> None:
    atomic_write(path, (json.dumps(content, indent=1) + "\n").encode())


def import_from(source: Path, file: Path | None) -> tuple[int, int]:
    """Append the runs of another log, or of a run's folder, that this log does not have; (appended, known)."""
    found = entries_of_path(source)
    try:
        known = {entry["id"] for entry in read_log(file).entries}
    except PerfError:
        known = set()
    fresh = [entry for entry in found if entry["id"] not in known]
    append(fresh, file)
    return len(fresh), len(found) - len(fresh)
