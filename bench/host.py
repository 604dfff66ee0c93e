"""How fast is the host path (JPEG bytes in memory -> float32 NCHW), beside its peers, and how exact?

Method: one core; every round runs each peer over all files, in an order that turns by one each round; the first round
is not counted. A peer's ratio to the guide's script is the median over the rounds of the ratio within the round, so
that a machine whose speed drifts slows both. The spread is that of the middle half of these ratios. Time is CPU time
of the process: other processes on the machine count only through the caches. Fidelity: difference to the guide's tensor
in grey levels. A spread above 10 % is marked: run it on a quieter machine.
Not shown: reading the files, several cores, other presets. Last answer: docs/kernels.md.

    python -m bench.host --data DIR [--rounds 7] [--limit N] [--out FILE.json]
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from bench.peers import PEERS, SPEC, Peer
from kernels.isa import INSTRUCTION_SET
from kernels.warm import warm

_WIDEST_SPREAD = 0.10


def available_peers() -> dict[str, Peer]:
    """Those whose library is installed."""
    peers = {}
    for name, make in PEERS.items():
        try:
            peers[name] = make()
        except ImportError as error:  # noqa: PERF203
            print(f"left out: {name} ({error})")
    return peers


def cpu_ns(peer: Peer, files: list[bytes]) -> int:
    """CPU time of one pass."""
    start = time.process_time_ns()
    for file in files:
        peer(file)
    return time.process_time_ns() - start


def measure(peers: dict[str, Peer], files: list[bytes], rounds: int) -> dict[str, list[int]]:
    """CPU nanoseconds of each peer in each counted round."""
    taken: dict[str, list[int]] = {name: [] for name in peers}
    names = list(peers)
    for round_ in range(rounds + 1):
        turn = round_ % len(names)
        for name in names[turn:] + names[:turn]:
            ns = cpu_ns(peers[name], files)
            if round_ > 0:
                taken[name].append(ns)
    return taken


def fidelity(peer: Peer, exact: Peer, files: list[bytes]) -> tuple[float, float]:
    """Largest and mean difference to the guide's tensor, in grey levels."""
    scale = np.array(SPEC.std, np.float32)[:, None, None] * 255
    differences = [np.abs(peer(file) - exact(file)) * scale for file in files]
    return float(max(d.max() for d in differences)), float(np.mean([d.mean() for d in differences]))


def report(taken: dict[str, list[int]], peers: dict[str, Peer], files: list[bytes]) -> list[dict[str, Any]]:
    """One row per peer."""
    first = next(iter(peers))
    rows = []
    for name, peer in peers.items():
        ratios = np.array(taken[first]) / np.array(taken[name])
        low, middle, high = np.percentile(ratios, [25, 50, 75])
        row: dict[str, Any] = {
            "peer": name,
            "ms_per_image": round(float(np.median(taken[name])) / len(files) / 1e6, 4),
            "ratio_to_guide": round(float(middle), 3),
            "spread": round(float((high - low) / middle), 3),
        }
        if "decode only" not in name:
            row["max_difference"], row["mean_difference"] = fidelity(peer, peers[first], files[:50])
        rows.append(row)
    return rows


def print_table(rows: list[dict[str, Any]]) -> None:
    """Markdown, as docs/kernels.md has it."""
    print("| peer | ms per image | x guide | spread | max / mean difference |\n|---|---|---|---|---|")
    for row in rows:
        difference = f"{row['max_difference']:.3g} / {row['mean_difference']:.2g}" if "max_difference" in row else "-"
        mark = " (too wide)" if row["spread"] > _WIDEST_SPREAD else ""
        print(
            f"| {row['peer']} | {row['ms_per_image']:.3f} | {row['ratio_to_guide']:.2f} "
            f"| {row['spread']:.1%}{mark} | {difference} |"
        )


def main() -> int:
    """Exit status 1 where the kernels differ from the guide."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--limit", type=int, default=1000)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    paths = sorted(p for p in options.data.rglob("*") if p.suffix.lower() in (".jpeg", ".jpg"))[: options.limit]
    if not paths:
        parser.error(f"no JPEG files in {options.data}")
    files = [path.read_bytes() for path in paths]
    warm(SPEC)
    peers = available_peers()
    rows = report(measure(peers, files, options.rounds), peers, files)
    print(f"{len(files)} files, instruction set {INSTRUCTION_SET}, {options.rounds} rounds")
    print_table(rows)
    differing = sum(not np.array_equal(peers["engine kernels"](f), peers[next(iter(peers))](f)) for f in files)
    print(f"engine kernels: {differing} of {len(files)} images differ from the guide's script")
    if options.out is not None:
        options.out.write_text(
            json.dumps({"files": len(files), "instruction_set": INSTRUCTION_SET, "rows": rows}, indent=1)
        )
    return int(differing > 0)


if __name__ == "__main__":
    sys.exit(main())
