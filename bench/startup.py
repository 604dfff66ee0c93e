"""How long until a fresh process can call every kernel?

Method: each repeat is a fresh process. It times its imports (numpy, numba), the import of `kernels`, and `warm`, which
loads every kernel of a run and calls it once. Cold: with an empty cache folder, so that `warm` compiles, in two
processes where there are two cores. Warm: with the folder that the cold one left; the median of the repeats. Wall time,
and CPU time of the process for those who cannot have a quiet machine. Total counts from the start of the interpreter.
Not shown: reading Python's own files from a slow disk (a process that ran before has left them in the page cache).
Last answer: docs/kernels.md.

    python -m bench.startup [--repeats 7]
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time

import click

_CODE = """
import json, time
began, cpu = time.monotonic(), time.process_time()
import numpy, numba
imported = time.monotonic()
from kernels.warm import warm
from engine.presets import find_preset
spec = find_preset("resnet")
ready, ready_cpu = time.monotonic(), time.process_time()
warm(spec)
ended = time.monotonic()
print(json.dumps([imported - began, ready - imported, ended - ready, time.process_time() - ready_cpu, ended]))
"""
_COLUMNS = ("numpy, numba /s", "kernels /s", "load all /s", "CPU of it /s", "total /s")


def once(folder: str) -> list[float]:
    """Seconds of `_COLUMNS` of one process that keeps its kernels in this folder."""
    began = time.monotonic()
    environment = {**os.environ, "ENGINE_KERNEL_CACHE": folder}
    found = subprocess.run([sys.executable, "-c", _CODE], env=environment, check=True, capture_output=True, text=True)
    *parts, ended = json.loads(found.stdout)
    return [*parts, ended - began]


@click.command()
@click.option("--repeats", default=7, show_default=True, type=click.IntRange(1))
def main(repeats: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        cold = once(folder)
        warm = [statistics.median(column) for column in zip(*(once(folder) for _ in range(repeats)), strict=True)]
    print(f"| start | {' | '.join(_COLUMNS)} |\n{'|---' * (len(_COLUMNS) + 1)}|")
    for name, row in ("cold", cold), ("warm", warm):
        print(f"| {name} | {' | '.join(f'{seconds:.2f}' for seconds in row)} |")


if __name__ == "__main__":
    main()
