"""`engine export`: from trained weights to an ONNX file that atc and ONNX Runtime take.

The nets of `TORCH_FREE` are written here from the state dict alone. Any other classifier of torchvision goes through
torch's own exporter (`engine.toolchain.torch_export`), with weights that were read by our reader in both cases.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from engine.errors import ConfigError, ModelError
from engine.files import atomic_write
from engine.layout import MIB
from engine.toolchain import efficientnet_lite, resnet, zoo
from engine.toolchain.onnx_graph import IR_VERSIONS, GraphBuilder, serialise
from engine.toolchain.state_dict import (
    Shape,
    StateDict,
    difference,
    n_classes_of,
    require_finite,
    without_parallel,
)
from engine.toolchain.torch_pickle import parse_state_dict, read_state_dict

Say = Callable[[str], None]

LITE0 = "lite0"
#: Other names of the same nets.
ALIASES = {LITE0: "efficientnet_lite0", **{f"lite{n}": f"efficientnet_lite{n}" for n in range(1, 5)}}
TORCH_FREE = (*resnet.VARIANTS, *efficientnet_lite.SCALES)
#: The weights of the guide, chapter 3.1: resnext101_32x8d-8ba56ff5.pth.
GUIDE_MODEL = "resnext101_32x8d"
GUIDE_FILE = "resnext101_32x8d-8ba56ff5.pth"
GUIDE_MD5 = "4454a42689454b94296e378762f2333f"
#: torchvision ends the names of its files with the first digits of their sha256 (torch.hub checks them).
HASHED_NAME = re.compile(r"-([0-9a-f]{8})\.pth$")
DEFAULT_SIZE = 224
DEFAULT_OPSET = 11
OPSETS = (min(IR_VERSIONS), max(IR_VERSIONS))


@dataclass(frozen=True)
class ExportRequest:
    """What to export. weights : None for lite0, which comes with the engine        size : None for the net's own"""

    name: str
    weights: Path | None
    out: Path
    opset: int = DEFAULT_OPSET
    size: int | None = None


@dataclass(frozen=True)
class Exported:
    """The file that was written. weights_md5, weights_sha256 : of the file that was read"""

    path: Path
    sha256: str
    weights: str
    weights_md5: str
    weights_sha256: str
    opset: int
    n_classes: int
    size: int


def export_model(request: ExportRequest, say: Say) -> Exported:
    """Write the ONNX file, check it with ONNX's checker and ONNX Runtime, and say what was read and written.

    Raises ModelError for weights that are not those of the net, ConfigError for options that cannot be used.
    """
    if request.out.suffix != ".onnx":
        raise ConfigError(f"-o {request.out}: needed a name that ends in .onnx")
    if not request.out.absolute().parent.is_dir():
        raise ConfigError(f"-o {request.out}: there is no folder {request.out.absolute().parent}")
    name = ALIASES.get(request.name, request.name)
    if name not in TORCH_FREE:
        from engine.toolchain.torch_export import require_classifier

        require_classifier(name)
    source, data = _weights(request)
    md5, sha256 = _digests(data)
    state = without_parallel(parse_state_dict(data, source))
    require_finite(state, source)
    say(f"weights  {source}: {len(state)} tensors, {len(data) / MIB:.1f} MiB, read without executing its pickle")
    for line in identity_lines(name, source, md5, sha256):
        say(line)
    size = request.size or _default_size(name)
    model = _onnx_bytes(name, source, state, (size, request.opset))
    n_classes = probe(model, size)
    atomic_write(request.out, model)
    digest = hashlib.sha256(model).hexdigest()
    say(
        f"written  {request.out}: {len(model) / MIB:.1f} MiB, opset {request.opset}, "
        f"image (N, 3, {size}, {size}) float32 -> class (N, {n_classes}) float32"
    )
    say("checked  onnx.checker; ONNX Runtime at batch 1 and 2: finite scores, the same for the same image")
    say(f"sha256   {digest}")
    return Exported(request.out, digest, source, md5, sha256, request.opset, n_classes, size)


def _weights(request: ExportRequest) -> tuple[str, bytes]:
    """Name and content of the file of weights."""
    if request.weights is None:
        if ALIASES.get(request.name, request.name) == ALIASES[LITE0]:
            return f"{zoo.LITE0_DISTRIBUTION} ({Path(zoo.LITE0_FILE).name})", zoo.lite0_weights()
        raise ConfigError(f"which weights? give --weights FILE.pth for {request.name} (only lite0 comes with its own)")
    try:
        return str(request.weights), request.weights.read_bytes()
    except OSError as error:
        raise ModelError(f"cannot read the weights {request.weights}: {error.strerror}") from error


