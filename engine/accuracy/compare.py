"""Is a measured accuracy as good as a published one, or as another run's on the same images?"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from engine.accuracy.intervals import CONFIDENCE, Interval, images_for, mcnemar, paired_difference, wilson
from engine.accuracy.measured import Images, Measured
from engine.accuracy.references import Reference
from engine.errors import ConfigError, DataError, GateError, InconclusiveError

MET, NOT_MET, UNDECIDED = "met", "NOT MET", "UNDECIDED"


@dataclass(frozen=True)
class Gate:
    """What is tolerated: so many points below, and at least this part of the reference; the stricter one decides."""

    points: float = 1.0
    relative_percent: float = 99.0
    confidence: float = CONFIDENCE

    def thresholds(self, reference: float) -> tuple[float, float]:
        """(absolute, relative) least accuracy, percent. reference : percent"""
        return reference - self.points, reference * self.relative_percent / 100

    def margin(self, reference: float) -> float:
        """Points below the reference that the stricter gate tolerates."""
        return reference - max(self.thresholds(reference))


@dataclass(frozen=True)
class TopResult:
    """One gate's verdict. All but counts and p-values are percent, differences are points.

    interval : of the measured accuracy, Wilson; paired: of measured - reference on the same images
    """

    k: int
    measured: float
    reference: float
    absolute_gate: float
    relative_gate: float
    interval: tuple[float, float]
    verdict: str
    reason: str
    n_gained: int | None = None
    n_lost: int | None = None
    p_exact: float | None = None
    p_mid: float | None = None

    @property
    def stricter(self) -> str:
        return "absolute" if self.absolute_gate >= self.relative_gate else "relative"


@dataclass(frozen=True)
class Flip:
    """An image whose first class differs. was, now : the classes        change : lost, gained or other"""

    sample: str
    label: int
    was: int
    now: int
    change: str


@dataclass(frozen=True)
class Comparison:
    """The whole answer. `tops` holds Top-1 and, where both sides know it, Top-5."""

    measured: str
    reference: str
    source: str
    n_images: int
    is_paired: bool
    gate: Gate
    tops: list[TopResult]
    flips: list[Flip] = field(default_factory=list)

    @property
    def verdict(self) -> str:
        """The worst of the gates'."""
        verdicts = {top.verdict for top in self.tops}
        return next(verdict for verdict in (NOT_MET, UNDECIDED, MET) if verdict in verdicts)

    @property
    def document(self) -> dict[str, Any]:
        """For JSON."""
        tops = [{**asdict(top), "stricter": top.stricter} for top in self.tops]
        return {**asdict(self), "tops": tops, "verdict": self.verdict}

    def raise_for_verdict(self) -> None:
        """GateError where a gate is not met, InconclusiveError where one is undecided."""
        for verdict, error in ((NOT_MET, GateError), (UNDECIDED, InconclusiveError)):
            tops = [top for top in self.tops if top.verdict == verdict]
            if tops:
                raise error("; ".join(f"Top-{top.k} gate {verdict.lower()}: {top.reason}" for top in tops))


def compare(measured: Measured, reference: Reference, gate: Gate = Gate()) -> Comparison:
    """Against published figures. ConfigError where the two have no figure in common."""
    tops = [_top(measured, reference, k, gate) for k in (1, 5) if k in measured.in_top and reference.top(k) is not None]
    if not tops:
        raise ConfigError(f"{reference.name} has no figure that {measured.source} has too: give --top1")
    return Comparison(measured.source, reference.name, reference.source, measured.n_images, False, gate, tops)


def _top(measured: Measured, reference: Reference, k: int, gate: Gate) -> TopResult:
    published = reference.top(k)
    assert published is not None
    n, (fewest, most) = measured.n_images, measured.in_top[k]
    low = 100 * wilson(fewest, n, gate.confidence).low
    high = 100 * wilson(most, n, gate.confidence).high
    absolute, relative = gate.thresholds(published)
    threshold = max(absolute, relative)
    # On the reference's own images nothing is sampled: the measured figure itself decides.
    is_whole = n == reference.n_images
    least, best = (100 * fewest / n, 100 * most / n) if is_whole else (low, high)
    margin = gate.margin(published)
    share = measured.percent(k) / 100
    needed = images_for(share, margin / 100, gate.confidence) if margin > 0 else reference.n_images
    if best < threshold:
        verdict, reason = NOT_MET, f"{five(measured.percent(k))} % is below {five(threshold)} %"
    elif not is_whole and n < needed:
        verdict = UNDECIDED
        reason = (
            f"{n} images give +-{(high - low) / 2:.2f} points, the gate is {margin:.2f} below the reference: at least "
            f"{needed} images are needed, or a run of the reference on the same images"
        )
    elif least >= threshold:
        verdict, reason = MET, f"{five(measured.percent(k))} % is not below {five(threshold)} %"
    else:
        verdict = UNDECIDED
        reason = f"{five(threshold)} % is within {five(least)} .. {five(best)} %"
    return TopResult(k, measured.percent(k), published, absolute, relative, (low, high), verdict, reason)


