"""Tensors and .info files run through the same pipeline, with the same predictions as the JPEGs they came from."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest

from engine.errors import DataError
from engine.index import read_index
from engine.names import order_key, sample_key
from engine.presets import find_preset
from engine.sources.tensors import TensorStore
from kernels import reference
from kernels.spec import ImageError, TensorFormat
from tests.conftest import DataSet, make_data_set, run_engine
from tests.data.inprocess import call_engine

SPEC = find_preset("resnet")


@dataclass(frozen=True)
class Prepared:
    """The same images as JPEGs and as tensors of the guide's arithmetic."""

    images: DataSet
    tensors: Path


@pytest.fixture(scope="session")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    root = tmp_path_factory.mktemp("tensors")
    images, tensors = make_data_set(root, 11), root / "bins"
    tensors.mkdir()
    for path in images.folder.iterdir():
        reference.preprocess(path.read_bytes(), SPEC).tofile(tensors / f"{path.stem}.bin")
    return Prepared(images, tensors)


def write_info(path: Path, tensors: list[Path]) -> Path:
    path.write_text("".join(f"{i} {tensor} 224 224\n" for i, tensor in enumerate(tensors)))
    return path


def run(out: Path, data: Path, labels: Path, *more: object) -> dict[str, object]:
    words = ["run", "--data", data, "--labels", labels, "--backend", "sim", "--model", "fingerprint", "--out", out]
    result = run_engine(*words, *more)
    assert result.returncode == 0, result.stderr
    document: dict[str, object] = json.loads((out / "run.json").read_text())
    return document


def test_every_source_gives_the_same_predictions(prepared: Prepared, tmp_path: Path) -> None:
    """JPEGs, a folder of .bin, and an .info file in another order: one hash, and `verify` agrees."""
    labels = prepared.images.labels
    info = write_info(tmp_path / "x.info", sorted(prepared.tensors.iterdir(), reverse=True))
    hashes = []
    for name, data in {"jpeg": prepared.images.folder, "bin": prepared.tensors, "info": info}.items():
        document = run(tmp_path / name, data, labels)
        hashes.append(document["predictions_sha256"])
    assert len(set(hashes)) == 1
    verified = run_engine("verify", tmp_path / "info")
    assert "11 of 11 predictions identical" in verified.stdout, verified.stderr
    assert document["decode_paths"] == {"tensor float32": 11}


def test_order_and_identity_of_samples_are_those_of_the_images() -> None:
    images = ["b/x.JPEG", "a-b/x.JPEG", "a/x10.JPEG", "a/x2.JPEG", "a/x2-b.JPEG", "a/x2.jpg.JPEG"]
    tensors = [f"{name.partition('.')[0]}.bin" for name in images]
    by_image = sorted(range(6), key=lambda i: (order_key(images[i]), i))
    by_tensor = sorted(range(6), key=lambda i: (order_key(tensors[i]), i))
    assert by_image == by_tensor
    assert [sample_key(images[i]) for i in by_image] == [sample_key(tensors[i]) for i in by_tensor]


FORMATS = [TensorFormat(dtype, layout) for dtype in ("float32", "float16", "uint8") for layout in ("NCHW", "NHWC")]


@pytest.mark.parametrize("form", FORMATS, ids=str)
@pytest.mark.parametrize("dtype", ["float32", "float16", "uint8"])
def test_a_tensors_type_is_told_by_its_size(tmp_path: Path, dtype: str, form: TensorFormat) -> None:
    """Every type of file into rows of every format, against NumPy."""
    crop = np.random.default_rng(3).integers(0, 256, (224, 224, 3), np.uint8)
    planes = reference.normalise_chw(crop, SPEC)
    (crop if dtype == "uint8" else planes.astype(dtype)).tofile(tmp_path / "a.bin")
    index = read_index(tmp_path, _labels(tmp_path, ["a 1"]))
    source = index.store.open(index.names, SPEC, form)
    row = np.empty(form.shape(224), form.numpy_dtype)
    if form.dtype == "uint8" and dtype != "uint8":
        with pytest.raises(ImageError, match=rf"holds normalised {dtype} values, but the model takes uint8 pixels"):
            source.write(source.read(0), row)
        return
    assert source.write(source.read(0), row) == f"tensor {dtype}"
    if dtype == "uint8":
        expected = reference.to_tensor(crop, SPEC, form)
    else:
        values = planes.astype(dtype).astype(form.numpy_dtype)
        expected = values if form.layout == "NCHW" else values.transpose(1, 2, 0)
    assert np.array_equal(row, expected)


