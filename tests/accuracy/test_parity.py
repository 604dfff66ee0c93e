"""`engine parity`: what is the same passes, what differs is measured and listed."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
import pytest

from engine.accuracy.parity import ParityGate, Scores, compare_scores, cosine
from engine.errors import DataError, GateError, ModelError
from engine.pyacl_stubs.om import OmVariant, build_om
from tests.conftest import DataSet, run_engine

F32 = npt.NDArray[np.float32]
N_CLASSES = 1000


def thumbnail_model(path: Path, noise: float = 0.0) -> Path:
    """An ONNX classifier of seeded random weights over 8 x 8 thumbnails; `noise` is added to its weights."""
    rng = np.random.default_rng(3)
    weights = rng.standard_normal((3 * 64, N_CLASSES), np.float32)
    weights += np.float32(noise) * np.random.default_rng(4).standard_normal(weights.shape, np.float32)
    make = onnx.helper
    graph = make.make_graph(
        [
            make.make_node("AveragePool", ["image"], ["pooled"], kernel_shape=[28, 28], strides=[28, 28]),
            make.make_node("Flatten", ["pooled"], ["flat"]),
            make.make_node("Gemm", ["flat", "weights"], ["class"]),
        ],
        "thumbnail",
        [make.make_tensor_value_info("image", onnx.TensorProto.FLOAT, ["N", 3, 224, 224])],
        [make.make_tensor_value_info("class", onnx.TensorProto.FLOAT, ["N", N_CLASSES])],
        [onnx.numpy_helper.from_array(weights, "weights")],
    )
    onnx.save(make.make_model(graph, opset_imports=[make.make_opsetid("", 11)], ir_version=7), str(path))
    return path


def scores_of(rows: F32) -> Scores:
    return Scores([f"img_{i}" for i in range(len(rows))], rows, "x")


def random_rows(n: int = 20) -> F32:
    return np.random.default_rng(9).standard_normal((n, 50), np.float32)


def test_equal_scores_pass_the_strictest_gate() -> None:
    parity = compare_scores(scores_of(random_rows()), scores_of(random_rows()))
    assert (parity.n_agree, parity.n_top5) == (20, 20)
    assert parity.failures(ParityGate(1 - 1e-12, 100.0, 0.0)) == []


def test_cosine_is_the_definition_in_double_precision() -> None:
    a, b = random_rows(), random_rows() + np.float32(0.01)
    for i, found in enumerate(cosine(a, b)):
        x, y = a[i].astype(np.float64), b[i].astype(np.float64)
        assert found == pytest.approx(sum(x * y) / (sum(x * x) * sum(y * y)) ** 0.5, rel=1e-12)
    zero = np.zeros((1, 50), np.float32)
    assert cosine(zero, zero).tolist() == [1.0]
    assert cosine(zero, a[:1]).tolist() == [0.0]


def test_one_bad_image_is_found_first_and_named() -> None:
    a, b = random_rows(), random_rows()
    b[13] = -b[13]
    b[5] += np.float32(1e-3)
    parity = compare_scores(scores_of(a), scores_of(b))
    assert [image.name for image in parity.worst(2)] == ["img_13", "img_5"]
    assert parity.worst(1)[0].cosine == pytest.approx(-1.0)
    with pytest.raises(
        GateError, match=r"least cosine -1\.0\d* is below 0\.999; Top-1 agreement 95\.00 % is below 99 %"
    ):
        parity.raise_for_gate(ParityGate())


def test_nan_is_outside_every_gate() -> None:
    a, b = random_rows(), random_rows()
    b[7, 3] = np.nan
    parity = compare_scores(scores_of(a), scores_of(b))
    assert parity.worst(1)[0].name == "img_7"
    assert parity.failures(ParityGate(-1.0, 0.0, 1e9)) == ["1 images have NaN or infinite scores"]


def test_other_images_or_classes_are_refused() -> None:
    with pytest.raises(DataError, match=r"decoded other images: 20 and 19"):
        compare_scores(scores_of(random_rows()), scores_of(random_rows(19)))
    with pytest.raises(ModelError, match=r"have 50 and 49 classes"):
        compare_scores(scores_of(random_rows()), scores_of(random_rows()[:, :49]))


@pytest.mark.heavy
def test_an_onnx_and_its_simulated_om_are_the_same_and_float16_nearly(small_data: DataSet, tmp_path: Path) -> None:
    model = thumbnail_model(tmp_path / "m.onnx")
    build_om(model, tmp_path / "m_bs4.om", 4)
    build_om(model, tmp_path / "half_bs4.om", 4, variant=OmVariant(input_dtype="float16"))
    out = tmp_path / "p.json"
    words = ["--data", small_data.folder, "-n", 21]
    same = run_engine("parity", model, tmp_path / "m_bs4.om", *words, "--min-cosine", 1 - 1e-6, "-o", out)
    assert same.returncode == 0, same.stderr
    assert "float32 NCHW, batch 4, SIMULATED chip" in same.stdout
    assert same.stdout.endswith("within the gates\n")
    document = json.loads(out.read_text())
    assert (document["n_agree"], len(document["images"]), document["failures"]) == (21, 21, [])
    half = run_engine("parity", model, tmp_path / "half_bs4.om", *words, "-o", out)
    assert half.returncode == 0, half.stderr
    assert "float16 NCHW" in half.stdout
    greatest = max(image["max_abs"] for image in json.loads(out.read_text())["images"])
    assert 0 < greatest < 0.1


def test_another_model_is_outside_the_gates(small_data: DataSet, tmp_path: Path) -> None:
    a, b = thumbnail_model(tmp_path / "a.onnx"), thumbnail_model(tmp_path / "b.onnx", noise=0.5)
    finished = run_engine("parity", a, b, "--data", small_data.folder, "-n", 10)
    assert finished.returncode == 11
    assert finished.stderr.startswith("engine: least cosine 0.")
    assert "images that differ most:\n  img_" in finished.stdout


@pytest.mark.parametrize(
    ("words", "code", "text"),
    [
        (["lite0", "none.onnx"], 4, "no model file none.onnx"),
        (["lite0", "lite0", "--backend-b", "null"], 2, "the null device computes nothing"),
        (["lite0", "lite0", "--preset", "inceptionv3"], 4, "choose another --preset"),
    ],
)
def test_misuse_is_one_line(small_data: DataSet, words: list[str], code: int, text: str) -> None:
    finished = run_engine("parity", *words, "--data", small_data.folder, "-n", 2)
    assert (finished.returncode, finished.stderr.count("\n")) == (code, 1), finished.stderr
    assert text in finished.stderr
