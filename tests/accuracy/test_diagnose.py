"""`engine diagnose`: each fault that is put in is the one that is named, and none where there is none."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
import pytest
from PIL import Image

from engine.accuracy.diagnose import Diagnosis, Rerun, diagnose, is_more
from engine.accuracy.image_guesses import ImageGuess, image_guesses
from engine.accuracy.label_guesses import label_guesses
from engine.accuracy.measured import Images
from engine.index import read_index
from engine.labels.synsets import CANARIES, class_of_devkit
from engine.onnx_scores import OnnxScores
from kernels.host import HostPath
from kernels.spec import TensorFormat
from tests.conftest import DataSet, run_engine

F32 = npt.NDArray[np.float32]

#: Side of the thumbnails that the test's model compares.
POOL = 16
N_CLASSES = 1000
#: Guesses that this model can tell apart: the others prepare images nearly as the preset does.
TOLD_APART = (
    "BGR instead of RGB",
    "not normalised, 0..1",
    "pixels of 0..255",
    "BGR 0..255 less Caffe's mean",
    "NHWC instead of NCHW",
)


@pytest.fixture(scope="module")
def twins(tmp_path_factory: pytest.TempPathFactory) -> DataSet:
    """Pictures of which a wrong preparation of one is the right one of another: with red and blue swapped, and with
    the contrast that ImageNet's mean and std take for an image that was not normalised. Classes are 20 * i + 3."""
    root = tmp_path_factory.mktemp("twins")
    folder = root / "val"
    folder.mkdir()
    spec = image_guesses("resnet")[0].spec
    rng = np.random.default_rng(7)
    lines = []
    for i in range(7):
        noise = rng.integers(0, 256, (8, 8, 3), np.uint8)
        first = np.asarray(Image.fromarray(noise).resize((256, 256), Image.Resampling.BICUBIC))
        pale = np.round(first * np.array(spec.std) + 255 * np.array(spec.mean)).astype(np.uint8)
        for j, pixels in enumerate((first, first[:, :, ::-1], pale, pale[:, :, ::-1])):
            name = f"img_{4 * i + j}.png"
            Image.fromarray(np.ascontiguousarray(pixels)).save(folder / name)
            lines.append(f"{name} {20 * (4 * i + j) + 3}\n")
    labels = root / "val_label.txt"
    labels.write_text("".join(lines))
    return DataSet(folder, labels, len(lines))


def guess_called(name: str) -> ImageGuess:
    return next(guess for guess in image_guesses("resnet") if guess.name == name)


def crops(data: DataSet) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int32], list[str]]:
    """Crop, class and name of each image."""
    index = read_index(data.folder, data.labels)
    spec = image_guesses("resnet")[0].spec
    preprocess = HostPath(spec, TensorFormat("uint8", "NHWC"))
    pixels = np.zeros((len(index), spec.crop, spec.crop, 3), np.uint8)
    for i, row in enumerate(pixels):
        preprocess(Path(index.names.path(i)).read_bytes(), row)
    return pixels, index.labels, [index.names.name(i) for i in range(len(index))]


def nearest_image_model(path: Path, tensors: F32, labels: npt.NDArray[np.int32]) -> Path:
    """An ONNX classifier that finds the nearest of these tensors: right for them, and for those prepared like them."""
    step = tensors.shape[2] // POOL
    small = tensors.reshape(len(tensors), 3, POOL, step, POOL, step).mean(axis=(3, 5)).reshape(len(tensors), -1)
    weights = np.zeros((3 * POOL * POOL, N_CLASSES), np.float32)
    bias = np.full(N_CLASSES, -1e30, np.float32)
    weights[:, labels] = 2 * small.T
    bias[labels] = -np.square(small).sum(axis=1)
    make = onnx.helper
    graph = make.make_graph(
        [
            make.make_node("AveragePool", ["image"], ["pooled"], kernel_shape=[step, step], strides=[step, step]),
            make.make_node("Flatten", ["pooled"], ["flat"]),
            make.make_node("Gemm", ["flat", "weights", "bias"], ["class"]),
        ],
        "nearest",
        [make.make_tensor_value_info("image", onnx.TensorProto.FLOAT, ["N", *tensors.shape[1:]])],
        [make.make_tensor_value_info("class", onnx.TensorProto.FLOAT, ["N", N_CLASSES])],
        [onnx.numpy_helper.from_array(weights, "weights"), onnx.numpy_helper.from_array(bias, "bias")],
    )
    onnx.save(make.make_model(graph, opset_imports=[make.make_opsetid("", 11)], ir_version=7), str(path))
    return path


