"""What limited a run: one line with the bottleneck, the evidence and the remedy.

The question is who waits for whom. Each rule looks at who was always busy (chips, decoders, hub) and, where nobody was,
at what everybody waited for (slots, room in the window). The thresholds are in docs/measurement.md.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from engine.stages import steady, steady_spans
from engine.tally import RunTally
from engine.verdict_facts import Facts, Setting

#: Busy for this share of the time: what bounds the run.
SATURATED = 0.90
#: Chips that execute this much are the bound whatever else is busy, too.
CHIPS_SATURATED = 0.93
#: Where nobody is saturated: at least so busy, and busier than everybody else by that much.
LIKELY, LIKELY_AHEAD = 0.70, 0.15
#: A chip slower than the others' median by this is named.
SLOW_CHIP = 0.10
#: A chip that has work but does not execute loses more than this between its batches: its window is too small.
GAP = 0.03
#: Less than this waiting for a free slot is no lack of slots.
BLOCKED = 0.05
#: This share of all cores in use: more decoders would not be faster.
CORES_FULL = 0.90
#: Decoders that compute get at least this share of a core, unless they share it.
CORE_SHARED = 0.75
HOST_SHARED = "other programs use this host: repeat on a quiet one"
RUN_LONGER = "run longer, e.g. --min-duration 10"
#: Slots that must have been ranked for a verdict.
FEWEST_SLOTS = 12


@dataclass(frozen=True)
class Verdict:
    """bottleneck : one of the ids in docs/measurement.md"""

    bottleneck: str
    evidence: str
    remedy: str

    @property
    def text(self) -> str:
        return f"{self.bottleneck}: {self.evidence}: {self.remedy}"


def judge(facts: Facts) -> Verdict:
    """The first rule that holds."""
    if facts.window.stages.n_slots < FEWEST_SLOTS or not facts.chips:
        n_slots = facts.window.stages.n_slots
        slots = "slot" if n_slots == 1 else "slots"
        return Verdict("no verdict", f"only {n_slots} {slots} between warm-up and drain", RUN_LONGER)
    rules = (_chips, _copies, _hub, _numerics, _decoders, _feeder, _window, _slots)
    return next((verdict for rule in rules if (verdict := rule(facts)) is not None), _busiest(facts))


def _busiest(facts: Facts) -> Verdict:
    """Nobody is saturated: who is busy by far the most, or nobody."""
    busy = {_chips: facts.mean("execute"), _hub: facts.hub_busy, _decoders: facts.decoders_busy}
    first, second = sorted(busy, key=busy.__getitem__, reverse=True)[:2]
    if busy[first] < LIKELY or busy[first] - busy[second] < LIKELY_AHEAD:
        return _nobody(facts)
    return first(facts, LIKELY) or _nobody(facts)


def _chips(facts: Facts, threshold: float = CHIPS_SATURATED) -> Verdict | None:
    execute = facts.mean("execute")
    if execute < threshold:
        return None
    n, middle = len(facts.chips), facts.middle_rate
    slow = min(facts.chips, key=lambda chip: chip.rate)
    if n > 1 and slow.rate < (1 - SLOW_CHIP) * middle:
        return Verdict(
            "slow-chip",
            f"chip {slow.number} executes {slow.rate:,.0f} images/s where the others do {middle:,.0f}, "
            f"and all are {_percent(execute)} busy",
            f"look at its temperature and clock (npu-smi info); as fast as the others it would add "
            f"{middle - slow.rate:,.0f} images/s",
        )
    if facts.setting.backend == "onnxruntime":
        remedy = "more cores for it (fewer --workers), or chips"
    else:
        remedy = "more --devices or another --batch; the host has room" if _has_room(facts) else "more --devices"
    give = "gives" if n == 1 else "give"
    busy = f"{n} {_plural(n, 'chip')} {_are(n)} {_percent(execute)} busy and {give} {facts.rate:,.0f} images/s"
    return Verdict("chip-bound", f"{busy}, the decoders would take {facts.decoders_rate:,.0f}", remedy)


def _copies(facts: Facts) -> Verdict | None:
    copy = facts.mean("copy")
    if copy < SATURATED:
        return None
    return Verdict(
        "copy-bound",
        f"copies take {_percent(copy)} of the chips' time, executing takes {_percent(facts.mean('execute'))}",
        "a model with uint8 input (AIPP) moves a quarter of the bytes",
    )


def _hub(facts: Facts, threshold: float = SATURATED) -> Verdict | None:
    if facts.hub_busy < threshold:
        return None
    rank = facts.rank_busy / facts.hub_busy
    what = "ranking and writing dumps" if facts.setting.is_dumping else "ranking"
    remedy = "run without --dump, or dump bin to a faster disk" if facts.setting.is_dumping else "a larger --batch"
    return Verdict(
        "hub-bound",
        f"the hub is {_percent(facts.hub_busy)} busy, {_percent(rank)} of it with {what}, "
        f"and takes {facts.rate:,.0f} images/s{_chips_would(facts)}",
        remedy,
    )


def _numerics(facts: Facts) -> Verdict | None:
    """A simulated chip's time is made up, its scores are not: where they take this CPU longer, they are the bound."""
    setting, execute = facts.setting, facts.mean("execute") * len(facts.chips)
    if not setting.is_computed_here or facts.mean("gap") < GAP or not facts.rate or not execute:
        return None
    needed = facts.feeders_cores * facts.chips_rate / facts.rate
    if needed < CORES_FULL * setting.n_cores and facts.feeders_cores < execute:
        return None
    return Verdict(
        "numerics-bound",
        "ONNX Runtime computes the simulated chips' scores on this CPU, "
        f"{1e3 * facts.feeders_cores / facts.rate:.1f} ms an image: for their {facts.chips_rate:,.0f} images/s "
        f"{needed:.1f} cores would be needed, there are {setting.n_cores}",
        "--model fingerprint shows the pipeline at the chips' rate, --backend onnxruntime uses this CPU alone",
    )


