"""How fast is the host path (JPEG bytes in memory -> float32 NCHW), beside its peers, and how exact?

Method: every round runs each peer over all files, in an order that turns by one each round; the first round is not
counted. A peer's ratio to the guide's script is the median over the rounds of the ratio within the round, so that a
machine whose speed drifts slows both. The spread is that of the middle half of these ratios; above 10 % it is marked:
run it on a quieter machine. Time is CPU time of the process: other processes count only through the caches.
Fidelity: difference to the guide's tensor in grey levels. All cores: one process per core, all at once, wall time.
Not shown: reading and delivering (`bench.hostbound`), other presets, DALI's own batches and threads.
Last answer: README.md and docs/kernels.md.

    python -m bench.host --data DIR [--rounds 7] [--json FILE] [--figure FILE.svg] [--update-readme]
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from bench.guide import SPEC, rate_of_processes
from bench.pages import replace_table
from bench.peers import ENGINE, GUIDE, PEERS, Peer, named
from kernels.isa import INSTRUCTION_SET
from kernels.warm import warm

_WIDEST_SPREAD = 0.10
_FIDELITY_FILES = 50
#: Load average beyond the number of cores (its own last passes are one) above which wall time means nothing.
_MOST_LOAD = 1.0
#: The interpreter of an environment with pillow-simd in Pillow's place.
_PILLOW_SIMD = "PEER_PILLOW_SIMD"


@dataclass(frozen=True)
class Contender:
    """What is compared: CPU nanoseconds of a pass over all files, and the tensor of one (None: it makes none)."""

    pass_ns: Callable[[], int]
    tensor: Callable[[int], Any] | None


def local(name: str, peer: Peer, files: list[bytes]) -> Contender:
    """A peer of this process."""

    def pass_ns() -> int:
        start = time.process_time_ns()
        for file in files:
            peer(file)
        return time.process_time_ns() - start

    return Contender(pass_ns, None if "only" in name else lambda i: peer(files[i]))


def pillow_simd(paths: list[Path]) -> dict[str, Contender]:
    """Both ways of pillow-simd, in a process of its interpreter."""
    command = [os.environ[_PILLOW_SIMD], str(Path(__file__).with_name("pillow_simd.py"))]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdin is not None
    assert process.stdout is not None
    requests, answers = process.stdin, process.stdout
    version = answers.readline().decode().strip()
    if not version:
        print(f"left out: pillow-simd ({command[0]} cannot run {command[1]})")
        return {}

    def ask(text: str) -> None:
        requests.write(text.encode() + b"\n")
        requests.flush()

    for path in paths:
        ask(f"load {path.resolve()}")

    def contender(way: str) -> Contender:
        def pass_ns() -> int:
            ask(f"pass {way}")
            return int(answers.readline())

        def tensor(i: int) -> Any:
            ask(f"tensor {way} {i}")
            shape = (3, SPEC.crop, SPEC.crop)
            return np.frombuffer(answers.read(4 * int(np.prod(shape))), np.float32).reshape(shape)

        return Contender(pass_ns, tensor)

    return {f"{version}, {name}": contender(way) for name, way in (("guide's script", "guide"), ("box", "box"))}


def contenders(paths: list[Path], files: list[bytes]) -> tuple[dict[str, Contender], list[str]]:
    """Those whose library is installed, and the names of the others, whose reason is said."""
    found: dict[str, Contender] = {}
    missing = []
    for name, make in PEERS.items():
        try:
            found[name] = local(name, make(), files)
        except (ImportError, RuntimeError, AttributeError, TypeError) as error:  # noqa: PERF203
            print(f"left out: {name} ({type(error).__name__}: {str(error).splitlines()[0]})")
            missing.append(name)
    if os.environ.get(_PILLOW_SIMD):
        found |= pillow_simd(paths)
    else:
        print(f"left out: pillow-simd ({_PILLOW_SIMD} names no interpreter that has it)")
    if not any("pillow-simd" in name.lower() for name in found):
        missing.append("pillow-simd")
    return found, missing


def measure(peers: dict[str, Contender], rounds: int) -> dict[str, list[int]]:
    """CPU nanoseconds of each peer in each counted round."""
    taken: dict[str, list[int]] = {name: [] for name in peers}
    names = list(peers)
    for round_ in range(rounds + 1):
        turn = round_ % len(names)
        for name in names[turn:] + names[:turn]:
            ns = peers[name].pass_ns()
            if round_ > 0:
                taken[name].append(ns)
    return taken


def fidelity(peer: Contender, exact: Contender, n_files: int) -> tuple[float, float]:
    """Largest and mean difference to the guide's tensor, in grey levels."""
    assert peer.tensor is not None
    assert exact.tensor is not None
    scale = np.array(SPEC.std, np.float32)[:, None, None] * 255
    differences = [np.abs(peer.tensor(i) - exact.tensor(i)) * scale for i in range(n_files)]
    return float(max(d.max() for d in differences)), float(np.mean([d.mean() for d in differences]))


def report(taken: dict[str, list[int]], peers: dict[str, Contender], n_files: int) -> list[dict[str, Any]]:
    """One row per peer, the fastest last."""
    rows = []
    for name, peer in peers.items():
        ratios = np.array(taken[GUIDE]) / np.array(taken[name])
        low, middle, high = np.percentile(ratios, [25, 50, 75])
        row: dict[str, Any] = {
            "peer": name,
            "ms_per_image": round(float(np.median(taken[name])) / n_files / 1e6, 4),
            "ratio_to_guide": round(float(middle), 3),
            "spread": round(float((high - low) / middle), 3),
        }
        if peer.tensor is not None:
            row["max_difference"], row["mean_difference"] = fidelity(peer, peers[GUIDE], min(n_files, _FIDELITY_FILES))
        rows.append(row)
    return rows


