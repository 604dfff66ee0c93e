"""Does `engine sweep --strategy auto` find what the whole grid finds?

Method: on SIMULATED chips, the whole grid is measured (every combination, the good ones repeated), then `auto` with its
own fresh runs of at most 12 combinations. Compared is what the grid measured at the combination that auto chose: auto's
own luck does not count. The answer is that rate over the grid's best; the bar is 0.97, and the noise of the host, which
the grid's repeats show, bounds what can be said.

What may not be concluded: anything about real chips; on a busy host the noise line says how much is hidden.

usage: python -m bench.sweep [--data DIR --labels FILE] [--grid 'workers=1,2 batch=1,4,8,16,32 window=1,2'] [--images N]
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import click

from engine.sweep.analysis import analyse
from engine.sweep.driver import SweepPlan
from engine.sweep.job import SweepJob, run_sweep
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
def main(data: Path | None, labels: Path | None, grid: str, images: int, repeats: int, profile: str) -> None:
    """Measure the whole grid and what auto finds of it, on four SIMULATED chips."""
    if data is None or labels is None:
        from engine.demo_data import demo_dataset

        demo = demo_dataset()
        data, labels = demo.folder, demo.labels
    n_files = sum(1 for line in labels.read_text().splitlines() if line.strip())
    arguments = [f"--data={data}", f"--labels={labels}", "--model=fingerprint", "--backend=sim", "--no-journal"]
    arguments += [f"--profile={profile}", f"--repeat={max(1, -(-images // n_files))}"]
    space = parse_space(grid.split())

    def notice(text: str) -> None:
        click.echo(text, err=True)

    with tempfile.TemporaryDirectory() as folder:
        for strategy in ("grid", "auto"):
            plan = SweepPlan(Objective(), repeats, say=notice)
            out = Path(folder) / strategy
            run_sweep(SweepJob(space, arguments, strategy, DEFAULT_TRIALS, plan, out), notice)
        whole, found = (trials_of(read_sweep(Path(folder) / name).runs) for name in ("grid", "auto"))
    best, chosen = analyse(whole), analyse(found).best
    if best.best is None or chosen is None or best.best.value is None:
        raise click.ClickException("no result")
    at_chosen = next(trial.value for trial in whole if trial.key == chosen.key) or 0.0
    ratio = at_chosen / best.best.value
    click.echo(f"grid: {len(whole)} combinations, best {best.best.key} at {best.best.value:.1f} images/s")
    click.echo(f"noise: {100 * best.noise:.2f} % a run; differences below {100 * best.visible:.1f} % are hidden")
    click.echo(f"auto: {len(found)} trials, chose {chosen.key}, which the grid measured at {at_chosen:.1f} images/s")
    click.echo(f"{ratio:.4f} of the best: the bar of {BAR} is {'met' if ratio >= BAR else 'NOT met'}")


if __name__ == "__main__":
    main()
