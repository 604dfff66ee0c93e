"""Sweeps on formulas: auto finds 97 % of the best in 12 trials, resuming changes nothing, and the noise is told."""

from __future__ import annotations

import contextlib
import csv
import io
import math
import shutil
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from engine.errors import EngineError, PerfError
from engine.sweep import driver
from engine.sweep.analysis import analyse, conclusions, csv_of
from engine.sweep.driver import SweepPlan
from engine.sweep.job import SweepJob, run_sweep
from engine.sweep.objective import Objective
from engine.sweep.search import Score, auto_search
from engine.sweep.space import Params, Space, key_of, parse_space
from engine.sweep.trials import OK, Run, Trial, read_sweep, trials_of
from tests.sweep.surfaces import SCENARIOS, SPACE, Scenario, measure_on

N_TRIALS = 12
pytest.importorskip("optuna", reason="needs Optuna: pip install '.[sweep]'")


def best_of(scenario: Scenario) -> float:
    return max(scenario.rate(params) for params in SPACE.grid())


def job_in(out: Path, strategy: str = "auto", is_resumed: bool = False, **plan: Any) -> SweepJob:
    return SweepJob(SPACE, [], strategy, N_TRIALS, SweepPlan(Objective(), **plan), out, is_resumed)


def silent(_: str) -> None:
    """Nobody listens."""


@pytest.mark.parametrize("noise", [0.0, 0.01])
@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda s: s.name)
def test_auto_finds_97_percent_of_the_grids_best_in_12_trials(scenario: Scenario, noise: float) -> None:
    for seed in range(5 if noise else 1):
        measure, tried = measure_on(scenario, noise, seed), []
        search = auto_search(SPACE, N_TRIALS)
        params = next(search)
        with contextlib.suppress(StopIteration):
            while True:
                document = measure(params, None)
                tried.append((document["throughput"]["end_to_end_per_s"], params))
                params = search.send(Score(tried[-1][0], document))
        assert len(tried) == len({key_of(params) for _, params in tried}) <= N_TRIALS
        chosen = max(tried, key=lambda pair: pair[0])[1]
        assert scenario.rate(chosen) >= 0.97 * best_of(scenario), (chosen, seed)


def test_auto_tries_every_combination_of_a_small_space_once() -> None:
    space = Space({"batch": (1, 8), "window": (1, 2)})
    search, seen = auto_search(space, N_TRIALS), []
    params = next(search)
    with contextlib.suppress(StopIteration):
        while True:
            seen.append(key_of(params))
            params = search.send(Score(1.0, {}))
    assert sorted(seen) == sorted(key_of(p) for p in space.grid())


class Killed(Exception):
    """The sweep's process dies here."""


def killed_after(n: int, measure: Callable[..., Mapping[str, Any]]) -> Callable[..., Mapping[str, Any]]:
    left = [n]

    def dying(params: Params, should_stop: Any) -> Mapping[str, Any]:
        if not left[0]:
            raise Killed
        left[0] -= 1
        return measure(params, should_stop)

    return dying


@pytest.mark.parametrize("strategy", ["grid", "auto"])
def test_a_killed_and_resumed_sweep_ends_with_the_same_table(tmp_path: Path, strategy: str) -> None:
    scenario = SCENARIOS[0]
    run_sweep(job_in(tmp_path / "whole", strategy), silent, measure_on(scenario, 0.01))
    expected = (tmp_path / "whole" / "sweep.csv").read_text()
    n_runs = len(read_sweep(tmp_path / "whole").runs)
    for n in (1, 5, n_runs - 1):
        out = tmp_path / f"killed{n}"
        measure = measure_on(scenario, 0.01)
        with pytest.raises(Killed):
            run_sweep(job_in(out, strategy), silent, killed_after(n, measure))
        with (out / "sweep.rec").open("ab") as file:
            file.write(b"\xe5REC torn")
        calls: list[str] = []

        def counted(params: Params, stop: Any, *, calls: list[str] = calls, measure: Any = measure) -> Any:
            calls.append(key_of(params))
            return measure(params, stop)

        run_sweep(job_in(out, strategy, is_resumed=True), silent, counted)
        assert (out / "sweep.csv").read_text() == expected
        assert len(calls) == n_runs - n


