"""A packed file gives the JPEGs' predictions; every damage to it is named."""

from __future__ import annotations

import json
import struct
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from engine.errors import DataError
from engine.index import read_index
from engine.presets import find_preset
from engine.sources.packed_format import HEADER_BYTES, encode_header, read_packed
from kernels import reference
from kernels.spec import ImageError, TensorFormat
from tests.conftest import DataSet, make_data_set, run_engine
from tests.data.inprocess import call_engine

SPEC = find_preset("resnet")
N = 13


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> DataSet:
    """Images, one of them broken."""
    data = make_data_set(tmp_path_factory.mktemp("packed"), N)
    (data.folder / "img_4.JPEG").write_bytes((data.folder / "img_4.JPEG").read_bytes()[:1500])
    return data


@pytest.fixture(scope="module")
def packed(data: DataSet) -> Path:
    path = data.folder.parent / "val.packed"
    result = call_engine("preprocess", data.folder, path, "--format", "packed", "--labels", data.labels)
    assert result.returncode == 8, result.stderr
    assert "FAILED img_4.JPEG: " in result.stderr
    assert f"1 of {N} images failed, the first is img_4.JPEG; {path} has the others, and why" in result.stderr
    assert f"{N - 1} written" in result.stdout
    return path


def test_the_file_is_what_the_documentation_says(data: DataSet, packed: Path) -> None:
    """Read without the engine: struct, NumPy and the hash's slow twin."""
    content = packed.read_bytes()
    magic, version, side, n, index_at, index_bytes, index_hash, _ = struct.unpack_from("<8sIIQQQQQ", content)
    assert (magic, version, side, n) == (b"ENGPACK\n", 1, 224, N)
    assert len(content) == index_at + index_bytes
    assert slow_hash(content[index_at:]) == index_hash
    crops_at = -(-(4096 + 8 * n) // 4096) * 4096
    hashes = np.frombuffer(content, "<u8", n, 4096)
    for sample in range(n):
        crop = content[crops_at + sample * 150_528 : crops_at + (sample + 1) * 150_528]
        path = data.folder / f"img_{sample + 1}.JPEG"
        if sample == 3:
            assert hashes[sample] == 0
        else:
            assert crop == reference.crop_rgb(path.read_bytes(), SPEC).tobytes()
            assert slow_hash(crop) == hashes[sample]


def slow_hash(data: bytes) -> int:
    return int(reference.fingerprint_hash(reference.as_words(np.frombuffer(data, np.uint8))))


def test_predictions_from_the_packed_file_are_those_of_the_images(data: DataSet, packed: Path, tmp_path: Path) -> None:
    hashes = []
    for source, words in ((data.folder, ["--labels", data.labels]), (packed, [])):
        out = tmp_path / str(len(hashes))
        result = run_engine(
            "run", "--data", source, *words, "--backend", "sim", "--model", "fingerprint", "--out", out,
            "--max-failed-percent", 10,
        )  # fmt: skip
        assert result.returncode == 0, result.stderr
        document = json.loads((out / "run.json").read_text())
        assert document["dataset"]["n_failed_images"] == 1
        hashes.append(document["predictions_sha256"])
    assert len(set(hashes)) == 1
    assert f"{N} of {N} predictions identical" in run_engine("verify", out).stdout
    assert (tmp_path / "0" / "predictions.csv").read_text() == (tmp_path / "1" / "predictions.csv").read_text()


FORMATS = [TensorFormat(dtype, layout) for dtype in ("float32", "float16", "uint8") for layout in ("NCHW", "NHWC")]


@pytest.mark.parametrize("form", FORMATS, ids=str)
def test_rows_of_every_format(data: DataSet, packed: Path, form: TensorFormat) -> None:
    index = read_index(packed, None)
    source = index.store.open(index.names, SPEC, form)
    row = np.empty(form.shape(224), form.numpy_dtype)
    assert source.write(source.read(1), row) == "packed"
    assert np.array_equal(row, reference.tensor((data.folder / "img_2.JPEG").read_bytes(), SPEC, form))


def test_another_way_of_cropping_is_refused_and_another_normalisation_is_not(packed: Path) -> None:
    index = read_index(packed, None)
    with pytest.raises(
        DataError, match=r"were made with interpolation bilinear \(preset resnet\) but the preset asks for b"
    ):
        index.store.check(index.names, find_preset("efficientnet-lite0"))
    with pytest.raises(DataError, match=r"were made with resize 256 \(preset resnet\) but the preset asks for 342"):
        index.store.check(index.names, find_preset("inceptionv3"))
    index.store.check(index.names, SPEC)


def test_a_damaged_crop_fails_by_name(packed: Path, tmp_path: Path) -> None:
    content = bytearray(packed.read_bytes())
    layout, _ = read_packed(packed)
    content[layout.crop_at(7) + 99_999] ^= 1
    (tmp_path / "x.packed").write_bytes(content)
    index = read_index(tmp_path / "x.packed", None)
    source, row = index.store.open(index.names, SPEC, TensorFormat()), np.empty((3, 224, 224), np.float32)
    with pytest.raises(ImageError, match=r"its crop in .*x\.packed is damaged: the hash is wrong"):
        source.write(source.read(7), row)
    source.write(source.read(8), row)
    with pytest.raises(ImageError, match=r"truncated|image file"):
        source.read(3)


def test_what_was_read_can_be_kept(packed: Path) -> None:
    """A copy of what `read` gave stands for itself, after other reads."""
    index = read_index(packed, None)
    source = index.store.open(index.names, SPEC, TensorFormat())
    rows = np.empty((2, 3, 224, 224), np.float32)
    kept = source.read(1).copy()
    source.write(source.read(1), rows[0])
    source.read(2)
    source.write(kept, rows[1])
    assert np.array_equal(rows[0], rows[1])


def test_a_file_cut_short_under_the_run_fails_by_name(packed: Path, tmp_path: Path) -> None:
    path = tmp_path / "x.packed"
    path.write_bytes(packed.read_bytes())
    index = read_index(path, None)
    source = index.store.open(index.names, SPEC, TensorFormat())
    with path.open("r+b") as file:
        file.truncate(read_packed(packed)[0].crop_at(5) + 1000)
    with pytest.raises(ImageError, match=r"its crop in .*x\.packed has 1000 of 150528 bytes"):
        source.read(5)


@pytest.mark.parametrize(
    ("at", "message"),
    [
        (0, "a file: --data needs a folder"),
        (8, r"has version 0 but this engine reads version 1: pack the images again"),
        (12, "damaged or incomplete: the hash of its header is wrong; make it again with engine preprocess"),
        (30, "the hash of its header is wrong"),
        (60, "the hash of its header is wrong"),
        (-5, "the hash of its index is wrong"),
    ],
)
def test_a_flipped_bit_of_header_or_index_is_refused(packed: Path, tmp_path: Path, at: int, message: str) -> None:
    content = bytearray(packed.read_bytes())
    content[at] ^= 1
    (tmp_path / "x.packed").write_bytes(content)
    with pytest.raises(DataError, match=message):
        read_index(tmp_path / "x.packed", None)


@pytest.mark.parametrize(
    ("n_bytes", "message"),
    [(20, "its header has 20 of 64 bytes"), (5000, r"it has 5000 bytes but needs \d+ for 13 crops")],
)
def test_a_file_cut_short_is_refused(packed: Path, tmp_path: Path, n_bytes: int, message: str) -> None:
    (tmp_path / "x.packed").write_bytes(packed.read_bytes()[:n_bytes])
    with pytest.raises(DataError, match=message):
        read_index(tmp_path / "x.packed", None)


def test_a_header_that_contradicts_itself_is_refused(packed: Path, tmp_path: Path) -> None:
    layout, index = read_packed(packed)
    header = encode_header(replace(layout, n=2**40), index.encode())
    (tmp_path / "x.packed").write_bytes(header + packed.read_bytes()[HEADER_BYTES:])
    with pytest.raises(DataError, match=r"bytes but needs \d+ for 1099511627776 crops"):
        read_index(tmp_path / "x.packed", None)


def test_packed_without_labels_needs_a_label_file(data: DataSet, tmp_path: Path) -> None:
    path = tmp_path / "x.packed"
    result = call_engine("preprocess", data.folder, path, "--format", "packed")
    assert "without labels: give them to engine run" in result.stdout
    with pytest.raises(
        DataError, match=rf"x\.packed holds {N} crops without class folders: give their classes with --lab"
    ):
        read_index(path, None)
    assert read_index(path, data.labels).labels.tolist() == [7 * i for i in range(N)]


def test_a_complete_packed_file_is_kept_and_made_again_for_other_images(tmp_path: Path) -> None:
    data, path = make_data_set(tmp_path, 3), tmp_path / "x.packed"
    words = ["preprocess", data.folder, path, "--format", "packed", "--labels", data.labels]
    assert call_engine(*words).returncode == 0
    before = path.stat().st_ino
    assert "x.packed is complete: 3 crops, 150,528 bytes each" in call_engine(*words).stdout
    assert path.stat().st_ino == before
    (data.folder / "img_2.JPEG").write_bytes((data.folder / "img_1.JPEG").read_bytes())
    assert "3 written" in call_engine(*words).stdout
    index = read_index(path, None)
    source = index.store.open(index.names, SPEC, TensorFormat("uint8", "NHWC"))
    rows = np.empty((2, 224, 224, 3), np.uint8)
    for i in range(2):
        source.write(source.read(i), rows[i])
    assert np.array_equal(rows[0], rows[1])


def test_a_packed_file_can_be_unpacked_to_the_guides_tensors(data: DataSet, packed: Path, tmp_path: Path) -> None:
    result = call_engine("preprocess", packed, tmp_path / "bins")
    assert result.returncode == 8
    expected = reference.preprocess((data.folder / "img_1.JPEG").read_bytes(), SPEC).tobytes()
    assert (tmp_path / "bins" / "img_1.bin").read_bytes() == expected
    assert len(list((tmp_path / "bins").glob("*.bin"))) == N - 1
