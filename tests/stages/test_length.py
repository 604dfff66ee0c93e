"""How long a run lasts, and what the summary says of its speed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from engine.config import DEFAULT_PROFILE, RunConfig, for_publishing
from engine.ledger import SCORED, Ledger
from engine.summary_speed import chip_lines, latency_line, publish_lines, steady_lines, verdict_lines
from tests.conftest import DataSet, run_engine


@pytest.mark.parametrize(
    ("options", "n_at_least", "s_at_least"),
    [
        (["--min-images", 200], 200, 0.0),
        (["--min-duration", 1.5], 38, 1.5),
        (["--repeat", 2, "--min-images", 40], 74, 0.0),
    ],
    ids=["images", "duration", "both are less than the passes"],
)
def test_whole_passes_are_repeated_until_there_is_enough(
    options: list[object], n_at_least: int, s_at_least: float, small_data: DataSet, tmp_path: Path
) -> None:
    words = ["--data", small_data.folder, "--labels", small_data.labels, "--backend", "null", "--out", tmp_path]
    finished = run_engine("run", *words, "--no-log", *options)
    assert finished.returncode == 0, finished.stderr
    document = json.loads((tmp_path / "run.json").read_text())
    dataset = document["dataset"]
    assert dataset["n_scored"] == dataset["n_samples"] == dataset["repeat"] * small_data.n_images
    assert dataset["n_samples"] >= n_at_least
    assert document["throughput"]["wall_s"] >= s_at_least * 0.95
    if not s_at_least:
        assert dataset["n_samples"] - small_data.n_images < n_at_least  # and no pass more


def test_a_run_that_is_extended_settles_each_position_once() -> None:
    ledger = Ledger(3, 2, 2)
    for n_more in (0, 3, 0, 0):
        ledger.extend(n_more)
        slot = ledger.fill(0, 2)
        while slot is not None:
            ledger.filled(slot, 0)
            assert ledger.next_ready(0) == slot
            for position in ledger.positions(slot):
                ledger.settle(position, SCORED)
            ledger.done(slot, 0)
            slot = ledger.fill(0, 2)
    assert ledger.n_scored == ledger.n_positions == 6
    assert ledger.is_drained


def test_publish_needs_600_seconds_and_24576_images() -> None:
    config = for_publishing(RunConfig(Path("val"), profile="publish", min_duration=10, min_images=30_000))
    assert (config.min_duration, config.min_images, config.profile) == (600, 30_000, DEFAULT_PROFILE)
    kept = for_publishing(RunConfig(Path("val"), profile="resnet18-310", min_duration=900))
    assert (kept.min_duration, kept.min_images, kept.profile) == (900, 24_576, "resnet18-310")


STEADY = {
    "images_per_s": 500.0,
    "interval_95_percent": [497.5, 502.5],
    "is_unstable": False,
    "from_s": 1.0,
    "to_s": 11.0,
}


@pytest.mark.parametrize(
    ("changes", "lines"),
    [
        ({}, ["steady state            500.0 images/s  +-0.5 % at 95 %, without fill and drain"]),
        (
            {"interval_95_percent": [480.0, 520.0], "is_unstable": True},  # 8 % wide: 16 times as long makes it 2 %
            [
                "steady state            500.0 images/s  +-4.0 % at 95 %, without fill and drain",
                "  UNSTABLE          longer, e.g. --min-duration 160, or on a quieter host",
            ],
        ),
        (
            {"interval_95_percent": None, "is_unstable": True},
            [
                "steady state            500.0 images/s  too few results for an interval",
                "  UNSTABLE          longer, e.g. --min-duration 10, or on a quieter host",
            ],
        ),
    ],
)
def test_a_rate_is_printed_with_its_interval_and_unstable_with_a_remedy(
    changes: dict[str, Any], lines: list[str]
) -> None:
    assert steady_lines({**STEADY, **changes}) == lines


def test_chips_are_listed_where_one_differs_by_more_than_2_percent() -> None:
    chips = [{"device": n, "interface_per_s": 166.0, "skew_percent": 0.0, "execute_percent": 99.0} for n in range(3)]
    assert chip_lines([*chips, {**chips[0], "skew_percent": -1.9}]) == []
    slow = {"device": 3, "interface_per_s": 41.5, "skew_percent": -75.0, "execute_percent": 98.2}
    assert chip_lines([*chips, slow])[3] == ("  chip 3                 41.5 images/s  -75.0 % of the median, 98 % busy")


def test_latencies_verdict_and_publication_are_printed_with_their_values() -> None:
    latency = {"p50": 385.8, "p90": 434.7, "p95": 444.2, "p99": 479.2, "max": 510.4}
    assert latency_line(latency) == "latency                 385.8 ms p50  444.2 p95  479.2 p99  510.4 max"
    text = "chip-bound: 4 chips are 99 % busy and give 660 images/s, the decoders would take 1,180: more --devices"
    assert verdict_lines({"text": text}) == [
        "limit               chip-bound: 4 chips are 99 % busy and give 660 images/s, the",
        "                    decoders would take 1,180: more --devices",
    ]
    publish = {"is_valid": False, "reasons": ["it took 5 s of 600", "its rate is UNSTABLE"]}
    assert publish_lines({"config": {"inject": "read-ms=1"}, "publish": publish}) == [
        "INJECTED            read-ms=1: no figure of this host",
        "publish             NO: it took 5 s of 600, its rate is UNSTABLE",
    ]
