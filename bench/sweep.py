"""Does `engine sweep --strategy auto` find what the whole grid finds?

Method: on SIMULATED chips, the whole grid is measured (every combination, the good ones repeated), then `auto` with its
own fresh runs of at most 12 combinations. Then the grid's three best and auto's choice are run again, interleaved, so
that neither luck nor what the host did meanwhile counts. The answer is the median rate of auto's choice over that of
the best of them; the bar is 0.97. Auto's choice is run from its best.toml: is the median within the interval that the
sweep gave? Sweeps that --out holds are not made again. Last answers: docs/perf.md.

What may not be concluded: anything about real chips; on a busy host, or from runs below two seconds (fast chips want
more --images), the noise line says how much is hidden.

usage: python -m bench.sweep [--data DIR --labels FILE] [--grid 'workers=1,2 batch=1,4,8,16,32 window=1,2'] [--images N]
                             [--profile NAME] [--out FOLDER]
"""

from __future__ import annotations

import random
import tempfile
from pathlib import Path
from statistics import median
from typing import Any

import click

from bench.inputs import images_or_demo, passes_for
from engine.perflog.children import ChildRun, run_child
from engine.sweep.analysis import analyse
from engine.sweep.driver import SweepPlan
from engine.sweep.job import TOML_NAME, SweepJob, run_sweep
from engine.sweep.objective import Objective
from engine.sweep.search import DEFAULT_TRIALS
from engine.sweep.space import AUTO, parse_space
from engine.sweep.trials import read_sweep, trials_of

BAR = 0.97
#: Of the grid's best so many are run again beside auto's choice.
N_RIVALS = 3


@click.command()
@click.option("--data", type=click.Path(path_type=Path), help="Flat folder of JPEGs; the demo's images if not given.")
@click.option("--labels", type=click.Path(path_type=Path))
@click.option("--grid", default="workers=1,2 batch=1,4,8,16,32 window=1,2", show_default=True)
@click.option("--images", default=1500, show_default=True, help="Images of a run, about.")
@click.option("--repeats", default=3, show_default=True)
@click.option("--again", default=5, show_default=True, help="Runs of each combination that is judged.")
@click.option("--profile", default="resnext101_32x8d-310", show_default=True)
@click.option("--out", type=click.Path(path_type=Path), help="Keep both sweeps in this folder.")
def main(data: Path | None, labels: Path | None, out: Path | None, **given: Any) -> None:
    """Measure the whole grid and what auto finds of it, on four SIMULATED chips."""
    data, labels = images_or_demo(data, labels)
    grid, images, repeats, profile, again = (given[n] for n in ("grid", "images", "repeats", "profile", "again"))
    arguments = [f"--data={data}", f"--labels={labels}", "--model=fingerprint", "--backend=sim", "--no-journal"]
    arguments += [f"--profile={profile}", f"--repeat={passes_for(labels, images)}"]
    space = parse_space(grid.split())

    def notice(text: str) -> None:
        click.echo(text, err=True)

    with tempfile.TemporaryDirectory() as temporary:
        folder = out or Path(temporary)
        for strategy in ("grid", "auto"):
            plan = SweepPlan(Objective(), repeats, say=notice)
            is_there = (folder / strategy).exists()
            run_sweep(SweepJob(space, arguments, strategy, DEFAULT_TRIALS, plan, folder / strategy, is_there), notice)
        report(folder, arguments, again)


def report(folder: Path, arguments: list[str], n_again: int) -> None:
    """What both found, and what the best of both give when they are run again in turn."""
    whole, found = (trials_of(read_sweep(folder / name).runs) for name in ("grid", "auto"))
    of_grid, of_auto = analyse(whole), analyse(found)
    if of_grid.best is None or of_auto.best is None:
        raise click.ClickException("no result")
    chosen = of_auto.best.key
    click.echo(f"grid: {len(whole)} combinations, best {of_grid.best.key} at {of_grid.best.value:.1f} images/s")
    click.echo(
        f"  noise: {100 * of_grid.noise:.2f} % a run; differences below {100 * of_grid.visible:.1f} % are hidden"
    )
    click.echo(f"auto: {len(found)} trials, chose {chosen}, {of_auto.best.value:.1f} images/s")
    runs = {chosen: ChildRun([f"--config={folder / 'auto' / TOML_NAME}"])}
    for trial in of_grid.ranking[:N_RIVALS]:
        swept = [f"--{name}={value}" for name, value in trial.params.items() if value != AUTO]
        runs.setdefault(trial.key, ChildRun([*arguments, *swept]))
    rates: dict[str, list[float]] = {key: [] for key in runs}
    for number in range(n_again):
        for key in random.Random(number).sample(sorted(runs), len(runs)):
            rates[key].append(run_child(runs[key])["throughput"]["end_to_end_per_s"])
    middle = {key: median(values) for key, values in rates.items()}
    for key, value in sorted(middle.items(), key=lambda pair: -pair[1]):
        click.echo(f"  again, {n_again} runs: {key:<40} {value:8.1f} images/s")
    ratio = middle[chosen] / max(middle.values())
    click.echo(f"{ratio:.4f} of the best: the bar of {BAR} is {'met' if ratio >= BAR else 'NOT met'}")
    is_inside = of_auto.low <= middle[chosen] <= of_auto.high
    where = f"{'in' if is_inside else 'OUTSIDE of'} the interval {of_auto.low:.1f} to {of_auto.high:.1f}"
    click.echo(f"best.toml: {middle[chosen]:.1f} images/s, {where}")


if __name__ == "__main__":
    main()
