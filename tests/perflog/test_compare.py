"""`engine perf compare`, `gate`, `ab`: verdicts with their exit codes, and 2 means slower and nothing else."""

from __future__ import annotations

import shlex
from pathlib import Path

import numpy as np
import pytest

from engine.perflog.compare import Question, compare
from engine.perflog.log import read_log, series_key
from engine.perflog.metrics import interval_rates
from tests.conftest import DataSet
from tests.perflog.entries import call_engine, entry, write_log


def rates(rate: float, n: int, seed: int) -> list[float]:
    """`n` runs around `rate`, with 0.5 % noise."""
    return list(rate * np.exp(np.random.default_rng(seed).normal(0, 0.005, n)))


def two_sides(path: Path, new_rate: float, **changes: object) -> tuple[str, str]:
    """Eight runs at 600 and eight at `new_rate`; the selectors of both."""
    base = write_log(path, [entry(rate) for rate in rates(600, 8, 1)])
    new = write_log(path, [entry(rate, **changes) for rate in rates(new_rate, 8, 2)])
    return ",".join(base), ",".join(new)


@pytest.mark.parametrize(
    ("new_rate", "verdict", "code"), [(570, "slower", 2), (630, "faster", 0), (600, "same", 0), (582.5, "inconcl", 3)]
)
def test_the_exit_code_says_the_verdict(tmp_path: Path, new_rate: float, verdict: str, code: int) -> None:
    base, new = two_sides(tmp_path / "log", new_rate)
    done = call_engine("perf", "compare", base, new, "--log", tmp_path / "log")
    assert done.stdout.splitlines()[-1].startswith(f"verdict             {verdict}"), done.stdout
    assert (done.returncode, done.stderr) == (code, "")


def test_markdown_has_the_verdict_and_a_row_per_metric(tmp_path: Path) -> None:
    base, new = two_sides(tmp_path / "log", 570)
    lines = call_engine("perf", "compare", base, new, "--log", tmp_path / "log", "--format", "md").stdout.splitlines()
    assert lines[0].startswith("**slower: end-to-end -5.")
    assert lines[2] == "| metric | base | new | change | 95 % interval | p | verdict |"
    assert lines[4].startswith("| end-to-end, images/s | ")
    assert lines[4].endswith(" | slower |")


@pytest.mark.parametrize(
    ("change", "value", "name"),
    [
        ("environment__cpu", "Other CPU", "environment.cpu"),
        ("environment__libraries__numpy", "1.26.4", "environment.libraries.numpy"),
        ("profile", "resnet18-310", "profile"),
        ("model__sha256", "99", "model.sha256"),
        ("dataset__sha256", "99", "dataset.sha256"),
    ],
)
def test_unlike_fingerprints_are_named_and_not_compared(tmp_path: Path, change: str, value: str, name: str) -> None:
    base, new = two_sides(tmp_path / "log", 300, **{change: value})
    done = call_engine("perf", "compare", base, new, "--log", tmp_path / "log")
    assert done.stdout.splitlines()[-1] == f"verdict             not comparable: {name} differ"
    assert f"/ {value}" in done.stdout
    assert done.returncode == 3
    part = next(part for part in ("libraries", "model", "dataset", "cpu", "profile") if part in name)
    assert call_engine("perf", "compare", base, new, "--log", tmp_path / "log", "--across", part).returncode == 2


def test_other_options_are_compared_and_named(tmp_path: Path) -> None:
    base, new = two_sides(tmp_path / "log", 570, config__batch=16)
    done = call_engine("perf", "compare", base, new, "--log", tmp_path / "log")
    assert "option batch: 8 -> 16" in done.stdout
    assert done.returncode == 2


def test_single_runs_are_judged_by_the_floor_of_the_log(tmp_path: Path) -> None:
    path = tmp_path / "log"
    base, new = write_log(path, [entry(600), entry(565)])
    done = call_engine("perf", "compare", base, new, "--log", path)
    assert "one run a side and no noise floor" in done.stdout
    assert done.returncode == 3
    write_log(path, [entry(rate) for rate in rates(600, 30, 3)])
    done = call_engine("perf", "compare", base, new, "--log", path)
    assert "noise floor 0.60 % a run" in done.stdout
    assert done.returncode == 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nope", "last"], "no run 'nope' in"),
        (["last~9", "last"], "has 1 runs"),
        (["@main", "last"], "no baseline 'main'"),
        (["label:x", "last"], "has label 'x'"),
        (["last", "last", "--treshold", "3%"], "No such option"),
        (["last", "last", "--threshold", "300%"], "is no share between 0 and 1"),
        (["last", "last", "--metric", "speed"], "unknown metric 'speed'"),
        (["last", "last", "--across", "cpus"], "unknown part of the fingerprint 'cpus', did you mean 'cpu'?"),
        (["last"], "Missing argument 'NEW'"),
    ],
)
def test_no_mistake_is_taken_for_a_slowdown(tmp_path: Path, arguments: list[str], message: str) -> None:
    write_log(tmp_path / "log", [entry(600)])
    done = call_engine("perf", "compare", *arguments, "--log", tmp_path / "log")
    assert message in done.stderr
    assert done.returncode == 3
    assert len(done.stderr.splitlines()) == 1


