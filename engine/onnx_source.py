"""The ONNX graph of a model, for what only ONNX Runtime can do with it."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from engine.errors import ModelError
from engine.files import atomic_path, cache_dir
from engine.models import FINGERPRINT, Target, resolve_model


@dataclass(frozen=True)
class OnnxSource:
    """path : the ONNX file        note : said where it is not the model itself"""

    path: Path
    note: str = ""


def onnx_of(model: str, side: int) -> OnnxSource:
    """The ONNX of ``lite0``, of an .onnx file, or inside a simulated .om; ModelError where there is none."""
    if model == FINGERPRINT:
        raise ModelError("model fingerprint is no graph: it hashes its input; needed an ONNX model")
    if Path(model).suffix != ".om":
        found = resolve_model(model, "onnxruntime", Target(1, side))
        return OnnxSource(Path(found.path))
    from engine.pyacl_stubs.om import OmError, read_om

    try:
        om = read_om(Path(model))
    except OmError as error:
        raise ModelError(f"{model} has no ONNX inside: {error}") from error
    except OSError as error:
        raise ModelError(f"model {model} cannot be read: {error.strerror}") from error
    if om.kind != "onnx":
        raise ModelError(f"{model} is a simulated .om of the model {om.kind}, which is no graph")
    path = cache_dir("om") / f"{hashlib.sha256(om.payload).hexdigest()[:16]}.onnx"
    if not path.is_file():
        with atomic_path(path) as temporary:
            temporary.write_bytes(om.payload)
    return OnnxSource(path, f"{model} is a simulated .om: the ONNX inside it is run on this CPU")
