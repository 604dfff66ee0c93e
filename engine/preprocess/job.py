"""`engine preprocess`: which images are still to do, and doing them."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from engine import host
from engine.crew import DupFdLater
from engine.errors import ConfigError, DataError, InterruptedRun, InUseError, ResourceError, TooManyFailures
from engine.files import NO_SPACE, amount
from engine.names import NameTable
from engine.preprocess.sinks import Destination
from engine.preprocess.team import Team
from engine.preprocess.worker import WorkerJob, worker_main
from engine.presets import find_preset
from engine.progress import Progress
from engine.run import MOST_WORKERS
from engine.sources.base import Store
from engine.terminal import warn
from engine.warming import warm_up
from kernels.spec import PreprocessSpec

FORMATS = ("bin", "packed")


@dataclass(frozen=True)
class PreprocessConfig:
    """What `engine preprocess` is asked to do. None stands for 'choose for me'."""

    source: Path
    destination: Path
    preset: str = "resnet"
    form: str = "bin"
    dtype: str | None = None
    labels: Path | None = None
    workers: int | None = None
    exif_rotate: bool = False

    @property
    def spec(self) -> PreprocessSpec:
        """ConfigError for a preset that is not known."""
        return find_preset(self.preset, exif_rotate=self.exif_rotate)


@dataclass(frozen=True)
class Inputs:
    """The images: which, how they are stored, and what to make of them."""

    names: NameTable
    store: Store
    spec: PreprocessSpec


@dataclass(frozen=True)
class Finished:
    """What was done: samples written now, and those that failed with their reasons."""

    n_written: int
    reasons: dict[int, str]
    seconds: float


def work_off(
    inputs: Inputs, destination: Destination, todo: Sequence[int], n_workers: int | None, say: Callable[[str], None]
) -> Finished:
    """Preprocess the samples of `todo` on all cores. Raises InterruptedRun after a signal."""
    began_s = time.perf_counter()
    if not todo:
        return Finished(0, {}, 0.0)
    warm_up(inputs.spec, say, destination.tensor)
    names_fd = inputs.names.share()
    job = WorkerJob(DupFdLater(names_fd), inputs.names.root, inputs.store, inputs.spec, destination)
    team = Team(worker_main, [job], min(n_workers or min(host.n_cores(), MOST_WORKERS), len(todo)))
    progress = Progress(len(todo), "preprocess", shows_accuracy=False)
    try:
        is_complete = team.run(todo, progress)
    finally:
        progress.close()
        os.close(names_fd)
    if not is_complete:
        raise InterruptedRun(
            f"interrupted: {team.n_done} of {len(todo)} images were done; the same command goes on from here"
        )
    return Finished(len(todo) - len(team.reasons), team.reasons, time.perf_counter() - began_s)


def result_line(finished: Finished, n_kept: int, where: str) -> str:
    """What was done, in one line."""
    took = f" in {finished.seconds:.1f} s" if finished.seconds else ""
    return f"{finished.n_written} written{took}, {n_kept} already there, {len(finished.reasons)} failed: {where}"


def raise_for_failures(inputs: Inputs, reasons: dict[int, str], what_then: str) -> None:
    """Name every image that failed, and raise TooManyFailures."""
    if not reasons:
        return
    for sample in sorted(reasons):
        warn(f"FAILED {inputs.names.name(sample)}: {reasons[sample]}")
    first = inputs.names.name(min(reasons))
    raise TooManyFailures(f"{len(reasons)} of {len(inputs.names)} images failed, the first is {first}; {what_then}")


@contextlib.contextmanager
def locked(path: Path) -> Iterator[int]:
    """A descriptor of the file, made if need be, that no other `engine preprocess` has at the same time."""
    with writing(path):
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    try:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise InUseError(f"another engine preprocess is writing there (it holds {path}): wait for it") from None
        except OSError as error:
            warn(f"{path} cannot be locked ({error.strerror}): make sure that no other engine preprocess writes there")
        yield fd
    finally:
        os.close(fd)


@contextlib.contextmanager
def writing(path: Path) -> Iterator[None]:
    """ResourceError with the system's reason for what cannot be written at `path`."""
    try:
        yield
    except OSError as error:
        advice = ": make room or choose another folder" if error.errno in NO_SPACE else ""
        raise ResourceError(f"{path} cannot be written: {error.strerror}{advice}") from error


def require_space(folder: Path, n_bytes: int, what: str) -> None:
    """ResourceError if the disk has less than `n_bytes` free."""
    free = shutil.disk_usage(folder).free
    if n_bytes > free:
        raise ResourceError(f"{what} needs {amount(n_bytes)} but its disk has {amount(free)} free: make room")


def require_other_folder(source: Path, destination: Path) -> None:
    """Tensors among the images would make the folder hold two kinds."""
    if destination.exists() and source.exists() and destination.samefile(source):
        raise ConfigError(f"{destination} is the folder of the images: choose another one for the tensors")


def require_one_name_each(inputs: Inputs, name_of: Callable[[str], str]) -> None:
    """DataError where two images would be written to one file."""
    seen: dict[str, str] = {}
    for sample in range(len(inputs.names)):
        image = inputs.names.name(sample)
        other = seen.setdefault(name_of(image), image)
        if other != image:
            raise DataError(
                f"{other} and {image} would both be {name_of(image)}, which is named up to the first dot as the "
                "guide's script does: rename one, or use --format packed"
            )
