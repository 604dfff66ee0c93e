"""Each odd image is decoded as Pillow decodes it, bit for bit, or FAILED with Pillow's reason."""

from __future__ import annotations

import csv
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from engine.presets import find_preset
from kernels import reference
from kernels.host import HostPath
from kernels.spec import ImageError
from tests.conftest import run_engine
from tests.images.zoo import KINDS, zoo


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_has_the_pixels_or_the_reason_of_pillow(kind: str) -> None:
    spec = find_preset("resnet")
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
