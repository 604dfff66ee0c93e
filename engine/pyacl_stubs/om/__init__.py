"""The simulated ``.om``: what a model takes and gives, and how its numbers are computed.

A file is one msgpack array ``[magic, schema, sha256 of the body, body]``; the body is a msgpack map:

    soc, gears, is_dynamic          target chip; batch sizes (one, if static)
    inputs, outputs                 lists of {name, dims, dtype, format}; dims[0] is the batch, -1 if dynamic
    kind, payload                   "onnx" and the ONNX bytes, or "fingerprint" and nothing
    profile                         rate profile that goes with the model; "" leaves it to the simulator's settings
    aipp                            static pre-processing of uint8 images on the chip, or nil

No vendor tool reads or writes this, and the simulator reads no vendor's ``.om``.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import msgpack

MAGIC = "engine simulated om"
SCHEMA = 1
#: First bytes of a vendor's ``.om``.
VENDOR_MAGIC = b"IMOD"
#: Most gears that a dynamic model may have (ACL_MAX_DYNAMIC_BATCH_NUM).
MAX_GEARS = 128
ITEM_BYTES = {"float32": 4, "float16": 2, "uint8": 1, "int32": 4, "int64": 8}
KINDS = ("onnx", "fingerprint")


class OmError(ValueError):
    """A file that is not a usable simulated .om, or a model that cannot become one. One line."""


@dataclass(frozen=True)
class TensorSpec:
    """One input or output. dims[0] is the batch, -1 if dynamic."""

    name: str
    dims: tuple[int, ...]
    dtype: str
    format: str = "ND"

    @property
    def row_bytes(self) -> int:
        """Bytes of one image's part."""
        return math.prod(self.dims[1:]) * ITEM_BYTES[self.dtype]


@dataclass(frozen=True)
class Aipp:
    """Static pre-processing on the chip: uint8 NHWC to ``(pixel - mean - minimum) * var_reci``, NCHW.

    is_swapped : the first and third channel change places first
    """

    mean: tuple[float, float, float] = (0.0, 0.0, 0.0)
    minimum: tuple[float, float, float] = (123.675, 116.28, 103.53)
    var_reci: tuple[float, float, float] = (0.01712475, 0.017507, 0.01742919)
    is_swapped: bool = False

    @classmethod
    def of(cls, mean: Sequence[float], std: Sequence[float]) -> Aipp:
        """The one that computes ``(pixel / 255 - mean) / std``, in the digits that an aipp.cfg is written with."""
        minimum, var_reci = [round(255 * m, 6) for m in mean], [round(1 / (255 * s), 10) for s in std]
        return cls((0.0, 0.0, 0.0), _three(minimum), _three(var_reci))


def _three(values: Sequence[float]) -> tuple[float, float, float]:
    first, second, third = values
    return first, second, third


@dataclass(frozen=True)
class Om:
    """A model as the simulated chip loads it."""

    soc: str
    gears: tuple[int, ...]
    is_dynamic: bool
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    kind: str
    payload: bytes
    profile: str = ""
    aipp: Aipp | None = None
    sha256: str = ""

    @property
    def batch(self) -> int:
        """The batch size; the largest gear of a dynamic model."""
        return max(self.gears)


@dataclass(frozen=True)
class OmVariant:
    """What a compiler can be asked for beside the batch.

    gears : of a dynamic batch model; empty for a static one
    input_dtype, output_dtype : empty for the network's own
    """

    gears: tuple[int, ...] = ()
    input_dtype: str = ""
    output_dtype: str = ""
    aipp: Aipp | None = None
    profile: str = ""


def build_om(
    model: str | Path,
    path: Path,
    batch: int,
    soc: str = "Ascend310",
    image: tuple[int, int, int] = (3, 224, 224),
    n_classes: int = 1000,
    variant: OmVariant = OmVariant(),
) -> None:
    """Write the simulated .om of ``"fingerprint"`` or of an ONNX file.

    image, n_classes : of the fingerprint; an ONNX says its own (channels, height, width where it leaves them open)
    batch : of a static model; a dynamic one has `variant.gears` instead
    """
    gears = variant.gears or (batch,)
    _check_gears(gears)
    if str(model) == "fingerprint":
        kind, payload = "fingerprint", b""
        source = (
            [TensorSpec("image", (-1, *image), "float32", "NCHW")],
            [TensorSpec("class", (-1, n_classes), "float32")],
        )
    else:
        from engine.pyacl_stubs.om_onnx import onnx_tensors  # heavy, and only for this

        kind = "onnx"
        payload, source = onnx_tensors(Path(model), gears, image)
    inputs, outputs = (
        tuple(_compiled(tensor, variant, gears, i) for tensor in group) for i, group in enumerate(source)
    )
    om = Om(soc, gears, bool(variant.gears), inputs, outputs, kind, payload, variant.profile, variant.aipp)
    write_om(om, path)


