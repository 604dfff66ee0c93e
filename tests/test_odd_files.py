"""Files with odd names, and entries that are no files: listed by name, printed harmlessly, nothing waits for them."""

from __future__ import annotations

import io
import json
import os
import shutil
from pathlib import Path

import pytest
from PIL import Image

from engine.checkdata import CheckRequest, check_data
from engine.errors import TooManyFailures
from engine.predictions_csv import read_rows
from engine.terminal import printable, shown
from tests.conftest import DataSet, run_engine, sim

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


def broken_copy(data: DataSet, root: Path, kind: str) -> DataSet:
    """A copy of the data set whose img_3.JPEG is broken."""
    shutil.copytree(data.folder, root / "val")
    shutil.copy(data.labels, root / "val_label.txt")
    path = root / "val" / "img_3.JPEG"
    whole = path.read_bytes()
    if kind == "pipe":
        path.unlink()
        os.mkfifo(path)
    elif kind == "png":
        Image.open(path).convert("RGB").save(path, "PNG")
    else:
        path.write_bytes({"empty": b"", "text": b"no image", "truncated": whole[: len(whole) // 2]}[kind])
    return DataSet(root / "val", root / "val_label.txt", data.n_images)


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        ("pipe", "is no regular file"),
        ("empty", "the file is empty"),
        ("text", "cannot identify image file"),
        ("truncated", "image file is truncated"),
    ],
)
def test_a_broken_image_fails_by_name_and_too_many_fail_the_run(
    ten_images: DataSet, tmp_path: Path, kind: str, reason: str
) -> None:
    """One of ten is above 1 %: exit code 8, and the results are there nevertheless."""
    broken = broken_copy(ten_images, tmp_path, kind)
    finished = run_engine(*sim(broken, "--out", tmp_path / "out", "--batch", 4, "--devices", "0"))
    assert finished.returncode == 8
    assert finished.stderr.splitlines()[-1].startswith("engine: 1 of 10 images failed (10.00 %)")
    assert f"img_3.JPEG: {reason}" in finished.stdout
    document = json.loads((tmp_path / "out" / "run.json").read_text())
    counts = [document["dataset"][key] for key in ("n_samples", "n_scored", "n_failed")]
    assert counts == [10, 9, 1]
    rows = (tmp_path / "out" / "predictions.csv").read_text().splitlines()
    assert rows[3].startswith("img_3.JPEG,14,,,,")
    assert reason in rows[3]
    assert [row for row in rows[1:] if row.endswith(",SCORED")] == rows[1:3] + rows[4:]
    assert run_engine("verify", tmp_path / "out").stdout.splitlines()[-1] == "10 of 10 predictions identical"


def test_a_png_that_is_called_jpeg_is_an_image(ten_images: DataSet, tmp_path: Path) -> None:
    broken = broken_copy(ten_images, tmp_path, "png")
    finished = run_engine(*sim(broken, "--out", tmp_path / "out", "--devices", "0"))
    assert finished.returncode == 0, finished.stderr
    assert "FAILED" not in finished.stdout
    assert run_engine("verify", tmp_path / "out").stdout.splitlines()[-1] == "10 of 10 predictions identical"


def test_odd_names_are_names(ten_images: DataSet, tmp_path: Path) -> None:
    """Bytes that are no UTF-8, quotes, blanks, a BOM and CRLF in the label file, under two locales."""
    names = [b"caf\xe9.JPEG", b'fo,o"x.JPEG', "\u65e5\u672c.jpg".encode(), b"a b.jpeg", b"n.tar.JPG"]
    folder = tmp_path / "val"
    folder.mkdir()
    for name in names:
        shutil.copy(ten_images.folder / "img_1.JPEG", os.path.join(os.fsencode(folder), name))
    labels = tmp_path / "labels.txt"
    labels.write_bytes(b"\xef\xbb\xbf" + b"".join(name + b" 3\r\n" for name in names))
    for locale in ({}, {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}):
        out = tmp_path / f"out{len(locale)}"
        command = sim(DataSet(folder, labels, len(names)), "--out", out, "--devices", "0")
        finished = run_engine(*command, env={**os.environ, **locale})
        assert finished.returncode == 0, finished.stderr
        rows = (out / "predictions.csv").read_bytes().splitlines()
        assert len(rows) == 1 + len(names)
        assert all(row.endswith(b",SCORED") for row in rows[1:])
