"""`engine info` lists what the guide's gen_dataset_info.py lists, in natural order."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.data.inprocess import call_engine
from tests.data.oracle import guide_info


def without_index(info: Path) -> list[str]:
    return sorted(line.partition(" ")[2] for line in info.read_text().splitlines())


@pytest.mark.parametrize("folder", ["prep", "./prep", "prep/", "./a b/../prep"])
def test_the_lines_are_the_guides_up_to_order(tmp_path: Path, folder: str, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "prep").mkdir()
    (tmp_path / "a b").mkdir()
    for i in (10, 9, 1):
        np.zeros((3, 32, 32), np.float32).tofile(tmp_path / "prep" / f"img_{i}.bin")
    (tmp_path / "prep" / "notes.txt").touch()
    (tmp_path / "prep" / ".hidden.bin").touch()
    monkeypatch.chdir(tmp_path)
    guide_info(folder, tmp_path / "guide.info", "32", "32")
    result = call_engine("info", folder, "ours.info", "--width", 32, "--height", 32)
    assert (result.returncode, result.stdout, result.stderr) == (0, "3 lines in ours.info\n", "")
    assert without_index(tmp_path / "ours.info") == without_index(tmp_path / "guide.info")
    lines = (tmp_path / "ours.info").read_text().splitlines()
    assert lines == [f"{i} {os.path.join(folder, f'img_{n}.bin')} 32 32" for i, n in enumerate((1, 9, 10))]


def test_files_of_another_size_are_warned_of(tmp_path: Path) -> None:
    np.zeros((3, 32, 32), np.float32).tofile(tmp_path / "a.bin")
    (tmp_path / "b.bin").write_bytes(bytes(99))
    result = call_engine("info", tmp_path, tmp_path / "x.info", "--width", 32, "--height", 32)
    assert result.returncode == 0
    assert (
        "WARNING: 1 of 2 files are no tensors of 32 x 32, such as b.bin with 99 bytes: needed 12288 bytes (float32) or"
        in (result.stderr)
    )


def test_tensors_in_class_folders_are_listed_too(tmp_path: Path) -> None:
    for name in ("n10/b.bin", "n2/a.bin"):
        (tmp_path / "p" / name).parent.mkdir(parents=True, exist_ok=True)
        np.zeros((3, 8, 8), np.float32).tofile(tmp_path / "p" / name)
    call_engine("info", tmp_path / "p", tmp_path / "x.info", "--width", 8, "--height", 8)
    folder = tmp_path / "p"
    assert (tmp_path / "x.info").read_text() == f"0 {folder}/n2/a.bin 8 8\n1 {folder}/n10/b.bin 8 8\n"


def test_jpegs_are_listed_with_their_own_sizes_as_opencv_turns_them(tmp_path: Path) -> None:
    image = Image.new("RGB", (40, 30))
    image.save(tmp_path / "plain.jpg")
    exif = Image.Exif()
    exif[0x0112] = 6
    image.save(tmp_path / "turned.JPEG", exif=exif)
    result = call_engine("info", tmp_path, tmp_path / "x.info", "--type", "jpg")
    assert result.stdout.startswith("2 lines in "), result.stderr
    expected = [f"0 {tmp_path}/plain.jpg 40 30", f"0 {tmp_path}/turned.JPEG 30 40"]
    assert (tmp_path / "x.info").read_text().splitlines() == expected


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["{tmp}/empty", "{tmp}/x.info"], 3, "no .bin files in {tmp}/empty: make them with engine preprocess SRC"),
        (["{tmp}/gone", "{tmp}/x.info"], 3, "folder {tmp}/gone cannot be read: No such file or directory"),
        (
            ["{tmp}/empty", "{tmp}/x.info", "--type", "jpg"],
            3,
            "no images in {tmp}/empty: needed files ending in jpg, jpeg",
        ),
        (["{tmp}/bins", "{tmp}/gone/x.info"], 6, "x.info cannot be written: No such file or directory"),
        (["{tmp}/bins", "{tmp}/x.info", "--width", "0"], 2, "0 is not in the range x>=1"),
    ],
)
def test_misuse_is_one_line(tmp_path: Path, words: list[str], code: int, message: str) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "bins").mkdir()
    (tmp_path / "bins" / "a.bin").touch()
    result = call_engine("info", *(word.format(tmp=tmp_path) for word in words))
    assert message.format(tmp=tmp_path) in result.stderr
    assert (result.returncode, len(result.stderr.splitlines())) == (code, 1)
