"""Each odd image is decoded as Pillow decodes it, bit for bit, or FAILED with Pillow's reason."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from engine.errors import DataError
from engine.names import NameTable
from engine.presets import find_preset
from engine.sources.made_with import require_preset
from engine.sources.packed_format import read_packed
from engine.sources.tensors import TensorStore
from kernels import reference
from kernels.host import HostPath
from kernels.spec import ImageError
from tests.conftest import run_engine
from tests.images.zoo import KINDS, jpegs, zoo


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("exif_rotate", [False, True])
def test_every_kind_has_the_pixels_or_the_reason_of_pillow(kind: str, exif_rotate: bool) -> None:
    spec = find_preset("resnet", exif_rotate=exif_rotate)
    host = HostPath(spec)
    for name, data in KINDS[kind]().items():
        expected = outcome(partial(reference.preprocess, data, spec))
        assert outcome(partial(made, host, data)) == expected, name


def outcome(make: Callable[[], npt.NDArray[np.float32]]) -> bytes | str:
    """The tensor's bytes, or the reason why there is none."""
    try:
        return make().tobytes()
    except ImageError as error:
        return str(error)


def made(host: HostPath, data: bytes) -> npt.NDArray[np.float32]:
    row = np.full((3, host.spec.crop, host.spec.crop), np.nan, np.float32)
    host(data, row)
    return row


def test_orientation_in_exif_changes_nothing() -> None:
    """As in the guide, which never looks at it."""
    spec = find_preset("resnet")
    files = KINDS["jpegs"]()
    upright = reference.preprocess(files["exif_1.JPEG"], spec)
    for orientation in range(2, 9):
        assert np.array_equal(reference.preprocess(files[f"exif_{orientation}.JPEG"], spec), upright)


def test_exif_rotate_gives_eight_orientations_and_says_so(tmp_path: Path) -> None:
    """In the predictions of a run and of `engine verify`; the summary and run.json name it."""
    folder, labels = tmp_path / "val", tmp_path / "labels.txt"
    folder.mkdir()
    for name, data in jpegs().items():
        if name.startswith("exif_"):
            (folder / name).write_bytes(data)
    labels.write_text("".join(f"{path.name} 1\n" for path in folder.iterdir()))
    data_set = ("--data", folder, "--labels", labels, "--backend", "sim", "--model", "fingerprint", "--no-log")
    finished = run_engine("run", *data_set, "--exif-rotate", "--out", tmp_path / "out")
    assert finished.returncode == 0, finished.stderr
    assert "EXIF-ROTATED: images were turned upright by --exif-rotate, which the guide does not do" in finished.stdout
    assert json.loads((tmp_path / "out" / "run.json").read_text())["config"]["exif_rotate"]
    with (tmp_path / "out" / "predictions.csv").open(newline="") as file:
        assert len({row["top5_ids"] for row in csv.DictReader(file)}) == 8
    verified = run_engine("verify", tmp_path / "out")
    assert "8 of 8 predictions identical" in verified.stdout, verified.stderr


def test_crops_made_with_exif_rotate_need_it_in_the_run(tmp_path: Path) -> None:
    """A packed file says how it was made; folders of tensors from elsewhere cannot be turned."""
    folder = tmp_path / "val"
    folder.mkdir()
    (folder / "a.JPEG").write_bytes(jpegs()["exif_6.JPEG"])
    packed = tmp_path / "crops.packed"
    made = run_engine("preprocess", folder, packed, "--format", "packed", "--exif-rotate")
    assert made.returncode == 0, made.stderr
    _, index = read_packed(packed)
    spec = find_preset("resnet")
    require_preset("they", index.preset, index.spec, replace(spec, exif_rotate=True), are_pixels=True)
    with pytest.raises(DataError) as refused:
        require_preset("they", index.preset, index.spec, spec, are_pixels=True)
    assert str(refused.value) == "they were made with --exif-rotate: give it here, too, or make them again"
    (folder / "a.JPEG").rename(folder / "a.bin")
    (folder / "a.bin").write_bytes(bytes(4 * 3 * 224 * 224))
    names = NameTable.of(folder, ["a.bin"])
    with pytest.raises(DataError, match="holds tensors, which --exif-rotate cannot turn"):
        TensorStore().check(names, replace(spec, exif_rotate=True))


def test_check_data_and_a_run_agree_on_the_zoo(tmp_path: Path) -> None:
    """The same images fail for the same reasons, and the table names the kinds."""
    folder = tmp_path / "val"
    folder.mkdir()
    files = zoo()
    for name, data in files.items():
        (folder / name).write_bytes(data)
    quarantine = tmp_path / "bad.txt"
    checked = run_engine("check-data", folder, "--quarantine", quarantine, "--workers", 2)
    assert checked.returncode == 8, checked.stderr
    failing = dict(line.split("\t") for line in quarantine.read_text().splitlines())
    assert f"{len(failing)} of {len(files)} images cannot be decoded" in checked.stderr
    for word in ("progressive", "cmyk", "gray", "alpha", "rotated", "not_jpeg", "wrong_suffix", "trailing", "tiny"):
        assert f" {word}: " in checked.stdout, word
    assert "this is no image" not in checked.stdout

    labels = tmp_path / "labels.txt"
    labels.write_text("".join(f"{name} 1\n" for name in files))
    sizes = ("--batch", 4, "--workers", 2, "--max-failed-percent", 100, "--no-log")
    data = ("--data", folder, "--labels", labels, "--backend", "sim", "--model", "fingerprint")
    finished = run_engine("run", *data, *sizes, "--out", tmp_path / "out")
    assert finished.returncode == 0, finished.stderr
    with (tmp_path / "out" / "predictions.csv").open(newline="") as file:
        statuses = {row["sample"]: row["status"] for row in csv.DictReader(file)}
    assert {name: f"FAILED: {reason}" for name, reason in failing.items()} == {
        name: status for name, status in statuses.items() if status != "SCORED"
    }
