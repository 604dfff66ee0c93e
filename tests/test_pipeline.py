"""The whole pipeline on the simulator: the same predictions whatever the batch, chips, workers and start method."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import jsonschema
import numpy as np
import pytest

import engine
from engine.index import read_index
from engine.presets import find_preset
from kernels import reference
from tests.conftest import DataSet, run_engine

COMBINATIONS = [
    (1, "0", 1, "forkserver"),
    (1, "0-3", 3, "spawn"),
    (4, "0,2", 2, "forkserver"),
    (16, "0-3", 1, "spawn"),
    (32, "3", 2, "forkserver"),
]


def run_fingerprint(data: DataSet, out: Path, *options: object) -> dict[str, object]:
    flags = ["--data", data.folder, "--labels", data.labels, "--backend", "sim", "--model", "fingerprint"]
    finished = run_engine("run", *flags, "--out", out, *options)
    assert finished.returncode == 0, finished.stderr
    document: dict[str, object] = json.loads((out / "run.json").read_text())
    schema = json.loads((Path(engine.__file__).parent / "schemas" / "run.schema.json").read_text())
    jsonschema.validate(document, schema)
    return document


def test_predictions_do_not_depend_on_how_the_work_is_cut(small_data: DataSet, tmp_path: Path) -> None:
    """One hash over batch, devices, workers, start method and repeat; it is that of the slow path."""
    hashes = set()
    for batch, devices, workers, start in COMBINATIONS:
        options = ["--batch", batch, "--devices", devices, "--workers", workers, "--start-method", start]
        hashes.add(run_fingerprint(small_data, tmp_path / f"{batch}-{devices}", *options)["predictions_sha256"])
    again = run_fingerprint(small_data, tmp_path / "repeat", "--repeat", 3, "--window", 3)
    dataset = again["dataset"]
    assert isinstance(dataset, dict)
    assert dataset["n_scored"] == dataset["n_samples"] == 3 * small_data.n_images
    assert dataset["n_inconsistent"] == 0
    assert hashes == {again["predictions_sha256"]}
    assert top1_ids(tmp_path / "repeat") == slow_top1_ids(small_data)


def test_verify_agrees_and_finds_what_was_altered(small_data: DataSet, tmp_path: Path) -> None:
    run_fingerprint(small_data, tmp_path)
    finished = run_engine("verify", tmp_path)
    assert finished.returncode == 0, finished.stderr
    assert finished.stdout.splitlines()[-1] == f"{small_data.n_images} of {small_data.n_images} predictions identical"
    path = tmp_path / "predictions.csv"
    lines = path.read_text().splitlines()
    fields = lines[5].split(",")
    fields[3] = " ".join(reversed(fields[3].split()))
    lines[5] = ",".join(fields)
    path.write_text("\n".join(lines) + "\n")
    finished = run_engine("verify", tmp_path)
    assert finished.returncode == 9
    assert (
        finished.stdout.splitlines()[-1] == f"{small_data.n_images - 1} of {small_data.n_images} predictions identical"
    )
    assert finished.stdout.startswith(f"{fields[0]}: run rank")


def test_lite0_on_two_backends_names_the_same_classes_as_pillow_and_onnx_runtime(
    imagenet_sample: DataSet, tmp_path: Path
) -> None:
    import onnxruntime

    from engine.toolchain.zoo import lite0_onnx

    flags = ["--data", imagenet_sample.folder, "--labels", imagenet_sample.labels, "--limit", 40]
    for backend in ("onnxruntime", "sim"):
        finished = run_engine("run", *flags, "--backend", backend, "--out", tmp_path / backend)
        assert finished.returncode == 0, finished.stderr
    session = onnxruntime.InferenceSession(str(lite0_onnx()), providers=["CPUExecutionProvider"])
    index, spec = read_index(imagenet_sample.folder, imagenet_sample.labels).first(40), find_preset("resnet")
    expected = []
    for sample in range(40):
        tensor = reference.preprocess(Path(index.names.path(sample)).read_bytes(), spec)
        expected.append(int(np.argmax(session.run(None, {"image": tensor[None]})[0])))
    assert top1_ids(tmp_path / "onnxruntime") == top1_ids(tmp_path / "sim") == expected


@pytest.mark.parametrize("batch", [1, 16])
def test_interface_throughput_is_the_profiles(batch: int, small_data: DataSet, tmp_path: Path) -> None:
    """Device time comes from the chip's timeline, however busy this host is."""
    document = run_fingerprint(small_data, tmp_path, "--batch", batch, "--devices", "0,1")
    throughput = document["throughput"]
    assert isinstance(throughput, dict)
    assert throughput["interface_per_s"] == pytest.approx(2 * {1: 144.766, 16: 165.952}[batch], rel=0.02)
    assert document["simulated"] is True
    assert document["profile"] == "resnext101_32x8d-310"


@pytest.mark.parametrize("start", ["forkserver", "spawn"])
def test_children_run_the_hubs_code_and_not_what_lies_in_the_working_directory(
    start: str, small_data: DataSet, tmp_path: Path
) -> None:
    """An installed engine called from a folder with packages of the same names."""
    for package in ("engine", "kernels"):
        decoy = tmp_path / "here" / package
        decoy.mkdir(parents=True)
        (decoy / "__init__.py").write_text("raise SystemExit('the wrong package was imported')\n")
    script = tmp_path / "bin" / "run.py"
    script.parent.mkdir()
    script.write_text("from engine.cli import main\n\nif __name__ == '__main__':\n    main()\n")
    options = ["--data", small_data.folder, "--labels", small_data.labels, "--backend", "null", "--start-method", start]
    finished = subprocess.run(
        [sys.executable, str(script), "run", *map(str, options), "--out", "relative"],
        cwd=tmp_path / "here",
        env={**os.environ, "PYTHONPATH": str(Path(engine.__file__).parents[1])},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert finished.returncode == 0, finished.stderr
    assert (tmp_path / "here" / "relative" / "run.json").exists()


def top1_ids(out: Path) -> list[int]:
    rows = (out / "predictions.csv").read_text().splitlines()[1:]
    return [int(row.split(",")[3].split()[0]) for row in rows]


def slow_top1_ids(data: DataSet) -> list[int]:
    """By Pillow and NumPy, in natural order."""
    spec = find_preset("resnet")
    scores = np.empty((1, 1000), np.float32)
    ids = []
    for number in range(1, data.n_images + 1):
        tensor = reference.preprocess((data.folder / f"img_{number}.JPEG").read_bytes(), spec)
        reference.fingerprint_logits(tensor.view(np.uint8).reshape(1, -1), scores)
        ids.append(int(scores[0].argmax()))
    return ids
