"""What do simulated chips cost the host?

Method: one process drives the chips as a feeder with work to spare does (per chip a thread that waits and submits,
window 2), in mode "off", with a model of 8 x 8 images, so that copies and numbers cost nothing and only the bookkeeping
of the simulator and of the backend is left. CPU time of the process (user and system), not wall time, per image; "% of
a core per 1000 images/s" is that times 1000. Each repeat is a fresh process, configurations are interleaved, medians.

What may not be concluded: what a run costs (it also copies each image twice and computes its numbers, which a chip
would do), or what the vendor's pyACL costs.

The last row has no waits (virtual time, one thread, batch after batch), so its code stays in the caches. The same
code once per 7 ms, with one chip and one thread, was 4.5 times as dear on the shared host of the table below: most of
what a slow chip costs is waking up.

Answer (2026-11, 2 cores of an AMD EPYC, medians of 3), of a feeder that had one thread per chip to submit and one to
wait: 0.9 % of a core per 1000 images/s at SqueezeNet's rate (0.8 to 1.4) and 2.5 % at ResNeXt101's (1.9 to 2.8), batch
16 on 4 chips; 20 % at batch 1 (18 to 24). Without waits 62 us a batch, which would be 6 %. With one thread that does
both, as now, only batch 1 was measured, on a busy machine and interleaved with the former: 21 % (18 to 25) where two
threads took 24 % (24 to 26).

usage: python -m bench.simulator [--repeats 5] [--seconds 3]
"""

from __future__ import annotations

import json
import resource
import statistics
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click
import numpy as np

#: (batch, chips, profile): the main job's batch sizes; the profile only sets how fast the chips are; 0 chips: no waits.
CONFIGURATIONS = (
    (16, 4, "squeezenet1_1-310"),
    (16, 4, "resnext101_32x8d-310"),
    (1, 4, "resnext101_32x8d-310"),
    (1, 0, "resnext101_32x8d-310"),
)
SIDE = 8
#: Batches before the measurement: threads, caches, compiled kernels.
WARM_UP = 200


def cpu_s() -> float:
    """CPU time of this process so far."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def drive(device: Any, batch: int, n_batches: int) -> threading.Thread:
    """Start the thread of a chip."""
    images, out = np.zeros((batch, 3, SIDE, SIDE), np.float32), np.zeros((batch, 10), np.float32)

    def run() -> None:
        for i in range(n_batches + device.window):
            if i >= device.window:
                device.wait()
            if i < n_batches:
                device.submit(images, out)

    thread = threading.Thread(target=run)
    thread.start()
    return thread


def measure_hot(batch: int, profile: str, n_batches: int = 5000) -> float:
    """CPU seconds per image of one chip in virtual time, driven by one thread that never waits."""
    with opened(batch, 1, profile, "virtual") as backend:
        device = backend.devices[0]
        images, out = np.zeros((batch, 3, SIDE, SIDE), np.float32), np.zeros((batch, 10), np.float32)
        for i in range(n_batches + WARM_UP):
            if i == WARM_UP:
                began_s = cpu_s()
            device.submit(images, out)
            device.wait()
        return (cpu_s() - began_s) / (n_batches * batch)


@contextmanager
def opened(batch: int, n_chips: int, profile: str, clock: str) -> Iterator[Any]:
    """The backend on a small proof model."""
    from engine.backends.acl import open_backend
    from engine.backends.base import DeviceJob
    from engine.pyacl_stubs import load_profile
    from engine.pyacl_stubs.om import build_om

    with tempfile.TemporaryDirectory() as folder:
        om = Path(folder) / "m.om"
        build_om("fingerprint", om, batch, load_profile(profile).soc, (3, SIDE, SIDE), 10)
        settings = {"strictness": "off", "clock": clock}
        options = {"simulated": True, "profile": profile, "settings": settings}
        backend = open_backend(DeviceJob(str(om), tuple(range(n_chips)), batch, 2, 1, SIDE, options))
        yield backend
        backend.close()


def measure(batch: int, n_chips: int, profile: str, seconds: float) -> float:
    """CPU seconds per image."""
    from engine.pyacl_stubs import load_profile

    n_batches = int(seconds * 1e9 / load_profile(profile).execute_ns(batch))
    with opened(batch, n_chips, profile, "real") as backend:
        for device in backend.devices.values():
            for _ in range(4):  # threads, caches
                device.submit(np.zeros((batch, 3, SIDE, SIDE), np.float32), np.zeros((batch, 10), np.float32))
                device.wait()
        began_s = cpu_s()
        threads = [drive(device, batch, n_batches) for device in backend.devices.values()]
        for thread in threads:
            thread.join()
        used_s = cpu_s() - began_s
    return used_s / (n_batches * n_chips * batch)


@click.command()
@click.option("--repeats", default=5, show_default=True)
@click.option("--seconds", default=3.0, show_default=True)
@click.option("--one", hidden=True)
def main(repeats: int, seconds: float, one: str | None) -> None:
    """CPU per image of simulated chips."""
    if one is not None:
        batch, n_chips, profile = json.loads(one)
        click.echo(measure(batch, n_chips, profile, seconds) if n_chips else measure_hot(batch, profile))
        return
    found: dict[tuple[int, int, str], list[float]] = {configuration: [] for configuration in CONFIGURATIONS}
    for _ in range(repeats):
        for configuration, values in found.items():
            command = [sys.executable, "-m", "bench.simulator", "--one", json.dumps(configuration)]
            done = subprocess.run([*command, "--seconds", str(seconds)], capture_output=True, text=True, check=True)
            values.append(float(done.stdout))
    click.echo("| batch | chips | profile | us CPU per image | % of a core per 1000 images/s | spread |")
    click.echo("|---|---|---|---|---|---|")
    for (batch, n_chips, profile), values in found.items():
        median = statistics.median(values)
        spread = (max(values) - min(values)) / median
        figures = f"{1e6 * median:.1f} | {1e5 * median:.1f} | {100 * spread:.0f} %"
        click.echo(f"| {batch} | {n_chips or 'no waits'} | {profile} | {figures} |")


if __name__ == "__main__":
    main()
