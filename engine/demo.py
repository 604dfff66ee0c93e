"""`engine demo`: the main job on images made here, through four simulated chips."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from engine.collector import Predictions
from engine.config import RunConfig
from engine.demo_data import demo_dataset
from engine.errors import EXIT_INTERRUPTED, MismatchError
from engine.results import Report, failed_lines
from engine.run import execute
from engine.summary import summarise

#: end-to-end / interface of the guide's own logs of ResNeXt101_32x8d, batch 1 and batch 16 (section 7.1 of the guide).
GUIDE_EFFICIENCY = {1: 113.043 / 144.766, 16: 116.034 / 165.952}
BATCH = 16


def run_demo(out: Path, n_images: int, say: Callable[[str], None]) -> int:
    """Make the images, run them, say what was real and what was not; returns the exit code."""
    say("engine demo: real JPEG decode, real pipeline, real pyACL calls; four SIMULATED Ascend 310 chips")
    data = demo_dataset(say)
    config = RunConfig(
        data=data.folder,
        labels=data.labels,
        model="fingerprint",
        backend="sim",
        devices=(0, 1, 2, 3),
        batch=BATCH,
        repeat=max(1, round(n_images / data.n_images)),
        out=out,
        measure_ceiling=True,
    )
    report, outcome, index = execute(config, say)
    predictions: Predictions = outcome.collector.predictions
    say("")
    say(summarise(report, list(failed_lines(index, predictions))))
    say("")
    say(explain(report))
    if outcome.error is not None:
        raise outcome.error
    if outcome.was_interrupted:
        return EXIT_INTERRUPTED
    report.raise_for_result()
    if predictions.n_in_top(1) != len(predictions):
        wrong = len(predictions) - predictions.n_in_top(1)
        raise MismatchError(f"the proof model found {wrong} of {len(predictions)} images altered: something is broken")
    return 0


def explain(report: Report) -> str:
    """What the figures mean, beside the guide's."""
    guide = " / ".join(f"{value:.2f}" for value in GUIDE_EFFICIENCY.values())
    efficiency = report.document["throughput"]["efficiency"]
    return (
        f"efficiency {efficiency:.2f} from JPEG files; the guide's tool: {guide} (batch 1 / 16) from ready tensors\n"
        "real:      files, JPEG decode, resize, crop, normalise, shared memory, processes,\n"
        "           pyACL call sequence, copies, ranking; labels come from Pillow + NumPy\n"
        "SIMULATED: the chips and their time: published ResNeXt101_32x8d rates of one 310\n"
        "proof:     model `fingerprint` hashes every byte of each tensor into 1000 scores:\n"
        "           Top-1 100.00 % = every chip got exactly the pixels of the right image"
    )
