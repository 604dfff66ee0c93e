"""`engine check-data`: decode every image without a model, and say which are odd and which will fail."""

from __future__ import annotations

import mmap
import os
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from engine import host
from engine.checkdata_kinds import BIT, DECODERS, ODDITIES, oddities
from engine.crew import DupFdLater
from engine.errors import DataError, TooManyFailures
from engine.files import require_place, write_report
from engine.index import read_index
from engine.limits import DECODER_HEADROOM_BYTES, DEFAULT_LIMITS, ImageClock, limit_memory
from engine.listing import find_samples
from engine.names import NameTable
from engine.preprocess.team import Done, Team
from engine.presets import find_preset
from engine.process import begin
from engine.progress import Progress
from engine.sources.images import ImageStore, read_file
from engine.terminal import printable
from engine.warming import warm_up
from kernels.host import HostPath
from kernels.spec import ImageError, PreprocessSpec

MOST_WORKERS = 32
#: Names that the table shows of each kind; the quarantine list has all that fail.
MOST_SHOWN = 3
U32 = npt.NDArray[np.uint32]


@dataclass(frozen=True)
class CheckRequest:
    """What to check. labels : also check that each image has its label        quarantine : where the failing ones go"""

    data: Path
    labels: Path | None = None
    quarantine: Path | None = None
    preset: str = "resnet"
    workers: int | None = None
    exif_rotate: bool = False


@dataclass(frozen=True)
class Checked:
    """All images. kinds : (n,) uint32, bits of `checkdata_kinds`        reasons : of those that fail"""

    names: NameTable
    kinds: U32
    reasons: dict[int, str]
    n_done: int

    @property
    def is_complete(self) -> bool:
        return self.n_done == len(self.names)


@dataclass(frozen=True)
class CheckJob:
    """What a worker is started with: descriptors (as `DupFd`) of the names and of the kinds that it fills in."""

    names: Any
    kinds: Any
    root: Path
    spec: PreprocessSpec


def check_data(request: CheckRequest, say: Callable[[str], None]) -> bool:
    """Check, print the table, write the quarantine list; False if it was interrupted.

    Raises DataError for a folder without images or labels that do not fit, TooManyFailures if any image fails.
    """
    if request.quarantine is not None:
        require_place("--quarantine", request.quarantine, "quarantine.txt")
    names = _names(request)
    spec = find_preset(request.preset, exif_rotate=request.exif_rotate)
    warm_up(spec, say)
    checked = decode_all(names, spec, request.workers)
    for line in table(checked):
        say(line)
    failing = sorted(checked.reasons)
    if request.quarantine is not None:
        lines = "".join(f"{_in_list(names.name(sample))}\t{checked.reasons[sample]}\n" for sample in failing)
        write_report(request.quarantine, lines.encode("utf-8", "surrogateescape"))
        say(f"{len(failing)} names and reasons in {request.quarantine}")
    if checked.is_complete and failing:
        raise TooManyFailures(
            f"{len(failing)} of {len(names)} images cannot be decoded: remove or repair them, or run with a "
            "--max-failed-percent that allows them"
        )
    return checked.is_complete


def _names(request: CheckRequest) -> NameTable:
    """The images; with labels, checked as `engine run` checks them."""
    if request.labels is not None:
        return read_index(request.data, request.labels).names
    listing = find_samples(request.data, is_labelled=False)
    if not isinstance(listing.store, ImageStore):
        raise DataError(f"{request.data} holds {listing.store.plural}, not images: nothing to check")
    return listing.names


def decode_all(names: NameTable, spec: PreprocessSpec, n_workers: int | None) -> Checked:
    """Decode every image on all cores; a signal ends it early."""
    kinds_fd, names_fd = os.memfd_create("engine-kinds", os.MFD_CLOEXEC), names.share()
    os.ftruncate(kinds_fd, max(4 * len(names), 1))
    kinds = np.frombuffer(mmap.mmap(kinds_fd, 0), np.uint32)
    job = CheckJob(DupFdLater(names_fd), DupFdLater(kinds_fd), names.root, spec)
    n_workers = n_workers or min(host.n_cores(), MOST_WORKERS, len(names))
    progress = Progress(len(names), "check", shows_accuracy=False)
    team = Team(check_worker, [job], n_workers)
    try:
        team.run(range(len(names)), progress)
    finally:
        progress.close()
        os.close(kinds_fd)
        os.close(names_fd)
    return Checked(names, kinds, team.reasons, team.n_done)


def check_worker(hub: Connection[Any, Any], _number: int, job: CheckJob) -> None:
    """Check the samples that the hub sends, until its pipe ends."""
    begin("check")
    names = NameTable.mapped(job.root, job.names.detach())
    kinds = np.frombuffer(mmap.mmap(job.kinds.detach(), 0), np.uint32)
    decode, limit = HostPath(job.spec), ImageClock(DEFAULT_LIMITS.image_s)
    row = np.empty((3, job.spec.crop, job.spec.crop), np.float32)
    limit_memory(DECODER_HEADROOM_BYTES)
    reasons: dict[int, str] = {}
    try:
        while True:
            for sample in hub.recv():
                limit.start()
                try:
                    data = read_file(names.path(sample))
                    kinds[sample] = oddities(names.name(sample), data, job.spec.crop)
                    kinds[sample] |= DECODERS[decode(data, row)]
                except ImageError as error:
                    reasons[sample] = str(error)
            limit.stop()
            hub.send(Done(reasons))
            reasons = {}
    except (EOFError, BrokenPipeError, ConnectionResetError):
        return


def table(checked: Checked) -> list[str]:
    """For a terminal of 80 columns: who decodes what, what is odd, what fails and why."""
    n, kinds = len(checked.names), checked.kinds
    lines = [f"{n} images in {checked.names.root}" + ("" if checked.is_complete else f", {checked.n_done} checked")]
    for name, bit in DECODERS.items():
        if n_decoded := np.count_nonzero(kinds & np.uint32(bit)):
            lines.append(f"{n_decoded:8d} decoded by {name}")
    for name, meaning in ODDITIES:
        samples = np.flatnonzero(kinds & np.uint32(BIT[name]))
        if len(samples):
            lines.append(f"{len(samples):8d} {name}: {meaning}; {_first(checked.names, samples.tolist())}")
    causes = Counter(checked.reasons.values())
    lines.append(f"{len(checked.reasons):8d} FAILED")
    for reason, count in causes.most_common():
        samples_ = sorted(sample for sample, why in checked.reasons.items() if why == reason)
        lines.append(f"{count:8d}   {reason}; {_first(checked.names, samples_)}")
    return lines


def _in_list(name: str) -> str:
    """The name as it is, for scripts; spelled out where it would break the lines."""
    return printable(name) if "\n" in name or "\t" in name else name


def _first(names: NameTable, samples: list[int]) -> str:
    shown = ", ".join(printable(names.name(sample)) for sample in samples[:MOST_SHOWN])
    return shown + (" ..." if len(samples) > MOST_SHOWN else "")
