"""What do three streams gain over one where copies matter?

Method: one simulated 310P3 runs a ResNet-class model at 16 images of 600 KB (224 x 224 float32), through the device
backend as it is (three streams joined by events, two batches in flight) and with its three streams replaced by one.
Virtual time: no host influence, the figure is exact for the profile and the same on each run.

Answer (2026-11, resnet101-310p3, batch 16; three streams reach the chip's own 2453.7 images/s):

    pinned copies GB/s      one stream      three streams      gain
    2.75                          1584               2440      1.54
    6.0                           1957               2447      1.25
    12.0                          2173               2451      1.13

What may not be concluded: the copy rate of a real 310P3, which is not published; the table therefore has several.

usage: python -m bench.streams [--batch 16] [--batches 200]
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import click
import numpy as np

PROFILE = "resnet101-310p3"
#: GB/s of pinned copies: below, at and above what PCIe 3.0 and 4.0 x16 cards reach in practice.
COPY_RATES = (2.75, 6.0, 12.0)
SIDE = 224


def profile_with(folder: Path, gb_per_s: float) -> Path:
    """The published execute times with another copy rate."""
    from engine.pyacl_stubs.profile import PROFILES

    text = (PROFILES / f"{PROFILE}.toml").read_text()
    lines = [
        f"{line.split('=')[0].strip()} = {gb_per_s}" if line.startswith(("h2d_pinned", "d2h_pinned")) else line
        for line in text.splitlines()
    ]
    path = folder / f"copies{gb_per_s}.toml"
    path.write_text("\n".join(lines) + "\n")
    return path


def images_per_s(profile: Path, batch: int, n_batches: int, n_streams: int) -> float:
    """Rate of one chip over simulated time."""
    from engine import pyacl_stubs
    from engine.backends.acl import open_backend
    from engine.backends.base import DeviceJob
    from engine.pyacl_stubs import load_profile
    from engine.pyacl_stubs.om import build_om
    from engine.pyacl_stubs.process import PROCESS

    pyacl_stubs.reset()
    om = profile.with_name("m.om")
    build_om("fingerprint", om, batch, load_profile(str(profile)).soc, (3, SIDE, SIDE))
    settings = {"clock": "virtual", "strictness": "off"}
    options = {"simulated": True, "profile": str(profile), "settings": settings}
    backend = open_backend(DeviceJob(str(om), (0,), batch, 2, 1, SIDE, options))
    device: Any = backend.devices[0]
    if n_streams == 1:
        device._h2d = device._d2h = device._execute
    images, out = np.zeros((batch, 3, SIDE, SIDE), np.float32), np.zeros((batch, 1000), np.float32)
    device.submit(images, out)
    began_ns = PROCESS.clock.now_ns()
    for _ in range(n_batches):
        device.submit(images, out)
        device.wait()
    ended_ns = PROCESS.clock.now_ns()
    pyacl_stubs.reset()
    return n_batches * batch * 1e9 / (ended_ns - began_ns)


@click.command()
@click.option("--batch", default=16, show_default=True)
@click.option("--batches", default=100, show_default=True)
def main(batch: int, batches: int) -> None:
    """Three streams against one on a simulated 310P3."""
    click.echo(f"SIMULATED 310P3, {PROFILE}, batch {batch}, {3 * SIDE * SIDE * 4 / 1e3:.0f} KB per image\n")
    click.echo("| pinned copies GB/s | one stream images/s | three streams images/s | gain |")
    click.echo("|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        for rate in COPY_RATES:
            profile = profile_with(Path(folder), rate)
            one, three = (images_per_s(profile, batch, batches, n) for n in (1, 3))
            click.echo(f"| {rate} | {one:.0f} | {three:.0f} | {three / one:.2f} |")


if __name__ == "__main__":
    main()