def _decoders(facts: Facts, threshold: float = SATURATED) -> Verdict | None:
    if facts.decoders_busy < threshold:
        return None
    n = facts.setting.sizes.n_decoders
    give = "gives" if n == 1 else "give"
    busy = f"{n} {_plural(n, 'decoder')} at {_percent(facts.decoders_busy)} busy {give} {facts.rate:,.0f} images/s"
    evidence = busy + _chips_would(facts)
    if facts.read_share >= 0.5:
        return Verdict(
            "read-bound",
            f"{evidence}; {_percent(facts.read_share)} of their time they wait for the disk",
            "a faster disk, the page cache, a packed file (engine preprocess --format packed), or more --workers",
        )
    return Verdict("decode-bound", evidence, _decoders_remedy(facts))


def _decoders_remedy(facts: Facts) -> str:
    """How many decoders the chips would need, where the host's cores allow more."""
    setting = facts.setting
    n = setting.sizes.n_decoders
    cheaper = "a packed file as --data (engine preprocess --format packed)"
    if facts.cores_used >= CORES_FULL * setting.n_cores:
        return f"all {setting.n_cores} cores are in use: more cores, or {cheaper}"
    if facts.decoders_got < CORE_SHARED:
        got = f"they got {_percent(facts.decoders_got)} of a core each"
        return f"{got}, {HOST_SHARED}"
    if not facts.chips_rate:
        return f"more --workers, up to {setting.n_cores} cores, or {cheaper}"
    needed = max(n + 1, math.ceil(facts.chips_rate * n / facts.decoders_rate))
    if needed > setting.n_cores:
        return f"{needed} decoders needed, more than this host's {setting.n_cores} cores can run: {cheaper}"
    return f"{needed} decoders needed (--workers {needed}), or {cheaper}"


def _feeder(facts: Facts) -> Verdict | None:
    if facts.feeder_cores < SATURATED or facts.mean("gap") < GAP:
        return None
    n = facts.setting.n_feeders
    return Verdict(
        "feeder-bound",
        f"a feeder process uses {facts.feeder_cores:.2f} cores, its chips execute {_percent(facts.mean('execute'))}",
        f"--feeders {min(n * 2, len(facts.chips))}"
        if n < len(facts.chips)
        else "a model that is not computed on the host",
    )


def _window(facts: Facts) -> Verdict | None:
    gap, pressed = facts.mean("gap"), facts.mean("pressed")
    if gap < GAP or pressed < 0.5 or not facts.mean("execute"):  # null devices take no time: no window holds them up
        return None
    n = facts.setting.window
    return Verdict(
        "window-bound",
        f"chips have work but do not execute for {_percent(gap)} of the time, with batches ready "
        f"{_percent(pressed)} of it that --window {n} keeps back",
        f"--window {n + 1}: up to {facts.rate / facts.mean('execute') * (1 - facts.mean('idle')):,.0f} images/s",
    )


def _slots(facts: Facts) -> Verdict | None:
    if facts.decoders_blocked < BLOCKED or facts.mean("idle") < BLOCKED:
        return None
    setting = facts.setting
    more = max(setting.default_n_slots, 2 * setting.sizes.n_slots)
    return Verdict(
        "slot-bound",
        f"{setting.sizes.n_slots} slots are never free: decoders wait {_percent(facts.decoders_blocked)} of the time "
        f"for one while chips are idle {_percent(facts.mean('idle'))}",
        f"--slots {more}",
    )


def _nobody(facts: Facts) -> Verdict:
    remedy = "no single bound: more --slots smooth the waiting, --what-if measures each part alone"
    if facts.decoders_got < CORE_SHARED and facts.cores_used < CORES_FULL * facts.setting.n_cores:
        remedy = f"decoders got {_percent(facts.decoders_got)} of a core each, {HOST_SHARED}"
    return Verdict(
        "balanced",
        f"decoders are {_percent(facts.decoders_busy)} busy, chips {_percent(facts.mean('execute'))}, the hub "
        f"{_percent(facts.hub_busy)} at {facts.rate:,.0f} images/s",
        remedy,
    )


def _has_room(facts: Facts) -> bool:
    return facts.decoders_rate > 1.1 * facts.rate


def _chips_would(facts: Facts) -> str:
    return f", the chips would take {facts.chips_rate:,.0f}" if facts.chips_rate else ""


def _percent(share: float) -> str:
    return f"{min(100 * share, 100):.0f} %"


def _plural(n: int, noun: str) -> str:
    return noun if n == 1 else f"{noun}s"


def _are(n: int) -> str:
    return "is" if n == 1 else "are"


def verdict_of(tally: RunTally, setting: Setting) -> Verdict:
    """Of the steady state; a run without one gets no verdict."""
    window = steady(tally)
    if window is None:
        return Verdict("no verdict", "too short for a steady state", RUN_LONGER)
    return judge(Facts(window, steady_spans(tally), setting))