def test_a_sweep_whose_folder_is_removed_or_that_is_interrupted_says_what_to_do(tmp_path: Path) -> None:
    out, said = tmp_path / "sweep", list[str]()
    measure = measure_on(SCENARIOS[0])

    def removed(params: Params, should_stop: Callable[[], bool] | None) -> Mapping[str, Any]:
        shutil.rmtree(out, ignore_errors=True)
        return measure(params, should_stop)

    def interrupted(params: Params, should_stop: Callable[[], bool] | None) -> Mapping[str, Any]:
        raise KeyboardInterrupt

    run_sweep(job_in(out, "grid"), said.append, removed)
    assert said[0] == f"--out {out} was removed or renamed during the sweep: it is made again, and the results go there"
    assert (out / "best.toml").is_file()
    said.clear()
    with pytest.raises(KeyboardInterrupt):
        run_sweep(job_in(out, "grid"), said.append, interrupted)
    assert said == [f"what was measured is in {out}: go on with the same command and --resume"]


def test_an_earlier_sweep_is_never_mixed_with_another_one(tmp_path: Path) -> None:
    run_sweep(job_in(tmp_path), silent, measure_on(SCENARIOS[0]))
    with pytest.raises(PerfError, match="holds an earlier sweep: go on with --resume, or choose another --out"):
        run_sweep(job_in(tmp_path), silent, measure_on(SCENARIOS[0]))
    with pytest.raises(PerfError, match="was begun with another repeats: repeat its options"):
        run_sweep(job_in(tmp_path, is_resumed=True, n_repeats=2), silent, measure_on(SCENARIOS[0]))


def test_the_table_marks_the_best_and_what_cannot_be_told_from_it(tmp_path: Path) -> None:
    finding = run_sweep(job_in(tmp_path, "grid"), silent, measure_on(SCENARIOS[1], 0.005))
    rows = list(csv.DictReader(io.StringIO((tmp_path / "sweep.csv").read_text())))
    assert len(rows) == len(SPACE)
    assert [row["is_best"] for row in rows].count("True") == 1
    assert finding.best is not None
    assert finding.best.params["workers"] == 4
    assert finding.low < best_of(SCENARIOS[1]) < finding.high * 1.01
    assert finding.noise == pytest.approx(0.005, rel=0.5)
    assert finding.cheapest is not None
    assert finding.cheapest.key in {trial.key for trial in finding.same}


def trial(values: list[float], **params: int) -> Trial:
    runs = tuple(Run(dict(params), i, OK, value, "", {}) for i, value in enumerate(values))
    return Trial(dict(params), runs)


def test_conclusions_say_where_the_noise_hides_the_differences() -> None:
    near = [trial([101, 104, 99], batch=1, workers=3), trial([101, 97, 102], batch=1, workers=1)]
    said = conclusions(analyse(near), Objective())
    assert said[0] == "best: batch=1 workers=3, 101.0 images/s (95 %: 96.9 to 105.3)"
    assert said[1] == "the noise (2.57 % a run) hides differences below 6.0 %: 1 other cannot be told from the best"
    assert said[2] == "the same, but cheaper: batch=1 workers=1, 101.0 images/s"
    wild = [trial([100, 300], batch=1), trial([90, 250], batch=2)]
    assert "hides whatever differences there are" in conclusions(analyse(wild), Objective())[1]
    far = [trial([100, 100.1, 99.9], batch=1), trial([90, 90.1, 89.9], batch=2)]
    assert conclusions(analyse(far), Objective())[1].startswith("no other combination comes as near as 0.2 %")
    once = conclusions(analyse([trial([100], batch=1)]), Objective())
    assert once[1].startswith("nothing was repeated: the noise is not known")
    assert conclusions(analyse([]), Objective()) == ["no trial gave a result: nothing can be said"]
    assert math.isnan(analyse([]).noise)


def altered(measure: Callable[..., Mapping[str, Any]], key: str, **changes: Any) -> Callable[..., Mapping[str, Any]]:
    def changed(params: Params, stop: Any) -> Mapping[str, Any]:
        document = dict(measure(params, stop))
        return document | changes if key_of(params) == key else document

    return changed


