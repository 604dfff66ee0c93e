"""Real runs of a few seconds with a known bottleneck: what the engine says limits them."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jsonschema
import pytest

import engine
from tests.conftest import DataSet, run_engine

PROFILE = """\
model = "test"
soc = "Ascend310"
source = "made up for a test"
[execute]
ms = {{ "4" = {ms} }}
[copy]
h2d_pinned_gb_per_s = {gb_per_s}
"""
#: What sums by different clocks may differ by, in percent.
RECONCILED_PERCENT = 1.0


@dataclass(frozen=True)
class Case:
    """Rates of the simulated chips at batch 4 (2.4 MB), options that make the bottleneck, and what must be said."""

    ms: float
    options: str
    bottleneck: str
    said: str
    gb_per_s: float = 2.75


CASES = {
    "chips": Case(
        100, "--devices 0-1 --window 4", "chip-bound", r"2 chips are (9\d|100) % busy and give [78]\d images/s"
    ),
    "one slow chip": Case(
        60,
        "--devices 0-3 --window 4 --sim-slow 2=0.4",
        "slow-chip",
        r"chip 2 executes 27 images/s where the others do 67",
    ),
    "few decoders": Case(
        1,
        "--devices 0-3 --workers 1",
        "decode-bound",
        r"1 decoder at ([789]\d|100) % busy gives? [\d,]+ images/s, the chips",
    ),
    "slow disk": Case(
        5,
        "--devices 0-3 --inject read-ms=10",
        "read-bound",
        r"2 decoders at (9\d|100) % busy .* they wait for the disk",
    ),
    "small window": Case(
        20, "--devices 0 --window 1", "window-bound", r"batches ready \d+ % of it that --window 1 keeps back", 0.2
    ),
    "few slots": Case(60, "--devices 0-3 --slots 2", "slot-bound", r"2 slots are never free"),
    "slow consumer": Case(5, "--devices 0-3 --inject rank-ms=25", "hub-bound", r"the hub is (9\d|100) % busy"),
    "slow copies": Case(5, "--devices 0 --window 3", "copy-bound", r"copies take (9\d|100) % of the chips' time", 0.05),
}

#: Always run; the others are heavy.
QUICK_CASES = ("slow disk", "few slots", "slow consumer")
CASE_PARAMETERS = [
    pytest.param(case, id=name, marks=() if name in QUICK_CASES else pytest.mark.heavy) for name, case in CASES.items()
]


def measured(data: DataSet, out: Path, case: Case, model: str = "fingerprint") -> tuple[dict[str, Any], str]:
    """run.json and what was printed."""
    profile = out.parent / "profile.toml"
    profile.write_text(PROFILE.format(ms=case.ms, gb_per_s=case.gb_per_s))
    inputs = ["--data", data.folder, "--labels", data.labels, "--model", model, "--backend", "sim"]
    sizes = ["--batch", 4, "--workers", 2, "--min-duration", 2.5, "--profile", profile, "--out", out]
    finished = run_engine("run", *inputs, *sizes, *case.options.split())
    assert finished.returncode == 0, finished.stderr
    document: dict[str, Any] = json.loads((out / "run.json").read_text())
    return document, finished.stdout


@pytest.mark.parametrize("case", CASE_PARAMETERS)
def test_the_verdict_names_the_bottleneck_and_the_sums_agree(case: Case, small_data: DataSet, tmp_path: Path) -> None:
    """Sums by different clocks agree within 1 % whatever the bottleneck; the verdict is printed, folded."""
    document, printed = measured(small_data, tmp_path / "out", case)
    verdict = document["verdict"]
    assert verdict["bottleneck"] == case.bottleneck, verdict
    assert re.search(case.said, verdict["text"]), verdict
    jsonschema.validate(
        document, json.loads((Path(engine.__file__).parent / "schemas" / "run.schema.json").read_text())
    )
    assert max(document["reconciliation"].values()) < RECONCILED_PERCENT, document["reconciliation"]
    check_shares(document)
    assert " ".join(printed.split()).count(verdict["text"]) == 1
    lines = [
        line for line in printed.splitlines() if not line.startswith(("results in", "backend ", "SIMULATED"))
    ]  # paths
    assert max(map(len, lines)) <= 80, max(lines, key=len)


def test_simulated_chips_that_wait_for_their_scores_are_not_blamed(small_data: DataSet, tmp_path: Path) -> None:
    """Four chips of 1,000 images/s each by the profile; the model's numbers are computed on this CPU."""
    case = Case(4, "--devices 0-3 --min-duration 1.5", "numerics-bound", "")
    document, _ = measured(small_data, tmp_path / "out", case, "lite0")
    assert document["verdict"]["bottleneck"] == case.bottleneck, document["verdict"]
    said = (
        r"scores on this CPU, [\d.]+ ms an image: for their [\d,]+ images/s [\d.]+ cores would be needed, there are \d"
    )
    assert re.search(said, document["verdict"]["evidence"])
    assert document["verdict"]["remedy"].startswith("--model fingerprint shows the pipeline at the chips' rate")
    assert max(document["reconciliation"].values()) < RECONCILED_PERCENT, document["reconciliation"]


def check_shares(document: dict[str, Any]) -> None:
    """What must hold between the figures of any run, by other sums than those that made them."""
    wall_s, n_images = document["throughput"]["wall_s"], document["dataset"]["n_samples"]
    for process in document["processes"]:
        total = process["busy_percent"] + process["starved_percent"] + process["blocked_percent"]
        assert total == pytest.approx(100, abs=RECONCILED_PERCENT), process
        assert process["covered_s"] == pytest.approx(wall_s, rel=RECONCILED_PERCENT / 100, abs=0.05), process
    assert document["cpu_s"] == pytest.approx(sum(process["cpu_s"] for process in document["processes"]))
    for name, stage in document["stages"].items():  # a stage that is busy x % of its time does x % of what it could
        if stage["images_per_s"] and name != "slot_wait":
            done = n_images / wall_s / stage["images_per_s"]
            assert 100 * done == pytest.approx(stage["busy_percent"], rel=0.05, abs=0.5), name
    assert all(device["n_images"] for device in document["devices"])  # the interface rate is that of all chips
    slots = document["slots"]
    assert sum(slots["mean"].values()) == pytest.approx(slots["n_slots"])
    timeline = document["timeline"]
    assert sum(timeline["images"]) <= n_images
    for free, filling, ready, in_flight in zip(
        *(timeline[name] for name in ("free_slots", "filling_slots", "ready_slots", "in_flight")), strict=True
    ):
        assert free + filling + ready + in_flight == pytest.approx(slots["n_slots"], abs=0.01)
    latency = document["latency_ms"]
    assert latency["p50"] <= latency["p90"] <= latency["p95"] <= latency["p99"] <= latency["max"]
    assert sum(latency["histogram"]["counts"]) == n_images
    steady = document["steady"]
    assert 0 <= steady["from_s"] < steady["to_s"] <= wall_s * 1.05
    low, high = steady["interval_95_percent"] or [0, 1e9]
    assert low <= steady["images_per_s"] <= high
