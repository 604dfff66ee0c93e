"""A command that is disturbed while it runs, and what an undisturbed one predicts."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench.running import Running
from tests.conftest import DataSet, run_engine

#: Passes over the images: about three seconds on four simulated chips at batch 4.
REPEAT = 60


@pytest.fixture(scope="session")
def undisturbed(small_data: DataSet, tmp_path_factory: pytest.TempPathFactory) -> dict[str, object]:
    out = tmp_path_factory.mktemp("undisturbed")
    finished = run_engine(*arguments(small_data, out, repeat=1))
    assert finished.returncode == 0, finished.stderr
    return read_run(out)


def arguments(data: DataSet, out: Path, repeat: int = REPEAT, backend: str = "sim") -> list[object]:
    model = ["--model", "fingerprint"] if backend == "sim" else []
    sizes = ["--batch", 4, "--workers", 2, "--repeat", repeat]
    return ["run", "--data", data.folder, "--labels", data.labels, "--backend", backend, *model, *sizes, "--out", out]


def read_run(out: Path) -> dict[str, object]:
    document: dict[str, object] = json.loads((out / "run.json").read_text())
    return document


@pytest.fixture
def running(request: pytest.FixtureRequest) -> Iterator[list[Running]]:
    """Commands put into this list are killed at the end of the test, whatever happened."""
    commands: list[Running] = []
    yield commands
    for command in commands:
        command.kill()


def statuses(out: Path) -> dict[str, str]:
    """Status by sample, from predictions.csv."""
    with (out / "predictions.csv").open(newline="") as file:
        return {row["sample"]: row["status"] for row in csv.DictReader(file)}
