"""What the page of a run says."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from engine.accuracy.compare import MET, NOT_MET, Comparison, Gate, compare
from engine.accuracy.intervals import wilson
from engine.accuracy.measured import read_measured
from engine.accuracy.references import find_reference
from engine.errors import EngineError
from engine.perflog.fingerprint import lookup
from engine.perflog.log import PerfLog
from engine.perflog.metrics import number
from engine.report.before import before_card
from engine.report.content import Card, Gallery, Page, Section, Table, Text, plural
from engine.report.images import find_mistakes, pictures_of
from engine.report.run_speed import speed_sections

MOST_PAIRS = 25


def run_page(folder: Path, document: Mapping[str, Any], log: PerfLog, against: Path | None = None) -> Page:
    """The page of the run in `folder`, whose run.json is `document`.

    log : where earlier runs like it are     against : another run, for the flipped images
    """
    config, dataset = document["config"], document["dataset"]
    comparison = _gate(folder, document)
    sections = [*speed_sections(document), *_mistake_sections(folder, document, against), _environment(document)]
    before = before_card(document, log)
    marks = []
    if document.get("simulated"):
        marks.append(f"SIMULATED chips, profile {document.get('profile')}: their rates are published figures")
    if document.get("error") or document.get("interrupted"):
        marks.append(f"INCOMPLETE: {document.get('error') or 'interrupted'}")
    if lookup(document, "steady.is_unstable"):
        marks.append(f"UNSTABLE: {_interval(document)}longer (--min-duration), or on a quieter host")
    model = document["model"].get("name")
    chips = (
        f"{len(document['devices'])} x {document['devices'][0].get('name', '')}" if document["devices"] else "no chip"
    )
    return Page(
        title=f"{model}, {dataset['n_images']:,} images, {config['backend']}",
        subtitle=f"{chips}, batch {config['batch']}, {plural(config['workers'] or 0, 'decoder')}, "
        f"{dataset['repeat']} x the images",
        answer=answer(document, comparison, before),
        cards=[*_accuracy_cards(document, comparison), *_speed_cards(document), before],
        sections=sections,
        marks=marks,
    )


def _interval(document: Mapping[str, Any]) -> str:
    rate, bounds = number(document, "steady.images_per_s"), lookup(document, "steady.interval_95_percent")
    if not rate or not bounds:
        return "the rate's interval is not known; "
    return f"{rate:,.1f} images/s +-{50 * (bounds[1] - bounds[0]) / rate:.1f} % at 95 %; "


def answer(document: Mapping[str, Any], comparison: Comparison | None, before: Card) -> str:
    """How fast, how right, better or worse than before, what limits it."""
    rate = number(document, "throughput.end_to_end_per_s")
    top1 = lookup(document, "accuracy.top1")
    change = f" ({before.value} against before)" if before.value.endswith("%") else ""
    parts = [f"{rate:,.1f} images/s end to end{change}" if rate else "no throughput"]
    if top1 is not None:
        gate = "" if comparison is None else f" (gate {comparison.tops[0].verdict.lower()})"
        parts.append(f"Top-1 {100 * top1:.3f} %{gate}")
    parts.append(str(lookup(document, "verdict.text") or "what limits it was not found"))
    return "; ".join(parts)


def _gate(folder: Path, document: Mapping[str, Any]) -> Comparison | None:
    """Against the model's published accuracy, by the stricter of both gates; None where none was published."""
    try:
        return compare(read_measured(folder), find_reference(str(document["model"].get("name"))), Gate())
    except EngineError:
        return None


def _accuracy_cards(document: Mapping[str, Any], comparison: Comparison | None) -> list[Card]:
    accuracy, dataset = document.get("accuracy"), document["dataset"]
    if not accuracy:
        return [Card("Top-1", "none", "nothing was computed" if dataset.get("is_labelled", True) else "no labels")]
    n = dataset["n_images"]
    cards = []
    for k in (1, 5):
        share = accuracy[f"top{k}"]
        bounds = wilson(share * n, n)
        note = f"95 %: {100 * bounds.low:.2f} to {100 * bounds.high:.2f}"
        tone = ""
        top = next((t for t in comparison.tops if t.k == k), None) if comparison is not None else None
        if top is not None:
            tone = {MET: "good", NOT_MET: "bad"}.get(top.verdict, "warn")
            note += f"; gate {max(top.absolute_gate, top.relative_gate):.3f} {top.verdict.lower()}"
        cards.append(Card(f"Top-{k}", f"{100 * share:.3f} %", note, tone))
    failed = dataset["n_failed_images"]
    cards.append(Card("failed images", f"{failed:,}", f"of {n:,}, counted as wrong", "bad" if failed else "good"))
    return cards


