"""Export of any torchvision classifier through torch's own exporter. Needs torch and torchvision (extra `export`)."""

from __future__ import annotations

import contextlib
import inspect
import io
import os
import sys
import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np

from engine.errors import ConfigError, ModelError
from engine.suggest import unknown
from engine.toolchain.state_dict import StateDict, difference

PIP_LINE = "pip install torch torchvision"
#: Their published weights expect pixels in [-1, 1] and convert torchvision's normalisation inside the net.
TRANSFORMS_INPUT = ("googlenet", "inception_v3")


def require_classifier(name: str) -> None:
    """Raise ConfigError unless torchvision is there and has a classifier of this name."""
    models = _torchvision_models(name)
    known = models.list_models(module=models)
    if name not in known:
        from engine.toolchain.export import ALIASES, TORCH_FREE

        raise unknown("model", name, {*known, *TORCH_FREE, *ALIASES})


def _torchvision_models(name: str) -> Any:
    try:
        import torch
        import torchvision
    except (ImportError, RuntimeError, OSError) as error:
        from engine.toolchain.export import TORCH_FREE

        reason = "" if isinstance(error, ModuleNotFoundError) else f" ({' '.join(str(error).split())[:120]})"
        raise ConfigError(
            f"exporting {name!r} needs torch and torchvision, which cannot be imported here{reason}: {PIP_LINE}; "
            f"without them: lite0, {', '.join(TORCH_FREE)}"
        ) from error
    del torch
    return torchvision.models


def export_with_torch(name: str, source: str, state: StateDict, size_and_opset: tuple[int, int]) -> bytes:
    """The ONNX bytes of torchvision's net `name` with these weights: image (N, 3, size, size) -> class (N, classes)."""
    import torch

    size, opset = size_and_opset
    net = _net(name, state)
    expected = {key: tuple(value.shape) for key, value in net.state_dict().items()}
    problem = difference(expected, state)
    if problem is not None:
        raise ModelError(f"{source} is not a state dict of torchvision's {name}: {problem}")
    tensors = {key: torch.from_numpy(np.array(value)) for key, value in state.items() if key in expected}
    net.load_state_dict(tensors, strict=False)  # each entry was checked; old files lack num_batches_tracked
    net.eval()
    stream = io.BytesIO()
    options: dict[str, Any] = {
        "opset_version": opset,
        "input_names": ["image"],
        "output_names": ["class"],
        "dynamic_axes": {"image": {0: "N"}, "class": {0: "N"}},
    }
    to_onnx: Any = torch.onnx.export  # its annotations are those of the newer exporter
    if "dynamo" in inspect.signature(to_onnx).parameters:
        options["dynamo"] = False  # the newer exporter writes opset 18 and more, which no CANN of a 310 takes
    try:
        with warnings.catch_warnings(), _no_output():
            warnings.simplefilter("ignore")
            to_onnx(net, torch.zeros(1, 3, size, size), stream, **options)
    except Exception as error:  # torch's exporter raises RuntimeError, its own types, and what a net's forward raises
        reason = " ".join(str(error).split())[:200]
        raise ModelError(f"torch cannot export {name} at opset {opset} and {size} pixels: {reason}") from error
    return stream.getvalue()


@contextlib.contextmanager
def _no_output() -> Iterator[None]:
    """Send standard output nowhere: before it raises, torch's exporter prints the whole graph, from C++."""
    sys.stdout.flush()
    kept, nowhere = os.dup(1), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    try:
        yield
    finally:
        os.dup2(kept, 1)
        os.close(kept)
        os.close(nowhere)


def _net(name: str, state: StateDict) -> Any:
    """An untrained net with as many classes as the weights have, which end with the classifier."""
    import torchvision

    names = [key for key in state if not key.endswith("num_batches_tracked")]
    options: dict[str, Any] = {"weights": None}
    if names and state[names[-1]].ndim:
        options["num_classes"] = int(state[names[-1]].shape[0])
    if name in TRANSFORMS_INPUT:
        has_auxiliary = any(key.lower().startswith("aux") for key in state)
        options |= {"init_weights": False, "transform_input": True, "aux_logits": has_auxiliary}
    return torchvision.models.get_model(name, **options)