def test_a_tensor_of_another_size_fails_by_name_and_says_which_sizes_there_are(tmp_path: Path) -> None:
    np.zeros((3, 224, 224), np.float32).tofile(tmp_path / "a.bin")
    (tmp_path / "b.bin").write_bytes(bytes(602_111))
    (tmp_path / "c.bin").mkdir()
    index = read_index(tmp_path, _labels(tmp_path, ["a 1", "b 2"]))
    index.store.check(index.names, SPEC)
    source = index.store.open(index.names, SPEC, TensorFormat())
    sizes = r"602112 bytes \(float32\) or 301056 bytes \(float16\) or 150528 bytes \(uint8\)"
    with pytest.raises(ImageError, match=rf"has 602111 bytes: needed {sizes} for 3 x 224 x 224 elements of the preset"):
        source.read(1)


def test_a_failed_tensor_is_failed_in_the_run(prepared: Prepared, tmp_path: Path) -> None:
    tensors = tmp_path / "bins"
    shutil.copytree(prepared.tensors, tensors)
    with (tensors / "img_5.bin").open("ab") as file:
        file.write(b"x")
    document = run(tmp_path / "out", tensors, prepared.images.labels, "--max-failed-percent", 50)
    assert document["dataset"]["n_failed_images"] == 1  # type: ignore[index]
    rows = (tmp_path / "out" / "predictions.csv").read_text().splitlines()
    assert any(row.startswith("img_5.bin,28,,,,") and "has 602113 bytes: needed 602112" in row for row in rows)


def test_tensors_of_another_preset_are_refused_before_the_run(tmp_path: Path) -> None:
    np.zeros((3, 299, 299), np.float32).tofile(tmp_path / "a.bin")
    index = read_index(tmp_path, _labels(tmp_path, ["a 1"]))
    with pytest.raises(DataError, match=r"a\.bin has 1072812 bytes: needed 602112 .*; is it another --preset's\?"):
        index.store.check(index.names, SPEC)


@pytest.mark.parametrize(
    ("dtype", "preset", "message"),
    [
        (
            "float32",
            "efficientnet-lite0",
            r"made with interpolation bilinear \(preset resnet\) but the preset asks for bic",
        ),
        (
            "float32",
            "shifted",
            r"made with mean \[0\.485, 0\.456, 0\.406\] \(preset resnet\) but the preset asks for \[0\.5",
        ),
        ("uint8", "efficientnet-lite0", r"made with interpolation bilinear"),
        ("uint8", "shifted", None),
        ("float32", "resnet", None),
    ],
)
def test_tensors_that_we_made_say_of_which_preset_they_are(
    prepared: Prepared, tmp_path: Path, dtype: str, preset: str, message: str | None
) -> None:
    """The size would fit; pixels are normalised in the run, with its numbers."""
    assert call_engine("preprocess", "--dtype", dtype, prepared.images.folder, tmp_path / "bins").returncode == 0
    spec = replace(SPEC, mean=(0.5, 0.5, 0.5)) if preset == "shifted" else find_preset(preset)
    index = read_index(tmp_path / "bins", prepared.images.labels)
    if message is None:
        index.store.check(index.names, spec)
        return
    with pytest.raises(DataError, match=message):
        index.store.check(index.names, spec)


def test_images_and_tensors_in_one_folder_are_refused(tmp_path: Path) -> None:
    for name in ("a.JPEG", "b.bin", "c.bin"):
        (tmp_path / name).write_bytes(b"x")
    with pytest.raises(DataError, match=r"holds 1 images and 2 \.bin files: needed one kind; move the others away"):
        read_index(tmp_path, _labels(tmp_path, ["a 1"]))


