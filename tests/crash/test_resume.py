"""Killed at any moment, a run goes on where it was, and ends with the same predictions."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from bench.running import Running
from engine.journal import JOURNAL, SET_ASIDE
from tests.conftest import DataSet, run_engine
from tests.crash.conftest import REPEAT, arguments, read_run

#: Bytes of the header of these runs' journals and of a whole journal, about: 37 samples with scores, and 60 x 10 slots.
HEADER_BYTES = 600
WHOLE_BYTES = 18_000


def killed_at(fraction: float, data: DataSet, out: Path, running: list[Running]) -> None:
    """A run whose hub is killed once its journal holds about this fraction."""
    command = Running(out / "stderr.txt", *arguments(data, out))
    running.append(command)
    journal = out / JOURNAL
    command.wait_until_working()
    command.wait_for(lambda: journal.stat().st_size > HEADER_BYTES + fraction * WHOLE_BYTES)
    os.kill(command.process.pid, signal.SIGKILL)
    assert command.finish()[0] == -signal.SIGKILL


@pytest.mark.parametrize(
    "fraction", [pytest.param(0.01, marks=pytest.mark.heavy), 0.5, pytest.param(0.8, marks=pytest.mark.heavy)]
)
def test_a_killed_run_is_resumed_to_the_same_predictions(
    fraction: float, small_data: DataSet, undisturbed: dict[str, object], running: list[Running], tmp_path: Path
) -> None:
    """With a torn record at the end of its journal, other sizes and another folder to start from."""
    killed_at(fraction, small_data, tmp_path, running)
    with (tmp_path / JOURNAL).open("ab") as file:
        file.write(b"\xe5REC torn")
    root = str(Path(__file__).parents[2])
    sizes = ("--batch", 8, "--workers", 1, "--devices", "0-1")
    resumed = run_engine("run", "--resume", tmp_path, *sizes, cwd="/", env={**os.environ, "PYTHONPATH": root})
    assert resumed.returncode == 0, resumed.stderr
    assert f"{tmp_path / JOURNAL}: a torn end of" in resumed.stdout
    document = read_run(tmp_path)
    assert document["predictions_sha256"] == undisturbed["predictions_sha256"]
    dataset, paths = document["dataset"], document["decode_paths"]
    assert isinstance(dataset, dict)
    assert isinstance(paths, dict)
    n_samples = small_data.n_images * REPEAT
    assert dataset["n_scored"] == n_samples
    assert 0 < dataset["n_restored"] < n_samples
    assert sum(paths.values()) == n_samples - dataset["n_restored"]
    assert not (tmp_path / JOURNAL).exists()


def test_what_cannot_be_resumed_is_refused_with_the_difference(
    small_data: DataSet, running: list[Running], tmp_path: Path
) -> None:
    killed_at(0.01, small_data, tmp_path, running)
    other = run_engine("run", "--resume", tmp_path, "--preset", "inceptionv3", "--repeat", "7")
    assert other.returncode == 2
    assert (
        f"{tmp_path / JOURNAL} is of another run: preset was resnet, is inceptionv3; repeat was 60, is 7"
        in other.stderr
    )
    (small_data.folder.parent / "fewer.txt").write_text("img_1.JPEG 3\n")
    fewer = run_engine("run", "--resume", tmp_path, "--limit", "36")
    assert fewer.returncode == 2
    assert "images was 37, is 36" in fewer.stderr
    elsewhere = run_engine("run", "--resume", tmp_path, "--out", tmp_path / "b")
    assert elsewhere.returncode == 2
    nothing = run_engine("run", "--resume", tmp_path / "b")
    assert nothing.returncode == 3
    assert f"no {JOURNAL} in {tmp_path / 'b'}: nothing to resume" in nothing.stderr
    (tmp_path / JOURNAL).write_bytes(b"no journal at all")
    foreign = run_engine("run", "--resume", tmp_path)
    assert foreign.returncode == 3
    assert "is no record file of the engine" in foreign.stderr


def test_the_journal_of_an_unfinished_run_is_not_lost_to_a_new_one(
    small_data: DataSet, running: list[Running], tmp_path: Path
) -> None:
    killed_at(0.01, small_data, tmp_path, running)
    again = run_engine(*arguments(small_data, tmp_path, repeat=1))
    assert again.returncode == 0, again.stderr
    assert f"the journal of an unfinished run in {tmp_path} is set aside as {SET_ASIDE}" in again.stdout
    assert (tmp_path / SET_ASIDE).stat().st_size > 0


def test_the_second_run_into_a_folder_is_refused(small_data: DataSet, running: list[Running], tmp_path: Path) -> None:
    command = Running(tmp_path / "stderr.txt", *arguments(small_data, tmp_path, repeat=100_000, backend="null"))
    running.append(command)
    command.wait_until_working()
    second = run_engine(*arguments(small_data, tmp_path))
    assert second.returncode == 13
    assert f"another run is writing into --out {tmp_path}" in second.stderr
    os.kill(command.process.pid, signal.SIGINT)
    assert command.finish()[0] == 130
