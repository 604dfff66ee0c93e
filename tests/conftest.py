"""Shared fixtures: small seeded data sets, the command line in a process of its own, and a bound on time."""

from __future__ import annotations

import atexit
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

#: Runs append to the perf log in the user's data folder; those of the tests go elsewhere, child processes included.
#: Some of these import this file, too, and end without an exit handler: the first process makes and removes the folder.
OURS = "ENGINE_TESTS_DATA"
if OURS not in os.environ:
    os.environ[OURS] = os.environ["XDG_DATA_HOME"] = tempfile.mkdtemp(prefix="engine-tests-data-")
    atexit.register(shutil.rmtree, os.environ[OURS], ignore_errors=True)

#: What ends this process does so, whatever tests do: see `signals_as_at_the_start`.
SIGNALS = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
#: No command of these tests may take longer.
COMMAND_SECONDS = 120


@dataclass(frozen=True)
class DataSet:
    folder: Path
    labels: Path
    n_images: int


def write_jpeg(path: Path, seed: int, size: tuple[int, int]) -> None:
    """A JPEG of smooth noise; its pixels depend on the seed."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (9, 9, 3), np.uint8)
    subsampling = ("4:4:4", "4:2:0", "4:2:2")[seed % 3]
    image = Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC)
    image.save(path, "JPEG", quality=90, subsampling=subsampling, optimize=seed % 2 == 0)


def make_data_set(root: Path, n_images: int) -> DataSet:
    """Flat folder `val` and `val_label.txt`; classes are (7 * i) % 1000."""
    folder = root / "val"
    folder.mkdir(parents=True)
    lines = []
    for i in range(n_images):
        write_jpeg(folder / f"img_{i + 1}.JPEG", i, (240 + 17 * (i % 9), 230 + 29 * (i % 7)))
        lines.append(f"img_{i + 1}.JPEG {7 * i % 1000}\n")
    labels = root / "val_label.txt"
    labels.write_text("".join(lines))
    return DataSet(folder, labels, n_images)


@pytest.fixture(autouse=True)
def signals_as_at_the_start() -> Iterator[None]:
    """A command that a test (or a fixture of many tests) calls in this process ignores signals at its end: later tests,
    and all of their children, could no longer be terminated.
    """
    restore_signals()
    yield
    restore_signals()


def restore_signals() -> None:
    """As they were before the first test."""
    for number, handler in SIGNALS.items():
        signal.signal(number, handler)


@pytest.fixture(scope="session")
def small_data(tmp_path_factory: pytest.TempPathFactory) -> DataSet:
    """37 images: no multiple of any batch size that the tests use."""
    return make_data_set(tmp_path_factory.mktemp("small"), 37)


@pytest.fixture(scope="session")
def ten_images(tmp_path_factory: pytest.TempPathFactory) -> DataSet:
    """Ten images, classes 0, 7 .. 63."""
    return make_data_set(tmp_path_factory.mktemp("ten"), 10)


@pytest.fixture(scope="session")
def imagenet_sample() -> DataSet:
    """Real ImageNet JPEGs, where they are at hand."""
    default = Path(__file__).parents[2] / "shared" / "data" / "imagenet-sample"
    root = Path(os.environ.get("ENGINE_IMAGENET_SAMPLE", default))
    if not (root / "val").is_dir():
        pytest.skip("needs real ImageNet JPEGs: set ENGINE_IMAGENET_SAMPLE to a folder with val/ and val_label.txt")
    return DataSet(root / "val", root / "val_label.txt", len(list((root / "val").iterdir())))


def engine_command(*arguments: object) -> list[str]:
    """The command line as a list for `subprocess`."""
    return [sys.executable, "-m", "engine.cli", *map(str, arguments)]


def run_engine(*arguments: object, **options: object) -> subprocess.CompletedProcess[str]:
    """Run a command to its end; its output is not a terminal."""
    return subprocess.run(  # type: ignore[call-overload,no-any-return]
        engine_command(*arguments), capture_output=True, text=True, timeout=COMMAND_SECONDS, check=False, **options
    )


def sim(data: DataSet, *more: object) -> list[object]:
    """A good command on the simulator, with more options."""
    return ["run", "--data", data.folder, "--labels", data.labels, "--backend", "sim", "--model", "fingerprint", *more]