def _check_gears(gears: tuple[int, ...]) -> None:
    if not all(gear >= 1 for gear in gears) or len(set(gears)) != len(gears):
        raise OmError(f"batch sizes must be positive and different, got {', '.join(map(str, gears))}")
    if len(gears) > MAX_GEARS:
        raise OmError(f"a dynamic model has at most {MAX_GEARS} batch sizes, got {len(gears)}")


def _compiled(tensor: TensorSpec, variant: OmVariant, gears: tuple[int, ...], is_output: int) -> TensorSpec:
    """The tensor as the compiled model shows it: batch, dtype, and with AIPP the uint8 image."""
    batch = -1 if variant.gears else gears[0]
    rest = tensor.dims[1:]
    if is_output:
        return TensorSpec(tensor.name, (batch, *rest), variant.output_dtype or tensor.dtype, tensor.format)
    if variant.aipp is None:
        return TensorSpec(tensor.name, (batch, *rest), variant.input_dtype or tensor.dtype, tensor.format)
    if len(rest) != 3 or tensor.format != "NCHW":
        raise OmError(f"AIPP needs an NCHW image input, {tensor.name} is {tensor.format} {list(tensor.dims)}")
    channels, height, width = rest
    return TensorSpec(tensor.name, (batch, height, width, channels), "uint8", "NHWC")


def write_om(om: Om, path: Path) -> None:
    """Write the file; an existing one is replaced as a whole."""
    body = asdict(om)
    del body["sha256"]
    packed = msgpack.packb(body)
    partial = path.with_name(path.name + ".partial")
    partial.write_bytes(msgpack.packb([MAGIC, SCHEMA, hashlib.sha256(packed).hexdigest(), packed]))
    partial.replace(path)


def read_om(path: Path) -> Om:
    """Read a simulated .om. Raises OmError for anything else, OSError where the file cannot be read."""
    return parse_om(Path(path).read_bytes(), str(path))


def parse_om(data: bytes, name: str) -> Om:
    """Read a simulated .om from memory. name : for the messages."""
    if data[: len(VENDOR_MAGIC)] == VENDOR_MAGIC:
        raise OmError(
            f"{name} is a real .om of the vendor's compiler: the simulator cannot run it; "
            "make a simulated one from its ONNX with python -m engine.pyacl_stubs.om"
        )
    try:
        frame = msgpack.unpackb(data)
    except Exception as error:  # msgpack raises ValueError and its subclasses, but also plain exceptions
        raise OmError(f"{name} is not a simulated .om ({len(data)} bytes): {_one_line(error)}") from None
    if not (isinstance(frame, list) and len(frame) == 4 and frame[0] == MAGIC):
        raise OmError(f"{name} is not a simulated .om: it does not begin with {MAGIC!r}")
    _, schema, digest, body = frame
    if schema != SCHEMA:
        raise OmError(f"{name} has schema {schema}, this simulator reads {SCHEMA}: make it again")
    if not isinstance(body, bytes) or hashlib.sha256(body).hexdigest() != digest:
        raise OmError(f"{name} is damaged: its content does not have the sha256 that it states")
    try:
        return _om_of(msgpack.unpackb(body), digest)
    except Exception as error:  # hostile bytes with a hash that fits
        raise OmError(f"{name} has fields that cannot be used: {_one_line(error)}") from None


def _one_line(error: Exception) -> str:
    return " ".join(f"{type(error).__name__} {error}".split())


def _om_of(body: Mapping[str, Any], digest: str) -> Om:
    if body["kind"] not in KINDS:
        raise ValueError(f"unknown kind {body['kind']!r}")
    aipp = body["aipp"]
    return Om(
        soc=body["soc"],
        gears=tuple(body["gears"]),
        is_dynamic=body["is_dynamic"],
        inputs=tuple(_tensor_of(tensor) for tensor in body["inputs"]),
        outputs=tuple(_tensor_of(tensor) for tensor in body["outputs"]),
        kind=body["kind"],
        payload=body["payload"],
        profile=body["profile"],
        aipp=None if aipp is None else _aipp_of(aipp),
        sha256=digest,
    )


def _aipp_of(fields: Mapping[str, Any]) -> Aipp:
    mean, minimum, var_reci = (tuple(fields[name]) for name in ("mean", "minimum", "var_reci"))
    return Aipp(mean, minimum, var_reci, fields["is_swapped"])


def _tensor_of(fields: Mapping[str, Any]) -> TensorSpec:
    return TensorSpec(fields["name"], tuple(fields["dims"]), fields["dtype"], fields["format"])
