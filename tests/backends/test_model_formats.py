"""Models of every input format, static and dynamic: the format is the model's own, and what does not fit is said."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from engine import pyacl_stubs
from engine.backends.acl import open_backend
from engine.backends.base import DeviceJob
from engine.errors import ModelError
from engine.models import Target, resolve_model
from engine.presets import find_preset
from engine.pyacl_stubs.om import Aipp, Om, OmVariant, TensorSpec, build_om, write_om
from kernels import reference
from tests.conftest import DataSet, run_engine

RESNET = find_preset("resnet")
AIPP = Aipp.of(RESNET.mean, RESNET.std)
N_IMAGES = 13
#: What is compiled, its classes, and the input that it takes.
VARIANTS = {
    "float16": (OmVariant(input_dtype="float16", output_dtype="float16"), 1001, ["float16", "NCHW"]),
    "uint8": (OmVariant(aipp=AIPP), 1000, ["uint8", "NHWC"]),
    "dynamic": (OmVariant(gears=(1, 2, 4, 16)), 1001, ["float32", "NCHW"]),
    "dynamic uint8": (OmVariant(gears=(4, 64), aipp=AIPP, output_dtype="float16"), 1000, ["uint8", "NHWC"]),
}


@pytest.mark.parametrize("name", VARIANTS)
def test_a_model_gets_the_input_that_it_describes(name: str, small_data: DataSet, tmp_path: Path) -> None:
    """The fingerprint of each input, by the slow path, is what came back; 13 images end in a partial batch of 1."""
    variant, n_classes, tensor = VARIANTS[name]
    om = tmp_path / "model.om"
    build_om("fingerprint", om, 4, n_classes=n_classes, variant=variant)
    flags = ["--data", small_data.folder, "--labels", small_data.labels, "--backend", "sim", "--limit", N_IMAGES]
    finished = run_engine("run", *flags, "--model", om, "--batch", 4, "--out", tmp_path)
    assert finished.returncode == 0, finished.stderr
    model = json.loads((tmp_path / "run.json").read_text())["model"]
    assert (model["input"], model["n_classes"], model["label_offset"]) == (tensor, n_classes, n_classes - 1000)
    verified = run_engine("verify", tmp_path)
    assert verified.stdout == f"{N_IMAGES} of {N_IMAGES} predictions identical\n"


@pytest.fixture
def job(tmp_path: Path) -> Iterator[DeviceJob]:
    """For one simulated chip of this process; `model` is to be given."""
    pyacl_stubs.reset()
    options = {"simulated": True, "profile": "resnext101_32x8d-310", "settings": {"strictness": "strict"}}
    yield DeviceJob(str(tmp_path / "model.om"), (0,), 4, 2, 1, 224, options)
    pyacl_stubs.reset()


def test_a_dynamic_model_runs_the_smallest_gear_that_holds_the_batch(job: DeviceJob) -> None:
    """Execute times tell the gear: 3 images take as long as 4, 1 as long as 1; the extra input may come first."""
    build_om("fingerprint", Path(job.model), 4, image=(3, 8, 8), n_classes=10, variant=OmVariant(gears=(1, 4, 8)))
    settings = {"strictness": "strict", "clock": "virtual"}
    backend = open_backend(replace(job, options={**job.options, "settings": settings}))
    device = backend.devices[0]
    rng = np.random.default_rng(0)
    times, rows = {}, {}
    for n in (1, 3, 4):
        images, out = rng.standard_normal((n, 3, 8, 8)).astype(np.float32), np.zeros((n, 10), np.float32)
        device.submit(images, out)
        completion = device.wait()
        assert completion is not None
        times[n], rows[n] = completion.execute_ns, completion.n_rows
        expected = np.zeros((n, 10), np.float32)
        reference.fingerprint_logits(images.reshape(n, -1).view(np.uint8), expected)
        assert (out == expected).all()
    assert times[1] == pytest.approx(1e9 / 144.766, rel=1e-6)
    assert times[3] == times[4] == pytest.approx(4e9 / 167.46, rel=1e-6)
    assert rows == {1: 1, 3: 4, 4: 4}
    backend.close()
    assert pyacl_stubs.reports() == []


def write_om_of(path: str, inputs: list[TensorSpec], outputs: list[TensorSpec], gears: tuple[int, ...] = (4,)) -> None:
    """An .om with any description."""
    write_om(Om("Ascend310", gears, len(gears) > 1, tuple(inputs), tuple(outputs), "fingerprint", b""), Path(path))


IMAGE, SCORES = TensorSpec("image", (4, 3, 224, 224), "float32", "NCHW"), TensorSpec("class", (4, 1000), "float32")


@pytest.mark.parametrize(
    ("inputs", "outputs", "message"),
    [
        ([IMAGE, replace(IMAGE, name="mask")], [SCORES], r"has 2 inputs \(image, mask\) and 1 outputs: needed a"),
        ([IMAGE], [SCORES, SCORES], "has 1 inputs .* and 2 outputs"),
        ([replace(IMAGE, dtype="int64")], [SCORES], r"takes images of ACL type 9: needed float32 \(0\) or float16"),
        ([IMAGE], [replace(SCORES, dtype="int32")], "gives scores of ACL type 3: needed float32"),
        ([replace(IMAGE, dims=(4, 1, 224, 224))], [SCORES], r"input of shape \[4, 1, 224, 224\]: needed"),
        ([replace(IMAGE, dims=(4, 3))], [SCORES], r"input of shape \[4, 3\]: needed \(batch, 3, H, W\)"),
        ([replace(IMAGE, dims=(8, 3, 9, 9))], [SCORES], "was compiled for batch 8: run it with --batch 8"),
        ([IMAGE], [replace(SCORES, dims=(4, 1))], r"output of shape \[4, 1\] for 4 images: needed \(batch, classes\)"),
    ],
)
def test_a_model_that_is_no_classifier_is_refused(
    inputs: list[TensorSpec], outputs: list[TensorSpec], message: str, job: DeviceJob
) -> None:
    gears = (8,) if inputs[0].dims[0] == 8 else (4,)
    write_om_of(job.model, inputs, outputs, gears)
    with pytest.raises(ModelError, match=message):
        open_backend(job)


def test_a_batch_that_is_no_gear_is_refused_with_the_gears(job: DeviceJob) -> None:
    build_om("fingerprint", Path(job.model), 4, variant=OmVariant(gears=(16, 1, 8)))
    with pytest.raises(ModelError, match="compiled for the batch sizes 1, 8, 16: run it with --batch one of them"):
        open_backend(job)


def test_an_om_of_another_soc_is_a_model_error_that_names_both(job: DeviceJob) -> None:
    """On the chip, and for the simulator before any process is started."""
    build_om("fingerprint", Path(job.model), 4, soc="Ascend310P3")
    with pytest.raises(ModelError, match=r"cannot be loaded on this Ascend310 .*545001.* --soc_version=Ascend310"):
        open_backend(job)
    with pytest.raises(ModelError, match="made for Ascend310P3 but --profile simulates an Ascend310: make it with"):
        resolve_model(job.model, "sim", Target(4, 224, "Ascend310", RESNET))


def test_aipp_must_normalise_as_the_preset_does(job: DeviceJob) -> None:
    inception = find_preset("inceptionv4")
    target = Target(4, 224, "Ascend310", RESNET)
    build_om("fingerprint", Path(job.model), 4, variant=OmVariant(aipp=AIPP))
    resolve_model(job.model, "sim", target)
    build_om("fingerprint", Path(job.model), 4, variant=OmVariant(aipp=Aipp.of(inception.mean, inception.std)))
    with pytest.raises(ModelError, match=r"normalises R as \(v - 127.5\) \* 0.0078\d+ on the chip but the preset as "):
        resolve_model(job.model, "sim", target)
    build_om("fingerprint", Path(job.model), 4, variant=OmVariant(aipp=replace(AIPP, is_swapped=True)))
    with pytest.raises(ModelError, match="swaps red and blue on the chip"):
        resolve_model(job.model, "sim", target)


def test_too_little_device_memory_gives_a_smaller_window_and_says_so(job: DeviceJob) -> None:
    """The second staging set does not fit: one batch in flight, a notice, the right scores."""
    build_om("fingerprint", Path(job.model), 4, image=(3, 8, 8), n_classes=10)
    settings = {"strictness": "strict", "faults": "acl.rt.malloc:4=207001"}
    backend = open_backend(replace(job, options={**job.options, "settings": settings}))
    assert backend.notices == ["chip 0 has memory for 1 batches in flight, not --window 2"]
    images, out = np.ones((4, 3, 8, 8), np.float32), np.zeros((4, 10), np.float32)
    for _ in range(3):
        backend.devices[0].submit(images, out)
        assert backend.devices[0].wait() is not None
    backend.close()
    assert pyacl_stubs.reports() == []


def half_onnx(path: Path, dtype: int, layout: str) -> Path:
    """Means of the channels and of their halves, from images of any type."""
    dims = ["n", 3, 224, 224] if layout == "NCHW" else ["n", 224, 224, 3]
    axes = [2, 3] if layout == "NCHW" else [1, 2]
    nodes = [
        helper.make_node("Cast", ["image"], ["floats"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["floats"], ["class"], axes=axes, keepdims=0),
    ]
    image = helper.make_tensor_value_info("image", dtype, dims)
    scores = helper.make_tensor_value_info("class", TensorProto.FLOAT, ["n", 3])
    graph = helper.make_graph(nodes, "means", [image], [scores])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), str(path))
    return path


@pytest.mark.parametrize("backend", ["onnxruntime", "sim"])
@pytest.mark.parametrize(
    ("dtype", "layout", "name"),
    [(TensorProto.FLOAT16, "NCHW", "float16"), (TensorProto.UINT8, "NHWC", "uint8")],
)
def test_an_onnx_says_its_own_input(
    backend: str, dtype: int, layout: str, name: str, small_data: DataSet, tmp_path: Path
) -> None:
    model = half_onnx(tmp_path / "means.onnx", dtype, layout)
    labels = tmp_path / "labels.txt"
    labels.write_text("".join(f"img_{i + 1}.JPEG {i % 3}\n" for i in range(small_data.n_images)))
    flags = ["--data", small_data.folder, "--labels", labels, "--backend", backend, "--model", model, "--batch", 5]
    finished = run_engine("run", *flags, "--limit", N_IMAGES, "--out", tmp_path)
    assert finished.returncode == 0, finished.stderr
    document = json.loads((tmp_path / "run.json").read_text())
    assert document["model"]["input"] == [name, layout]
    assert run_engine("verify", tmp_path).returncode == 0
    n_rows = sum(
        device["interface_per_s"] * device["execute_ms_per_batch"] * device["n_batches"] / 1e3
        for device in document["devices"]
    )  # an ONNX of any batch executes 13 images, an .om of batch 5 three times 5
    assert n_rows == pytest.approx(N_IMAGES if backend == "onnxruntime" else 15)