def test_invalid_runs_are_left_out_and_named(tmp_path: Path) -> None:
    path = tmp_path / "log"
    base, _ = two_sides(path, 600)
    bad = write_log(path, [entry(100, interrupted=True) for _ in range(8)])
    done = call_engine("perf", "compare", base, ",".join(bad), "--log", path)
    assert f"left out {bad[0]}: it was interrupted" in done.stdout
    assert done.returncode == 3


def test_a_gate_holds_new_runs_against_a_baseline(tmp_path: Path) -> None:
    path = tmp_path / "log"
    base, new = two_sides(path, 570)
    assert call_engine("perf", "baseline", "set", "main", base, "--log", path).stdout == "baseline main: 8 runs\n"
    listed = call_engine("perf", "baseline", "list", "--log", path).stdout
    assert listed.startswith("main                 8 runs: ")
    assert call_engine("perf", "gate", "--baseline", "main", "--new", new, "--log", path).returncode == 2
    assert call_engine("perf", "gate", "--baseline", "main", "--new", base, "--log", path).returncode == 0
    few = new.partition(",")[0]
    assert call_engine("perf", "gate", "--baseline", "main", "--new", few, "--log", path).returncode == 3
    relaxed = call_engine("perf", "gate", "--baseline", "main", "--new", few, "--log", path, "--allow-inconclusive")
    assert relaxed.returncode == 0
    assert call_engine("perf", "gate", "--baseline", "mian", "--new", new, "--log", path).returncode == 3
    mixed = write_log(path, [entry(600, config__batch=1)])
    done = call_engine("perf", "baseline", "set", "two", f"{base},{mixed[0]}", "--log", path)
    assert "the runs are of 2 configurations or hosts; needed one" in done.stderr


def test_ab_runs_both_sides_logs_them_and_gives_no_verdict_on_two_pairs(small_data: DataSet, tmp_path: Path) -> None:
    path = tmp_path / "log"
    common = f"--data {shlex.quote(str(small_data.folder))} --labels {shlex.quote(str(small_data.labels))} --workers 1"
    sides = [f"{common} --model fingerprint --backend sim --devices 0 --batch {batch}" for batch in (4, 8)]
    done = call_engine("perf", "ab", "--base", sides[0], "--new", sides[1], "--pairs", 2, "--warm-up", 0, "--log", path)
    assert "2 pairs: needed 9" in done.stdout
    assert "option batch: 4 -> 8" in done.stdout
    assert "pair 2 of 2: " in done.stderr
    assert done.returncode == 3
    entries = read_log(path).entries
    assert sorted((e["pair"]["number"], e["pair"]["side"], e["config"]["batch"]) for e in entries) == [
        (0, "base", 4),
        (0, "new", 8),
        (1, "base", 4),
        (1, "new", 8),
    ]


def test_a_side_that_fails_is_no_slowdown(small_data: DataSet, tmp_path: Path) -> None:
    good = f"--data {small_data.folder} --labels {small_data.labels} --backend null --workers 1"
    arguments = ["--warm-up", 0, "--pairs", 1, "--log", tmp_path / "log"]
    done = call_engine("perf", "ab", "--base", good, "--new", f"{good} --batch 0", *arguments)
    assert "ended with 2 and left no result: engine: Invalid value for '--batch': 0 is not in the range" in done.stderr
    assert done.returncode == 3
    done = call_engine("perf", "ab", "--base", f"{good} --out x", "--new", good, *arguments)
    assert "--out is set for each run; leave it out" in done.stderr
    assert done.returncode == 3


def test_the_rates_inside_a_run_are_those_of_parts_that_hold_whole_batches() -> None:
    """A batch of 16 each 100 ms, intervals of 20 ms: four of five intervals are empty, every part has 160 images/s."""
    made = entry(160.0, config__batch=16, config__devices=[0], timeline__interval_ms=20.0)
    made["timeline"]["images"] = [0, 0, 0, *[16, 0, 0, 0, 0] * 50]
    assert interval_rates(made) == pytest.approx([160.0] * 20)
    made["config"]["devices"] = [0, 1, 2, 3]
    assert interval_rates(made) == pytest.approx([160.0] * 6)
    made["timeline"]["images"] = [16, 0]
    assert interval_rates(made) == []


def test_an_option_that_a_later_version_has_does_not_part_its_runs_from_earlier_ones() -> None:
    old, new = entry(600.0), entry(600.0, config__stall_timeout=60.0, config__no_labels=False)
    assert series_key(old) == series_key(new)
    assert compare([old], [new], Question()).config == {}
    assert series_key(old) != series_key(entry(600.0, config__no_labels=True))
    other = compare([entry(600.0, config__batch=16)], [entry(600.0, config__batch=8)], Question())
    assert other.config == {"batch": (16, 8)}
