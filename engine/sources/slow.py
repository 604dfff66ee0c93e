"""The slow, obvious twin of every source: Pillow and NumPy, whole files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from engine.names import NameTable
from engine.sources.base import Store
from engine.sources.images import read_file
from engine.sources.tensors import TensorStore
from kernels import reference
from kernels.spec import ImageError, PreprocessSpec


def slow_tensor(store: Store, names: NameTable, sample: int, spec: PreprocessSpec) -> npt.NDArray[Any]:
    """(3, crop, crop) float32 of one sample. Raises ImageError or OSError where the run says FAILED."""
    path = names.path(sample)
    if isinstance(store, TensorStore):
        return _tensor(Path(path), spec)
    return reference.preprocess(read_file(path), spec)


def _tensor(path: Path, spec: PreprocessSpec) -> npt.NDArray[Any]:
    n = 3 * spec.crop * spec.crop
    n_bytes = path.stat().st_size
    if n_bytes == n:
        return reference.normalise_chw(np.fromfile(path, np.uint8).reshape(spec.crop, spec.crop, 3), spec)
    if n_bytes not in (2 * n, 4 * n):
        raise ImageError(f"has {n_bytes} bytes")
    elements = np.fromfile(path, np.float16 if n_bytes == 2 * n else np.float32)
    return elements.astype(np.float32).reshape(3, spec.crop, spec.crop)
