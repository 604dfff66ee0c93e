"""The slow, obvious twin of every source: Pillow and NumPy, whole files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from engine.names import NameTable
from engine.sources.archive import TarStore
from engine.sources.base import Store
from engine.sources.images import read_file
from engine.sources.packed import PackedStore, slow_crop
from engine.sources.tensors import TensorStore
from kernels import reference
from kernels.spec import ImageError, PreprocessSpec, TensorFormat


def slow_tensor(
    store: Store, names: NameTable, sample: int, spec: PreprocessSpec, form: TensorFormat
) -> npt.NDArray[Any]:
    """One sample as the model takes it. Raises ImageError or OSError where the run says FAILED."""
    path = names.path(sample)
    if isinstance(store, TensorStore):
        return _tensor(Path(path), spec, form)
    if isinstance(store, PackedStore):
        return reference.to_tensor(slow_crop(store, sample), spec, form)
    if isinstance(store, TarStore):
        offset, n_bytes = store.places[sample].tolist()
        with store.path.open("rb") as file:
            file.seek(offset)
            return reference.tensor(file.read(n_bytes), spec, form)
    return reference.tensor(read_file(path), spec, form)


def _tensor(path: Path, spec: PreprocessSpec, form: TensorFormat) -> npt.NDArray[Any]:
    n = 3 * spec.crop * spec.crop
    n_bytes = path.stat().st_size
    if n_bytes == n:
        return reference.to_tensor(np.fromfile(path, np.uint8).reshape(spec.crop, spec.crop, 3), spec, form)
    if n_bytes not in (2 * n, 4 * n) or form.dtype == "uint8":
        raise ImageError(f"has {n_bytes} bytes")
    elements = np.fromfile(path, np.float16 if n_bytes == 2 * n else np.float32)
    planes = elements.astype(form.numpy_dtype).reshape(3, spec.crop, spec.crop)
    return planes if form.layout == "NCHW" else np.ascontiguousarray(planes.transpose(1, 2, 0))
