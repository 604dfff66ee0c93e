"""ResNets as ONNX against a slow forward pass that folds nothing, in float64 NumPy."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
import pytest

from engine.toolchain.onnx_graph import GraphBuilder, serialise
from engine.toolchain.resnet import VARIANTS, Variant, parameter_shapes, resnet
from tests.toolchain.pth import State

F64 = npt.NDArray[np.float64]

#: Trainable parameters by torchvision's documentation of its models ("num_params").
N_PARAMETERS = {
    "resnet18": 11_689_512,
    "resnet34": 21_797_672,
    "resnet50": 25_557_032,
    "resnet101": 44_549_160,
    "resnet152": 60_192_808,
    "resnext50_32x4d": 25_028_904,
    "resnext101_32x8d": 88_791_336,
    "resnext101_64x4d": 83_455_272,
    "wide_resnet50_2": 68_883_240,
    "wide_resnet101_2": 126_886_696,
}
TINY = {
    "basic": Variant((1, 2, 1, 1), has_bottlenecks=False),
    "grouped": Variant((1, 2, 1, 1), groups=8, group_width=4),
    "wide": Variant((1, 1, 1, 1), group_width=96),
}


def random_state(variant: Variant, n_classes: int = 10) -> dict[str, npt.NDArray[Any]]:
    """Weights that keep the size of the features, and batch norms that do something."""
    rng = np.random.default_rng(5)
    state: dict[str, npt.NDArray[Any]] = {}
    for name, shape in parameter_shapes(variant, n_classes).items():
        if name.endswith("running_var"):
            state[name] = rng.uniform(0.5, 2.0, shape).astype(np.float32)
        elif len(shape) == 1:
            centre = 1.0 if name.endswith("weight") else 0.0
            state[name] = rng.normal(centre, 0.1, shape).astype(np.float32)
        else:
            fan_in = math.prod(shape[1:])
            state[name] = rng.normal(0, 1 / math.sqrt(fan_in), shape).astype(np.float32)
    return state


def conv(x: F64, weight: F64, stride: int, groups: int) -> F64:
    """Convolve (C, H, W), padded as much as keeps the centre, one kernel tap at a time."""
    kernel, side = weight.shape[2], x.shape[1]
    pad = kernel // 2
    out = (side + 2 * pad - kernel) // stride + 1
    padded = np.pad(x, ((0, 0), (pad, pad), (pad, pad)))
    total = np.zeros((weight.shape[0], out, out))
    for row in range(kernel):
        for column in range(kernel):
            tap = padded[:, row : row + out * stride : stride, column : column + out * stride : stride][:, :out, :out]
            for group in range(groups):
                inputs = slice(group * weight.shape[1], (group + 1) * weight.shape[1])
                outputs = slice(group * weight.shape[0] // groups, (group + 1) * weight.shape[0] // groups)
                total[outputs] += np.tensordot(weight[outputs, :, row, column], tap[inputs], 1)
    return total


def slow_forward(variant: Variant, state: State, image: F64) -> F64:
    """Logits of one (3, H, W) image, straight from torchvision's description of the family."""

    def conv_norm(x: F64, conv_name: str, norm: str, stride: int = 1, groups: int = 1) -> F64:
        x = conv(x, state[f"{conv_name}.weight"].astype(np.float64), stride, groups)
        gamma, beta, mean, var = (
            state[f"{norm}.{part}"].astype(np.float64)[:, None, None]
            for part in ("weight", "bias", "running_mean", "running_var")
        )
        return (x - mean) / np.sqrt(var + 1e-5) * gamma + beta

    x = np.maximum(conv_norm(image, "conv1", "bn1", 2), 0)
    side = (x.shape[1] + 1) // 2
    padded = np.pad(x, ((0, 0), (1, 1), (1, 1)), constant_values=-np.inf)
    x = np.max([padded[:, r : r + 2 * side : 2, c : c + 2 * side : 2] for r in range(3) for c in range(3)], axis=0)
    for stage, count in enumerate(variant.blocks, start=1):
        for number in range(count):
            name = f"layer{stage}.{number}"
            stride = 2 if stage > 1 and number == 0 else 1
            shortcut = (
                conv_norm(x, f"{name}.downsample.0", f"{name}.downsample.1", stride)
                if (f"{name}.downsample.0.weight" in state)
                else x
            )
            if variant.has_bottlenecks:
                y = np.maximum(conv_norm(x, f"{name}.conv1", f"{name}.bn1"), 0)
                y = np.maximum(conv_norm(y, f"{name}.conv2", f"{name}.bn2", stride, variant.groups), 0)
                y = conv_norm(y, f"{name}.conv3", f"{name}.bn3")
            else:
                y = np.maximum(conv_norm(x, f"{name}.conv1", f"{name}.bn1", stride), 0)
                y = conv_norm(y, f"{name}.conv2", f"{name}.bn2")
            x = np.maximum(y + shortcut, 0)
    result: F64 = state["fc.weight"].astype(np.float64) @ x.mean(axis=(1, 2)) + state["fc.bias"]
    return result


@pytest.mark.parametrize("kind", TINY)
def test_the_model_gives_the_logits_of_the_unfolded_network(kind: str) -> None:
    variant, state = TINY[kind], random_state(TINY[kind])
    model = resnet(variant, state, 64, GraphBuilder(11))
    images = np.random.default_rng(1).normal(size=(2, 3, 64, 64)).astype(np.float32)
    session = onnxruntime.InferenceSession(serialise(model), providers=["CPUExecutionProvider"])
    (logits,) = session.run(["class"], {"image": images})
    expected = np.stack([slow_forward(variant, state, image.astype(np.float64)) for image in images])
    assert np.abs(expected).max() > 0.1
    np.testing.assert_allclose(logits, expected, atol=1e-5)


@pytest.mark.parametrize("name", VARIANTS)
def test_each_net_has_the_published_number_of_parameters(name: str) -> None:
    shapes = parameter_shapes(VARIANTS[name], 1000)
    assert sum(math.prod(shape) for key, shape in shapes.items() if "running" not in key) == N_PARAMETERS[name]


def test_the_model_passes_the_checker_and_names_its_ports() -> None:
    model = resnet(TINY["grouped"], random_state(TINY["grouped"]), 224, GraphBuilder(11))
    onnx.checker.check_model(model, full_check=True)
    (source,), (sink,) = model.graph.input, model.graph.output
    assert (source.name, sink.name) == ("image", "class")
    assert [d.dim_param or d.dim_value for d in source.type.tensor_type.shape.dim] == ["N", 3, 224, 224]
    assert [d.dim_param or d.dim_value for d in sink.type.tensor_type.shape.dim] == ["N", 10]
    assert (model.opset_import[0].version, model.ir_version) == (11, 6)
    assert {node.op_type for node in model.graph.node} == {
        "Conv", "Relu", "MaxPool", "Add", "GlobalAveragePool", "Flatten", "Gemm",
    }  # fmt: skip


def test_the_same_weights_give_the_same_bytes() -> None:
    state = random_state(TINY["basic"])
    first, second = (serialise(resnet(TINY["basic"], state, 224, GraphBuilder(11))) for _ in range(2))
    assert first == second
