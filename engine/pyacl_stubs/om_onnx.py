"""What a simulated .om needs to know of an ONNX file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from engine.pyacl_stubs.om import OmError, TensorSpec


def onnx_tensors(
    path: Path, gears: tuple[int, ...], image: tuple[int, int, int]
) -> tuple[bytes, tuple[list[TensorSpec], list[TensorSpec]]]:
    """The ONNX bytes, and its inputs and outputs with an open batch.

    Raises OmError for a file that is no ONNX, or whose batch cannot be what is asked for.
    """
    import onnx

    try:
        model = onnx.load(str(path))
    except OSError as error:
        raise OmError(f"cannot read {path}: {error.strerror}") from None
    except Exception as error:  # protobuf's DecodeError has no public home
        raise OmError(f"{path} is not an ONNX model: {' '.join(str(error).split())}") from None
    constants = {tensor.name for tensor in model.graph.initializer}
    inputs = [value for value in model.graph.input if value.name not in constants]
    _open_batch(path, inputs, gears)
    in_specs = [_input_spec(path, value, image) for value in inputs]
    out_specs = [
        TensorSpec(value.name, (-1, *_output_dims(path, value)), _dtype(path, value)) for value in model.graph.output
    ]
    return model.SerializeToString(), (in_specs, out_specs)


def _open_batch(path: Path, inputs: list[Any], gears: tuple[int, ...]) -> None:
    """Refuse a batch axis that is fixed to another size than the one asked for."""
    for value in inputs:
        dims = value.type.tensor_type.shape.dim
        fixed = dims[0].dim_value if dims else 0
        if fixed and gears != (fixed,):
            raise OmError(
                f"{path} is fixed to batch {fixed} in {value.name}, {', '.join(map(str, gears))} was asked for: "
                "export it with a dynamic batch axis"
            )


def _input_spec(path: Path, value: Any, image: tuple[int, int, int]) -> TensorSpec:
    rest = [dim.dim_value for dim in value.type.tensor_type.shape.dim][1:]
    if len(rest) == 3:
        rest = [given or asked for given, asked in zip(rest, image, strict=True)]
    if not rest or not all(rest):
        raise OmError(f"{path} leaves dims of the input {value.name} open: {rest}; export it with fixed ones")
    form = "ND" if len(rest) != 3 else "NHWC" if rest[2] == 3 and rest[0] != 3 else "NCHW"
    return TensorSpec(value.name, (-1, *rest), _dtype(path, value), form)


def _dtype(path: Path, value: Any) -> str:
    """The simulator's name of a tensor's type."""
    import onnx

    number = value.type.tensor_type.elem_type
    names = {onnx.TensorProto.FLOAT: "float32", onnx.TensorProto.FLOAT16: "float16", onnx.TensorProto.UINT8: "uint8"}
    if number not in names:
        raise OmError(f"{path} has {value.name} of ONNX type {number}: needed float, float16 or uint8")
    return names[number]


def _output_dims(path: Path, value: Any) -> tuple[int, ...]:
    rest = tuple(dim.dim_value for dim in value.type.tensor_type.shape.dim)[1:]
    if not rest or not all(rest):
        raise OmError(
            f"{path} does not state the dims of its output {value.name}: run onnx shape inference on it first"
        )
    return rest
