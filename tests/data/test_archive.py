"""A tar that nobody unpacked gives the predictions of its images; what is wrong with it is said."""

from __future__ import annotations

import gzip
import io
import json
import tarfile
from pathlib import Path

import numpy as np
import pytest

from engine.errors import DataError
from engine.index import read_index
from engine.presets import find_preset
from kernels import reference
from kernels.spec import ImageError, TensorFormat
from tests.conftest import DataSet, make_data_set, run_engine
from tests.data.inprocess import call_engine

SPEC = find_preset("resnet")
N = 7


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> DataSet:
    return make_data_set(tmp_path_factory.mktemp("archive"), N)


def add(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    info = tarfile.TarInfo(name)
    info.size = len(content)
    tar.addfile(info, io.BytesIO(content))


def make_tar(path: Path, files: dict[str, bytes], form: int = tarfile.GNU_FORMAT) -> Path:
    with tarfile.open(path, "w", format=form) as tar:
        for name, content in files.items():
            add(tar, name, content)
    return path


def contents(data: DataSet) -> dict[str, bytes]:
    """Not in order, and with a name beyond the 100 characters of a header."""
    return {path.name: path.read_bytes() for path in sorted(data.folder.iterdir(), reverse=True)}


@pytest.mark.parametrize("form", [tarfile.GNU_FORMAT, tarfile.PAX_FORMAT, tarfile.USTAR_FORMAT])
def test_an_archives_images_are_those_of_the_folder(data: DataSet, tmp_path: Path, form: int) -> None:
    long = "x" * 90 if form != tarfile.USTAR_FORMAT else "x"
    files = {f"./val/{long}{name}": content for name, content in contents(data).items()}
    path = make_tar(tmp_path / "a.tar", {"val/notes.txt": b"x", "val/.hidden.JPEG": b"x", **files}, form)
    labels = tmp_path / "labels.txt"
    labels.write_text("".join(f"{long}{line}\n" for line in data.labels.read_text().splitlines()))
    index = read_index(path, labels)
    assert [index.names.name(i) for i in range(N)] == [f"{long}img_{i}.JPEG" for i in range(1, N + 1)]
    assert index.labels.tolist() == [7 * i for i in range(N)]
    source, row = index.store.open(index.names, SPEC, TensorFormat()), np.empty((3, 224, 224), np.float32)
    for i in range(N):
        source.write(source.read(i), row)
        assert np.array_equal(row, reference.preprocess((data.folder / f"img_{i + 1}.JPEG").read_bytes(), SPEC))


def test_predictions_and_verify(data: DataSet, tmp_path: Path) -> None:
    path = make_tar(tmp_path / "a.tar", contents(data))
    hashes = []
    for source in (data.folder, path):
        words = ["run", "--data", source, "--labels", data.labels, "--backend", "sim", "--model", "fingerprint"]
        result = run_engine(*words, "--out", tmp_path / "out")
        assert result.returncode == 0, result.stderr
        hashes.append(json.loads((tmp_path / "out" / "run.json").read_text())["predictions_sha256"])
    assert hashes[0] == hashes[1]
    assert f"{N} of {N} predictions identical" in run_engine("verify", tmp_path / "out").stdout


def test_an_archive_can_be_preprocessed_and_is_kept(data: DataSet, tmp_path: Path) -> None:
    path = make_tar(tmp_path / "a.tar", contents(data))
    assert "7 written" in call_engine("preprocess", path, tmp_path / "bins").stdout
    assert "0 written, 7 already there" in call_engine("preprocess", path, tmp_path / "bins").stdout
    expected = reference.preprocess((data.folder / "img_3.JPEG").read_bytes(), SPEC).tobytes()
    assert (tmp_path / "bins" / "img_3.bin").read_bytes() == expected


def test_class_folders_of_an_archive_count_also_when_empty(tmp_path: Path) -> None:
    path = tmp_path / "a.tar"
    with tarfile.open(path, "w") as tar:
        for folder in ("val", "val/b", "val/c"):
            info = tarfile.TarInfo(folder)
            info.type = tarfile.DIRTYPE
            tar.addfile(info)
        add(tar, "val/c/x.JPEG", b"x")
        add(tar, "val/a/y.JPEG", b"x")
    index = read_index(path, None)
    assert [index.names.name(i) for i in range(2)] == ["a/y.JPEG", "c/x.JPEG"]
    assert index.labels.tolist() == [0, 2]


def test_webdatasets_classes_are_the_labels(tmp_path: Path) -> None:
    files = {"b.jpg": b"x", "b.cls": b"12\n", "b.json": b"{}", "a.jpg": b"x", "a.cls": b"999"}
    assert read_index(make_tar(tmp_path / "a.tar", files), None).labels.tolist() == [999, 12]


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"a.jpg": b"x", "a.cls": b"1", "b.jpg": b"x"}, r"b\.jpg in archive .*a\.tar has no \.cls member beside it"),
        ({"a.jpg": b"x", "a.cls": b"cat"}, r"a\.cls in archive .*a\.tar is no class from 0: b'cat'"),
        ({"a.txt": b"x"}, r"no images in the 1 files of archive .*a\.tar"),
        ({"a.jpg": b"x"}, r"a\.tar holds 1 images without class folders: give their classes with --labels FILE"),
        ({"x/a.jpg": b"x", "./x/a.jpg": b"y"}, r"a\.tar holds 1 images twice: needed each name once"),
    ],
)
def test_a_bad_archive_is_refused(tmp_path: Path, files: dict[str, bytes], message: str) -> None:
    with pytest.raises(DataError, match=message):
        read_index(make_tar(tmp_path / "a.tar", files), None)


def test_compressed_cut_and_foreign_files_are_refused(data: DataSet, tmp_path: Path) -> None:
    plain = make_tar(tmp_path / "a.tar", contents(data)).read_bytes()
    for name, content, message in (
        ("a.tar.gz", gzip.compress(plain), r"a\.tar\.gz is compressed with gzip: needed a plain tar, so decompress it"),
        ("b.tar", plain[: len(plain) // 2], r"b\.tar is no tar, or is cut short: unexpected end of data"),
        ("c.tar", b"no tar" * 1000, r"c\.tar is no tar, or is cut short"),
        ("d.tar", b"", r"d\.tar is no tar, or is cut short: empty file"),
    ):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(DataError, match=message):
            read_index(tmp_path / name, data.labels)


def test_an_archive_that_changes_under_the_run_is_noticed(data: DataSet, tmp_path: Path) -> None:
    path = make_tar(tmp_path / "a.tar", {**contents(data), "img_2.JPEG": b""})
    index = read_index(path, data.labels)
    source = index.store.open(index.names, SPEC, TensorFormat())
    with pytest.raises(ImageError, match="the file is empty"):
        source.read(1)
    with path.open("r+b") as file:
        file.truncate(int(index.store.places[4, 0]) + 10)  # type: ignore[attr-defined]
    with pytest.raises(ImageError, match=r"a\.tar ends within it: 10 of \d+ bytes"):
        source.read(4)
    with pytest.raises(DataError, match=r"a\.tar has changed since it was listed: run again"):
        index.store.open(index.names, SPEC, TensorFormat())
