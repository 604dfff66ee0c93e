"""The data set of `engine demo`: images made here, labelled by Pillow and NumPy alone.

It is made once, in the user's cache. The label of an image is the class that the proof model `fingerprint` must give
it, computed through `kernels.reference`, which shares no code with the pipeline. A manifest holds the sha256 of every
file; a folder that does not match it, half-written or damaged, is made again.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import multiprocessing
import shutil
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from engine.demo_images import N_IMAGES, ImagePlan, make_jpeg, plan_images
from engine.errors import ResourceError, WorkerError
from engine.files import NO_SPACE, cache_dir, temporary_beside
from engine.host import n_cores
from engine.presets import find_preset
from kernels.reference import fingerprint_logits, preprocess

#: Raise it whenever the images or labels change.
VERSION = 1
#: The images are encoded by these, so another release may give other bytes.
ENCODERS = ("Pillow", "opencv-python-headless", "numpy")
PRESET = "resnet"
N_CLASSES = 1000
IMAGES = "val"
LABELS = "val_label.txt"
MANIFEST = "manifest.json"
#: Room to ask for when the disk is full: the images and their temporary copy.
NEED_MIB = 40
MAX_PROCESSES = 8


@dataclass(frozen=True)
class DemoData:
    """Where the images and their labels are."""

    folder: Path
    labels: Path
    n_images: int


def demo_dataset(progress: Callable[[str], object] | None = None) -> DemoData:
    """Return the data set, made or made again if need be (about 20 s on 2 cores). Several processes may ask at once.

    progress : called with one line where work is to be done
    """
    folder = cache_dir("demo") / _folder_name()
    if not _is_whole(folder):
        if progress is not None:
            progress(f"making {N_IMAGES} demo images in {folder}, once")
        _publish(folder)
    return DemoData(folder / IMAGES, folder / LABELS, N_IMAGES)


def _folder_name() -> str:
    versions = [f"{name.partition('-')[0].lower()}-{importlib.metadata.version(name)}" for name in ENCODERS]
    return "-".join([f"v{VERSION}", *versions])


def _is_whole(folder: Path) -> bool:
    """True if `folder` holds exactly the files of its manifest, each with its sha256."""
    try:
        expected = json.loads((folder / MANIFEST).read_bytes())
        found = _digests(folder)
    except (OSError, ValueError):
        return False
    return len(found) == N_IMAGES + 1 and found == expected


def _digests(folder: Path) -> dict[str, str]:
    paths = [folder / LABELS, *sorted((folder / IMAGES).iterdir())]
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in paths}


def _publish(folder: Path) -> None:
    """Make the data set beside `folder` and rename it into place: nobody ever sees half of it."""
    temporary = temporary_beside(folder)
    try:
        _make(temporary)
        _swap(temporary, folder)
    except OSError as error:
        if error.errno not in NO_SPACE:
            raise
        free = shutil.disk_usage(folder.parent).free >> 20
        raise ResourceError(
            f"the demo images in {folder} need {NEED_MIB} MiB but their disk has {free} MiB free: "
            "make room or set XDG_CACHE_HOME to a folder on another disk"
        ) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _swap(temporary: Path, folder: Path) -> None:
    """Rename `temporary` to `folder`, in place of a damaged one; a whole one that another process put there stays."""
    if folder.exists() and not _is_whole(folder):
        damaged = temporary_beside(folder)
        with suppress(FileNotFoundError):
            folder.rename(damaged)
        shutil.rmtree(damaged, ignore_errors=True)
    try:
        temporary.rename(folder)
    except OSError:
        if not _is_whole(folder):
            raise


def _make(folder: Path) -> None:
    (folder / IMAGES).mkdir(parents=True)
    plans = plan_images()
    classes = _make_images(plans, folder / IMAGES)
    lines = [f"{plan.name} {label}\n" for plan, label in zip(plans, classes, strict=True)]
    (folder / LABELS).write_text("".join(lines))
    (folder / MANIFEST).write_text(json.dumps(_digests(folder), indent=0))


def _make_images(plans: list[ImagePlan], folder: Path) -> list[int]:
    """Write all images on all cores and return their classes."""
    context = multiprocessing.get_context("spawn")
    try:
        with ProcessPoolExecutor(min(n_cores(), MAX_PROCESSES), context) as pool:
            return list(pool.map(make_image, plans, [folder] * len(plans), chunksize=8))
    except BrokenProcessPool as error:
        raise WorkerError("a process that made demo images was killed: try again, with more memory free") from error


def make_image(plan: ImagePlan, folder: Path) -> int:
    """Write one image and return its class. Runs in a process of the pool."""
    data = make_jpeg(plan)
    (folder / plan.name).write_bytes(data)
    return true_class(data)


def true_class(data: bytes) -> int:
    """Return the class that `fingerprint` gives this image, by Pillow and NumPy."""
    tensor = preprocess(data, find_preset(PRESET))
    logits = np.zeros((1, N_CLASSES), np.float32)
    fingerprint_logits(tensor.reshape(1, -1).view(np.uint8), logits)
    return int(logits.argmax())
