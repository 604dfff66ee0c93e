"""Why is an accuracy bad? Tries what usually goes wrong with labels and images, and shows the evidence.

Labels are tried on the recorded predictions of all images. Images are prepared again in other ways and run through the
model on ONNX Runtime, a small sample of them, for two questions: does another preparation give a better accuracy (the
model wants it so), and which one gives the recorded predictions (the tensors were made so)?
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from engine.accuracy.image_guesses import ImageGuess, image_guesses
from engine.accuracy.intervals import Interval, mcnemar, wilson
from engine.accuracy.label_guesses import LabelGuess, label_guesses
from engine.accuracy.measured import Images
from engine.errors import DataError
from engine.labels.synsets import canary_warning
from engine.listing import Listing, find_samples
from engine.names import sample_key
from engine.sources.images import ImageStore
from kernels.spec import ImageError, PreprocessSpec, TensorFormat

I32 = npt.NDArray[np.int32]
U8 = npt.NDArray[np.uint8]
Bools = npt.NDArray[np.bool_]

#: p-value that counts: 5 % shared among some 15 guesses.
LEVEL = 0.003
#: Recorded and repeated predictions of one computation agree on all but rounding's ties.
SAME_SHARE = 0.9
#: A class that so many images are given is no classification.
CONSTANT_SHARE = 0.5
#: ... where no more than this part of them have it as label.
CONSTANT_LABELS = 0.1
SEED = 310
BATCH = 8


@dataclass(frozen=True)
class Evidence:
    """Top-1 under one guess.

    right : (n,) bool, per image        same : (n,) bool, has the recorded class, where the images were run again
    """

    name: str
    right: Bools
    remedy: str = ""
    same: Bools | None = None

    @property
    def n(self) -> int:
        return len(self.right)

    @property
    def n_right(self) -> int:
        return int(np.count_nonzero(self.right))

    @property
    def agreement(self) -> float | None:
        return None if self.same is None else float(np.mean(self.same))

    @property
    def interval(self) -> Interval:
        return wilson(self.n_right, self.n)

    def beats(self, other: Evidence) -> bool:
        """More images right than chance explains."""
        return is_more(self.right, other.right)


def is_more(these: Bools, those: Bools) -> bool:
    """Of the same images, more are so by these than by those, beyond chance (McNemar)."""
    gained, lost = int(np.count_nonzero(these & ~those)), int(np.count_nonzero(those & ~these))
    return gained > lost and mcnemar(gained, lost).mid_p < LEVEL


@dataclass
class Diagnosis:
    """What was tried, as used first, and what it points to. `cause` is empty where nothing does."""

    labels: list[Evidence]
    images: list[Evidence] = field(default_factory=list)
    findings: list[str] = field(default_factory=list)
    cause: str = ""
    skipped: str = ""  # why images were not tried


@dataclass(frozen=True)
class Rerun:
    """What it takes to run images again.

    scores : (n, 3, crop, crop) float32 -> (n, n_classes) float32
    """

    data: Path
    preset: str
    scores: Callable[[npt.NDArray[np.float32]], npt.NDArray[np.float32]]
    n_images: int
    exif_rotate: bool = False


def diagnose(images: Images, label_offset: int, rerun: Rerun | None, say: Callable[[str], None]) -> Diagnosis:
    """Try all guesses. rerun : None where the model cannot be run here"""
    guesses = label_guesses(label_offset)
    found = images.top_ids[:, 0]
    labels = [_evidence(guess.name, found, guess.columns(images.labels), guess.remedy) for guess in guesses]
    diagnosis = Diagnosis(labels, findings=_findings(images))
    best = max(labels, key=lambda evidence: evidence.n_right)
    if best.beats(labels[0]):
        diagnosis.cause = f"{best.name}: {best.remedy}"
        return diagnosis
    if rerun is None:
        return diagnosis
    try:
        sample, listing, places = _sample(images, rerun)
    except DataError as error:
        diagnosis.skipped = str(error)
        return diagnosis
    for guess in image_guesses(rerun.preset):
        say(f"running {len(sample)} images: {guess.name}")
        tops = _tops(guess, listing, places, rerun)
        diagnosis.images.append(_of_images(guess, tops, images, sample, guesses))
    diagnosis.cause = _cause(diagnosis, _evidence("recorded", found[sample], guesses[0].columns(images.labels[sample])))
    return diagnosis


def _evidence(name: str, found: I32, columns: I32, remedy: str = "") -> Evidence:
    return Evidence(name, (found == columns) & (found >= 0), remedy)


def _of_images(guess: ImageGuess, tops: I32, images: Images, sample: I32, labels: Sequence[LabelGuess]) -> Evidence:
    """Under the reading of the labels that fits best: both may be wrong."""
    readings = [(_evidence("", tops, label.columns(images.labels[sample])), label) for label in labels]
    best, label = max(readings, key=lambda reading: reading[0].n_right)
    used = readings[0][0]
    same = tops == images.top_ids[sample, 0]
    if best.beats(used):
        remedy = "; ".join(filter(None, (guess.remedy, label.remedy)))
        return Evidence(f"{guess.name}, {label.name}", best.right, remedy, same)
    return Evidence(guess.name, used.right, guess.remedy, same)


def _cause(diagnosis: Diagnosis, recorded: Evidence) -> str:
    """What the images that were run again point to."""
    used, *others = diagnosis.images
    best = max(others, key=lambda evidence: evidence.n_right)
    closest = max(others, key=lambda evidence: evidence.agreement or 0.0)
    assert used.same is not None
    assert closest.same is not None
    if best.beats(used) and best.beats(recorded):
        return f"the model wants {best.name}: {best.remedy}"
    if used.n_right < recorded.n_right:
        return ""
    if is_more(closest.same, used.same) and np.mean(closest.same) >= SAME_SHARE:
        return f"the recorded predictions are those of tensors with {closest.name}: {closest.remedy}"
    if used.beats(recorded) and np.mean(used.same) < SAME_SHARE:
        return (
            "the recorded predictions are not those of this model here under any preparation that was tried: another "
            "model file, or a device that computes something else; see engine parity"
        )
    return ""


def _findings(images: Images) -> list[str]:
    """What the predictions alone show."""
    findings = []
    warning = canary_warning(dict(zip(images.keys, images.labels.tolist(), strict=True)))
    if warning:
        findings.append(warning)
    valid = images.top_ids[:, 0][images.top_ids[:, 0] >= 0]
    n_invalid = len(images.labels) - len(valid)
    if n_invalid:
        findings.append(f"{n_invalid} of {len(images.labels)} images have no prediction (FAILED): see status")
    n_nan = int(np.count_nonzero((images.top_ids[:, 0] >= 0) & (images.ranks == 0)))
    if n_nan:
        findings.append(f"{n_nan} images have NaN scores: a float16 overflow, or a broken model file")
    if len(valid):
        classes, counts = np.unique(valid, return_counts=True)
        most = int(np.argmax(counts))
        share, labelled = counts[most] / len(valid), float(np.mean(images.labels == classes[most]))
        if share > CONSTANT_SHARE and labelled < CONSTANT_LABELS:
            findings.append(
                f"{100 * share:.0f} % of the images are given class {classes[most]}: the model sees constant or "
                "saturated input, or its output is not the scores"
            )
    return findings


def _sample(images: Images, rerun: Rerun) -> tuple[I32, Listing, list[int]]:
    """Places in `images` of a seeded sample, the data's listing, and their places there."""
    listing = find_samples(rerun.data, is_labelled=False)
    if not isinstance(listing.store, ImageStore):
        raise DataError(f"{rerun.data} holds {listing.store.plural}: needed the images, to prepare them in other ways")
    place = {sample_key(listing.names.name(i)): i for i in range(len(listing.names))}
    known = [i for i, key in enumerate(images.keys) if key in place and images.top_ids[i, 0] >= 0]
    if not known:
        raise DataError(f"none of the images of the result are in {rerun.data}")
    rng = np.random.default_rng(SEED)
    chosen = np.sort(rng.permutation(np.array(known, np.int32))[: rerun.n_images])
    return chosen, listing, [place[images.keys[i]] for i in chosen]


