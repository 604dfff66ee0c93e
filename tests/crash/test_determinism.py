"""What must not matter does not: one hash of predictions, and the same files but for times."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Iterator
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


#: Fields of run.json that hold times, rates and what else is measured; * is any one part. All others are the same.
MEASURED = (
    *("throughput", "stages", "slots", "processes", "cpu_s", "latency_ms", "timeline", "steady", "reconciliation"),
    *("verdict", "environment/memory_available_mib", "environment/load_1m", "config/out"),
    *(f"devices/*/{name}_percent" for name in ("execute", "idle", "full", "pressed", "skew")),
    *(f"devices/*/{name}" for name in ("interface_per_s", "utilisation", "images_per_s")),
    *(f"devices/*/{name}_ms_per_batch" for name in ("h2d", "execute", "d2h")),
)


def test_two_runs_write_the_same_files_but_for_times(small_data: DataSet, tmp_path: Path) -> None:
    """Byte for byte, run.json and perf files but for what is measured; the second run is elsewhere in every respect."""
    outs = [tmp_path / "a", tmp_path / "b"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), **ENVIRONMENTS["hash seed, locale, time zone"][1]}
    elsewhere = {"cwd": "/", "env": environment, "preexec_fn": lambda: os.umask(0o077)}
    for out, options in zip(outs, ({"cwd": ROOT}, elsewhere), strict=True):
        finished = run_engine(*arguments(small_data, out, repeat=1), "--devices", 0, "--dump", "bin", **options)
        assert finished.returncode == 0, finished.stderr
    first, second = ({str(p.relative_to(out)) for p in out.rglob("*") if p.is_file()} for out in outs)
    assert first == second
    assert {"run.json", "result.json", "predictions.csv"} <= first
    for name in first - {"run.json"}:
        ours, theirs = ((out / name).read_text(errors="surrogateescape") for out in outs)
        if name.startswith("perf_vision"):
            ours, theirs = (re.sub(r"[0-9.]+", "N", text) for text in (ours, theirs))
        assert ours == theirs, name
    documents = (dict(leaves(json.loads((out / "run.json").read_text()))) for out in outs)
    ours_of, theirs_of = ({path: value for path, value in d.items() if not is_measured(path)} for d in documents)
    differing = {path for path in ours_of.keys() | theirs_of.keys() if ours_of.get(path) != theirs_of.get(path)}
    assert differing - {"environment/cwd_git/revision", "environment/cwd_git/is_dirty"} == set()
    assert len(ours_of) > 80


def leaves(value: object, path: str = "") -> Iterator[tuple[str, object]]:
    """(path, value) of everything in a document that is no list or map."""
    if isinstance(value, (dict, list)):
        for name, inner in value.items() if isinstance(value, dict) else enumerate(value):
            yield from leaves(inner, f"{path}/{name}".lstrip("/"))
    else:
        yield path, value


def is_measured(path: str) -> bool:
    parts = path.split("/")
    return any(
        all(wanted in ("*", part) for wanted, part in zip(name.split("/"), parts, strict=False))
        for name in MEASURED
        if len(name.split("/")) <= len(parts)
    )
