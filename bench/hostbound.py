"""What does `engine run` deliver where the host is the bound, beside the guide's script on the same cores?

Method: each round runs, in an order that turns, the three baselines of `bench.guide` on one process and on all cores,
and a fresh `engine run` with one decoder and with as many as there are cores: into the null device (which takes each
batch and gives it back: the pipeline's own ceiling) and into four SIMULATED chips far faster than the host, for models
with float32, float16 and uint8 inputs. Every figure is a median over the rounds, every ratio one of the same round: to
each baseline on as many cores as the run has decoders, and to the host ceiling measured in the same run. Files come
from the page cache. A rate runs from the first byte read to the last result; start-up is in none. CPU time is that of
run.json, of all threads of a process. The chips are simulated in the feeder: it copies each input, hashes it, and thus
takes CPU time that real chips would not. Spread: of the middle half of the rates. What ran while other programs took
more than 5 % of the cores is measured again (`bench.others`).

Last answer: docs/kernels.md, which --update-docs writes. What may not be concluded: anything about hosts with other
cores or a slow disk, about real drivers, or from figures whose spread is as wide as their difference.

usage: python -m bench.hostbound [--data DIR --labels FILE] [--rounds 3] [--inputs float32,float16,uint8]
       [--images N] [--guide-images N] [--batch 8] [--profile NAME] [--json FILE] [--update-docs]
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import click
import numpy as np

from bench.guide import ALONE, BATCHES, BINS, RATES
from bench.inputs import images_or_demo, passes_for
from bench.others import Others
from bench.pages import replace_table
from bench.pipeline import Setting, run_once
from engine.host import cpu_model, n_cores
from kernels.isa import INSTRUCTION_SET

ROLES = ("decoder", "feeder", "hub")
NULL, SIM = "null device", "four fast chips"
#: Headings of the ratios.
SHORT = {ALONE: "x alone", BATCHES: "x batches", BINS: "x .bin"}
#: A spread above this is marked.
WIDEST_SPREAD = 0.05
#: A run beside which others took more of the cores than this is made again, so many times in all.
MOST_OTHERS, MOST_TRIES = 0.05, 4
MICROSECONDS = 1e6

#: What runs, on how many cores: a baseline's processes, a run's decoders.
Key = tuple[str, int]


@dataclass(frozen=True)
class Outcome:
    """One contender in one round. cpu_us : of an image, by role      others : share of the cores that others took"""

    images_per_s: float
    ceiling_per_s: float | None = None
    cpu_us: Mapping[str, float] = field(default_factory=dict)
    others: float = 0.0


Round = Mapping[Key, Outcome]


@dataclass(frozen=True)
class Row:
    """Medians over the rounds. ratios : to each baseline on as many cores; share : of the ceiling of the same run"""

    name: str
    n_cores: int
    images_per_s: float
    spread: float
    ratios: Mapping[str, float]
    share: float | None
    cpu_us: Mapping[str, float]


def run_engine(data: Path, labels: Path, setting: Setting) -> Outcome:
    """One `engine run`."""
    document = run_once(data, labels, setting)
    n_images = document["dataset"]["n_samples"]
    cpu_us = {
        role: MICROSECONDS * sum(p["cpu_s"] for p in document["processes"] if p["role"] == role) / n_images
        for role in ROLES
    }
    rates = document["throughput"]
    return Outcome(rates["end_to_end_per_s"], rates["host_ceiling_per_s"], cpu_us)


def run_baseline(name: str, paths: Sequence[Path], n_processes: int, passes: int) -> Outcome:
    """One way of the guide's script."""
    return Outcome(RATES[name](paths, n_processes, passes))


def measure(contenders: Mapping[Key, Callable[[], Outcome]], n_rounds: int) -> list[Round]:
    """All contenders in every round; each begins with the next one."""
    keys, others = list(contenders), Others()
    rounds: list[Round] = []
    for number in range(n_rounds):
        turn = number * len(keys) // n_rounds
        found = {}
        for key in keys[turn:] + keys[:turn]:
            found[key] = undisturbed(contenders[key], others)
            click.echo(
                f"round {number + 1}: {key[0]}, {key[1]}: {found[key].images_per_s:.0f} images/s, "
                f"others {100 * found[key].others:.1f} %",
                err=True,
            )
        rounds.append(found)
    return rounds


