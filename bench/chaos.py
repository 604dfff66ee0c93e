"""Does any signal to any process of a run, at any moment, cost more than time?

Method: short runs of 48 images x 12 through simulated chips, with drawn sizes. During each, one to four signals hit
drawn processes at drawn moments: decoders, feeders, the fork server (killed, crashed, aborted, stopped, told to
end), or the hub (killed, interrupted, told to end), which ends that part of the run; `--resume` then goes on until it
is complete.
Each run is judged by its exit codes, by predictions_sha256 against an undisturbed run, by the count of settled samples,
and by what is left: processes (found by a mark in their environment), descriptors of the run in /dev/shm, hidden files.
Who was stopped and outlives its hub is continued first. What is not as it should be is printed with its run's seed.
Last answer: see docs/reliability.md. Not shown: real chips; signals while the results are being written are rare.

    python -m bench.chaos [--runs 200] [--seed 1] [--victims members|hub|both] [--json FILE]
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import psutil
from PIL import Image

from bench.running import Running

N_IMAGES, REPEAT = 48, 12
#: A part of a run that takes longer hangs: undisturbed it takes some seconds, on a busy host half a minute.
HANGS_AFTER_S = 180.0
#: Processes of a run must be gone so soon after it.
GONE_WITHIN_S = 5.0
MARK = "ENGINE_CHAOS_RUN"
DEADLY = (signal.SIGKILL, signal.SIGSEGV, signal.SIGABRT, signal.SIGBUS, signal.SIGSTOP, signal.SIGKILL)
HARMLESS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
ENDING = (signal.SIGKILL, signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
MOST_PARTS = 12
#: Of an undisturbed command, about: the time in which images are decoded and executed.
WORK_SHARE = 0.3


@dataclass
class Verdict:
    """How one run went. parts : exit codes, first to last        complaints : what was not as it should be"""

    seed: int
    parts: list[int] = field(default_factory=list)
    hits: list[str] = field(default_factory=list)
    n_restored: int = 0
    complaints: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Scene:
    """What all runs share."""

    root: Path
    expected_sha256: str
    undisturbed_s: float

    @property
    def data(self) -> list[object]:
        return ["--data", self.root / "val", "--labels", self.root / "val_label.txt"]


def make_images(root: Path, n: int) -> None:
    """A flat folder `val` of small noisy JPEGs, one of them cut off, and `val_label.txt`."""
    rng = np.random.default_rng(0)
    (root / "val").mkdir(parents=True)
    with (root / "val_label.txt").open("w") as labels:
        for i in range(n):
            pixels = rng.integers(0, 256, (9, 9, 3), np.uint8)
            path = root / "val" / f"img_{i}.JPEG"
            Image.fromarray(pixels).resize((300 + 5 * i, 280), Image.Resampling.BICUBIC).save(path, "JPEG")
            labels.write(f"{path.name} {7 * i % 1000}\n")
    cut = root / "val" / "img_7.JPEG"
    cut.write_bytes(cut.read_bytes()[:900])


def prepare(root: Path) -> Scene:
    """Images, and what an undisturbed run says of them."""
    make_images(root, N_IMAGES)
    scene = Scene(root, "", 0.0)
    warm_up = Running(root / "log.txt", "run", *scene.data, *sizes(np.random.default_rng(0), root / "first"))
    warm_up.process.wait(300)  # compiles the kernels: its time is no measure for the runs to come
    began_s = time.monotonic()
    command = Running(root / "log.txt", "run", *scene.data, *sizes(np.random.default_rng(0), root / "out"))
    code, log = command.process.wait(300), command.log
    if code:
        raise SystemExit(f"the undisturbed run ended with {code}: {log}")
    document = json.loads((root / "out" / "run.json").read_text())
    return Scene(root, document["predictions_sha256"], time.monotonic() - began_s)


def sizes(rng: np.random.Generator, out: Path) -> list[object]:
    """Options of one run. 1 of 48 images is cut off on purpose."""
    batch, workers, feeders = rng.choice([1, 3, 4, 8]), rng.integers(1, 4), rng.integers(1, 3)
    options: list[object] = ["--backend", "sim", "--model", "fingerprint", "--batch", batch, "--workers", workers]
    options += ["--feeders", feeders, "--repeat", REPEAT, "--max-failed-percent", 5, "--no-log", "--out", out]
    return options


def one_run(scene: Scene, seed: int, victims: str) -> Verdict:
    """Begin, disturb, resume until it is complete, judge."""
    rng = np.random.default_rng(seed)
    verdict = Verdict(seed)
    shm_before = set(os.listdir("/dev/shm"))
    with tempfile.TemporaryDirectory(prefix="engine-chaos-") as folder:
        out = Path(folder) / "out"
        arguments = ["run", *scene.data, *sizes(rng, out)]
        hits_hub = victims == "hub" or (victims == "both" and rng.random() < 0.5)
        for part in range(MOST_PARTS):
            is_quiet = part >= 3  # three disturbed parts at most: then the run must come to its end
            code = one_part(scene, rng, verdict, arguments, (Path(folder), hits_hub and not is_quiet, is_quiet))
            has_journal = (out / "journal.records").exists()
            if code == 0 or ((out / "run.json").exists() and not has_journal):
                break  # complete, perhaps hit after its last file was written
            arguments = ["run", "--resume", out, "--no-log"] if has_journal else arguments
        judge(scene, verdict, out, shm_before)
    return verdict


def one_part(
    scene: Scene, rng: np.random.Generator, verdict: Verdict, arguments: list[object], how: tuple[Path, bool, bool]
) -> int:
    """One command from its start to its end. how : (folder, hit the hub too, leave it alone)"""
    folder, hits_hub, is_quiet = how
    mark = f"{os.getpid()}-{verdict.seed}-{len(verdict.parts)}"
    command = Running(folder / "log.txt", *arguments, env={**os.environ, MARK: mark})
    began_s = time.monotonic()
    moments = sorted(rng.uniform(0.0, scene.undisturbed_s, 0 if is_quiet else rng.integers(1, 5)).tolist())
    if rng.random() < 0.7:  # within the work itself, which is shorter than the start of everything before it
        began_s = wait_until_working(command, began_s)
        moments = [moment_s * WORK_SHARE for moment_s in moments]
    for number, moment_s in enumerate(moments):
        with contextlib.suppress(subprocess.TimeoutExpired):
            command.process.wait(max(0.0, moment_s - (time.monotonic() - began_s)))
        if command.process.poll() is not None:
            break
        hit(command, rng, verdict, hits_hub and number == len(moments) - 1)
    try:
        code = int(command.process.wait(HANGS_AFTER_S))
    except subprocess.TimeoutExpired:
        verdict.complaints.append(f"HANG: {command.log[-500:]}")
        command.kill()
        code = -1000
    verdict.parts.append(code)
    allowed = {0, 130, *(-number for number in ENDING)} if hits_hub else {0}  # the latter: before the hub was up
    if code not in allowed:
        verdict.complaints.append(f"exit code {code}: {command.log[-800:]}")
    if "Traceback" in command.log and code != -signal.SIGINT:  # else Python was still importing: its own words
        verdict.complaints.append(f"traceback: {command.log[-800:]}")
    left = survivors(mark)
    if left:
        verdict.complaints.append(f"processes left after {GONE_WITHIN_S:g} s: {left}")
    return code


def wait_until_working(command: Running, began_s: float) -> float:
    """When the pipeline was up; `began_s` if it never was."""
    deadline = time.monotonic() + HANGS_AFTER_S
    while time.monotonic() < deadline and command.process.poll() is None:
        if "run: started" in command.log:
            return time.monotonic()
        time.sleep(0.01)
    return began_s


def hit(command: Running, rng: np.random.Generator, verdict: Verdict, is_hub: bool) -> None:
    """One signal to one process."""
    pids = [command.process.pid] if is_hub else command.all_pids()
    if not pids:
        return
    pid = int(rng.choice(pids))
    number = signal.Signals(int(rng.choice(ENDING if is_hub else [*DEADLY, *HARMLESS])))
    with contextlib.suppress(OSError):
        name = Path(f"/proc/{pid}/comm").read_text().strip()
        os.kill(pid, number)
        verdict.hits.append(f"{number.name} {'hub' if is_hub else name}")


def survivors(mark: str) -> list[str]:
    """Processes of a run that are still there after `GONE_WITHIN_S`."""
    deadline = time.monotonic() + GONE_WITHIN_S
    while True:
        left = []
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error, OSError):
                if process.environ().get(MARK) == mark and process.status() != psutil.STATUS_ZOMBIE:
                    left.append(f"{process.name()} {process.status()}")
                    if process.status() == psutil.STATUS_STOPPED:  # a stopped process cannot even see that all is over
                        process.send_signal(signal.SIGCONT)
        if not left or time.monotonic() > deadline:
            return left
        time.sleep(0.05)


def judge(scene: Scene, verdict: Verdict, out: Path, shm_before: set[str]) -> None:
    """The result of the whole run, and what is left in /dev/shm and in --out."""
    new = {name for name in os.listdir("/dev/shm") if "engine" in name} - shm_before
    if new:
        verdict.complaints.append(f"left in /dev/shm: {sorted(new)}")
    if not (out / "run.json").exists():
        verdict.complaints.append(f"never complete: {verdict.parts}")
        return
    document = json.loads((out / "run.json").read_text())
    dataset = document["dataset"]
    verdict.n_restored = dataset["n_restored"]
    if document["predictions_sha256"] != scene.expected_sha256:
        verdict.complaints.append("DIFFERENT predictions")
    if dataset["n_scored"] + dataset["n_failed"] != N_IMAGES * REPEAT:
        verdict.complaints.append(f"{dataset['n_scored']} scored + {dataset['n_failed']} failed")
    done_now = document["throughput"]["end_to_end_per_s"] * document["throughput"]["wall_s"]
    if round(done_now) > dataset["n_scored"] + dataset["n_failed"] - dataset["n_restored"]:
        verdict.complaints.append(f"throughput counts {done_now:.0f} images, {dataset['n_restored']} were restored")
    odd = [path.name for path in out.iterdir() if path.name.startswith(".") or path.name == "journal.records"]
    if odd:
        verdict.complaints.append(f"left in --out: {odd}")


def summary(verdicts: list[Verdict]) -> dict[str, object]:
    """Counts over all runs."""
    words = ("HANG", "DIFFERENT", "processes left", "left in /dev/shm")
    return {
        "runs": len(verdicts),
        "parts": sum(len(verdict.parts) for verdict in verdicts),
        "resumed": sum(verdict.n_restored > 0 for verdict in verdicts),
        "signals": sum(len(verdict.hits) for verdict in verdicts),
        "by_victim": dict(Counter(hit for verdict in verdicts for hit in verdict.hits).most_common()),
        "exit_codes": dict(Counter(str(code) for verdict in verdicts for code in verdict.parts)),
        **{word: sum(any(word in text for text in v.complaints) for v in verdicts) for word in words},
        "complained": sum(bool(verdict.complaints) for verdict in verdicts),
    }


def main() -> int:
    """Exit status 1 if anything is not as it should be."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--victims", choices=("members", "hub", "both"), default="both")
    parser.add_argument("--json", type=Path, help="write the summary there")
    options = parser.parse_args()
    verdicts: list[Verdict] = []
    with tempfile.TemporaryDirectory(prefix="engine-chaos-") as folder:
        scene = prepare(Path(folder))
        for i in range(options.runs):
            verdict = one_run(scene, options.seed * 1_000_003 + i, options.victims)
            verdicts.append(verdict)
            for complaint in verdict.complaints:
                print(f"run {i} (seed {verdict.seed}), hits {verdict.hits}, exit codes {verdict.parts}: {complaint}")
            if options.json:
                options.json.write_text(json.dumps(summary(verdicts), indent=2) + "\n")
    print(json.dumps(summary(verdicts), indent=2))
    return int(any(verdict.complaints for verdict in verdicts))


if __name__ == "__main__":
    sys.exit(main())