def recorded(scores: F32, labels: npt.NDArray[np.int32], names: list[str]) -> Images:
    """What a run with these scores would have left."""
    order = np.argsort(-scores, axis=1, kind="stable").astype(np.int32)
    ranks = np.argmax(order == labels[:, None], axis=1).astype(np.int32) + 1
    return Images([name.split(".")[0] for name in names], names, labels, ranks, order[:, :5].copy())


class Case:
    """A model whose images must be prepared as `wants`, and a run whose tensors were prepared as `made`."""

    def __init__(self, data: DataSet, folder: Path, wants: ImageGuess, made: ImageGuess) -> None:
        pixels, labels, names = crops(data)
        tensors = np.stack([wants.tensor(crop) for crop in pixels])
        self.scores = OnnxScores(nearest_image_model(folder / "nearest.onnx", tensors, labels), 224)
        self.images = recorded(self.scores(np.stack([made.tensor(crop) for crop in pixels])), labels, names)
        self.data = data

    def diagnose(self) -> Diagnosis:
        rerun = Rerun(self.data.folder, "resnet", self.scores, 100)
        return diagnose(self.images, 0, rerun, lambda line: None)


@pytest.mark.parametrize("name", TOLD_APART)
def test_a_model_that_wants_other_images_is_told(twins: DataSet, tmp_path: Path, name: str) -> None:
    used = image_guesses("resnet")[0]
    diagnosis = Case(twins, tmp_path, guess_called(name), used).diagnose()
    assert diagnosis.cause.startswith(f"the model wants {name}: ")
    assert diagnosis.images[0].agreement == 1.0
    assert next(item for item in diagnosis.images if item.name == name).n_right == 28


@pytest.mark.parametrize("name", TOLD_APART)
def test_tensors_that_were_made_in_another_way_are_told(twins: DataSet, tmp_path: Path, name: str) -> None:
    used = image_guesses("resnet")[0]
    diagnosis = Case(twins, tmp_path, used, guess_called(name)).diagnose()
    assert diagnosis.cause.startswith(f"the recorded predictions are those of tensors with {name}: ")


def test_nothing_is_named_where_nothing_is_wrong(twins: DataSet, tmp_path: Path) -> None:
    used = image_guesses("resnet")[0]
    diagnosis = Case(twins, tmp_path, used, used).diagnose()
    assert diagnosis.cause == ""
    assert diagnosis.findings == []
    assert diagnosis.images[0].n_right == diagnosis.labels[0].n_right == 28


def test_a_model_that_computes_something_else_is_told(twins: DataSet, tmp_path: Path) -> None:
    used = image_guesses("resnet")[0]
    case = Case(twins, tmp_path, used, used)
    case.images.top_ids[:] = (case.images.top_ids + 333) % N_CLASSES
    assert "not those of this model here under any preparation" in case.diagnose().cause


DEVKIT_NUMBER = {class_of_devkit(number): number for number in range(1, 1001)}


@pytest.mark.parametrize(
    ("fault", "name"),
    [
        (lambda label: label + 1, "labels are counted from 1"),
        (lambda label: label - 1, "columns start with a background class"),
        (lambda label: DEVKIT_NUMBER[label], "labels are devkit numbers from 1"),
        (lambda label: DEVKIT_NUMBER[label] - 1, "labels are devkit numbers from 0"),
        (lambda label: class_of_devkit(label + 1), "columns are in the devkit's order"),
    ],
)
@pytest.mark.parametrize("offset", [0, 1])
def test_faults_of_labels_are_told_from_the_predictions_alone(fault: object, name: str, offset: int) -> None:
    """Right 70 times of 100, then the label file is spoilt. offset : 1 for a model of 1001 classes"""
    rng = np.random.default_rng(5)
    labels = rng.integers(1, 999, 100).astype(np.int32)
    tops = np.where(rng.random(100) < 0.7, labels, rng.integers(0, 1000, 100)).astype(np.int32) + offset
    spoilt = np.array([fault(int(label)) for label in labels], np.int32)  # type: ignore[operator]
    keys = [f"img_{i}" for i in range(100)]
    top_ids = np.stack([tops, *[np.full(100, -1, np.int32)] * 4], axis=1)
    diagnosis = diagnose(Images(keys, keys, spoilt, np.ones(100, np.int32), top_ids), offset, None, print)
    assert diagnosis.cause.startswith(f"{name}: ")
    found = next(item for item in diagnosis.labels if item.name == name)
    assert found.n_right >= 65


