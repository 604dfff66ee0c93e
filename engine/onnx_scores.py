"""A classifier on ONNX Runtime as a function, in this process: for small samples, beside the pipeline."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

from engine import host
from engine.backends.onnxruntime import describe, open_session
from engine.errors import ModelError
from kernels.spec import FLOAT32_NCHW

F32 = npt.NDArray[np.float32]


class OnnxScores:
    """``scores(rows)``: (n, 3, side, side) float32 -> (n, n_classes) float32, whatever batch the model has."""

    def __init__(self, path: Path, side: int) -> None:
        self._session = open_session(str(path), host.n_cores())
        image = self._session.get_inputs()[0]
        self._name = image.name
        self._fixed = image.shape[0] if isinstance(image.shape[0], int) else None
        info = describe(self._session, str(path), self._fixed or 1)
        if info.tensor != FLOAT32_NCHW or tuple(info.shape) != (3, side, side):
            raise ModelError(
                f"{path} takes {info.tensor.dtype} images of shape {list(info.shape)}: needed float32 "
                f"[3, {side}, {side}], which is what the preset makes"
            )
        self.n_classes = info.n_classes

    def __call__(self, rows: F32) -> F32:
        step = self._fixed or len(rows)
        out = np.empty((len(rows), self.n_classes), np.float32)
        for start in range(0, len(rows), step):
            part = rows[start : start + step]
            whole = np.zeros((step, *rows.shape[1:]), np.float32)
            whole[: len(part)] = part
            out[start : start + len(part)] = self._session.run(None, {self._name: whole})[0][: len(part)]
        return out
