"""`engine run --what-if`: the ceiling of each part of the pipeline, measured with the other parts replaced."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace

from engine.config import RunConfig
from engine.errors import ResourceError
from engine.files import atomic_write
from engine.hub import Bounds, Watcher
from engine.models import is_computed_here
from engine.pipeline import Plan, run_pipeline
from engine.progress import Progress
from engine.run import null_plan, prepare
from engine.stages import steady

#: Seconds of each measurement.
WHAT_IF_SECONDS = 3.0
#: Reads that make the decoders slower by more than this are named as the bound instead of decoding.
READS_MATTER = 1.15
#: Simulated chips whose own rate is higher than what came out of them by more than this wait for their numerics.
NUMERICS_MATTER = 1.1
FILE_NAME = "what-if.json"


@dataclass(frozen=True)
class Ceiling:
    """Images per second with parts replaced.

    part : which part alone is left, empty where several are
    interface_per_s : of the chips meanwhile, by their own clock; None where they executed nothing
    """

    name: str
    replaced: str
    part: str
    images_per_s: float
    interface_per_s: float | None = None


@dataclass(frozen=True)
class Ladder:
    """All ceilings, and the parts in the order in which they bound the run."""

    seconds: float
    ceilings: list[Ceiling]

    @property
    def parts(self) -> list[Ceiling]:
        """Lowest ceiling first."""
        return sorted((c for c in self.ceilings if c.part), key=lambda c: c.images_per_s)

    @property
    def text(self) -> str:
        """A table and the conclusion, for 80 columns."""
        lines = [f"what if, {self.seconds:.0f} s each              images/s  replaced"]
        lines += [f"{c.name:30} {c.images_per_s:10.1f}  {c.replaced}" for c in self.ceilings]
        bound, *others = self.parts
        lines.append(f"bound by {bound.part}: {bound.images_per_s:,.1f} images/s alone")
        lines += [
            f"  then {c.part}: {c.images_per_s:,.1f}, {c.images_per_s / bound.images_per_s:.2f} x" for c in others
        ]
        return "\n".join(lines)


def what_if(config: RunConfig, say: Callable[[str], None], seconds: float = WHAT_IF_SECONDS) -> Ladder:
    """Measure, write `what-if.json` into the run's folder, and return the ladder. Raises EngineError as a run does."""
    prepared = prepare(replace(config, repeat=1), say)
    plan = prepared.plan
    null = null_plan(plan)
    ready, cached = replace(plan.stand_ins, is_row_ready=True), replace(plan.stand_ins, is_read_cached=True)
    unranked = replace(plan.stand_ins, is_unranked=True)
    variants: list[tuple[str, str, str, Plan]] = [
        ("as it is", "nothing", "", plan),
        ("decoders and disk", "chips by a null device", "decoders and disk", null),
        ("decoders", "disk by memory, chips as above", "decoders", replace(null, stand_ins=cached)),
    ]
    if plan.backend != "null":
        variants.append(("chips", "decoders by rows that are ready", "chips", replace(plan, stand_ins=ready)))
    variants += [
        ("hub", "decoders and chips, as above", "the hub", replace(null, stand_ins=ready)),
        ("without ranking", "ranking by nothing", "", replace(plan, stand_ins=unranked)),
    ]
    ceilings = [
        _measure(name, what, part, replace(p, bounds=Bounds(seconds, seconds))) for name, what, part, p in variants
    ]
    if is_computed_here(prepared.model, plan.backend):
        ceilings = with_numerics(ceilings)
    ladder = Ladder(seconds, _without_idle_disk(ceilings))
    path = config.out / FILE_NAME
    try:
        document = {"seconds": ladder.seconds, "ceilings": [asdict(c) for c in ladder.ceilings]}
        atomic_write(path, (json.dumps(document, indent=2) + "\n").encode())
    except OSError as error:
        raise ResourceError(f"{path} cannot be written: {error.strerror}") from error
    return ladder


def with_numerics(ceilings: list[Ceiling]) -> list[Ceiling]:
    """Simulated chips that wait for their scores, which this CPU computes, are two parts."""
    at = next(number for number, c in enumerate(ceilings) if c.part == "chips")
    chips = ceilings[at]
    if chips.interface_per_s is None or chips.interface_per_s < NUMERICS_MATTER * chips.images_per_s:
        return ceilings
    numerics = replace(chips, name="simulator's numerics", part="the simulator's numerics on this CPU")
    alone = replace(chips, name="chips", replaced="as above, numerics by nothing", images_per_s=chips.interface_per_s)
    return [*ceilings[:at], numerics, alone, *ceilings[at + 1 :]]


def _without_idle_disk(ceilings: list[Ceiling]) -> list[Ceiling]:
    """The decoders are one part, with their disk where it costs them something and without it where not."""
    by_part = {c.part: c for c in ceilings if c.part}
    with_disk, alone = by_part["decoders and disk"], by_part["decoders"]
    is_disk_bound = alone.images_per_s > READS_MATTER * with_disk.images_per_s
    left_out = alone if is_disk_bound else with_disk
    kept = "the disk, and decoders that wait for it" if is_disk_bound else "decoders"
    return [
        replace(c, part="") if c is left_out else replace(c, part=kept) if c in (with_disk, alone) else c
        for c in ceilings
    ]


def _measure(name: str, replaced: str, part: str, plan: Plan) -> Ceiling:
    progress = Progress(None, name, shows_accuracy=False)
    try:
        outcome = run_pipeline(replace(plan, is_scored=False), Watcher(progress, progress.notice))
    finally:
        progress.close()
    if outcome.was_interrupted:
        raise KeyboardInterrupt
    if outcome.error is not None:
        raise outcome.error
    window = steady(outcome.tally)
    rate = outcome.tally.end_to_end_per_s if window is None else window.images_per_s
    return Ceiling(name, replaced, part, rate, outcome.tally.interface_per_s() or None)
