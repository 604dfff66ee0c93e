"""What a state dict must hold to be that of a net: names, shapes and number types."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from engine.errors import ModelError

Shape = tuple[int, ...]
StateDict = Mapping[str, npt.NDArray[Any]]

#: Counts training steps; no inference needs it, and files from before torch 0.4.1 lack it.
UNUSED = "num_batches_tracked"
#: In front of each name when the net was trained in torch's DataParallel.
PARALLEL = "module."


def norm_shapes(name: str, channels: int) -> dict[str, Shape]:
    """The entries of a batch norm called ``name``."""
    return {f"{name}.{part}": (channels,) for part in ("weight", "bias", "running_mean", "running_var")}


def without_parallel(state: StateDict) -> StateDict:
    """The state dict with DataParallel's prefix taken off, if each name has it."""
    if state and all(name.startswith(PARALLEL) for name in state):
        return {name.removeprefix(PARALLEL): value for name, value in state.items()}
    return state


def difference(expected: Mapping[str, Shape], state: StateDict) -> str | None:
    """Say the first way in which ``state`` is not what is expected, or None where it is.

    Missing entries come before unknown ones, and those before wrong shapes; of each the first and their number is told.
    """
    missing = [name for name in expected if name not in state and not name.endswith(UNUSED)]
    if missing:
        return f"it lacks {missing[0]!r}{_and_more(missing)}"
    extra = [name for name in state if name not in expected and not name.endswith(UNUSED)]
    if extra:
        return f"it has {extra[0]!r}{_and_more(extra)}, which that net does not have"
    used = [name for name in expected if not name.endswith(UNUSED)]
    wrong = [name for name in used if state[name].shape != tuple(expected[name])]
    if wrong:
        shape, need = state[wrong[0]].shape, tuple(expected[wrong[0]])
        return f"{wrong[0]!r} has shape {shape} where {need} is needed{_and_more(wrong)}"
    strange = [name for name in used if state[name].dtype.kind != "f"]
    if strange:
        return f"{strange[0]!r} holds {state[strange[0]].dtype} where floating point numbers are needed"
    return None


def _and_more(names: list[str]) -> str:
    return f" (and {len(names) - 1} more)" if len(names) > 1 else ""


def n_classes_of(state: StateDict, weight: str) -> int:
    """Rows of the classifier called ``weight``, 1000 where there is none (a later check says so)."""
    return int(state[weight].shape[0]) if weight in state and state[weight].ndim == 2 else 1000


def require_finite(state: StateDict, name: str) -> None:
    """Raise ModelError for weights that are not numbers: a diverged training, or a damaged file."""
    for key, value in state.items():
        if value.dtype.kind == "f" and not np.isfinite(value).all():
            raise ModelError(f"{name}: {key!r} holds values that are not finite numbers: no model can be made of it")