def _digests(data: bytes) -> tuple[str, str]:
    return hashlib.md5(data, usedforsecurity=False).hexdigest(), hashlib.sha256(data).hexdigest()


def identity_lines(name: str, source: str, md5: str, sha256: str) -> list[str]:
    """Say whether the weights are the guide's, and whether they are what their file name promises."""
    lines = []
    if name == GUIDE_MODEL and md5 == GUIDE_MD5:
        lines.append(f"MD5      {md5}: the guide's weights, {GUIDE_FILE}")
    elif name == GUIDE_MODEL:
        lines.append(f"MD5      {md5}: NOT the guide's weights ({GUIDE_MD5}); exported all the same")
    hashed = HASHED_NAME.search(source)
    if hashed and not sha256.startswith(hashed[1]):
        lines.append(
            f"sha256   {sha256[:8]}...: NOT what the file's name promises ({hashed[1]}...): "
            "changed or renamed; exported all the same"
        )
    return lines


def _default_size(name: str) -> int:
    if name in efficientnet_lite.SCALES:
        return efficientnet_lite.SCALES[name].size
    return 299 if name == "inception_v3" else DEFAULT_SIZE


def _onnx_bytes(name: str, source: str, state: StateDict, size_and_opset: tuple[int, int]) -> bytes:
    size, opset = size_and_opset
    if name not in TORCH_FREE:
        from engine.toolchain.torch_export import export_with_torch

        return export_with_torch(name, source, state, size_and_opset)
    _require_net(name, source, state)
    if name in resnet.VARIANTS:
        return serialise(resnet.resnet(resnet.VARIANTS[name], state, size, GraphBuilder(opset)))
    return serialise(efficientnet_lite.efficientnet_lite(state, size, opset))


def _require_net(name: str, source: str, state: StateDict) -> None:
    """Raise ModelError, with the net that the weights do belong to if there is one."""
    problem = difference(expected_shapes(name, state), state)
    if problem is None:
        return
    fits = _fitting(state)
    hint = f"; these weights fit {' or '.join(fits)}" if fits else ""
    raise ModelError(f"{source} is not a state dict of {name}: {problem}{hint}")


def nets_that_fit(weights: Path) -> list[str]:
    """Torch-free nets whose state dict this file holds; ModelError where it holds none at all."""
    return _fitting(without_parallel(read_state_dict(weights)))


def _fitting(state: StateDict) -> list[str]:
    return [name for name in TORCH_FREE if difference(expected_shapes(name, state), state) is None]


def expected_shapes(name: str, state: StateDict) -> dict[str, Shape]:
    """What a state dict of a torch-free net holds, for as many classes as this one has."""
    if name in resnet.VARIANTS:
        return resnet.parameter_shapes(resnet.VARIANTS[name], n_classes_of(state, "fc.weight"))
    return efficientnet_lite.parameter_shapes(efficientnet_lite.SCALES[name], n_classes_of(state, "_fc.weight"))


def probe(model: bytes, size: int) -> int:
    """Run the model at batch 1 and 2 on one noise image and return its number of classes.

    Raises ModelError where it does not load, its ports are others, its batch is fixed, or its scores are no numbers.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    image = np.random.default_rng(0).normal(size=(1, 3, size, size)).astype(np.float32)
    try:
        session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        (one,) = session.run(["class"], {"image": image})
        (two,) = session.run(["class"], {"image": np.repeat(image, 2, axis=0)})
    except Exception as error:  # ONNX Runtime's exceptions have no common public base
        raise ModelError(f"the exported model does not run in ONNX Runtime: {' '.join(str(error).split())}") from error
    if one.ndim != 2 or two.shape != (2, one.shape[1]):
        raise ModelError(
            f"the exported model gives {one.shape} at batch 1 and {two.shape} at batch 2: not a classifier"
        )
    if not (np.isfinite(one).all() and np.isfinite(two).all()):
        raise ModelError("the exported model gives scores that are not finite numbers: are these trained weights?")
    if not np.allclose(np.repeat(one, 2, axis=0), two, rtol=1e-3, atol=1e-3 * float(np.abs(one).max())):
        raise ModelError("the exported model gives the same image other scores at batch 2 than at batch 1")
    return int(one.shape[1])
