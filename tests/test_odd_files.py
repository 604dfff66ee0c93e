"""Files with odd names, and entries that are no files: listed by name, printed harmlessly, nothing waits for them."""

from __future__ import annotations

import io
import os
import shutil
from pathlib import Path

import pytest

from engine.checkdata import CheckRequest, check_data
from engine.errors import TooManyFailures
from engine.predictions_csv import read_rows
from engine.terminal import printable, shown
from tests.conftest import DataSet, run_engine

NAMES = {
    "bytes": b"no\xfftext.JPEG",
    "escape": b"\x1b[31mred.JPEG",
    "lines": b"two\nlines.JPEG",
}


def test_entries_that_are_no_files_are_failed_by_name(small_data: DataSet, tmp_path: Path) -> None:
    """A link to itself, one to nowhere, one to a device without an end, a pipe that nobody writes, an empty file."""
    shutil.copy(small_data.folder / "img_1.JPEG", tmp_path / "a.JPEG")
    for name, target in (("loop", "loop.JPEG"), ("nowhere", "gone"), ("zeros", "/dev/zero")):
        os.symlink(target, tmp_path / f"{name}.JPEG")
    os.mkfifo(tmp_path / "pipe.JPEG")
    (tmp_path / "empty.JPEG").touch()
    (tmp_path / "folder.JPEG").mkdir()
    said: list[str] = []
    with pytest.raises(TooManyFailures, match="5 of 6 images cannot be decoded"):
        check_data(CheckRequest(tmp_path, quarantine=tmp_path / "list.txt", workers=1), said.append)
    assert (tmp_path / "list.txt").read_text().splitlines() == [
        "empty.JPEG\tthe file is empty",
        "loop.JPEG\tcannot be read: Too many levels of symbolic links",
        "nowhere.JPEG\tcannot be read: No such file or directory",
        "pipe.JPEG\tis no regular file",
        "zeros.JPEG\tis no regular file",
    ]


@pytest.mark.parametrize("encoding", ["utf-8:strict", "ascii:strict"])
def test_names_of_any_bytes_are_spelled_out_and_end_no_run(encoding: str, tmp_path: Path) -> None:
    """In every desktop's locale a byte that is no text cannot be printed as it is; an escape must not be."""
    for name in NAMES.values():
        (tmp_path / os.fsdecode(name)).write_bytes(b"no image")
    environment = os.environ | {"PYTHONIOENCODING": encoding}
    finished = run_engine("check-data", tmp_path, "--workers", 1, env=environment)
    assert finished.returncode == 8, finished.stderr
    shown_names = r"no\xfftext.JPEG, two\nlines.JPEG, \x1b[31mred.JPEG"
    assert sorted(finished.stdout.splitlines()[-1].partition("; ")[2].split(", ")) == sorted(shown_names.split(", "))


def test_what_is_shown_keeps_lines_and_letters_that_the_stream_has() -> None:
    latin = io.TextIOWrapper(io.BytesIO(), encoding="latin-1")
    assert shown("é\n日\t\x9b\udcfe\r", latin) == "é\n\\u65e5\t\\x9b\\xfe\\r"
    assert printable("a\nb\tc\ud800") == r"a\nb\tc\ud800"


def test_predictions_are_read_with_the_names_that_the_folder_has_in_any_locale(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = "日.JPEG".encode() + b"\xff"
    (tmp_path / "predictions.csv").write_bytes(b"sample,rank\n" + name + b",1\n")
    for encoding in ("utf-8", "ascii"):
        monkeypatch.setattr("sys.getfilesystemencoding", lambda encoding=encoding: encoding)
        rows = read_rows(tmp_path / "predictions.csv")
        assert rows == [{"sample": name.decode(encoding, "surrogateescape"), "rank": "1"}]
