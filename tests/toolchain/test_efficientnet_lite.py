"""The ONNX of EfficientNet-Lite0 against a slow forward pass that folds nothing, in float64 NumPy."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
import pytest

from engine.errors import ModelError
from engine.toolchain import zoo
from engine.toolchain.efficientnet_lite import SCALES, efficientnet_lite, parameter_shapes
from engine.toolchain.onnx_graph import serialise
from engine.toolchain.torch_pickle import parse_state_dict

F64 = npt.NDArray[np.float64]
State = Mapping[str, npt.NDArray[Any]]
MEAN = np.array([0.485, 0.456, 0.406])[:, None, None]
STD = np.array([0.229, 0.224, 0.225])[:, None, None]
#: (kernel, stride, channels, repeats) of each stage, from Table 1 of the EfficientNet paper.
STAGES = [(3, 1, 16, 1), (3, 2, 24, 2), (5, 2, 40, 2), (3, 2, 80, 3), (5, 1, 112, 3), (5, 2, 192, 4), (3, 1, 320, 1)]


def conv(x: F64, weight: F64, stride: int = 1, depthwise: bool = False) -> F64:
    """Convolve (C, H, W) as TensorFlow's SAME does, one kernel tap at a time."""
    kernel, side = weight.shape[2], x.shape[1]
    out = -(-side // stride)
    pad = max((out - 1) * stride + kernel - side, 0)
    padded = np.pad(x, ((0, 0), (pad // 2, pad - pad // 2), (pad // 2, pad - pad // 2)))
    total = np.zeros((weight.shape[0], out, out))
    for row in range(kernel):
        for column in range(kernel):
            tap = padded[:, row : row + out * stride : stride, column : column + out * stride : stride][:, :out, :out]
            factors = weight[:, :, row, column]
            total += factors[:, :, None] * tap if depthwise else np.tensordot(factors, tap, 1)
    return total


def norm(x: F64, state: State, name: str) -> F64:
    gamma, beta, mean, var = (
        state[f"{name}.{part}"].astype(np.float64)[:, None, None]
        for part in ("weight", "bias", "running_mean", "running_var")
    )
    return (x - mean) / np.sqrt(var + 1e-3) * gamma + beta


def relu6(x: F64) -> F64:
    return np.clip(x, 0, 6)


def slow_forward(state: State, pixels: npt.NDArray[np.uint8]) -> F64:
    """Return the logits of one (3, 224, 224) image of bytes, straight from the paper's description."""

    def weight(name: str) -> F64:
        return state[f"{name}.weight"].astype(np.float64)

    x = (pixels.astype(np.float64) - 127) / 128
    x = relu6(norm(conv(x, weight("_conv_stem"), 2), state, "_bn0"))
    number = 0
    for _, stride, channels, repeats in STAGES:
        for repeat in range(repeats):
            name = f"_blocks.{number}."
            y = x
            if number > 0:
                y = relu6(norm(conv(y, weight(f"{name}_expand_conv")), state, f"{name}_bn0"))
            depthwise = weight(f"{name}_depthwise_conv")
            y = relu6(norm(conv(y, depthwise, stride if repeat == 0 else 1, True), state, f"{name}_bn1"))
            y = norm(conv(y, weight(f"{name}_project_conv")), state, f"{name}_bn2")
            assert y.shape[0] == channels
            x = x + y if repeat else y
            number += 1
    x = relu6(norm(conv(x, weight("_conv_head")), state, "_bn1")).mean(axis=(1, 2))
    return weight("_fc") @ x + state["_fc.bias"]


@pytest.fixture(scope="module")
def state() -> State:
    return parse_state_dict(zoo.lite0_weights(), "lite0")


@pytest.fixture(scope="module")
def model(state: State) -> onnx.ModelProto:
    return efficientnet_lite(state, 224)


def smooth_image(seed: int) -> npt.NDArray[np.uint8]:
    coarse = np.random.default_rng(seed).integers(0, 256, (3, 8, 8))
    return np.kron(coarse, np.ones((28, 28), int)).astype(np.uint8)


def test_the_model_gives_the_logits_of_the_unfolded_network(state: State, model: onnx.ModelProto) -> None:
    images = np.stack([smooth_image(1), np.random.default_rng(2).integers(0, 256, (3, 224, 224), np.uint8)])
    expected = np.stack([slow_forward(state, image) for image in images])
    session = onnxruntime.InferenceSession(serialise(model), providers=["CPUExecutionProvider"])
    (logits,) = session.run(["class"], {"image": ((images / 255 - MEAN) / STD).astype(np.float32)})
    np.testing.assert_allclose(logits, expected, atol=5e-5)


def test_the_model_passes_the_checker_and_names_its_ports(model: onnx.ModelProto) -> None:
    onnx.checker.check_model(model, full_check=True)
    (source,), (sink,) = model.graph.input, model.graph.output
    assert (source.name, sink.name) == ("image", "class")
    assert [d.dim_param or d.dim_value for d in source.type.tensor_type.shape.dim] == ["N", 3, 224, 224]
    assert [d.dim_param or d.dim_value for d in sink.type.tensor_type.shape.dim] == ["N", 1000]
    assert model.opset_import[0].version == 13


def test_the_same_weights_give_the_same_bytes(state: State, model: onnx.ModelProto) -> None:
    assert serialise(efficientnet_lite(state, 224)) == serialise(model)


def test_a_changed_graph_changes_the_recipe(model: onnx.ModelProto) -> None:
    """Cached files of an older recipe are made again. If this fails, raise zoo.RECIPE and update both numbers."""
    digest = hashlib.sha256()
    for node in model.graph.node:
        attributes = [(item.name, onnx.helper.get_attribute_value(item)) for item in node.attribute]
        digest.update(f"{node.op_type} {list(node.input)} {list(node.output)} {attributes}".encode())
    for constant in model.graph.initializer:
        digest.update(constant.raw_data)
    assert (zoo.RECIPE, digest.hexdigest()[:16]) == (2, "f6138f7552334732")


def test_a_state_dict_of_another_network_is_refused() -> None:
    with pytest.raises(ModelError, match=r"not that of an EfficientNet-Lite: it lacks '_conv_stem.weight'"):
        efficientnet_lite({"conv1.weight": np.zeros((64, 3, 7, 7), np.float32)}, 224)
    norm_0 = {f"_bn0.{part}": np.ones(32, np.float32) for part in ("weight", "bias", "running_mean", "running_var")}
    with pytest.raises(ModelError, match="0 blocks in too few stages"):
        efficientnet_lite({"_conv_stem.weight": np.zeros((32, 3, 3, 3), np.float32), **norm_0}, 224)


@pytest.mark.parametrize(("net", "millions"), [("0", 4.7), ("1", 5.4), ("2", 6.1), ("3", 8.2), ("4", 13.0)])
def test_each_size_has_as_many_parameters_as_its_release_says(net: str, millions: float) -> None:
    """The table of the EfficientNet-Lite release; running statistics are none of them."""
    shapes = parameter_shapes(SCALES[f"efficientnet_lite{net}"], 1000)
    n = sum(math.prod(shape) for name, shape in shapes.items() if "running" not in name and "num_batches" not in name)
    assert round(n / 1e6, 1) == millions
