"""What a verdict is made of: shares and rates of a part of a run."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import fmean, median

from engine.stages import Sizes, Window
from engine.stages_processes import ProcessSpan
from engine.stages_sums import ChipSums, per_second


@dataclass(frozen=True)
class Setting:
    """What the user chose, and the host that it ran on.

    is_computed_here : the chips are simulated, and ONNX Runtime computes their scores on this host's CPU
    """

    backend: str
    sizes: Sizes
    window: int
    n_feeders: int
    default_n_slots: int
    n_cores: int
    is_dumping: bool
    is_computed_here: bool = False


@dataclass(frozen=True)
class Chip:
    """Shares of the time of one chip that works. rate : images/s while it executes"""

    number: int
    execute: float
    copy: float
    idle: float
    pressed: float
    rate: float

    @property
    def gap(self) -> float:
        """It had work but did not execute."""
        return 1 - self.idle - self.execute


class Facts:
    """Shares (0..1) and rates (images/s) of a part of a run."""

    def __init__(self, window: Window, spans: list[ProcessSpan], setting: Setting) -> None:
        self.setting = setting
        self.window = window
        self.rate = window.images_per_s
        sums, wall_ns = window.stages, max(window.wall_ns, 1)
        self.chips = [
            _chip(number, chip, wall_ns) for number, chip in window.chips.items() if chip.n_batches or chip.idle_ns
        ]
        decoders = [span for span in spans if span.tally.role == "decoder" and span.covered_ns]
        self.decoders_busy = share(decoders, "busy_ns")
        self.decoders_blocked = share(decoders, "blocked_ns")
        images_ns = sums.read_ns + sums.decode_ns + sums.resample_ns
        self.read_share = sums.read_ns / images_ns if images_ns else 0.0
        self.decoders_rate = per_second(sums.n_decoded * setting.sizes.n_decoders, images_ns)
        cpu_ns = sum(span.usage.cpu_ns for span in decoders)
        self.decoders_got = cpu_ns / max(images_ns - sums.read_ns, 1)  # of a core, while they had to compute
        self.hub_busy = sums.hub_busy_ns / wall_ns
        self.rank_busy = sums.rank_ns / wall_ns
        self.feeder_cores = max(
            (span.usage.cpu_ns / wall_ns for span in spans if span.tally.role == "feeder"), default=0.0
        )
        self.feeders_cores = sum(span.usage.cpu_ns / wall_ns for span in spans if span.tally.role == "feeder")
        self.cores_used = sum(span.usage.cpu_ns for span in spans) / wall_ns

    @property
    def chips_rate(self) -> float:
        """Images/s that the chips would take if they executed all the time; 0 where they compute nothing."""
        return sum(chip.rate or self.middle_rate for chip in self.chips)

    @property
    def middle_rate(self) -> float:
        """Of the chips that got work."""
        return median([chip.rate for chip in self.chips if chip.rate] or [0.0])

    def mean(self, name: str) -> float:
        """Over all chips."""
        return fmean(getattr(chip, name) for chip in self.chips)


def _chip(number: int, chip: ChipSums, wall_ns: int) -> Chip:
    return Chip(
        number,
        chip.execute_ns / wall_ns,
        max(chip.h2d_ns, chip.d2h_ns) / wall_ns,
        chip.idle_ns / wall_ns,
        chip.pressed_ns / wall_ns,
        chip.interface_per_s(),
    )


def share(spans: list[ProcessSpan], name: str) -> float:
    covered = sum(span.covered_ns for span in spans)
    return sum(getattr(span, name) for span in spans) / covered if covered else 0.0