def _speed_cards(document: Mapping[str, Any]) -> list[Card]:
    rates = document["throughput"]
    steady = number(document, "steady.images_per_s")
    cards = [
        Card(
            "end-to-end",
            f"{rates['end_to_end_per_s']:,.1f} /s",
            "first byte read to last result" + (f"; steady {steady:,.1f}" if steady else ""),
        )
    ]
    if rates.get("interface_per_s"):
        cards.append(Card("interface", f"{rates['interface_per_s']:,.1f} /s", "the chips alone, no copies"))
    ceiling = rates.get("host_ceiling_per_s")
    if ceiling:
        cards.append(Card("host ceiling", f"{ceiling:,.1f} /s", "the decoders alone, from files"))
    if rates.get("efficiency") is not None:
        against = "min(interface, host ceiling)" if ceiling else "interface"
        tone = "good" if rates["efficiency"] >= 0.95 else "warn"
        cards.append(Card("efficiency", f"{rates['efficiency']:.3f}", f"end-to-end / {against}", tone))
    latency = number(document, "latency_ms.p99")
    if latency:
        cards.append(
            Card(
                "latency p99", f"{latency:,.0f} ms", f"p50 {number(document, 'latency_ms.p50') or 0:,.0f} ms; whole run"
            )
        )
    return cards


def _mistake_sections(folder: Path, document: Mapping[str, Any], against: Path | None) -> list[Section]:
    mistakes = find_mistakes(folder, int(document["model"].get("label_offset") or 0))
    if mistakes is None or not document.get("accuracy"):
        return []
    if not mistakes.n_wrong:
        return [Section("mistakes", "Images", [Text(["Every image was right at first."])])]
    table = Table(
        f"{mistakes.n_wrong:,} images are not right at first",
        ("class", "found instead", "images"),
        [(a, "no valid prediction" if b < 0 else b, n) for a, b, n in mistakes.pairs[:MOST_PAIRS]],
    )
    gallery = Gallery(pictures_of(mistakes, document, mistakes.worst))
    sections = [Section("mistakes", "Confused classes and the worst images", [table, gallery])]
    return sections + (_flips(folder, against) if against is not None else [])


def _flips(folder: Path, against: Path) -> list[Section]:
    """Images whose first class is another one than in `against`."""
    from engine.accuracy.compare import compare_runs

    comparison = compare_runs(read_measured(folder), read_measured(against))
    rows = [(flip.sample, flip.label, flip.was, flip.now, flip.change) for flip in comparison.flips]
    caption = f"{len(rows)} of {comparison.n_images} images are predicted otherwise than in {against}"
    return [Section("flips", "Flipped images", [Table(caption, ("image", "class", "was", "now", "change"), rows)])]


def _environment(document: Mapping[str, Any]) -> Section:
    """Where it was measured, and how."""
    rows = [(name, _plain(value)) for name, value in _flat(document["environment"])]
    options = [(name, _plain(value)) for name, value in document["config"].items() if value not in (None, "")]
    digests = [
        ("model sha256", str(document["model"].get("sha256"))),
        ("data sha256", str(document["dataset"].get("sha256"))),
        ("predictions sha256", str(document.get("predictions_sha256"))),
    ]
    return Section(
        "environment",
        "Where and how",
        [
            Table("Host and software", ("what", "value"), rows + digests),
            Table("Options", ("option", "value"), options),
        ],
    )


def _flat(value: Mapping[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    found: list[tuple[str, Any]] = []
    for name, part in value.items():
        if isinstance(part, Mapping):
            found += _flat(part, f"{prefix}{name} ")
        elif part not in (None, ""):
            found.append((f"{prefix}{name}", part))
    return found


def _plain(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)