def test_tensors_are_labelled_by_the_name_up_to_the_first_dot(tmp_path: Path) -> None:
    """The guide's script writes a.v2.JPEG as a.bin; the label file still says a.v2.JPEG."""
    (tmp_path / "a.bin").write_bytes(b"x")
    assert read_index(tmp_path, _labels(tmp_path, ["a.v2.JPEG 5"])).labels.tolist() == [5]
    with pytest.raises(DataError, match=r"several classes to names that begin with 'a', and tensors are named up to"):
        read_index(tmp_path, _labels(tmp_path, ["a.v2.JPEG 5", "a.v3.JPEG 6"]))


def test_an_info_file_is_read_in_natural_order_from_anywhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Relative paths count from the working directory, as for the guide's tools, or from the file's own folder."""
    folder = tmp_path / "prep data"
    folder.mkdir()
    for name in ("x10.bin", "x2.bin"):
        (folder / name).write_bytes(b"x")
    info = write_info(tmp_path / "a.info", [Path("prep data/x10.bin"), Path("prep data/x2.bin")])
    labels = _labels(tmp_path, ["x10 10", "x2 2"])
    for place in (tmp_path, Path("/")):
        monkeypatch.chdir(place)
        index = read_index(info, labels)
        assert index.labels.tolist() == [2, 10]
        assert index.names.path(0) == str(folder / "x2.bin")
        assert isinstance(index.store, TensorStore)


def test_an_info_file_over_class_folders_needs_no_labels(tmp_path: Path) -> None:
    paths = [tmp_path / "p" / name for name in ("10/a.bin", "2/b.bin")]
    for path in paths:
        path.parent.mkdir(parents=True)
        path.write_bytes(b"x")
    assert read_index(write_info(tmp_path / "a.info", paths), None).labels.tolist() == [2, 10]


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ("0 {bin} 224 224\n1 gone.bin 224 224\n", r"x\.info:2: no file .*/gone\.bin.*: make the file again with"),
        ("0 {bin} 224\n", r"x\.info:1: needed 'INDEX PATH WIDTH HEIGHT', got '0 .*a\.bin 224'"),
        ("zero {bin} 224 224\n", r"x\.info:1: needed 'INDEX PATH WIDTH HEIGHT'"),
        ("\n0 {bin} 224 x\n", r"x\.info:2: needed 'INDEX PATH WIDTH HEIGHT'"),
        ("", r"x\.info is empty: needed 'INDEX PATH WIDTH HEIGHT' per input; make it with: engine info DIR"),
        ("0 {bin} 224 224\n1 {bin} 224 224\n", r"x\.info:2: .*a\.bin is the sample of line 1 again"),
        ("0 {bin} 224 224\n1 {other} 299 299\n", r"line 1 says 224 x 224 and line 2 299 x 299: needed one size"),
        ("0 {text} 224 224\n", r"x\.info:1: .*notes\.txt is neither an image nor a \.bin tensor"),
    ],
)
def test_a_bad_info_file_is_refused_by_line(tmp_path: Path, lines: str, message: str) -> None:
    names = {"bin": "a.bin", "other": "b.bin", "text": "notes.txt"}
    for name in names.values():
        (tmp_path / name).write_bytes(b"x")
    info = tmp_path / "x.info"
    info.write_text(lines.format(**{key: tmp_path / name for key, name in names.items()}))
    with pytest.raises(DataError, match=message):
        read_index(info, _labels(tmp_path, ["a 1"]))


def test_an_info_file_of_another_size_than_the_presets_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.bin").write_bytes(b"x")
    info = tmp_path / "x.info"
    info.write_text(f"0 {tmp_path / 'a.bin'} 299 299\n")
    index = read_index(info, _labels(tmp_path, ["a 1"]))
    with pytest.raises(DataError, match=r"x\.info:1: tensors of 299 x 299 but the preset makes 224 x 224: choose"):
        index.store.check(index.names, SPEC)


def _labels(folder: Path, lines: list[str]) -> Path:
    path = folder / "labels.txt"
    path.write_text("\n".join(lines) + "\n")
    return path
