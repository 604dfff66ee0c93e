"""Runs of the whole engine on simulated chips with faults: `faulty(...)` runs one and gives what it left."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import DataSet, run_engine

#: Passes over the 37 images.
REPEAT = 12


@dataclass(frozen=True)
class Finished:
    """A run that has ended."""

    code: int
    errors: str
    document: dict[str, Any]

    @property
    def lost(self) -> dict[int, str]:
        """Why each lost chip was lost."""
        return {device["device"]: device["lost"] for device in self.document["devices"] if device["lost"]}

    def is_complete(self) -> bool:
        """Every sample was scored, once."""
        dataset = self.document["dataset"]
        return bool(dataset["n_scored"] == dataset["n_samples"] and not dataset["n_inconsistent"])


Faulty = Callable[..., Finished]


@pytest.fixture
def faulty(small_data: DataSet, tmp_path: Path) -> Faulty:
    """``faulty("--sim-faults", ...)``: four chips, batch 4, 12 passes over 37 images."""

    def run(*options: object) -> Finished:
        flags = ["--data", small_data.folder, "--labels", small_data.labels, "--backend", "sim"]
        sizes = ["--model", "fingerprint", "--batch", 4, "--repeat", REPEAT, "--workers", 2]
        finished: subprocess.CompletedProcess[str] = run_engine("run", *flags, *sizes, *options, "--out", tmp_path)
        path = tmp_path / "run.json"
        return Finished(finished.returncode, finished.stderr, json.loads(path.read_text()) if path.exists() else {})

    return run


@pytest.fixture(scope="session")
def right_sha256(small_data: DataSet, tmp_path_factory: pytest.TempPathFactory) -> str:
    """`predictions_sha256` of an undisturbed run over the same images."""
    out = tmp_path_factory.mktemp("right")
    flags = ["--data", small_data.folder, "--labels", small_data.labels, "--backend", "sim"]
    finished = run_engine("run", *flags, "--model", "fingerprint", "--batch", 16, "--out", out)
    assert finished.returncode == 0, finished.stderr
    return str(json.loads((out / "run.json").read_text())["predictions_sha256"])