def undisturbed(contender: Callable[[], Outcome], others: Others) -> Outcome:
    """Measured again while other programs take more than they may; of all tries the one with the least of that."""
    tries: list[Outcome] = []
    while len(tries) < MOST_TRIES and not any(outcome.others <= MOST_OTHERS for outcome in tries):
        outcome, share = others.beside(contender)
        tries.append(replace(outcome, others=share))
    return min(tries, key=lambda outcome: outcome.others)


def rows_of(rounds: Sequence[Round], keys: Sequence[Key]) -> list[Row]:
    """One row per contender, in the order of `keys`."""
    return [_row(key, [found[key] for found in rounds], rounds) for key in keys]


def _row(key: Key, outcomes: Sequence[Outcome], rounds: Sequence[Round]) -> Row:
    rates = [outcome.images_per_s for outcome in outcomes]
    low, middle, high = np.percentile(rates, [25, 50, 75])
    ratios = {
        baseline: median(found[key].images_per_s / found[baseline, key[1]].images_per_s for found in rounds)
        for baseline in RATES
    }
    shares = [outcome.images_per_s / outcome.ceiling_per_s for outcome in outcomes if outcome.ceiling_per_s]
    cpu_us = {role: median(outcome.cpu_us[role] for outcome in outcomes) for role in outcomes[0].cpu_us}
    return Row(*key, float(middle), float((high - low) / middle), ratios, median(shares) if shares else None, cpu_us)


def table(rows: Sequence[Row]) -> str:
    """Markdown."""
    heads = ["", "cores", "images/s", "spread", *SHORT.values(), "of the ceiling", "CPU us: decoders + feeder + hub"]
    lines = [f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]
    for row in rows:
        mark = " UNSTABLE" if row.spread > WIDEST_SPREAD else ""
        ratios = [f"{row.ratios[baseline]:.2f}" for baseline in SHORT]
        share = "-" if row.share is None else f"{row.share:.3f}"
        cpu = " + ".join(f"{row.cpu_us[role]:.0f}" for role in ROLES) if row.cpu_us else "-"
        cells = [row.name, row.n_cores, f"{row.images_per_s:,.0f}", f"{100 * row.spread:.1f} %{mark}", *ratios]
        lines.append(f"| {' | '.join(map(str, [*cells, share, cpu]))} |")
    return "\n".join(lines)


def claims(rows: Sequence[Row], rounds: Sequence[Round]) -> list[str]:
    """What is claimed of float32 inputs, against which baseline, with the bar; nothing where those were not run."""
    by_key = {(row.name, row.n_cores): row for row in rows}
    most = max(row.n_cores for row in rows)
    null, chips = f"{NULL}, float32", f"{SIM}, float32"
    if (null, 1) not in by_key:
        return []
    gain = median(found[null, most].images_per_s / found[null, 1].images_per_s for found in rounds)
    fast = by_key[chips, most]
    judged = [
        (f"one decoder into the null device, x {BATCHES}", by_key[null, 1].ratios[BATCHES], 5.0),
        (f"{most} decoders into the null device, x one decoder", gain, 1.6),
        (f"{most} decoders into four fast chips, x {BATCHES}", fast.ratios[BATCHES], 5.0),
        (f"the same, x {ALONE}", fast.ratios[ALONE], 5.0),
        (f"the same, x {BINS}", fast.ratios[BINS], 5.0),
        ("one decoder into four fast chips, share of the ceiling", by_key[chips, 1].share or 0.0, 0.95),
        (f"{most} decoders into four fast chips, share of the ceiling", fast.share or 0.0, 0.95),
    ]
    lines = [f"- {what}: {figure:.2f} ({'' if figure >= bar else 'BELOW '}bar {bar:g})" for what, figure, bar in judged]
    return [*lines, f"- {cpu_bound(fast)}"]


