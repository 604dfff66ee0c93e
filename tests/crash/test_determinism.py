"""What must not matter does not: one hash of predictions, and the same files but for times."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest

from tests.conftest import DataSet, run_engine
from tests.crash.conftest import arguments, read_run

ROOT = Path(__file__).parents[2]
ENVIRONMENTS = {
    "spawn": (("--start-method", "spawn"), {}),
    "hash seed, locale, time zone": ((), {"PYTHONHASHSEED": "77", "LC_ALL": "C", "TZ": "Asia/Kathmandu"}),
    "sizes": (("--batch", 3, "--workers", 1, "--devices", "0-2", "--window", 1, "--feeders", 2), {}),
}


@pytest.mark.parametrize("name", ENVIRONMENTS)
def test_predictions_are_the_same_everywhere(
    name: str, small_data: DataSet, undisturbed: dict[str, object], tmp_path: Path
) -> None:
    """Also from another folder, under another umask, and with the files listed in another order."""
    options, environment = ENVIRONMENTS[name]
    folder = tmp_path / "copied"
    folder.mkdir()
    for path in sorted(small_data.folder.iterdir(), reverse=True):
        shutil.copy(path, folder)
    data = DataSet(folder, small_data.labels, small_data.n_images)
    finished = run_engine(
        *arguments(data, tmp_path / "out", repeat=1),
        *options,
        cwd="/",
        env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
        preexec_fn=lambda: os.umask(0o077),
    )
    assert finished.returncode == 0, finished.stderr
    assert read_run(tmp_path / "out")["predictions_sha256"] == undisturbed["predictions_sha256"]


def test_two_runs_write_the_same_files_but_for_times(small_data: DataSet, tmp_path: Path) -> None:
    """predictions.csv, result.json and dumps byte for byte; run.json outside of what measures time or memory."""
    outs = [tmp_path / "a", tmp_path / "b"]
    for out in outs:
        finished = run_engine(*arguments(small_data, out, repeat=1), "--devices", 0, "--dump", "bin")
        assert finished.returncode == 0, finished.stderr
    first, second = ({str(p.relative_to(out)) for p in out.rglob("*") if p.is_file()} for out in outs)
    assert first == second
    for name in first - {"run.json"}:
        if not name.startswith("perf_vision"):
            assert (outs[0] / name).read_bytes() == (outs[1] / name).read_bytes(), name
    same = ("model", "dataset", "accuracy", "accuracy_of_scored", "decode_paths", "simulated", "profile", "error")
    ours, theirs = (json.loads((out / "run.json").read_text()) for out in outs)
    assert {key: ours[key] for key in same} == {key: theirs[key] for key in same}
    assert ours.keys() == theirs.keys()
