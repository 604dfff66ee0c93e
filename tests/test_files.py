"""Files are whole or absent, and the cache finds a place."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from engine import files
from engine.cli import reported
from engine.errors import ResourceError
from engine.leftovers import remove_results


def test_a_failed_write_leaves_the_old_file(tmp_path: Path) -> None:
    target = tmp_path / "file"
    files.atomic_write(target, b"old")
    with pytest.raises(ZeroDivisionError), files.atomic_path(target) as temporary:  # noqa: PT012
        temporary.write_bytes(b"half")
        raise ZeroDivisionError
    assert target.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [target]


def test_results_that_a_killed_run_was_writing_are_removed_by_the_next_one(tmp_path: Path) -> None:
    names = ("run.json", "predictions.csv", "perf_vision_batchsize_4_device_0.txt", "journal.records")
    for name in (*names, "mine.csv"):
        files.temporary_beside(tmp_path / name).touch()
        (tmp_path / name).touch()
    remove_results(tmp_path)
    left = sorted(path.name for path in tmp_path.iterdir() if not path.name.startswith(".mine.csv."))
    assert left == ["journal.records", "mine.csv"]


def test_a_full_disk_is_a_resource_error(tmp_path: Path) -> None:
    match = r"writing .*file needs 2\.0 MiB but its disk has \d+\.\d [KM]iB free: make room"
    with pytest.raises(ResourceError, match=match), files.atomic_path(tmp_path / "file", 2 << 20) as temporary:  # noqa: PT012
        temporary.write_bytes(b"half")
        raise OSError(errno.ENOSPC, "No space left on device")
    assert list(tmp_path.iterdir()) == []


def test_the_cache_follows_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert files.cache_dir("models") == tmp_path / "engine" / "models"
    assert files.cache_dir("models").is_dir()


def test_an_unusable_cache_is_replaced_by_a_temporary_one_and_said_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    blocked = tmp_path / "blocked"
    blocked.write_bytes(b"a file where a folder should be")
    monkeypatch.setenv("XDG_CACHE_HOME", str(blocked))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    folder = files.cache_dir("models")
    assert files.cache_dir("models") == folder == tmp_path / f"engine-cache-{os.getuid()}" / "models"
    message = capsys.readouterr().err
    assert message.count("is not writable") == 1
    assert "Not a directory" in message or "File exists" in message


def test_a_temporary_cache_that_others_can_write_is_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    foreign = tmp_path / f"engine-cache-{os.getuid()}"
    foreign.mkdir()
    foreign.chmod(0o777)
    (tmp_path / "blocked").write_bytes(b"")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "blocked"))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    assert files.cache_dir().parent == tmp_path
    assert files.cache_dir() != foreign


def test_what_a_killed_process_left_in_the_cache_is_removed_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    folder = files.cache_dir("demo")
    young, old_file, old_folder = (files.temporary_beside(folder / "images") for _ in range(3))
    young.mkdir()
    old_file.touch()
    old_folder.mkdir()
    (old_folder / "img_1.JPEG").touch()
    for path in (old_file, old_folder):
        os.utime(path, (0, 0))
    kept = folder / "images"
    kept.mkdir()
    os.utime(kept, (0, 0))
    assert files.cache_dir("demo") == folder
    assert set(folder.iterdir()) == {young, kept}


def test_a_failing_disk_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    def fails() -> None:
        raise OSError(errno.EIO, "Input/output error", "/mnt/out/run.json")

    with pytest.raises(SystemExit) as caught:
        reported(fails)
    assert caught.value.code == ResourceError.exit_code
    said = "engine: /mnt/out/run.json: Input/output error: its disk or mount fails, use another one\n"
    assert capsys.readouterr().err == said
