"""Does `engine sweep --strategy auto` find what the whole grid finds?

Method: on SIMULATED chips, the whole grid is measured (every combination, the good ones repeated), then `auto` with its
own fresh runs of at most 12 combinations. Compared is what the grid measured at the combination that auto chose: auto's
own luck does not count. The answer is that rate over the grid's best; the bar is 0.97, and the noise of the host, which
the grid's repeats show, bounds what can be said. Then auto's best.toml is run again, as often: is the median of these
runs within the interval that the sweep gave? Last answers: docs/perf.md.

What may not be concluded: anything about real chips; on a busy host the noise line says how much is hidden.

usage: python -m bench.sweep [--data DIR --labels FILE] [--grid 'workers=1,2 batch=1,4,8,16,32 window=1,2'] [--images N]
                             [--profile NAME] [--out FOLDER]
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from statistics import median
from typing import Any

import click

from engine.perflog.children import ChildRun, run_child
from engine.sweep.analysis import analyse
from engine.sweep.driver import SweepPlan
from engine.sweep.job import TOML_NAME, SweepJob, run_sweep
from engine.sweep.objective import Objective
from engine.sweep.search import DEFAULT_TRIALS
from engine.sweep.space import parse_space
from engine.sweep.trials import read_sweep, trials_of

BAR = 0.97


@click.command()
@click.option("--data", type=click.Path(path_type=Path), help="Flat folder of JPEGs; the demo's images if not given.")
@click.option("--labels", type=click.Path(path_type=Path))
@click.option("--grid", default="workers=1,2 batch=1,4,8,16,32 window=1,2", show_default=True)
@click.option("--images", default=1500, show_default=True, help="Images of a run, about.")
@click.option("--repeats", default=3, show_default=True)
@click.option("--profile", default="resnext101_32x8d-310", show_default=True)
@click.option("--out", type=click.Path(path_type=Path), help="Keep both sweeps in this folder.")
def main(data: Path | None, labels: Path | None, out: Path | None, **given: Any) -> None:
    """Measure the whole grid and what auto finds of it, on four SIMULATED chips."""
    if data is None or labels is None:
        from engine.demo_data import demo_dataset

        demo = demo_dataset()
        data, labels = demo.folder, demo.labels
    grid, images, repeats, profile = (given[name] for name in ("grid", "images", "repeats", "profile"))
    n_files = sum(1 for line in labels.read_text().splitlines() if line.strip())
    arguments = [f"--data={data}", f"--labels={labels}", "--model=fingerprint", "--backend=sim", "--no-journal"]
    arguments += [f"--profile={profile}", f"--repeat={max(1, -(-images // n_files))}"]
    space = parse_space(grid.split())

    def notice(text: str) -> None:
        click.echo(text, err=True)

    with tempfile.TemporaryDirectory() as temporary:
        folder = out or Path(temporary)
        for strategy in ("grid", "auto"):
            plan = SweepPlan(Objective(), repeats, say=notice)
            run_sweep(SweepJob(space, arguments, strategy, DEFAULT_TRIALS, plan, folder / strategy), notice)
        report(folder, repeats)


def report(folder: Path, n_again: int) -> None:
    """What both found, and what `best.toml` gives when it is run again."""
    whole, found = (trials_of(read_sweep(folder / name).runs) for name in ("grid", "auto"))
    best, chosen = analyse(whole), analyse(found)
    if best.best is None or best.best.value is None or chosen.best is None:
        raise click.ClickException("no result")
    at_chosen = next(trial.value for trial in whole if trial.key == chosen.best.key) or 0.0
    ratio = at_chosen / best.best.value
    click.echo(f"grid: {len(whole)} combinations, best {best.best.key} at {best.best.value:.1f} images/s")
    click.echo(f"noise: {100 * best.noise:.2f} % a run; differences below {100 * best.visible:.1f} % are hidden")
    click.echo(
        f"auto: {len(found)} trials, chose {chosen.best.key}, which the grid measured at {at_chosen:.1f} images/s"
    )
    click.echo(f"{ratio:.4f} of the best: the bar of {BAR} is {'met' if ratio >= BAR else 'NOT met'}")
    again = ChildRun([f"--config={folder / 'auto' / TOML_NAME}"])
    rates = [run_child(again)["throughput"]["end_to_end_per_s"] for _ in range(n_again)]
    is_inside = chosen.low <= median(rates) <= chosen.high
    click.echo(
        f"best.toml: {median(rates):.1f} images/s in {n_again} runs, {'in' if is_inside else 'OUTSIDE of'} the "
        f"interval {chosen.low:.1f} to {chosen.high:.1f}"
    )


if __name__ == "__main__":
    main()
