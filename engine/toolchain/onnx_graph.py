"""A small typed builder of ONNX graphs.

Each method adds one node and returns the name of its output, so a network reads as an expression. The same calls give
the same bytes: names are counted, nothing depends on time, hashing or the environment.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

F64Array = npt.NDArray[np.float64]
FloatArray = npt.NDArray[np.floating[Any]]

#: ONNX's format version that belongs to each opset we write; readers of that age accept it.
IR_VERSIONS = {11: 6, 12: 7, 13: 7, 14: 7, 15: 8, 16: 8, 17: 8}


@dataclass(frozen=True)
class ConvWeights:
    """weight : (O, I / groups, K, K)        bias : (O,)"""

    weight: FloatArray
    bias: FloatArray


@dataclass(frozen=True)
class Window:
    """How a convolution moves over its input. pads : (top, left, bottom, right)"""

    stride: int = 1
    pads: tuple[int, int, int, int] = (0, 0, 0, 0)
    groups: int = 1


@dataclass(frozen=True)
class Port:
    """An input or output of the model, float32. shape : sizes, or names of free dimensions"""

    name: str
    shape: Sequence[int | str]


@dataclass
class GraphBuilder:
    """Collects nodes and constants until `model` is asked for."""

    opset: int = 13
    _nodes: list[onnx.NodeProto] = field(default_factory=list)
    _constants: dict[str, onnx.TensorProto] = field(default_factory=dict)

    def constant(self, name: str, values: npt.ArrayLike) -> str:
        """Add ``values`` as a float32 constant; the same name gives the first one again."""
        if name not in self._constants:
            array = np.ascontiguousarray(np.asarray(values, np.float32))
            self._constants[name] = numpy_helper.from_array(array.reshape(np.shape(values)), name)
        return name

    def node(self, op: str, inputs: Sequence[str], output: str | None = None, **attributes: Any) -> str:
        """Add one node; its output is ``output`` or a counted name."""
        number = len(self._nodes)
        output = output or f"{op.lower()}_{number}"
        self._nodes.append(helper.make_node(op, list(inputs), [output], name=f"{op}_{number}", **attributes))
        return output

    def conv(self, x: str, weights: ConvWeights, window: Window) -> str:
        """Add a convolution of square kernels, with bias."""
        number = len(self._nodes)
        kernel = weights.weight.shape[2:]
        parameters = [
            self.constant(f"weight_{number}", weights.weight),
            self.constant(f"bias_{number}", weights.bias),
        ]
        return self.node(
            "Conv",
            [x, *parameters],
            dilations=[1, 1],
            group=window.groups,
            kernel_shape=list(kernel),
            pads=list(window.pads),
            strides=[window.stride, window.stride],
        )

    def relu6(self, x: str) -> str:
        """Add ``min(max(x, 0), 6)``."""
        return self.node("Clip", [x, self.constant("zero", 0.0), self.constant("six", 6.0)])

    def scale_and_shift(self, x: str, scale: F64Array, shift: F64Array) -> str:
        """Add ``x * scale + shift`` per channel. scale, shift : (C,)"""
        scaled = self.node("Mul", [x, self.constant("scale", scale.reshape(1, -1, 1, 1))])
        return self.node("Add", [scaled, self.constant("shift", shift.reshape(1, -1, 1, 1))])

    def model(self, name: str, doc: str, source: Port, sink: Port) -> onnx.ModelProto:
        """Return the finished model, checked by ONNX itself."""
        ports = [
            helper.make_tensor_value_info(port.name, TensorProto.FLOAT, list(port.shape)) for port in (source, sink)
        ]
        graph = helper.make_graph(self._nodes, name, ports[:1], ports[1:], list(self._constants.values()))
        opsets = [helper.make_opsetid("", self.opset)]
        model = helper.make_model(graph, opset_imports=opsets, producer_name="engine", doc_string=doc)
        model.ir_version = IR_VERSIONS[self.opset]
        onnx.checker.check_model(model, full_check=True)
        return model


def serialise(model: onnx.ModelProto) -> bytes:
    """Return the bytes of ``model``: the same for the same model and onnx version."""
    return bytes(model.SerializeToString(deterministic=True))