def cpu_bound(row: Row) -> str:
    """What all cores would give if they did nothing but the run's own work, all of the time."""
    spent_us = sum(row.cpu_us.values())
    bound_per_s = row.n_cores * MICROSECONDS / spent_us
    return (
        f"{row.name}: {spent_us:.0f} us of CPU time per image, so {row.n_cores} cores give {bound_per_s:,.0f} images/s "
        f"at most; {row.images_per_s / bound_per_s:.2f} of that is reached"
    )


def contenders_of(data: Path, labels: Path, given: Mapping[str, Any]) -> dict[Key, Callable[[], Outcome]]:
    """Baselines and runs, each on one core and on all."""
    paths = sorted(p for p in data.iterdir() if p.suffix.lower() in (".jpeg", ".jpg"))
    if not paths:
        raise SystemExit(f"no JPEG files in {data}: needed a flat folder of them")
    counts, passes = sorted({1, n_cores()}), passes_for(labels, given["guide_images"])
    contenders: dict[Key, Callable[[], Outcome]] = {
        (name, n): partial(run_baseline, name, paths, n, passes) for name in RATES for n in counts
    }
    for backend, name in (("null", NULL), ("sim", SIM)):
        for dtype in given["inputs"].split(","):
            for n in counts:
                setting = Setting(given["batch"], given["images"], given["profile"], dtype, backend, workers=n)
                contenders[f"{name}, {dtype}", n] = partial(run_engine, data, labels, setting)
    return contenders


def said_of(rows: Sequence[Row], rounds: Sequence[Round], given: Mapping[str, Any]) -> str:
    """Table, claims, and what it was measured on."""
    where = f"{cpu_model()}, {n_cores()} cores, {INSTRUCTION_SET}, {time.strftime('%Y-%m-%d')}"
    how = f"rounds: {len(rounds)}, about {given['images']:,} images a run, batch {given['batch']}, {given['profile']}"
    most = max(found.others for round_ in rounds for found in round_.values())
    how = f"{how}; other programs took at most {100 * most:.0f} % of the cores beside any run that counts"
    return "\n\n".join([table(rows), f"{where}; {how}.", "\n".join(claims(rows, rounds))])


@click.command()
@click.option("--data", type=click.Path(path_type=Path), help="Flat folder of JPEGs; the demo's images if not given.")
@click.option("--labels", type=click.Path(path_type=Path))
@click.option("--rounds", default=3, show_default=True)
@click.option("--inputs", default="float32,float16,uint8", show_default=True, help="Types of the model's input.")
@click.option("--images", default=8_000, show_default=True, help="Images of an engine run, about.")
@click.option("--guide-images", default=800, show_default=True, help="Images of a run of the script, about.")
@click.option("--batch", default=8, show_default=True)
@click.option("--profile", default="resnext101_32x8d-310p3", show_default=True)
@click.option("--json", "json_file", type=click.Path(path_type=Path))
@click.option("--update-docs", is_flag=True, help="Put the table into docs/kernels.md.")
def main(data: Path | None, labels: Path | None, json_file: Path | None, update_docs: bool, **given: Any) -> None:
    """Measure the pipeline beside the guide's script where the host is the bound."""
    data, labels = images_or_demo(data, labels)
    contenders = contenders_of(data, labels, given)
    rounds = measure(contenders, given["rounds"])
    rows = rows_of(rounds, list(contenders))
    text = said_of(rows, rounds, given)
    click.echo(text)
    if json_file is not None:
        raw = [[{"name": name, "n_cores": n, **asdict(found)} for (name, n), found in r.items()] for r in rounds]
        document = {"given": given, "rows": [asdict(row) for row in rows], "rounds": raw}
        json_file.write_text(json.dumps(document, indent=1) + "\n")
    if update_docs:
        replace_table("docs/kernels.md", "bench.hostbound", text)


if __name__ == "__main__":
    main()