def test_a_trial_that_predicts_otherwise_is_rejected_however_fast_it_is(tmp_path: Path) -> None:
    wrong = "batch=4 workers=4 window=2 slots=auto"
    fast = {"throughput": {"end_to_end_per_s": 9999.0, "wall_s": 0.1}, "predictions_sha256": "other"}
    finding = run_sweep(job_in(tmp_path / "a", "grid"), silent, altered(measure_on(SCENARIOS[0]), wrong, **fast))
    assert finding.best is not None
    assert finding.best.key != wrong
    rejected = next(t for t in trials_of(read_sweep(tmp_path / "a").runs) if t.key == wrong)
    assert (rejected.status, rejected.runs[0].why) == ("rejected", "its predictions differ from the first run's")
    plan = {"top1_within": 0.001}
    finding = run_sweep(
        job_in(tmp_path / "b", "grid", **plan), silent, altered(measure_on(SCENARIOS[0]), wrong, **fast)
    )
    assert finding.best is not None
    assert finding.best.key == wrong


def test_a_latency_bound_leaves_out_what_is_above_it(tmp_path: Path) -> None:
    plan = SweepPlan(Objective("throughput", max_latency_ms=20.0))
    job = SweepJob(SPACE, [], "grid", N_TRIALS, plan, tmp_path)
    finding = run_sweep(job, silent, measure_on(SCENARIOS[0]))
    assert finding.best is not None
    assert finding.best.runs[0].document["latency_ms"]["p99"] <= 20.0
    allowed = [p for p in SPACE.grid() if 1e3 * p["batch"] * p["window"] / SCENARIOS[0].rate(p) <= 20.0]  # type: ignore[operator]
    assert SCENARIOS[0].rate(finding.best.params) == max(SCENARIOS[0].rate(params) for params in allowed)
    assert "over the bound" in csv_of(trials_of(read_sweep(tmp_path).runs), finding)


def test_images_per_cpu_second_prefers_fewer_decoders(tmp_path: Path) -> None:
    job = SweepJob(SPACE, [], "grid", N_TRIALS, SweepPlan(Objective("images-per-cpu-s")), tmp_path)
    finding = run_sweep(job, silent, measure_on(SCENARIOS[0]))
    assert finding.best is not None
    assert finding.best.params["workers"] == 1


def test_a_trial_that_fails_is_named_and_the_sweep_goes_on(tmp_path: Path) -> None:
    measure, lines = measure_on(SCENARIOS[0]), []

    def failing(params: Params, stop: Any) -> Mapping[str, Any]:
        if params["batch"] == 32:
            raise PerfError("arena too large")
        return measure(params, stop)

    run_sweep(job_in(tmp_path, "grid"), lines.append, failing)
    assert "batch=32 workers=1 window=1 slots=auto: failed (arena too large)" in "\n".join(lines)

    def hopeless(params: Params, stop: Any) -> Mapping[str, Any]:
        raise PerfError("no images")

    with pytest.raises(PerfError, match="no images"):
        run_sweep(job_in(tmp_path / "none", "grid"), silent, hopeless)


def test_a_trial_that_cannot_win_any_more_is_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(driver, "LEAST_START_S", 0.01)
    measure = measure_on(SCENARIOS[0])

    def stuck(params: Params, should_stop: Callable[[], bool] | None) -> Mapping[str, Any]:
        document = dict(measure(params, None))
        document["throughput"] = document["throughput"] | {"wall_s": 0.01}
        if params["batch"] != 32 or params["workers"] != 4:
            return document
        assert should_stop is not None
        deadline_s = time.monotonic() + 60
        while not should_stop():
            assert time.monotonic() < deadline_s
        return document | {"interrupted": True}

    space = Space({"batch": (16, 32), "workers": (3, 4)})
    job = SweepJob(space, [], "grid", N_TRIALS, SweepPlan(Objective()), tmp_path)
    full: Params = {"window": 2, "slots": "auto"}
    run_sweep(job, silent, lambda params, stop: stuck({**params, **full}, stop))
    statuses = {t.key: t.status for t in trials_of(read_sweep(tmp_path).runs)}
    assert statuses["batch=32 workers=4"] == "stopped"
    assert set(statuses.values()) == {"ok", "stopped"}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["wrokers=1"], "unknown option to sweep 'wrokers', did you mean 'workers'?"),
        (["workers"], "--grid 'workers': needed something like workers=1,2,3"),
        (["batch=1,x"], "--grid batch=1,x: 'x' is no value for batch, needed numbers from 1 to 4096"),
        (["batch=0"], "'0' is no value"),
        (["batch=auto"], "'auto' is no value"),
        (["batch=1", "batch=2"], "--grid names batch twice"),
        ([], "nothing to sweep"),
    ],
)
def test_a_grid_that_cannot_be_is_refused(words: list[str], message: str) -> None:
    with pytest.raises(EngineError) as caught:
        parse_space(words)
    assert message in str(caught.value)
