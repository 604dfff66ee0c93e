"""ResNet, ResNeXt and Wide ResNet as ONNX graphs, from torchvision's state dicts, without torch.

The nets are those of ``torchvision/models/resnet.py`` (He et al. 2015, arXiv 1512.03385; Xie et al. 2016, arXiv
1611.05431; Zagoruyko and Komodakis 2016, arXiv 1605.07146): a bottleneck's stride is on its 3x3 convolution. The graph
is the one that ``torch.onnx.export`` writes, node for node, and batch norms are folded in float32 in the order of its
optimizer. The constants are the same but for square roots, which torch's vector library may round the other way.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import onnx

from engine.toolchain.batch_norm import folded
from engine.toolchain.onnx_graph import GraphBuilder, Port, Window
from engine.toolchain.state_dict import Shape, StateDict, norm_shapes

BATCH_NORM_EPS = 1e-5
STEM_CHANNELS = 64
#: Channels of a 3x3 convolution in each stage, before the width of the variant.
STAGE_PLANES = (64, 128, 256, 512)


@dataclass(frozen=True)
class Variant:
    """One net of the family.

    blocks : per stage      groups, group_width : of the 3x3 convolutions of a bottleneck
    """

    blocks: tuple[int, int, int, int]
    has_bottlenecks: bool = True
    groups: int = 1
    group_width: int = 64

    @property
    def expansion(self) -> int:
        """Channels that leave a block, per plane."""
        return 4 if self.has_bottlenecks else 1

    def width(self, planes: int) -> int:
        """Channels of the 3x3 convolutions of a stage."""
        return planes * self.group_width // 64 * self.groups if self.has_bottlenecks else planes


#: torchvision 0.6 to 0.29, the functions of the same names.
VARIANTS: Mapping[str, Variant] = {
    "resnet18": Variant((2, 2, 2, 2), has_bottlenecks=False),
    "resnet34": Variant((3, 4, 6, 3), has_bottlenecks=False),
    "resnet50": Variant((3, 4, 6, 3)),
    "resnet101": Variant((3, 4, 23, 3)),
    "resnet152": Variant((3, 8, 36, 3)),
    "resnext50_32x4d": Variant((3, 4, 6, 3), groups=32, group_width=4),
    "resnext101_32x8d": Variant((3, 4, 23, 3), groups=32, group_width=8),
    "resnext101_64x4d": Variant((3, 4, 23, 3), groups=64, group_width=4),
    "wide_resnet50_2": Variant((3, 4, 6, 3), group_width=128),
    "wide_resnet101_2": Variant((3, 4, 23, 3), group_width=128),
}


@dataclass(frozen=True)
class Conv:
    """One convolution and the batch norm behind it. shape : of the weight, (O, I / groups, K, K)"""

    name: str
    norm: str
    shape: tuple[int, int, int, int]
    stride: int = 1
    groups: int = 1


@dataclass(frozen=True)
class Block:
    """One residual block: its convolutions in order, and the one on its shortcut if the shapes differ."""

    convs: tuple[Conv, ...]
    shortcut: Conv | None


STEM = Conv("conv1", "bn1", (STEM_CHANNELS, 3, 7, 7), stride=2)


def blocks(variant: Variant) -> list[Block]:
    """The residual blocks of a net, in order."""
    made, channels = [], STEM_CHANNELS
    for stage, (count, planes) in enumerate(zip(variant.blocks, STAGE_PLANES, strict=True)):
        for number in range(count):
            stride = 2 if number == 0 and stage > 0 else 1
            made.append(_block(variant, f"layer{stage + 1}.{number}", (channels, planes), stride))
            channels = planes * variant.expansion
    return made


def _block(variant: Variant, prefix: str, channels_and_planes: tuple[int, int], stride: int) -> Block:
    channels, planes = channels_and_planes
    width, out = variant.width(planes), planes * variant.expansion
    if variant.has_bottlenecks:
        shapes = [(width, channels, 1, 1), (width, width // variant.groups, 3, 3), (out, width, 1, 1)]
        strides, groups = [1, stride, 1], [1, variant.groups, 1]
    else:
        shapes, strides, groups = [(out, channels, 3, 3), (out, out, 3, 3)], [stride, 1], [1, 1]
    convs = tuple(
        Conv(f"{prefix}.conv{i + 1}", f"{prefix}.bn{i + 1}", shapes[i], strides[i], groups[i])
        for i in range(len(shapes))
    )
    changes = stride != 1 or channels != out
    name = f"{prefix}.downsample"
    return Block(convs, Conv(f"{name}.0", f"{name}.1", (out, channels, 1, 1), stride) if changes else None)


def parameter_shapes(variant: Variant, n_classes: int) -> dict[str, Shape]:
    """What a state dict of this net holds, in torchvision's order."""
    shapes: dict[str, Shape] = {}
    for conv in (STEM, *(c for block in blocks(variant) for c in (*block.convs, block.shortcut) if c)):
        shapes[f"{conv.name}.weight"] = conv.shape
        shapes |= norm_shapes(conv.norm, conv.shape[0])
    features = STAGE_PLANES[-1] * variant.expansion
    return {**shapes, "fc.weight": (n_classes, features), "fc.bias": (n_classes,)}


def resnet(variant: Variant, state: StateDict, size: int, graph: GraphBuilder) -> onnx.ModelProto:
    """Return the net as ONNX: ``image`` (N, 3, size, size) float32 -> ``class`` (N, classes) float32, logits.

    state : checked against `parameter_shapes`        graph : empty
    """
    x = graph.node("Relu", [_conv(graph, state, STEM, "image")])
    x = graph.node(
        "MaxPool", [x], ceil_mode=0, dilations=[1, 1], kernel_shape=[3, 3], pads=[1, 1, 1, 1], strides=[2, 2]
    )
    for block in blocks(variant):
        x = _add_block(graph, state, block, x)
    x = graph.node("Flatten", [graph.node("GlobalAveragePool", [x])], axis=1)
    weight, bias = state["fc.weight"], state["fc.bias"]
    parameters = [graph.constant("fc_weight", weight), graph.constant("fc_bias", bias)]
    graph.node("Gemm", [x, *parameters], output="class", alpha=1.0, beta=1.0, transB=1)
    return graph.model("resnet", "", Port("image", ["N", 3, size, size]), Port("class", ["N", int(weight.shape[0])]))


def _add_block(graph: GraphBuilder, state: StateDict, block: Block, x: str) -> str:
    y = x
    for conv in block.convs[:-1]:
        y = graph.node("Relu", [_conv(graph, state, conv, y)])
    y = _conv(graph, state, block.convs[-1], y)
    shortcut = _conv(graph, state, block.shortcut, x) if block.shortcut else x
    return graph.node("Relu", [graph.node("Add", [y, shortcut])])


def _conv(graph: GraphBuilder, state: StateDict, conv: Conv, x: str) -> str:
    pad = conv.shape[2] // 2
    weights = folded(state, conv.name, conv.norm, BATCH_NORM_EPS)
    return graph.conv(x, weights, Window(conv.stride, (pad, pad, pad, pad), conv.groups))
