"""What `engine bench` appends to the perf log: an entry per batch size, of the chips alone."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from engine import __version__
from engine.perflog.fingerprint import environment
from engine.perflog.log import LogOptions, append_document

if TYPE_CHECKING:
    from engine.purebench import BatchBench


def log_benches(benches: Sequence[tuple[str, BatchBench]], options: Mapping[str, Any], log: LogOptions) -> None:
    """Append them; `benches` are pairs of the model's file and what was measured."""
    if not log.is_on:
        return
    facts = environment()
    for path, bench in benches:
        append_document(document_of(path, bench, options) | {"environment": facts}, log)


def document_of(path: str, bench: BatchBench, options: Mapping[str, Any]) -> dict[str, Any]:
    """As much of a run.json as a measurement of the chips alone has.

    interface_samples_per_s : images/s of all chips in each round
    """
    rounds = min(len(chip.execute_ns) for chip in bench.chips.values())
    samples = sum(
        bench.batch * 1e9 / np.maximum(np.asarray(chip.execute_ns[:rounds], float), 1) for chip in bench.chips.values()
    )
    execute_ms = bench.percentiles_ms("execute")
    return {
        "engine_version": __version__,
        "config": {**_plain(options), "batch": bench.batch, "devices": list(bench.chips), "input": bench.input},
        "simulated": bench.simulated,
        "profile": bench.profile,
        "model": {"name": bench.model, "sha256": _sha256(Path(path))},
        "dataset": {"sha256": ""},
        "devices": [{"device": chip, "name": bench.device_name} for chip in bench.chips],
        "throughput": {"interface_per_s": bench.interface_per_s, "wall_per_s": bench.wall_per_s},
        "latency_ms": {f"p{percent}": ms for percent, ms in execute_ms.items()},
        "interface_samples_per_s": np.asarray(samples, float).tolist(),
    }


def _plain(options: Mapping[str, Any]) -> dict[str, Any]:
    return {name: str(value) if isinstance(value, Path) else value for name, value in options.items()}


def _sha256(path: Path) -> str:
    """Of the model's file; empty where the model is none."""
    try:
        with path.open("rb") as file:
            digest = hashlib.sha256()
            while chunk := file.read(1 << 20):
                digest.update(chunk)
            return digest.hexdigest()
    except OSError:
        return ""
