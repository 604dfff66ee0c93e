"""What a run leaves on disk: run.json, result.json, predictions.csv and the old tool's perf files."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from engine import __version__, host, stages
from engine.accuracy.guide import guide_document
from engine.collector import FAILED, NAN, TOP, Predictions
from engine.config import PUBLISH_IMAGES, PUBLISH_SECONDS, RunConfig
from engine.errors import ChipLostError, MismatchError, TooManyFailures
from engine.files import atomic_write
from engine.index import DataIndex
from engine.layout import default_n_slots, smallest_slot
from engine.leftovers import remove_dumps, remove_results
from engine.models import Model, is_computed_here
from engine.names import parts_of, sample_key
from engine.perflog import fingerprint
from engine.pipeline import Outcome
from engine.predictions_csv import PREDICTIONS, write_predictions
from engine.stages_sums import NS_PER_MS
from engine.tally import ChipTally
from engine.terminal import printable
from engine.verdict import verdict_of
from engine.verdict_facts import Setting

SCHEMA_VERSION = 1


@dataclass(frozen=True)
class Report:
    """A finished run. `document` is the content of run.json."""

    config: RunConfig
    document: dict[str, Any]

    @property
    def accuracy(self) -> dict[str, float] | None:
        """Top-1..Top-5 over all samples; None where the device computes nothing, or without labels."""
        accuracy: dict[str, float] | None = self.document["accuracy"]
        return accuracy

    def raise_for_result(self) -> None:
        """Raise what the exit code must say of a run that went to its end; nothing where all is well."""
        dataset = self.document["dataset"]
        lost = [device for device in self.document["devices"] if device["lost"]]
        if dataset["n_scored"] + dataset["n_failed"] != dataset["n_samples"]:
            raise MismatchError(
                f"{dataset['n_scored']} scored + {dataset['n_failed']} failed of {dataset['n_samples']} samples"
            )
        if dataset["n_inconsistent"]:
            which = f", the first: {dataset['first_difference']}" if dataset["first_difference"] else ""
            raise MismatchError(
                f"{dataset['n_inconsistent']} results of later passes differ from the first pass{which}"
            )
        percent = 100 * dataset["n_failed_images"] / dataset["n_images"]
        if percent > self.config.max_failed_percent:
            raise TooManyFailures(
                f"{dataset['n_failed_images']} of {dataset['n_images']} images failed ({percent:.2f} %), "
                f"more than --max-failed-percent {self.config.max_failed_percent:g}: "
                f"see status in {self.config.out / PREDICTIONS}"
            )
        if lost:
            names = " and ".join(f"chip {device['device']} was lost {device['lost']}" for device in lost)
            raise ChipLostError(f"{names}; the other chips did the work, the results are complete")


def make_report(
    config: RunConfig, index: DataIndex, model: Model, outcome: Outcome, ceiling_per_s: float | None
) -> Report:
    """Everything that run.json holds; see schemas/run.schema.json."""
    predictions, tally, opened = outcome.collector.predictions, outcome.tally, outcome.opened
    interface_per_s = tally.interface_per_s()
    bounds = [rate for rate in (interface_per_s, ceiling_per_s) if rate]
    layout = outcome.layout
    sizes = stages.Sizes(opened.batch, layout.images_per_slot, layout.n_slots, config.workers or 1)
    verdict = verdict_of(tally, _setting(config, model, outcome, sizes))
    balance = stages.devices_document(stages.whole(tally))
    has_accuracy = config.backend != "null" and index.is_labelled
    n_failed_images = int(np.count_nonzero(predictions.states == FAILED))
    document: dict[str, Any] = {
        "schema_version": SCHEMA_VERSION,
        "engine_version": __version__,
        "config": _config(config),
        "environment": fingerprint.environment(),
        "simulated": opened.simulated,
        "profile": opened.profile,
        "model": {
            "name": opened.name if config.backend == "null" else model.name,
            "sha256": model.sha256,
            "n_classes": opened.n_classes,
            "input": opened.tensor,
            "label_offset": outcome.label_offset,
        },
        "dataset": {
            "sha256": fingerprint.data_sha256(index),
            "n_images": len(index),
            "is_labelled": index.is_labelled,
            "repeat": outcome.n_positions // len(index),
            "n_samples": outcome.n_positions,
            "n_scored": outcome.n_scored,
            "n_failed": outcome.n_failed,
            "n_restored": outcome.restored.n_scored + outcome.restored.n_failed,
            "n_failed_images": n_failed_images,
            "n_nan_images": int(np.count_nonzero(predictions.states == NAN)),
            "n_inconsistent": outcome.collector.n_inconsistent,
            "first_difference": _first_difference(index, outcome),
        },
        "accuracy": _accuracy(predictions, len(index)) if has_accuracy else None,
        "accuracy_of_scored": _accuracy(predictions, len(index) - n_failed_images) if has_accuracy else None,
        "throughput": {
            "end_to_end_per_s": tally.end_to_end_per_s,
            "interface_per_s": interface_per_s,
            "host_ceiling_per_s": ceiling_per_s,
            "efficiency": tally.end_to_end_per_s / min(bounds) if bounds else None,
            "wall_s": tally.wall_ns / 1e9,
        },
        **stages.accounting(tally, sizes),
        "verdict": {**asdict(verdict), "text": verdict.text},
        "devices": [{**_device(number, chip, outcome), **balance[number]} for number, chip in tally.chips.items()],
        "publish": _publish(config, outcome) if config.publish else None,
        "decode_paths": dict(tally.decode_paths),
        "interrupted": outcome.was_interrupted,
        "error": None if outcome.error is None else str(outcome.error),
        "predictions_sha256": predictions_sha256(index, predictions),
    }
    return Report(config, document)


def write(report: Report, index: DataIndex, outcome: Outcome) -> None:
    """All files, each whole or absent; run.json last, so that it stands for a complete set."""
    out, config = report.config.out, report.config
    remove_results(out)
    if config.dump is None:
        remove_dumps(out)
    predictions = outcome.collector.predictions
    write_predictions(out / PREDICTIONS, index, predictions)
    if report.accuracy is not None:
        guide = guide_result(predictions, outcome.opened.n_classes)
        atomic_write(out / "result.json", json.dumps(guide).encode())
    for number, chip in outcome.tally.chips.items():
        if chip.sums.n_images:
            name = f"perf_vision_batchsize_{outcome.opened.batch}_device_{number}.txt"
            atomic_write(out / name, perf_lines(chip, outcome.tally.first_read_ns).encode())
    atomic_write(out / "run.json", (json.dumps(report.document, indent=2) + "\n").encode())


def predictions_sha256(index: DataIndex, predictions: Predictions) -> str:
    """Hash over sample (its `sample_key`, which is the same in every source), rank and top-5 ids, in sample order."""
    digest = hashlib.sha256()
    digest.update(np.int64(len(index)).tobytes())
    lengths = np.empty(len(index), np.uint32)
    for sample in range(len(index)):
        key = os.fsencode(sample_key(index.names.name(sample)))
        lengths[sample] = len(key)
        digest.update(key)
    end = 0
    for part in parts_of(lengths):  # where each key ends, but never all of that at once
        ends = end + np.cumsum(part, dtype="<i8")
        digest.update(ends.data)
        end = int(ends[-1])
    for array in (predictions.ranks, predictions.top_ids):
        digest.update(np.ascontiguousarray(array, "<i4").data)
    return digest.hexdigest()


def guide_result(predictions: Predictions, n_classes: int) -> dict[str, Any]:
    """result.json as the guide's ``imagenet_acc_eval.py`` writes it, over all images: a failed one counts as wrong."""
    return guide_document(
        len(predictions), n_classes, [predictions.n_in_top(k) for k in range(1, min(TOP, n_classes) + 1)]
    )


