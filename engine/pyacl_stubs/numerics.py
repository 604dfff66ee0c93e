"""What a simulated model computes: ONNX Runtime, or the fingerprint of each row."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from engine.pyacl_stubs.om import Om, OmError

#: (inputs, outputs): arrays of the batch in the model's own dtypes; the outputs are overwritten.
Numerics = Callable[[Sequence[npt.NDArray[Any]], Sequence[npt.NDArray[Any]]], None]


class NumericsCache:
    """Sessions of this process by content: four chips that load one file share its weights."""

    def __init__(self, n_threads: int) -> None:
        self._n_threads = n_threads
        self._sessions: dict[str, Any] = {}
        self._lock = threading.Lock()

    def numerics(self, om: Om) -> Numerics:
        """The computation of a model, ready to run at full speed. Raises OmError where it cannot be loaded."""
        if om.kind == "fingerprint":
            _fingerprint([np.zeros((1, 8), np.uint8)], [np.zeros((1, 1), np.float32)])  # compiled from here on
            return _fingerprint
        session = self._session(om)
        feeds_of = [(value.name, _ORT_TYPES[value.type]) for value in session.get_inputs()]

        def run_onnx(inputs: Sequence[npt.NDArray[Any]], outputs: Sequence[npt.NDArray[Any]]) -> None:
            feeds = {
                name: _network_input(array, om).astype(dtype, copy=False)
                for (name, dtype), array in zip(feeds_of, inputs, strict=True)
            }
            for out, result in zip(outputs, session.run(None, feeds), strict=True):
                np.copyto(out, result, casting="same_kind")

        return run_onnx

    def _session(self, om: Om) -> Any:
        with self._lock:
            if om.sha256 not in self._sessions:
                self._sessions[om.sha256] = _new_session(om, self._n_threads)
            return self._sessions[om.sha256]


def _new_session(om: Om, n_threads: int) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = n_threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    try:
        return onnxruntime.InferenceSession(om.payload, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # ONNX Runtime's exceptions have no common base
        raise OmError(f"ONNX Runtime cannot load the model: {' '.join(str(error).split())}") from None


#: ONNX Runtime's names of the types that a network's inputs have.
_ORT_TYPES = {"tensor(float)": np.float32, "tensor(float16)": np.float16, "tensor(uint8)": np.uint8}


def _network_input(array: npt.NDArray[Any], om: Om) -> npt.NDArray[Any]:
    """The input of the network, from what lies in device memory."""
    if om.aipp is None:
        return array
    pixels = array[..., ::-1] if om.aipp.is_swapped else array
    offset = np.array(om.aipp.mean, np.float32) + np.array(om.aipp.minimum, np.float32)
    scaled = (pixels.astype(np.float32) - offset) * np.array(om.aipp.var_reci, np.float32)
    return np.ascontiguousarray(scaled.transpose(0, 3, 1, 2))


def _fingerprint(inputs: Sequence[npt.NDArray[Any]], outputs: Sequence[npt.NDArray[Any]]) -> None:
    from kernels.fingerprint import fingerprint_logits  # compiles; only where it is used

    rows = inputs[0].reshape(len(inputs[0]), -1).view(np.uint8)
    out = outputs[0]
    if out.dtype == np.float32:
        fingerprint_logits(rows, out)
        return
    logits = np.empty(out.shape, np.float32)
    fingerprint_logits(rows, logits)
    out[...] = logits