def table(rows: list[dict[str, Any]]) -> str:
    """Markdown."""
    lines = ["| peer | ms per image | x guide | max / mean difference |", "|---|---|---|---|"]
    for row in rows:
        difference = f"{row['max_difference']:.3g} / {row['mean_difference']:.2g}" if "max_difference" in row else "-"
        mark = f" (spread {row['spread']:.0%})" if row["spread"] > _WIDEST_SPREAD else ""
        name = f"**{row['peer']}**" if row["peer"] == ENGINE else row["peer"]
        lines.append(f"| {name} | {row['ms_per_image']:.3f} | {row['ratio_to_guide']:.2f}{mark} | {difference} |")
    return "\n".join(lines)


def on_cores(files: list[bytes], rounds: int) -> dict[str, dict[int, float]]:
    """Median images/s of the guide's arithmetic and of the kernels, from memory, on one core and on all, interleaved.

    Nothing on a busy machine: wall time would tell of the others.
    """
    n_cores = len(os.sched_getaffinity(0))
    if os.getloadavg()[0] > n_cores + _MOST_LOAD:
        return {}
    counts = sorted({1, n_cores})
    runs: dict[tuple[str, int], list[float]] = {(name, n): [] for name in (GUIDE, ENGINE) for n in counts}
    for _ in range(rounds):
        for (name, n), rates in runs.items():
            rates.append(rate_of_processes(partial(named, name), files, n, passes=2 if name == GUIDE else 12))
    return {name: {n: float(np.median(runs[name, n])) for n in counts} for name in (GUIDE, ENGINE)}


def say_cores(rates: dict[str, dict[int, float]]) -> str:
    """One sentence."""
    if not rates:
        return "All cores: not measured, the machine was busy with other work."
    parts = [
        f"{name}: " + ", ".join(f"{rate:,.0f} images/s on {n} core{'s' * (n > 1)}" for n, rate in by_n.items())
        for name, by_n in rates.items()
    ]
    return "Arithmetic alone, bytes in memory, a process per core, wall time: " + "; ".join(parts) + "."


def draw(rows: list[dict[str, Any]], file: Path) -> None:
    """Bars of ms per image; those that differ from the guide's pixels are hatched."""
    Figure: Any = importlib.import_module("matplotlib.figure").Figure

    figure = Figure(figsize=(8, 0.4 * len(rows) + 1), layout="constrained")
    axes = figure.add_subplot()
    ordered = sorted(rows, key=lambda row: -row["ms_per_image"])
    bars = axes.barh([row["peer"] for row in ordered], [row["ms_per_image"] for row in ordered], color="tab:gray")
    for bar, row in zip(bars, ordered, strict=True):
        if row["peer"] == ENGINE:
            bar.set_color("tab:blue")
        if row.get("max_difference", 0) > 0:
            bar.set_hatch("//")
    axes.bar_label(bars, fmt="%.2f", padding=3)
    axes.set_xlabel("ms per image, one core; hatched: other pixels than the guide's")
    figure.savefig(file)


def parse_arguments() -> tuple[argparse.Namespace, list[Path]]:
    """Options and the files."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder of JPEG files, searched with its subfolders")
    parser.add_argument("--rounds", type=int, default=7, help="counted rounds (default: 7)")
    parser.add_argument("--limit", type=int, default=1000, help="files at most (default: 1000)")
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    parser.add_argument("--figure", type=Path, help="draw them to this file (.svg, .png); needs matplotlib")
    parser.add_argument("--update-readme", action="store_true", help="put the table into README.md")
    options = parser.parse_args()
    paths = sorted(p for p in options.data.rglob("*") if p.suffix.lower() in (".jpeg", ".jpg"))[: options.limit]
    if not paths:
        parser.error(f"no JPEG files in {options.data}")
    return options, paths


def main() -> int:
    """Exit status 1 where the kernels differ from the guide."""
    options, paths = parse_arguments()
    files = [path.read_bytes() for path in paths]
    warm(SPEC)
    peers, missing = contenders(paths, files)
    rows = report(measure(peers, options.rounds), peers, len(files))
    cores = on_cores(files, min(options.rounds, 3))
    engine, guide = peers[ENGINE].tensor, peers[GUIDE].tensor
    assert engine is not None
    assert guide is not None
    differing = sum(not np.array_equal(engine(i), guide(i)) for i in range(len(files)))
    said = (
        f"{len(files)} files, instruction set {INSTRUCTION_SET}, {options.rounds} rounds, {time.strftime('%Y-%m-%d')}"
    )
    text = f"{table(rows)}\n\n{said}. {ENGINE}: {differing} of {len(files)} images differ.\n{say_cores(cores)}"
    if missing:
        text += f"\nNot installed: {', '.join(missing)}."
    print(text)
    if options.json is not None:
        document = {"files": len(files), "instruction_set": INSTRUCTION_SET, "differing": differing}
        options.json.write_text(json.dumps({**document, "rows": rows, "images_per_s": cores}, indent=1) + "\n")
    if options.figure is not None:
        draw(rows, options.figure)
    if options.update_readme:
        replace_table("README.md", "bench.host", text)
    return int(differing > 0)


if __name__ == "__main__":
    sys.exit(main())