def perf_lines(chip: ChipTally, began_ns: int) -> str:
    """The old tool's perf_vision file for one chip: five lines, eight colon fields, 6 significant digits.

    Rates are images of this chip over the time from the run's first byte to the end of that stage; `[post]` counts
    batches, as the old tool does; Interface is batch x executions / execute time.
    """
    sums = chip.sums
    n, read_ms, filled_ms, done_ms = (
        sums.n_images,
        *((end - began_ns) / NS_PER_MS for end in (chip.last_read_ns, chip.last_filled_ns, chip.last_done_ns)),
    )
    infer_ms = (chip.last_done_ns - chip.first_submitted_ns) / NS_PER_MS
    infer_per_s = _rate(n, infer_ms)
    post_per_s = _rate(sums.n_batches, infer_ms)
    module_ms = (sums.h2d_ns + sums.execute_ns + sums.d2h_ns) / NS_PER_MS / n
    interface_per_s = sums.interface_per_s()
    return (
        f"[e2e] throughputRate: {_rate(n, done_ms):.6g}, latency: {done_ms:.6g}\n"
        f"[data read] throughputRate: {_rate(n, read_ms):.6g}, moduleLatency: {read_ms / n:.6g}\n"
        f"[preprocess] throughputRate: {_rate(n, filled_ms):.6g}, moduleLatency: {filled_ms / n:.6g}\n"
        f"[infer] throughputRate: {infer_per_s:.6g}, Interface throughputRate: {interface_per_s:.6g}, "
        f"moduleLatency: {module_ms:.6g}\n"
        f"[post] throughputRate: {post_per_s:.6g}, moduleLatency: {infer_ms / sums.n_batches:.6g}\n"
    )


