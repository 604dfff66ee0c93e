"""The accounting of a run as run.json holds it: stages, processes, slots, latencies, timeline, steady state.

Every figure is defined in docs/measurement.md.
"""

from __future__ import annotations

from dataclasses import dataclass
from statistics import median
from typing import Any

from engine.ledger import SlotState
from engine.stability import Interval, rate_interval
from engine.stages_latency import Latencies
from engine.stages_processes import ProcessSpan
from engine.stages_series import STATES
from engine.stages_sums import NS_PER_MS, NS_PER_S, ChipSums, StageSums, per_second
from engine.tally import RunTally

PERCENTILES = (50, 90, 95, 99)
#: Buckets of the histogram in run.json per factor of two.
HISTOGRAM_PER_OCTAVE = 8
MIB = 1 << 20


@dataclass(frozen=True)
class Sizes:
    """What a run was made of."""

    batch: int
    images_per_slot: int
    n_slots: int
    n_decoders: int


@dataclass(frozen=True)
class Window:
    """A part of a run: what was added between two marks, and for how long.

    wall_ns : of the hub's clock           rated_ns : from one result to another, which is what rates are taken over
    """

    wall_ns: int
    rated_ns: int
    stages: StageSums
    chips: dict[int, ChipSums]

    @property
    def images_per_s(self) -> float:
        return per_second(self.stages.n_ranked, self.rated_ns)


def whole(tally: RunTally) -> Window:
    """The whole run."""
    chips = {number: chip.sums for number, chip in tally.chips.items()}
    return Window(tally.last_result_ns - tally.began_ns, tally.wall_ns, tally.stages, chips)


def steady(tally: RunTally) -> Window | None:
    """The steady state (see `RunTally`); None where it has less than two results."""
    began, ended = tally.steady_began, tally.steady_ended
    if began is None or ended is None or ended.last_result_ns <= began.last_result_ns:
        return None
    chips = {number: sums.since(began.chips[number]) for number, sums in ended.chips.items()}
    rated_ns = ended.last_result_ns - began.last_result_ns
    return Window(ended.at_ns - began.at_ns, rated_ns, ended.stages.since(began.stages), chips)


def steady_spans(tally: RunTally) -> list[ProcessSpan]:
    """What the processes did in the steady state, where there is one."""
    if tally.steady_began is None or tally.steady_ended is None:
        return []
    return tally.steady_ended.processes.spans(tally.steady_began.processes)


def steady_interval(tally: RunTally) -> Interval | None:
    """The steady state's rate with its interval; None where it is too short for one."""
    began, ended, series = tally.steady_began, tally.steady_ended, tally.series
    if began is None or ended is None:
        return None
    times_ns = series.last_result_ns
    within = (times_ns >= began.last_result_ns) & (times_ns <= ended.last_result_ns) & (series.images > 0)
    return rate_interval(series.images[within], times_ns[within])


def stages_document(window: Window, sizes: Sizes) -> dict[str, dict[str, float]]:
    """Per stage: what it would sustain if always busy, its time per batch, and how much of its time it was busy."""
    sums, chips = window.stages, [chip for chip in window.chips.values() if chip.n_batches]
    n_images = sum(chip.n_images for chip in chips)

    def stage(n: int, ns: int, n_parallel: int) -> dict[str, float]:
        per_image_ns = ns / n if n else 0.0
        return {
            "images_per_s": per_second(n_parallel, per_image_ns),
            "ms_per_batch": per_image_ns * sizes.batch / NS_PER_MS,
            "n_parallel": n_parallel,
            "busy_percent": _percent(ns, window.wall_ns * n_parallel),
        }

    return {
        "read": stage(sums.n_decoded, sums.read_ns, sizes.n_decoders),
        "decode": stage(sums.n_decoded, sums.decode_ns, sizes.n_decoders),
        "resample": stage(sums.n_decoded, sums.resample_ns, sizes.n_decoders),
        "hand_over": stage(sums.n_decoded, sums.hand_over_ns, sizes.n_decoders),
        "slot_wait": stage(sums.n_ranked, sums.slot_wait_ns, sizes.n_slots),
        "h2d": stage(n_images, sum(chip.h2d_ns for chip in chips), len(chips)),
        "execute": stage(n_images, sum(chip.execute_ns for chip in chips), len(chips)),
        "d2h": stage(n_images, sum(chip.d2h_ns for chip in chips), len(chips)),
        "rank": stage(sums.n_ranked, sums.rank_ns, 1),
        "hub": stage(sums.n_ranked, sums.hub_busy_ns, 1),
    }