def test_every_guess_of_labels_is_a_table_of_its_own() -> None:
    labels = np.arange(-1, 1002, dtype=np.int32)
    columns = [tuple(guess.columns(labels).tolist()) for guess in label_guesses(0)]
    assert len(set(columns)) == len(columns)
    assert all(len({c for c in column[1:1001] if c >= 0}) >= 999 for column in columns)


def test_known_images_with_the_devkits_numbers_are_found() -> None:
    keys = list(CANARIES)
    labels = np.array([pair[1] for pair in CANARIES.values()], np.int32)
    top_ids = np.full((len(keys), 5), 3, np.int32)
    diagnosis = diagnose(Images(keys, keys, labels, np.zeros(len(keys), np.int32), top_ids), 0, None, print)
    assert any("ILSVRC2012_val_00000001 is class 65 but the labels say 490" in line for line in diagnosis.findings)


def test_constant_output_failed_images_and_nan_are_found() -> None:
    keys = [f"img_{i}" for i in range(40)]
    top_ids = np.full((40, 5), 7, np.int32)
    top_ids[:3] = -1
    ranks = np.full(40, 6, np.int32)
    ranks[:5] = 0
    images = Images(keys, keys, np.arange(40, dtype=np.int32) + 100, ranks, top_ids)
    failed, nan, constant = diagnose(images, 0, None, print).findings
    assert failed.startswith("3 of 40 images have no prediction")
    assert nan.startswith("2 images have NaN scores")
    assert constant.startswith("100 % of the images are given class 7")


def test_what_chance_explains_is_no_more() -> None:
    some = np.arange(100) < 50
    assert not is_more(some, some)
    assert not is_more(np.arange(100) < 54, some)
    assert is_more(np.arange(100) < 70, some)


def test_the_command_names_the_cause_in_a_runs_folder(twins: DataSet, tmp_path: Path) -> None:
    """The whole way: a run with an ONNX that wants BGR, then its diagnosis."""
    pixels, labels, _ = crops(twins)
    bgr = guess_called("BGR instead of RGB")
    model = nearest_image_model(tmp_path / "bgr.onnx", np.stack([bgr.tensor(crop) for crop in pixels]), labels)
    words = ["--data", twins.folder, "--labels", twins.labels, "--backend", "onnxruntime"]
    ran = run_engine("run", *words, "--model", model, "--out", tmp_path / "out")
    assert ran.returncode == 0, ran.stderr
    out = tmp_path / "d.json"
    finished = run_engine("diagnose", tmp_path / "out", "-o", out)
    assert finished.returncode == 0, finished.stderr
    assert "LIKELY CAUSE: the model wants BGR instead of RGB: swap the channels\n" in finished.stdout
    assert max(map(len, finished.stdout.splitlines())) <= 100
    document = json.loads(out.read_text())
    assert document["cause"].startswith("the model wants BGR")
    assert document["images"][1]["n_right"] == 28
    blind = run_engine("diagnose", tmp_path / "out", "--labels-only")
    assert "images were not tried: --labels-only\n" in blind.stdout
    assert "no likely cause found: none of 6 guesses" in blind.stdout


def test_a_result_without_predictions_per_image_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "result.json"
    values = [{"key": "Number of images", "value": "5"}, {"key": "Top1 accuracy", "value": "20.0%"}]
    path.write_text(json.dumps({"title": "Overall statistical evaluation", "value": values}))
    finished = run_engine("diagnose", path)
    assert (finished.returncode, finished.stderr.count("\n")) == (3, 1)
    assert "has no predictions per image" in finished.stderr


def test_labels_are_tried_even_where_the_images_are_gone(twins: DataSet, tmp_path: Path) -> None:
    used = image_guesses("resnet")[0]
    case = Case(twins, tmp_path, used, used)
    other = Images(
        [f"x{i}" for i in range(28)], case.images.names, *(case.images.labels, case.images.ranks, case.images.top_ids)
    )
    found = diagnose(other, 0, Rerun(twins.folder, "resnet", case.scores, 10), print)
    assert found.skipped == f"none of the images of the result are in {twins.folder}"
    assert len(found.labels) == 6
    gone = diagnose(other, 0, Rerun(twins.folder / "gone", "resnet", case.scores, 10), print)
    assert gone.skipped.startswith(f"no folder {twins.folder / 'gone'}")
