"""Operators of an ONNX model on this CPU, by ONNX Runtime's own profiler."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from engine.backends.onnxruntime import open_session
from engine.errors import ModelError
from engine.opprofile import OpRecord

KERNEL = "_kernel_time"
MODEL_RUN = "model_run"


def profile_onnx(path: Path, rows: npt.NDArray[Any], rounds: int, warm_up: int, n_threads: int) -> list[OpRecord]:
    """Records of `rounds` inferences of the batch `rows`, after `warm_up` that are left out.

    Names are those of the graph as ONNX Runtime has optimised it: operators that it fuses are one.
    """
    with tempfile.TemporaryDirectory(prefix="engine-profile-") as folder:
        session = open_session(str(path), n_threads, profile_prefix=str(Path(folder) / "ort"))
        image = session.get_inputs()[0]
        for _ in range(warm_up + rounds):
            session.run(None, {image.name: rows})
        events = json.loads(Path(session.end_profiling()).read_text())
    return records_of(events, warm_up)


def records_of(events: Sequence[dict[str, Any]], warm_up: int) -> list[OpRecord]:
    """The kernels among the profiler's events, by inference; ModelError where there are none."""
    runs = sorted(float(event["ts"]) for event in events if event["name"] == MODEL_RUN)
    kernels = [event for event in events if event["cat"] == "Node" and event["name"].endswith(KERNEL)]
    records = []
    for event in sorted(kernels, key=lambda event: float(event["ts"])):
        infer_id = int(np.searchsorted(runs, float(event["ts"]), "right")) - warm_up
        if infer_id >= 1:
            records.append(_record(event, infer_id))
    if not records:
        raise ModelError("ONNX Runtime's profile holds no operators: was it built with profiling?")
    return records


def _record(event: dict[str, Any], infer_id: int) -> OpRecord:
    arguments = event["args"]
    shapes_in, types_in = _tensors(arguments.get("input_type_shape", []))
    shapes_out, types_out = _tensors(arguments.get("output_type_shape", []))
    core = str(arguments.get("provider", "")).removesuffix("ExecutionProvider") or "CPU"
    name = event["name"].removesuffix(KERNEL)
    times = (float(event["ts"]), float(event["dur"]))
    return OpRecord(infer_id, name, arguments["op_name"], core, *times, shapes_in, types_in, shapes_out, types_out)


def _tensors(entries: Sequence[dict[str, list[int]]]) -> tuple[str, str]:
    """(shapes, types) as msprof writes them: ``4,3,224,224;64,3,7,7`` and ``FLOAT;FLOAT``."""
    pairs = [(",".join(map(str, shape)), name.upper()) for entry in entries for name, shape in entry.items()]
    return ";".join(shape for shape, _ in pairs), ";".join(name for _, name in pairs)
