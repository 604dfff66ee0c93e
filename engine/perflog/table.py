"""The log as text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from engine.perflog.fingerprint import lookup
from engine.perflog.log import why_invalid
from engine.perflog.metrics import BY_NAME, METRICS

REMARK_WIDTH = 15


def table_of(entries: Sequence[Mapping[str, Any]], baselines: Mapping[str, Sequence[str]]) -> str:
    """One line per run, oldest first, for 80 columns."""
    names = {id_: name for name, ids in baselines.items() for id_ in ids}
    lines = [f"{'id':<10} {'at (UTC)':<16} {'model':<12} {'backend':<7} {'batch':>5} {'images/s':>9} label"]
    for entry in entries:
        config = entry["config"]
        rate = BY_NAME["end_to_end"].value(entry) or BY_NAME["interface"].value(entry)
        words = [
            "INVALID" if why_invalid(entry) else "",
            f"@{names[entry['id']]}" if entry["id"] in names else "",
            plain(entry["label"]),
        ]
        remark = " ".join(word for word in words if word)[:REMARK_WIDTH]
        number = f"{rate:9.1f}" if rate is not None else f"{'':>9}"
        backend = plain(str(config.get("backend"))).replace("onnxruntime", "onnxrt")[:7]
        model = plain(str(lookup(entry, "model.name") or config.get("model")))[:12]
        lines.append(
            f"{entry['id']:<10} {entry['at'][:16]:<16} {model:<12} {backend:<7} "
            f"{plain(str(config.get('batch')))[:5]:>5} {number} {remark}"
        )
    return "\n".join(line.rstrip() for line in lines)


def details_of(entry: Mapping[str, Any]) -> str:
    """All that matters of one run."""
    lines = [f"{'id':<22}{entry['id']}", f"{'at':<22}{entry['at']}", f"{'command':<22}{plain(entry['command'])}"]
    if entry["label"]:
        lines.append(f"{'label':<22}{plain(entry['label'])}")
    if why_invalid(entry):
        lines.append(f"{'INVALID':<22}{plain(why_invalid(entry))}")
    if entry.get("simulated"):
        lines.append(f"{'SIMULATED':<22}profile {plain(str(entry.get('profile')))}")
    for metric in METRICS:
        value = metric.value(entry)
        if value is not None:
            lines.append(f"{metric.title:<22}{value:.5g} {metric.unit}")
    for title in ("accuracy", "model", "dataset", "config", "environment"):
        lines += [title, *(f"  {line}" for line in _flat(entry.get(title)))]
    return "\n".join(lines)


def _flat(value: Any, name: str = "") -> list[str]:
    if not isinstance(value, Mapping):
        return [f"{name:<28}{plain(str(value))}"] if value is not None and value != "" else []
    return [line for key, part in value.items() for line in _flat(part, f"{name}.{key}" if name else str(key))]


def plain(text: str) -> str:
    """Text without control characters: a log is read from files that anybody may have written."""
    return "".join(c if c.isprintable() else "?" for c in text)
