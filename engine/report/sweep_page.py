"""What the page of a sweep says."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from statistics import median

from engine.perflog.metrics import number
from engine.report import plots
from engine.report.content import Card, Figure, Page, Part, Section, Table, Text
from engine.sweep.analysis import Finding, analyse, conclusions
from engine.sweep.objective import Objective
from engine.sweep.space import TUNABLE
from engine.sweep.trials import OK, Trial, read_sweep, trials_of


def sweep_page(folder: Path) -> Page:
    """The page of the sweep in `folder`."""
    sweep = read_sweep(folder)
    trials = trials_of(sweep.runs)
    objective = _objective(sweep.definition)
    finding = analyse(trials)
    swept = [name for name in TUNABLE if len({trial.params.get(name) for trial in trials}) > 1]
    said = conclusions(finding, objective)
    maps: list[Part] = [_heat(trials, x, y, objective) for x, y in _pairs(swept)]
    effects: list[Part] = [_effect(trials, name, objective) for name in swept]
    documents = [run.document for run in sweep.runs if run.document]
    simulated = any(document.get("simulated") for document in documents)
    sections = [
        Section("findings", "What was found", [Text(said)]),
        *([Section("map", "Which combination is how fast", maps)] if maps else []),
        *([Section("effects", "What each option does", effects)] if effects else []),
        Section("combinations", "All combinations", [_table(trials, finding, objective)]),
    ]
    marks = [f"SIMULATED chips, profile {documents[0].get('profile')}"] if simulated else []
    words = [str(word) for word in sweep.definition.get("arguments") or []]
    return Page(
        title=f"Sweep of {', '.join(swept) or 'one combination'}",
        subtitle="; ".join(
            [
                f"{len(trials)} combinations, {len(sweep.runs)} runs",
                objective.title(),
                *([" ".join(words)] if words else []),
            ]
        ),
        answer=said[0],
        cards=_cards(finding, objective),
        sections=sections,
        marks=marks,
    )


def _objective(definition: dict[str, object]) -> Objective:
    words = definition.get("objective")
    return Objective(str(words[0]), words[1]) if isinstance(words, list) and len(words) == 2 else Objective()


def _cards(finding: Finding, objective: Objective) -> list[Card]:
    if finding.best is None:
        return [Card("best", "none", "no trial gave a result", "bad")]
    best = finding.best
    cards = [
        Card("best", f"{best.value or 0:,.1f}", objective.unit, "good"),
        *(Card(name, str(value), "of the best") for name, value in best.params.items()),
    ]
    if finding.noise == finding.noise:
        cards.append(Card("noise", f"{100 * finding.noise:.2f} %", "of one run"))
        cards.append(Card("cannot be told apart", str(len(finding.same)), "combinations, the best included"))
    if finding.cheapest is not None and finding.cheapest.key != best.key:
        cards.append(Card("the same, cheaper", f"{finding.cheapest.value or 0:,.1f}", finding.cheapest.key))
    latency = number(best.runs[0].document, "latency_ms.p99")
    if latency:
        cards.append(Card("latency p99", f"{latency:,.0f} ms", "of the best"))
    return cards


def _table(trials: Sequence[Trial], finding: Finding, objective: Objective) -> Table:
    names = [name for name in TUNABLE if any(name in trial.params for trial in trials)]
    same = {trial.key for trial in finding.same}
    rows = []
    for trial in sorted(trials, key=lambda t: -(t.value or 0.0)):
        is_best = finding.best is not None and trial.key == finding.best.key
        remark = "best" if is_best else "same as the best" if trial.key in same else ""
        status = remark if trial.status == OK else f"{trial.status}: {trial.runs[-1].why}"
        value = float("nan") if trial.value is None else trial.value
        shown = "" if trial.value is None else value
        rows.append((*(trial.params.get(name, "") for name in names), shown, len(trial.runs), status))
    header = (*names, f"{objective.name}, {objective.unit}", "runs", "remark")
    return Table("The best first", header, rows)


def _pairs(swept: Sequence[str]) -> list[tuple[str, str]]:
    """Two options each; all of them where they are few."""
    pairs = [(a, b) for at, a in enumerate(swept) for b in swept[at + 1 :]]
    return pairs[:3]


def _best_by(trials: Sequence[Trial], **chosen: object) -> float | None:
    """The best value of the trials with these options."""
    values = [
        trial.value
        for trial in trials
        if trial.value is not None and trial.status == OK and all(trial.params.get(k) == v for k, v in chosen.items())
    ]
    return max(values, default=None)


def _values(trials: Sequence[Trial], name: str) -> list[int | str]:
    found = {trial.params[name] for trial in trials if name in trial.params}
    return sorted(found, key=lambda v: (isinstance(v, int), v if isinstance(v, int) else 0))


def _heat(trials: Sequence[Trial], x: str, y: str, objective: Objective) -> Figure:
    xs, ys = _values(trials, x), _values(trials, y)
    z = [[_best_by(trials, **{x: a, y: b}) for a in xs] for b in ys]
    columns, rows = [f"{x} {a}" for a in xs], [f"{y} {b}" for b in ys]
    best = max(((v, c, r) for r, line in zip(rows, z, strict=True) for c, v in zip(columns, line, strict=True) if v),
               default=(0.0, "", ""))  # fmt: skip
    alt = f"Best {objective.name} by {x} and {y}, whatever the other options: {best[0]:,.0f} at {best[1]}, {best[2]}."
    cells = [[v if v is not None else "" for v in line] for line in z]
    table = Table(alt, ("", *columns), [(row, *line) for row, line in zip(rows, cells, strict=True)])
    trace = plots.heat(columns, rows, z, objective.unit)
    layout = {"xaxis": {"type": "category"}, "yaxis": {"type": "category"}, "margin": {"l": 110}}
    return plots.figure(f"heat-{x}-{y}", f"{x} and {y}", alt, [trace], layout, table)


def _effect(trials: Sequence[Trial], name: str, objective: Objective) -> Figure:
    """Each value's best, and its trials as points: where the points of one value lie apart, other options interact."""
    values = _values(trials, name)
    best = [_best_by(trials, **{name: value}) or 0.0 for value in values]
    labels = [str(value) for value in values]
    every = [(str(t.params[name]), t.value) for t in trials if t.value is not None and t.status == OK]
    traces = [
        plots.points([x for x, _ in every], [y for _, y in every], "each combination", plots.GREY),
        plots.points(labels, best, "best with this value", plots.BLUE),
    ]
    spread = [
        max(group) / min(group)
        for value in labels
        if len(group := [y for x, y in every if x == value]) > 1 and min(group) > 0
    ]
    others = f" With one {name}, other options change it by a factor of {median(spread):.2f}." if spread else ""
    listed = ", ".join(f"{value:,.0f} with {label}" for label, value in zip(labels, best, strict=True))
    alt = f"Best {objective.name} by {name}: {listed}.{others}"
    table = Table(alt, (name, objective.unit), list(zip(labels, best, strict=True)))
    layout = {"xaxis": {"type": "category", "categoryarray": labels, "title": {"text": name}},
              "yaxis": {"title": {"text": objective.unit}, "rangemode": "tozero"}}  # fmt: skip
    return plots.figure(f"effect-{name}", name, alt, traces, layout, table)
