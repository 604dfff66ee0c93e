"""Does `engine perf compare` keep quiet about equal things, and find a slowdown of 5 %, on real runs?

Method: pairs of short runs of one SIMULATED chip, both sides the same (A/A), then pairs in which the new side's chip is
slowed to 0.95 of its rate. Order is random within a pair, every run is a fresh process. Judged are
* each pair alone, as `engine perf compare ID ID` does, with the noise floor of all other runs of the log;
* groups of the default number of pairs, as `engine perf ab` does.
An alarm is a verdict of slower or faster on A/A. With --log FILE the pairs are added to those of earlier calls, and
--pairs 0 --slow-pairs 0 judges them again.

What may not be concluded: anything about hosts with other noise; the noise floor is printed for that.

usage: python -m bench.aa [--data DIR --labels FILE] [--pairs 100] [--slow-pairs 28] [--images 300] [--log FILE]
"""

from __future__ import annotations

import random
import tempfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from bench.inputs import images_or_demo, passes_for
from engine.perflog.ab import DEFAULT_PAIRS
from engine.perflog.children import ChildRun, run_child
from engine.perflog.compare import Question, compare, floor_of
from engine.perflog.log import LogOptions, append, entry_of, read_any_log
from engine.perflog.metrics import BY_NAME

Pair = tuple[dict[str, Any], dict[str, Any]]
SLOWED = "0=0.95"


def make_pairs(arguments: Sequence[str], experiment: str, n_pairs: int, log: Path) -> None:
    """Run `n_pairs` pairs and append them to `log`; the new side is slowed unless the experiment is `aa`."""
    earlier = read_any_log(log).entries if log.exists() else []
    first = 1 + max((e["pair"]["number"] for e in earlier if is_of(e, experiment)), default=-1)
    order = random.Random(f"{experiment} {first}")
    for number in range(first, first + n_pairs):
        for side in order.sample(("base", "new"), 2):
            more = [f"--sim-slow={SLOWED}"] if side == "new" and experiment != "aa" else []
            pair = {"experiment": experiment, "number": number, "side": side}
            document = run_child(ChildRun([*arguments, *more]))
            append([entry_of(document, LogOptions("ab", log, pair=pair))], log)
        click.echo(f"{experiment}: pair {number + 1} of {first + n_pairs}", err=True)


def is_of(entry: dict[str, Any], experiment: str) -> bool:
    """Whether an entry of the log belongs to the experiment."""
    return bool(entry["pair"] and entry["pair"]["experiment"] == experiment)


def pairs_of(entries: Sequence[dict[str, Any]], experiment: str) -> list[Pair]:
    """The pairs of an experiment, in order."""
    sides: dict[int, dict[str, dict[str, Any]]] = {}
    for entry in entries:
        if is_of(entry, experiment):
            sides.setdefault(entry["pair"]["number"], {})[entry["pair"]["side"]] = entry
    return [(both["base"], both["new"]) for _, both in sorted(sides.items()) if len(both) == 2]


def judge_single(pairs: Sequence[Pair], history: Sequence[dict[str, Any]]) -> Counter[str]:
    """Each pair alone, as two runs of a log that nobody paired."""
    alone = [[{**entry, "pair": None} for entry in pair] for pair in pairs]
    return Counter(compare([base], [new], Question(), history).verdict for base, new in alone)


def judge_groups(pairs: Sequence[Pair], n: int) -> Counter[str]:
    """Every run of `n` successive pairs; they overlap, so they are not independent."""
    groups = [pairs[at : at + n] for at in range(len(pairs) - n + 1)]
    return Counter(compare([b for b, _ in group], [w for _, w in group], Question()).verdict for group in groups)


@click.command()
@click.option("--data", type=click.Path(path_type=Path), help="Flat folder of JPEGs; the demo's images if not given.")
@click.option("--labels", type=click.Path(path_type=Path))
@click.option("--pairs", default=100, show_default=True)
@click.option("--slow-pairs", default=28, show_default=True)
@click.option("--images", default=300, show_default=True, help="Images of a run.")
@click.option("--log", type=click.Path(path_type=Path), help="Keep the runs here; runs that it holds are judged too.")
def main(data: Path | None, labels: Path | None, pairs: int, slow_pairs: int, images: int, log: Path | None) -> None:
    """Count false alarms on A/A pairs and slowdowns found, on real runs of one SIMULATED chip."""
    data, labels = images_or_demo(data, labels)
    arguments = [f"--data={data}", f"--labels={labels}", "--model=fingerprint", "--backend=sim", "--devices=0"]
    arguments += ["--no-journal", f"--repeat={passes_for(labels, images)}"]
    with tempfile.TemporaryDirectory() as folder:
        path = log or Path(folder) / "aa.log"
        make_pairs(arguments, "aa", pairs, path)
        make_pairs(arguments, "slow", slow_pairs, path)
        report(read_any_log(path).entries)


def report(entries: Sequence[dict[str, Any]]) -> None:
    """The counts, and the noise they were made in."""
    equal, slowed = pairs_of(entries, "aa"), pairs_of(entries, "slow")
    history = [{**entry, "pair": None} for pair in equal for entry in pair]
    if history:
        floor = floor_of(BY_NAME["end_to_end"], history[:1], history)
        click.echo(f"noise floor: {100 * floor.sd:.2f} % a run, from {len(history)} runs")
    for name, pairs in (("A/A", equal), (f"chip at {SLOWED.partition('=')[2]}", slowed)):
        click.echo(f"{name}: {len(pairs)} pairs, each alone: {dict(judge_single(pairs, history))}")
        groups = judge_groups(pairs, DEFAULT_PAIRS)
        click.echo(f"{name}: groups of {DEFAULT_PAIRS} pairs: {dict(groups) or 'too few pairs'}")


if __name__ == "__main__":
    main()