def slots_document(window: Window, sizes: Sizes) -> dict[str, Any]:
    """How many slots were in which state, and how many images a slot carried, on average."""
    sums = window.stages
    states = {"free": sums.free_ns, "filling": sums.filling_ns, "ready": sums.ready_ns, "in_flight": sums.in_flight_ns}
    total_ns = sum(states.values()) or 1
    means = {name: ns / total_ns * sizes.n_slots for name, ns in states.items()}
    images_mean = sums.n_ranked / sums.n_slots if sums.n_slots else 0.0
    return {
        "n_slots": sizes.n_slots,
        "images_per_slot": sizes.images_per_slot,
        "images_mean": images_mean,
        "mean": means,
    }


def accounting(tally: RunTally, sizes: Sizes) -> dict[str, Any]:
    """The parts of run.json that account for the run's time."""
    window, spans = whole(tally), tally.processes.spans()
    return {
        "stages": stages_document(window, sizes),
        "slots": {**slots_document(window, sizes), "ready_most": tally.n_ready_most},
        "processes": processes_document(spans),
        "cpu_s": sum(span.usage.cpu_ns for span in spans) / NS_PER_S,
        "latency_ms": latency_document(tally.latencies),
        "timeline": timeline_document(tally),
        "steady": steady_document(tally, sizes),
        "reconciliation": reconciliation_document(tally),
    }


def latency_document(latencies: Latencies) -> dict[str, Any]:
    """First byte read to rank, milliseconds."""
    edges, counts = latencies.histogram(HISTOGRAM_PER_OCTAVE)
    return {
        **{f"p{percent}": latencies.percentile_ns(percent) / NS_PER_MS for percent in PERCENTILES},
        "max": latencies.max_ns / NS_PER_MS,
        "histogram": {"edges_ms": [edge / NS_PER_MS for edge in edges], "counts": counts},
    }


def timeline_document(tally: RunTally) -> dict[str, Any]:
    """Per whole interval since the hub began: images ranked, and slots by state on average."""
    series = tally.series
    n = series.n_whole(tally.last_result_ns)
    slots = series.slots[:n] / series.interval_ns
    column = {state: [round(float(mean), 3) for mean in slots[:, at]] for at, state in enumerate(STATES)}
    return {
        "interval_ms": series.interval_ns / NS_PER_MS,
        "images": series.images[:n].tolist(),
        "free_slots": column[SlotState.FREE],
        "filling_slots": column[SlotState.FILLING],
        "ready_slots": column[SlotState.READY],
        "in_flight": column[SlotState.IN_FLIGHT],
    }


def devices_document(window: Window) -> dict[int, dict[str, float]]:
    """Per chip: its rate and how it differs from the others, and when it had no work or no room."""
    rates = {number: per_second(chip.n_batches, chip.execute_ns) for number, chip in window.chips.items()}
    middle = median([rate for rate in rates.values() if rate] or [0.0])
    return {
        number: {
            "images_per_s": per_second(chip.n_images, window.rated_ns),
            "execute_percent": _percent(chip.execute_ns, window.wall_ns),
            "idle_percent": _percent(chip.idle_ns, window.wall_ns),
            "full_percent": _percent(chip.full_ns, window.wall_ns),
            "pressed_percent": _percent(chip.pressed_ns, window.wall_ns),
            "skew_percent": 100 * (rates[number] / middle - 1) if middle and rates[number] else 0.0,
        }
        for number, chip in window.chips.items()
    }


