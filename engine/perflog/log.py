"""The perf log: one record per run, bench or trial of a sweep, appended by any number of processes.

An entry is the content of run.json and, beside it: `id`, `at` (UTC), `at_ns`, `command`, `label`, `chip`, and for the
runs of an experiment `pair` (experiment, number, side). A baseline is a record too: type "baseline", name, ids, at.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import msgpack
import platformdirs

from engine.config import RunConfig
from engine.errors import DataError, EngineError, PerfError
from engine.perflog.fingerprint import COMPARED, lookup
from engine.records import RecordWriter, read_records
from engine.terminal import warn

HEADER = {"kind": "engine perf log", "version": 1}
#: Options that say where things are, not how a run goes.
PLACES = frozenset({"data", "labels", "out", "dump", "trace", "resume", "journal"})
#: Parts of run.json that only a page needs, not a comparison.
BULKY = frozenset({"processes", "confusion"})


@dataclass(frozen=True)
class LogOptions:
    """Where to log. `file` None: the user's own log; `pair` for the runs of an experiment."""

    command: str
    file: Path | None = None
    is_on: bool = True
    label: str = ""
    pair: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class PerfLog:
    """A log as read. `entries` in order of time; `baselines` {name: ids}, the last one of a name counts."""

    path: Path
    entries: list[dict[str, Any]]
    baselines: dict[str, list[str]]
    torn_bytes: int = 0

    def by_id(self, prefix: str) -> dict[str, Any]:
        """The entry whose id starts with `prefix`; PerfError where none or several do."""
        found = [entry for entry in self.entries if entry["id"].startswith(prefix)]
        if len(found) == 1 or (found and len({entry["id"] for entry in found}) == 1):
            return found[-1]
        if found:
            some = ", ".join(entry["id"] for entry in found[:4])
            raise PerfError(f"{len(found)} runs in {self.path} start with {prefix!r} ({some}): give more digits")
        raise PerfError(f"no run {prefix!r} in {self.path}, which has {len(self.entries)} runs: see engine perf log")


def default_log() -> Path:
    """The user's own log."""
    return Path(platformdirs.user_data_dir("engine")) / "perf.log"


