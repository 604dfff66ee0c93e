"""`engine sweep` with real runs: a short one, killed and resumed, and the file that `engine run` takes."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
from pathlib import Path

import pytest

from engine.perflog.log import read_log
from tests.conftest import DataSet, engine_command, run_engine


def arguments(data: DataSet, out: Path) -> list[object]:
    fixed = ["--model", "fingerprint", "--backend", "sim", "--devices", "0", "--repeat", 2]
    return ["sweep", "--data", data.folder, "--labels", data.labels, *fixed, "--out", out, "--log", out / "perf.log"]


def keys(out: Path) -> list[tuple[str, str]]:
    with (out / "sweep.csv").open(newline="") as file:
        return [(row["batch"], row["workers"]) for row in csv.DictReader(file)]


def test_a_sweep_killed_and_resumed_has_every_trial_once_and_best_toml_runs(
    small_data: DataSet, tmp_path: Path
) -> None:
    out = tmp_path / "sweep"
    command = [*arguments(small_data, out), "--grid", "batch=4,8", "workers=1", "--repeats", 1]
    process = subprocess.Popen(
        engine_command(*command), stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True, start_new_session=True
    )
    assert process.stderr is not None
    assert process.stderr.readline().startswith("   1 batch=4 workers=1 ")
    os.killpg(process.pid, signal.SIGKILL)
    process.wait(30)
    process.stderr.close()
    done = run_engine(*command, "--resume")
    assert done.returncode == 0, done.stderr
    assert done.stderr.startswith("   2 batch=8 workers=1 ")
    assert keys(out) == [("4", "1"), ("8", "1")]
    assert "nothing was repeated: the noise is not known" in done.stdout
    entries = read_log(out / "perf.log").entries
    assert [(e["command"], e["config"]["batch"]) for e in entries] == [("sweep", 4), ("sweep", 8)]
    again = run_engine("run", "--config", out / "best.toml", "--out", tmp_path / "run", "--no-log")
    assert again.returncode == 0, again.stderr
    document = json.loads((tmp_path / "run" / "run.json").read_text())
    best = f"batch={document['config']['batch']} workers={document['config']['workers']}"
    assert f"best: {best}, " in done.stdout
    assert document["predictions_sha256"] == entries[0]["predictions_sha256"]


def test_a_dry_run_says_the_trials_and_makes_nothing(small_data: DataSet, tmp_path: Path) -> None:
    out = tmp_path / "sweep"
    done = run_engine(*arguments(small_data, out), "--grid", "workers=1,2", "batch=8", "--dry-run")
    assert done.stdout.splitlines() == [
        "batch=8 workers=1",
        "batch=8 workers=2",
        "2 trials of 2 combinations, the best of them 3 times; objective: throughput, images/s",
    ]
    assert not out.exists()


@pytest.mark.parametrize(
    ("more", "message", "code"),
    [
        (["--grid", "batch=8", "--bacth", "4"], "No such option", 2),
        (["--grid", "batch=8", "--batch", "4"], "--batch is swept: leave it out of the other options", 16),
        (["--grid", "batch=8", "--strategy", "grd"], "unknown strategy 'grd', did you mean 'grid'?", 2),
        (["--grid", "batch=8", "--budget", "soon"], "'soon' is no time: needed something like 90s, 10m or 1h", 2),
        (["--grid", "batch=8", "--objective", "speed"], "unknown objective 'speed'", 2),
        ([], "nothing to sweep: needed something like --grid workers=1,2,3 batch=1,8,16", 16),
        (["--grid", "batch=8", "--no-journal", "--preset", "none", "--repeats", "1"], "unknown preset 'none'", 16),
    ],
)
def test_what_cannot_be_swept_is_one_line(
    small_data: DataSet, tmp_path: Path, more: list[str], message: str, code: int
) -> None:
    done = run_engine(*arguments(small_data, tmp_path / "sweep"), *more)
    assert message in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert done.returncode == code