def processes_document(spans: list[ProcessSpan]) -> list[dict[str, Any]]:
    """Per process: its states in percent of the time that its clocks cover, and what it took of the machine."""
    return [
        {
            "name": span.name,
            "role": span.tally.role,
            "number": span.tally.number,
            "pid": span.tally.pid,
            "ended": span.tally.ended,
            "covered_s": span.covered_ns / span.n_threads / NS_PER_S,
            "busy_percent": span.percent(span.busy_ns),
            "starved_percent": span.percent(span.starved_ns),
            "blocked_percent": span.percent(span.blocked_ns),
            "cpu_s": span.usage.cpu_ns / NS_PER_S,
            "rss_mib": span.usage.rss_peak_bytes / MIB,
            "pss_mib": span.usage.pss_peak_bytes / MIB,
            "n_voluntary_switches": span.usage.n_voluntary_switches,
            "n_forced_switches": span.usage.n_forced_switches,
        }
        for span in spans
    ]


def reconciliation_document(tally: RunTally) -> dict[str, float]:
    """How far sums that must agree do not, in percent: clocks of one process against those of another.

    processes : busy + starved + blocked of a process that lived through the run, against the hub's wall clock
    decoders  : read + decode + resample of all images, and handing them over, against the busy time of the decoders
    slots     : a slot's stages by the clocks of decoders and feeders, against the time that the hub saw it not free
    """
    window, sums, spans = whole(tally), tally.stages, tally.processes.spans()
    off = [
        abs(span.busy_ns + span.starved_ns + span.blocked_ns - window.wall_ns * span.n_threads) / span.n_threads
        for span in spans
        if span.tally.ended is None and span.tally.is_of_the_first
    ]
    decoders_ns = sum(span.busy_ns for span in spans if span.tally.role == "decoder")
    images_ns = sums.read_ns + sums.decode_ns + sums.resample_ns + sums.hand_over_ns
    held_ns = sums.filling_ns + sums.ready_ns + sums.in_flight_ns
    stages_ns = (
        sums.fill_wait_ns + sums.fill_ns + sums.slot_wait_ns + sums.device_ns + sums.result_wait_ns + sums.rank_ns
    )
    return {
        "processes_percent": _percent(max(off, default=0.0), window.wall_ns),
        "decoders_percent": _percent(abs(images_ns - decoders_ns), decoders_ns),
        "slots_percent": _percent(abs(stages_ns - held_ns), held_ns),
    }


def steady_document(tally: RunTally, sizes: Sizes) -> dict[str, Any] | None:
    """The same figures for the steady state; None for a run that has none."""
    window = steady(tally)
    if window is None:
        return None
    began, ended = tally.steady_began, tally.steady_ended
    assert began is not None
    assert ended is not None
    interval = steady_interval(tally)
    return {
        "from_s": (began.at_ns - tally.began_ns) / NS_PER_S,
        "to_s": (ended.at_ns - tally.began_ns) / NS_PER_S,
        "n_images": window.stages.n_ranked,
        "images_per_s": window.images_per_s,
        "interval_95_percent": None if interval is None else [interval.low, interval.high],
        "n_batch_means": 0 if interval is None else interval.n_batches,
        "is_unstable": interval is None or not interval.is_stable,
        "stages": stages_document(window, sizes),
        "slots": slots_document(window, sizes),
        "latency_ms": latency_document(ended.latencies.since(began.latencies)),
        "devices": [{"device": number, **chip} for number, chip in devices_document(window).items()],
        "processes": processes_document(steady_spans(tally)),
    }


def _percent(part: float, whole: float) -> float:
    return 100 * part / whole if whole > 0 else 0.0