def _tops(guess: ImageGuess, listing: Listing, places: Sequence[int], rerun: Rerun) -> I32:
    """First class of each image, prepared in this way; -1 for an image that cannot be decoded."""
    crops = _crops(listing, places, replace(guess.spec, exif_rotate=rerun.exif_rotate))
    tops = np.full(len(places), -1, np.int32)
    for start in range(0, len(places), BATCH):
        rows = np.stack([guess.tensor(crop) for crop in crops[start : start + BATCH]])
        tops[start : start + BATCH] = np.argmax(rerun.scores(rows), axis=1)
    return tops


def _crops(listing: Listing, places: Sequence[int], spec: PreprocessSpec) -> U8:
    """(n, crop, crop, 3) uint8, RGB."""
    source = listing.store.open(listing.names, spec, TensorFormat("uint8", "NHWC"))
    crops = np.zeros((len(places), spec.crop, spec.crop, 3), np.uint8)
    for crop, place in zip(crops, places, strict=True):
        with suppress(ImageError):  # it was decoded in the run: this concerns files that have changed since
            source.write(source.read(place), crop)
    return crops


def document(diagnosis: Diagnosis) -> dict[str, Any]:
    """For JSON."""

    def rows(evidence: list[Evidence]) -> list[dict[str, Any]]:
        return [
            {
                "name": item.name,
                "n": item.n,
                "n_right": item.n_right,
                "interval": vars(item.interval),
                "agreement": item.agreement,
                "remedy": item.remedy,
            }
            for item in evidence
        ]

    return {**vars(diagnosis), "labels": rows(diagnosis.labels), "images": rows(diagnosis.images)}