def compare_runs(measured: Measured, other: Measured, gate: Gate = Gate()) -> Comparison:
    """Against another run on the same images, image by image; DataError where they are not the same."""
    new, old = _images_of(measured), _images_of(other)
    order = _matched(new, old, (measured.source, other.source))
    old_ranks, old_ids = old.ranks[order], old.top_ids[order]
    tops = [_paired_top(new.ranks, old_ranks, k, gate) for k in (1, 5)]
    flips = [
        Flip(new.names[i], int(new.labels[i]), int(old_ids[i, 0]), int(new.top_ids[i, 0]), _change(old_ranks[i], rank))
        for i, rank in enumerate(new.ranks)
        if old_ids[i, 0] != new.top_ids[i, 0] or (old_ranks[i] == 1) != (rank == 1)
    ]
    return Comparison(measured.source, other.source, "the same images", measured.n_images, True, gate, tops, flips)


def _paired_top(new: Any, old: Any, k: int, gate: Gate) -> TopResult:
    n = len(new)
    is_new, is_old = ((ranks >= 1) & (ranks <= k) for ranks in (new, old))
    gained, lost = int(np.count_nonzero(is_new & ~is_old)), int(np.count_nonzero(is_old & ~is_new))
    found, reference = 100 * np.count_nonzero(is_new) / n, 100 * np.count_nonzero(is_old) / n
    between = paired_difference(gained, lost, n, gate.confidence)
    low, high = 100 * between.low, 100 * between.high
    margin = gate.margin(reference)
    if high < -margin:
        verdict, reason = NOT_MET, f"{found - reference:+.3f} points, at least {-high:.3f} below"
    elif low >= -margin:
        verdict, reason = MET, f"{found - reference:+.3f} points, at most {max(0.0, -low):.3f} below"
    else:
        verdict = UNDECIDED
        reason = f"the difference is within {low:+.3f} .. {high:+.3f} points, the gate at {-margin:+.3f}: more images"
    p = mcnemar(gained, lost)
    gates = gate.thresholds(reference)
    return TopResult(k, found, reference, *gates, (low, high), verdict, reason, gained, lost, p.exact, p.mid_p)


def _images_of(measured: Measured) -> Images:
    if measured.images is None:
        raise DataError(f"{measured.source} has no predictions per image: a paired comparison needs a predictions.csv")
    return measured.images


def _matched(new: Images, old: Images, sources: tuple[str, str]) -> list[int]:
    """Places in `old` of the images of `new`; DataError where the images or their labels are not the same."""
    place = {key: i for i, key in enumerate(old.keys)}
    only_new = [key for key in new.keys if key not in place]
    only_old = sorted(set(old.keys) - set(new.keys))
    for only, source, other in ((only_new, *sources), (only_old, *reversed(sources))):
        if only:
            raise DataError(f"{len(only)} images of {source} are not in {other}, first {only[0]}")
    order = [place[key] for key in new.keys]
    unlike = np.flatnonzero(old.labels[order] != new.labels)
    if len(unlike):
        raise DataError(
            f"{len(unlike)} images have other labels in {sources[1]} than in {sources[0]}, first "
            f"{new.keys[unlike[0]]}: use one label file"
        )
    return order


def _change(old_rank: int, new_rank: int) -> str:
    if (old_rank == 1) == (new_rank == 1):
        return "other"
    return "gained" if new_rank == 1 else "lost"


def five(percent: float) -> str:
    """Five significant figures: 79.312, 100.00, 0.12345."""
    return f"{percent:#.5g}"


def spread(interval: Interval) -> str:
    """``78.955 .. 79.665`` in percent."""
    return f"{five(100 * interval.low)} .. {five(100 * interval.high)}"
