"""What a simulated model computes: ONNX Runtime, or the fingerprint of each row."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from engine.pyacl_stubs.om import Om, OmError

Arrays = Sequence[npt.NDArray[Any]]


@dataclass(frozen=True)
class Computation:
    """A model's computation on arrays of its own dtypes.

    outputs : the arrays that it overwrites
    run : read the inputs, overwrite the outputs
    copy_and_run : the same after a copy of the whole first input from an address, in one pass; None where it cannot
    """

    outputs: Arrays
    run: Callable[[], None]
    copy_and_run: Callable[[int], None] | None = None


#: (inputs, outputs) -> the computation on them.
Numerics = Callable[[Arrays, Arrays], Computation]


class NumericsCache:
    """Sessions of this process by content: four chips that load one file share its weights."""

    def __init__(self, n_threads: int) -> None:
        self._n_threads = n_threads
        self._sessions: dict[str, Any] = {}
        self._lock = threading.Lock()

    def numerics(self, om: Om) -> Numerics:
        """The computation of a model, ready to run at full speed. Raises OmError where it cannot be loaded."""
        if om.kind == "fingerprint":
            _compile_fingerprint()
            return _fingerprint
        session = self._session(om)
        feeds_of = [(value.name, _ORT_TYPES[value.type]) for value in session.get_inputs()]

        def run_onnx(inputs: Arrays, outputs: Arrays) -> None:
            feeds = {
                name: _network_input(array, om).astype(dtype, copy=False)
                for (name, dtype), array in zip(feeds_of, inputs, strict=True)
            }
            for out, result in zip(outputs, session.run(None, feeds), strict=True):
                np.copyto(out, result, casting="same_kind")

        return lambda inputs, outputs: Computation(outputs, partial(run_onnx, inputs, outputs))

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


def _compile_fingerprint() -> None:
    """Both kernels are ready to run at full speed when this returns."""
    memory = np.zeros(512 + 64, np.uint8)
    row = memory[-memory.ctypes.data % 64 :][:512].reshape(1, 512)
    proof = _fingerprint([row], [np.zeros((1, 1), np.float32)])
    proof.run()
    assert proof.copy_and_run is not None
    proof.copy_and_run(np.zeros(512, np.uint8).ctypes.data)


def _fingerprint(inputs: Arrays, outputs: Arrays) -> Computation:
    from kernels import fingerprint  # compiles; only where it is used

    rows, out = inputs[0].reshape(len(inputs[0]), -1).view(np.uint8), outputs[0]

    def run() -> None:
        if out.dtype == np.float32:
            fingerprint.fingerprint_logits(rows, out)
        else:
            logits = np.empty(out.shape, np.float32)
            fingerprint.fingerprint_logits(rows, logits)
            out[...] = logits

    return Computation(outputs, run, fingerprint.logits_of_copies(rows, out) if out.dtype == np.float32 else None)
