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
from functools import partial
from pathlib import Path

import numpy as np
import psutil

from bench.running import Running
from bench.seeded import (
    DIFFERENT,
    HANGS_AFTER_S,
    HUNG,
    Scene,
    Verdict,
    count_of,
    end_of,
    judge_result,
    judge_runs,
    parser_of,
)

REPEAT = 12
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
class Disturbed(Verdict):
    """One run. parts : exit codes, first to last        hits : the signals, and whom they hit"""

    parts: list[int] = field(default_factory=list)
    hits: list[str] = field(default_factory=list)
    n_restored: int = 0

    @property
    def story(self) -> str:
        return f"{super().story}, hits {self.hits}, exit codes {self.parts}"


def one_run(victims: str, scene: Scene, seed: int) -> Disturbed:
    """Begin, disturb, resume until it is complete, judge."""
    rng = np.random.default_rng(seed)
    verdict = Disturbed(seed)
    shm_before = set(os.listdir("/dev/shm"))
    with tempfile.TemporaryDirectory(prefix="engine-chaos-") as folder:
        out = Path(folder) / "out"
        arguments = ["run", *scene.options(rng, out)]
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
    scene: Scene, rng: np.random.Generator, verdict: Disturbed, arguments: list[object], how: tuple[Path, bool, bool]
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
    code = end_of(command, verdict)
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


def hit(command: Running, rng: np.random.Generator, verdict: Disturbed, is_hub: bool) -> None:
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


def judge(scene: Scene, verdict: Disturbed, out: Path, shm_before: set[str]) -> None:
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
    judge_result(scene, verdict, document)
    done_now = document["throughput"]["end_to_end_per_s"] * document["throughput"]["wall_s"]
    if round(done_now) > dataset["n_scored"] + dataset["n_failed"] - dataset["n_restored"]:
        verdict.complaints.append(f"throughput counts {done_now:.0f} images, {dataset['n_restored']} were restored")
    odd = [path.name for path in out.iterdir() if path.name.startswith(".") or path.name == "journal.records"]
    if odd:
        verdict.complaints.append(f"left in --out: {odd}")


def summary(verdicts: list[Disturbed]) -> dict[str, object]:
    """Counts over all runs."""
    words = (HUNG, DIFFERENT, "processes left", "left in /dev/shm")
    return {
        "runs": len(verdicts),
        "parts": sum(len(verdict.parts) for verdict in verdicts),
        "resumed": sum(verdict.n_restored > 0 for verdict in verdicts),
        "signals": sum(len(verdict.hits) for verdict in verdicts),
        "by_victim": dict(Counter(hit for verdict in verdicts for hit in verdict.hits).most_common()),
        "exit_codes": dict(Counter(str(code) for verdict in verdicts for code in verdict.parts)),
        **{word: count_of(verdicts, word) for word in words},
        "complained": sum(bool(verdict.complaints) for verdict in verdicts),
    }


def main() -> int:
    """Exit status 1 if anything is not as it should be."""
    parser = parser_of(__doc__, n_runs=200)
    parser.add_argument("--victims", choices=("members", "hub", "both"), default="both")
    options = parser.parse_args()
    return judge_runs(options, REPEAT, partial(one_run, options.victims), summary)


if __name__ == "__main__":
    sys.exit(main())