def _rate(count: int, ms: float) -> float:
    return count * 1e3 / ms if ms > 0 else 0.0


def _first_difference(index: DataIndex, outcome: Outcome) -> str | None:
    if outcome.collector.first_difference is None:
        return None
    sample, how = outcome.collector.first_difference
    return printable(f"{index.names.name(sample)}: {how}")


def _accuracy(predictions: Predictions, n: int) -> dict[str, float]:
    return {f"top{k}": predictions.n_in_top(k) / n if n else 0.0 for k in range(1, TOP + 1)}


def _config(config: RunConfig) -> dict[str, Any]:
    plain = {name: str(value) if hasattr(value, "parts") else value for name, value in asdict(config).items()}
    return {**plain, "devices": list(config.devices)}


def _publish(config: RunConfig, outcome: Outcome) -> dict[str, Any]:
    """Whether the figures may be published, and why not."""
    tally = outcome.tally
    interval, seconds = stages.steady_interval(tally), tally.wall_ns / 1e9
    whys = {
        f"it took {seconds:.0f} s of {PUBLISH_SECONDS}": seconds < PUBLISH_SECONDS,
        f"it has {tally.stages.n_ranked} images of {PUBLISH_IMAGES}": tally.stages.n_ranked < PUBLISH_IMAGES,
        "its rate is UNSTABLE": interval is None or not interval.is_stable,
        "it did not go to its end": outcome.was_interrupted or outcome.error is not None,
        "a chip was lost": bool(outcome.lost_chips),
        "delays were injected": bool(config.inject),
    }
    reasons = [why for why, holds in whys.items() if holds]
    return {"is_valid": not reasons, "reasons": reasons}


def _setting(config: RunConfig, model: Model, outcome: Outcome, sizes: stages.Sizes) -> Setting:
    window = config.window
    assert window is not None  # chosen when the run was prepared
    return Setting(
        config.backend,
        sizes,
        window,
        config.feeders,
        default_n_slots(len(config.devices), window, sizes.n_decoders, smallest_slot(sizes.batch)),
        host.n_cores(),
        config.dump is not None,
        is_computed_here(model, config.backend),
    )


def _device(number: int, chip: ChipTally, outcome: Outcome) -> dict[str, Any]:
    sums, busy_ns = chip.sums, chip.last_done_ns - chip.first_submitted_ns
    n = sums.n_batches or 1
    return {
        "device": number,
        "name": outcome.opened.device_name,
        "n_images": sums.n_images,
        "n_batches": sums.n_batches,
        "interface_per_s": sums.interface_per_s(),
        "utilisation": sums.execute_ns / busy_ns if busy_ns else 0.0,
        "h2d_ms_per_batch": sums.h2d_ns / NS_PER_MS / n,
        "execute_ms_per_batch": sums.execute_ns / NS_PER_MS / n,
        "d2h_ms_per_batch": sums.d2h_ns / NS_PER_MS / n,
        "lost": str(outcome.lost_chips[number]) if number in outcome.lost_chips else None,
    }


def failed_lines(index: DataIndex, predictions: Predictions) -> Iterator[str]:
    """One line per failed image: its name and the reason."""
    for sample in sorted(predictions.reasons):
        yield printable(f"{index.names.name(sample)}: {predictions.reasons[sample]}")
