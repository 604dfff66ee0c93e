"""Does a long run stay as it was: memory, descriptors and rate of each process over 10^6 images? Do 10^7 samples start?

Method: `engine run` over a packed file of a few hundred crops, again and again, until it has done --images. Every
second the private memory (USS) and the open descriptors of each of its processes are read. After the first fifth of the
run's time a line is fitted to each memory; the rate of each tenth of what is left is taken from the timeline in
run.json, and the drift is what a line through these says from their begin to their end. --backend sim is paced by
simulated chips, null by this host: there drift is also the host's other work.

The index: a packed file of --index crops of zeros, a sparse file, through the same command: the time from its start
until slots are handed out. And a run of the same that is resumed from a journal in which all but 1,000 are done: the
most that the hub holds (anonymous memory and the shared names, while it writes the results, too) more than in one over
1,000, per sample: index, ledger, journal, tally, predictions.

Last answer: see docs/reliability.md. Not shown: real chips; memory that a driver takes in the kernel.

    python -m bench.soak [--images 1000000] [--backend sim|null] [--index 10000000] [--json FILE]
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import click
import numpy as np
import psutil

from bench.running import Running
from bench.seeded import make_images
from engine.collector import SCORED, Collector
from engine.config import RunConfig
from engine.journal import Journal, identity_of
from engine.layout import MIB
from engine.names import NameTable
from engine.presets import find_preset
from engine.run import prepare
from engine.sources.made_with import spec_fields
from engine.sources.packed_format import PackedIndex, PackedLayout, encode_header, hash_bytes

N_CROPS = 500
SIZES = ["--batch", 32, "--workers", 2, "--no-log"]
#: The fastest published rates that two cores can feed.
PROFILE = "resnet18-310"
SAMPLE_EVERY_S = 1.0
#: Of the run's time, until caches and buffers have their sizes.
WARM_SHARE = 0.2
N_PARTS = 10
SMALL_INDEX = 1_000
POSITIONS_PER_RECORD = 50_000


@dataclass
class Watched:
    """One process: (seconds, bytes) of its private memory, and how many descriptors it had."""

    name: str
    uss: list[tuple[float, int]] = field(default_factory=list)
    descriptors: list[tuple[float, int]] = field(default_factory=list)

    def sample(self, process: psutil.Process, at_s: float) -> None:
        with contextlib.suppress(psutil.Error):
            self.uss.append((at_s, process.memory_full_info().uss))
            self.descriptors.append((at_s, process.num_fds()))


def slope_per_s(samples: list[tuple[float, int]], from_s: float, to_s: float) -> float:
    """Least-squares slope of the samples between two times."""
    kept = np.array([sample for sample in samples if from_s <= sample[0] <= to_s], float)
    return float(np.polyfit(kept[:, 0], kept[:, 1], 1)[0])


def is_constant(counts: list[int]) -> bool:
    """Whether the fewest of each part are the same: a file that is open in passing shows as one more."""
    return len({min(part) for part in np.array_split(np.array(counts), N_PARTS) if len(part)}) == 1


def drift_percent(timeline: dict[str, Any], warm_share: float) -> float:
    """What a line through the rates of `N_PARTS` parts says from the first to the last, of their mean."""
    images = np.array(timeline["images"][:-1], float)
    kept = images[int(len(images) * warm_share) :]
    kept = kept[: len(kept) // N_PARTS * N_PARTS]
    rates = kept.reshape(N_PARTS, -1).mean(axis=1)
    return float(100 * np.polyfit(np.arange(N_PARTS), rates, 1)[0] * (N_PARTS - 1) / rates.mean())


def soak(work: Path, images: int, backend: str) -> dict[str, Any]:
    """One long run, watched."""
    make_images(work, N_CROPS)
    packing = Running(
        work / "log.txt",
        *("preprocess", work / "val", work / "x.packed", "--format", "packed", "--labels", work / "val_label.txt"),
    )
    packing.process.wait(300)  # exit code 8: one of the images is cut off on purpose
    chips = ["--backend", backend]
    if backend == "sim":
        chips += ["--model", "fingerprint", "--profile", PROFILE]
    repeat = -(-images // N_CROPS)
    command = Running(
        work / "log.txt", "run", "--data", work / "x.packed", *chips, *SIZES, "--repeat", repeat, "--out", work / "out"
    )
    watched = watch(command)
    code, log = command.process.returncode, command.log
    if code:
        raise SystemExit(f"the run ended with {code}: {log}")
    document = json.loads((work / "out" / "run.json").read_text())
    return judged(document, watched, backend)


def watch(command: Running) -> list[Watched]:
    """Sample every process from when the run is up to its end; seconds count from there."""
    command.wait_until_working()
    began_s = time.monotonic()
    pids = [command.process.pid, *command.all_pids()]
    processes = [(psutil.Process(pid), Watched(role_of(pid, command.process.pid))) for pid in pids]
    while command.process.poll() is None:
        for process, watched in processes:
            watched.sample(process, time.monotonic() - began_s)
        time.sleep(SAMPLE_EVERY_S)
    return [watched for _, watched in processes]


def role_of(pid: int, hub: int) -> str:
    """hub, decoder, feeder, or what helpers of Python are called."""
    name = Path(f"/proc/{pid}/comm").read_text().strip().removeprefix("engine-")
    return "hub" if pid == hub else f"{name} {pid}"


def judged(document: dict[str, Any], watched: list[Watched], backend: str) -> dict[str, Any]:
    """The figures of a run, and whether they keep what is promised."""
    rate, wall_s = document["throughput"]["end_to_end_per_s"], document["throughput"]["wall_s"]
    from_s, to_s = WARM_SHARE * wall_s, wall_s - SAMPLE_EVERY_S  # the end writes results
    slopes = {w.name: slope_per_s(w.uss, from_s, to_s) / rate * 100_000 / MIB for w in watched}
    counts = {w.name: [n for at_s, n in w.descriptors if from_s <= at_s <= to_s] for w in watched}
    return {
        "backend": backend,
        "images": document["dataset"]["n_samples"],
        "images_per_s": round(rate, 1),
        "mib_per_100_000_images": {name: round(slope, 4) for name, slope in slopes.items()},
        "worst_mib_per_100_000": round(max(slopes.values()), 4),
        "descriptors": {name: sorted(set(found)) for name, found in counts.items()},
        "descriptors_constant": all(is_constant(found) for found in counts.values()),
        "drift_percent": round(drift_percent(document["timeline"], WARM_SHARE), 3),
    }


def sparse_packed(path: Path, n: int) -> None:
    """A sound packed file of `n` crops of zeros: only names, labels and hashes take room."""
    layout = PackedLayout(n, 224)
    digits = 8
    names = np.frombuffer(b"ILSVRC2012_val_00000000.JPEG" * n, np.uint8).reshape(n, -1).copy()
    numbers = np.arange(n)
    for place in range(digits):
        names[:, 15 + digits - 1 - place] = ord("0") + numbers % 10
        numbers //= 10
    ends = np.arange(1, n + 1, dtype=np.int64) * names.shape[1]
    spec = find_preset("resnet")
    table = NameTable(path.parent, ends, names.reshape(-1))
    index = PackedIndex("resnet", spec_fields(spec), table, np.zeros(n, np.int32), 0).encode()
    zeros_hash = hash_bytes(np.zeros(layout.crop_bytes, np.uint8))
    with path.open("wb") as file:
        file.write(encode_header(layout, index))
        file.seek(layout.hashes_at)
        file.write(np.full(n, zeros_hash, "<u8").tobytes())
        file.seek(layout.index_at)
        file.write(index)


def start_s(work: Path, n: int) -> float:
    """Seconds from the command's start until its first slots are handed out."""
    path, out = work / f"{n}.packed", Path(tempfile.mkdtemp(dir=work))
    sparse_packed(path, n)
    repeat = max(1, 2_000_000 // n)  # so that it is not over before it is looked at
    began_s = time.monotonic()
    command = Running(
        work / "log.txt",
        *("run", "--data", path, "--backend", "null", *SIZES, "--repeat", repeat, "--out", out),
    )
    command.wait_until_working()
    took_s = time.monotonic() - began_s
    command.kill()
    path.unlink()
    return took_s


def most_held(work: Path, n: int) -> int:
    """The most bytes that the hub held in a resumed run of `n` samples, its results and the shared names included."""
    path, most, names_bytes = work / f"{n}.packed", 0, 0
    sparse_packed(path, n)
    out = Path(tempfile.mkdtemp(dir=work))
    write_journal(path, out, n - SMALL_INDEX)
    command = Running(work / "log.txt", "run", "--resume", out, "--no-log")
    hub = psutil.Process(command.process.pid)
    while command.process.poll() is None:
        with contextlib.suppress(psutil.Error, OSError):
            most = max(most, anonymous_bytes(hub.pid))
            names_bytes = names_bytes or shared_names_bytes(hub.pid)
        time.sleep(SAMPLE_EVERY_S / 10)
    if command.process.returncode:
        raise SystemExit(f"the run over {n} samples ended with {command.process.returncode}: {command.log}")
    path.unlink()
    return most + names_bytes


def write_journal(data: Path, out: Path, n_done: int) -> None:
    """That of a run which has done so many samples, and was killed."""
    prepared = prepare(RunConfig(data, backend="null", batch=32, workers=2, out=out), lambda _line: None)
    journal = Journal(
        prepared.config, identity_of(prepared.config, prepared.index, prepared.model), len(prepared.index)
    )
    collector = Collector.of(prepared.index.labels)
    kept = collector.predictions
    kept.ranks[:], kept.top_logits[:], kept.states[:] = 1, 0.5, SCORED
    for first in range(0, n_done, POSITIONS_PER_RECORD):
        journal.scored(list(range(first, min(first + POSITIONS_PER_RECORD, n_done))), collector)
    journal.close()


def anonymous_bytes(pid: int) -> int:
    """Memory that is no file's: all but libraries, the arena and the shared names."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("Anonymous:"))


def shared_names_bytes(pid: int) -> int:
    """Of the nameless memory with the names, which decoders map too."""
    for entry in Path(f"/proc/{pid}/fd").iterdir():
        if "engine-index" in os.readlink(entry):
            return entry.stat().st_size
    return 0


def index_figures(work: Path, n: int) -> dict[str, Any]:
    """What `n` samples cost. The first command, a small one, compiles what is not compiled yet."""
    small = most_held(work, SMALL_INDEX)
    return {
        "samples": n,
        "start_s": round(start_s(work, n), 2),
        "start_of_1000_s": round(start_s(work, SMALL_INDEX), 2),
        "bytes_per_sample": round((most_held(work, n) - small) / (n - SMALL_INDEX), 1),
    }


@click.command(help=__doc__)
@click.option("--images", default=1_000_000, show_default=True, type=click.IntRange(0), help="0: no long run.")
@click.option("--backend", default="sim", show_default=True, type=click.Choice(["sim", "null"]))
@click.option("--index", "n_index", default=10_000_000, show_default=True, type=click.IntRange(0), help="0: no index.")
@click.option("--json", "target", type=click.Path(path_type=Path), help="Write the figures there.")
def main(images: int, backend: str, n_index: int, target: Path | None) -> None:
    figures: dict[str, Any] = {}
    with tempfile.TemporaryDirectory(prefix="engine-soak-") as folder:
        if images:
            figures["soak"] = soak(Path(folder), images, backend)
        if n_index:
            figures["index"] = index_figures(Path(folder), n_index)
    print(json.dumps(figures, indent=2))
    if target is not None:
        target.write_text(json.dumps(figures, indent=2) + "\n")


if __name__ == "__main__":
    sys.exit(main())