def entry_of(document: Mapping[str, Any], options: LogOptions) -> dict[str, Any]:
    """An entry from the content of a run.json."""
    now_ns = time.time_ns()
    kept = {name: value for name, value in document.items() if name not in BULKY}
    devices = document.get("devices") or [{}]
    entry: dict[str, Any] = {
        "type": "run",
        "at": datetime.fromtimestamp(now_ns // 10**9, timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "at_ns": now_ns,
        "command": options.command,
        "label": options.label,
        "chip": devices[0].get("name", ""),
        "pair": dict(options.pair) if options.pair else None,
        **kept,
    }
    packed = msgpack.packb([options.command, kept], unicode_errors="surrogateescape", default=str)
    return {**entry, "id": hashlib.sha256(packed).hexdigest()[:10]}  # the same when a run.json is read again


def append_document(document: Mapping[str, Any], options: LogOptions) -> dict[str, Any] | None:
    """Log a run; the entry, or None where logging is off. A log that cannot be written costs a warning, not the run."""
    if not options.is_on:
        return None
    entry = entry_of(document, options)
    try:
        append([entry], options.file)
    except EngineError as error:
        warn(f"not logged: {error}")
        return None
    return entry


def append(records: Iterable[Mapping[str, Any]], file: Path | None) -> None:
    """Append records as they are; raises EngineError where the file refuses."""
    path = file or default_log()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise PerfError(f"perf log {path} cannot be made: {error.strerror}") from error
    with RecordWriter(path, HEADER, is_shared=True) as writer:
        for record in records:
            writer.append(dict(record))
    if writer.torn_bytes:
        warn(f"perf log {path}: the torn end of an earlier record ({writer.torn_bytes} bytes) was cut off")


def read_log(file: Path | None) -> PerfLog:
    """The log; PerfError where there is none."""
    path = file or default_log()
    try:
        header, records, torn_bytes = read_records(path)
    except DataError as error:
        hint = ": every run appends to it; see --log" if not path.exists() else ""
        raise PerfError(f"{error}{hint}") from error
    if header and header.get("kind") != HEADER["kind"]:
        raise PerfError(f"{path} is a {header.get('kind')}, no perf log")
    entries = [record for record in records if _is_entry(record)]
    baselines = {record["name"]: record["ids"] for record in records if _is_baseline(record)}
    return PerfLog(path, sorted(entries, key=lambda entry: entry["at_ns"]), baselines, torn_bytes)


def read_any_log(file: Path | None) -> PerfLog:
    """The log, or an empty one where the user has none yet; a log that was named must exist."""
    path = file or default_log()
    return read_log(path) if file is not None or path.exists() else PerfLog(path, [], {})


def _is_entry(record: Any) -> bool:
    return (
        isinstance(record, dict)
        and record.get("type") == "run"
        and all(isinstance(record.get(name), str) for name in ("id", "at", "command", "label"))
        and isinstance(record.get("at_ns"), int)
        and isinstance(record.get("config"), dict)
    )


def _is_baseline(record: Any) -> bool:
    return (
        isinstance(record, dict)
        and record.get("type") == "baseline"
        and isinstance(record.get("name"), str)
        and isinstance(record.get("ids"), list)
        and all(isinstance(name, str) for name in record["ids"])
    )


def why_invalid(entry: Mapping[str, Any]) -> str:
    """Why a run's numbers say nothing; empty for a run that went well."""
    if entry.get("error"):
        return f"it ended with: {entry['error']}"
    if entry.get("interrupted"):
        return "it was interrupted"
    if lookup(entry, "dataset.n_inconsistent"):
        return "its passes disagree"
    return ""


def chosen_options(entry: Mapping[str, Any]) -> dict[str, Any]:
    """Options of a run that change what it does and are not at their default.

    So an option that a later version of the engine has does not part its runs from those of earlier ones.
    """
    usual = {field.name: field.default for field in dataclasses.fields(RunConfig)}
    usual["devices"] = list(RunConfig.devices)
    return {
        name: value
        for name, value in entry["config"].items()
        if name not in PLACES and not (name in usual and value == usual[name])
    }


def series_key(entry: Mapping[str, Any]) -> str:
    """The same for runs of one configuration on one host: what an A/A noise floor may be taken from."""
    config = chosen_options(entry)
    place = {path: lookup(entry, path) for path in COMPARED}
    text = json.dumps([config, place], sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def usual_runs(log: PerfLog) -> list[dict[str, Any]]:
    """All but the new sides of paired experiments, which differ on purpose: what floors and trends are made of."""
    return [entry for entry in log.entries if not entry.get("pair") or lookup(entry, "pair.side") == "base"]


def select(selector: str, log: PerfLog) -> list[dict[str, Any]]:
    """Runs by name: an id, `last`, `last~2`, `@BASELINE`, `label:TEXT`, `rev:REVISION`, a run's folder, another log.

    Several of them with commas between. Raises PerfError where a part of the selector finds nothing.
    """
    found: list[dict[str, Any]] = []
    for part in selector.split(","):
        found += _select_one(part.strip(), log)
    return list({entry["id"]: entry for entry in found}.values())


def _select_one(part: str, log: PerfLog) -> list[dict[str, Any]]:
    if part.startswith("@"):
        return baseline_entries(part[1:], log)
    kind, colon, text = part.partition(":")
    if colon and kind in ("label", "rev"):
        path = "label" if kind == "label" else "environment.engine_git.revision"
        matches = [e for e in log.entries if _matches(str(lookup(e, path) or ""), text, kind == "rev")]
        if not matches:
            raise PerfError(f"no run in {log.path} has {kind} {text!r}")
        return matches
    if part == "last" or part.startswith("last~"):
        back = part[5:] or "0"
        if not back.isdecimal() or int(back) >= len(log.entries):
            raise PerfError(f"{part!r}: {log.path} has {len(log.entries)} runs")
        return [log.entries[-1 - int(back)]]
    if ("/" in part or "." in part) and Path(part).exists():
        return entries_of_path(Path(part))
    if not part:
        raise PerfError("which run? give an id, last, @baseline, label:TEXT or rev:REVISION")
    return [log.by_id(part)]


def _matches(value: str, text: str, is_prefix: bool) -> bool:
    return bool(text) and (value.startswith(text) if is_prefix else value == text)


def baseline_entries(name: str, log: PerfLog) -> list[dict[str, Any]]:
    """The runs of a named baseline; PerfError where there is no such baseline or its runs are gone."""
    if name not in log.baselines:
        known = ", ".join(sorted(log.baselines)) or "none"
        raise PerfError(f"no baseline {name!r} in {log.path}; known: {known}: see engine perf baseline set")
    return [log.by_id(id_) for id_ in log.baselines[name]]


def entries_of_path(path: Path) -> list[dict[str, Any]]:
    """Entries of a run's folder, a run.json, or all of another log."""
    document_path = path / "run.json" if path.is_dir() else path
    if document_path.suffix != ".json":
        return read_log(path).entries
    try:
        document = json.loads(document_path.read_text("utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise PerfError(f"{document_path} is no run.json of a finished run: {error}") from error
    if not isinstance(document, dict) or not isinstance(document.get("config"), dict):
        raise PerfError(f"{document_path} is no run.json: it has no config")
    return [entry_of(document, LogOptions("run"))]
