"""How many feeder processes should drive the chips?

Method: `engine run --backend sim --feeders K` over a packed file of crops (no JPEG is decoded, so that the host has
time for the chips), with a uint8 model (150 KB per image), for 4 and 16 SIMULATED chips, batch 1 and 16, K interleaved,
fresh process per repeat; medians of the steady state's rate / interface (start and end of a short run left out), and
CPU seconds of all feeders per 1000 images.

Answer (2026-11, 2 cores of an AMD EPYC, 4,000 to 5,000 images per four chips, two to four repeats; batch 1 again when
the host was calmer): nothing that is outside of the spread, at either batch size and number of chips; so one feeder is
the default, which takes the least memory.

    chips  batch   steady / interface with 1, 2, 4 feeders     CPU s per 1000 images
    4      1       0.998  -      0.998                         0.18   -      0.30
    4      16      0.993  0.970  1.000  (spread up to 5 %)     0.06   0.10   0.07
    16     1       0.997  0.998  -                             0.20   0.17   -
    16     16      0.994  0.993  0.985  (spread up to 2 %)     0.05   0.06   0.06

What may not be concluded: anything about hosts with other cores, or about a vendor's pyACL, where the GIL is held for
longer: there, measure again with --backend cann.

usage: python -m bench.feeders [--repeats 3] [--images 3000]
"""

from __future__ import annotations

import statistics
import tempfile
from pathlib import Path
from typing import Any

import click

from bench.commands import measured, must

CONFIGURATIONS = ((4, 1), (4, 16), (16, 1), (16, 16))
FEEDERS = (1, 2, 4)


def run(folder: Path, chips: int, batch: int, feeders: int, n_images: int) -> dict[str, Any]:
    """run.json of one run."""
    n_files = 320
    options = ["--devices", f"0-{chips - 1}", "--sim-chips", chips, "--batch", batch, "--feeders", feeders]
    sizes = ["--repeat", max(1, n_images // n_files), "--model", folder / f"m_bs{batch}.om"]
    return measured("--data", folder / "crops", "--backend", "sim", *options, *sizes)


@click.command()
@click.option("--repeats", default=3, show_default=True)
@click.option("--images", default=3000, show_default=True, help="Per four chips and run.")
def main(repeats: int, images: int) -> None:
    """Feeder processes against each other."""
    from engine.demo_data import demo_dataset
    from engine.pyacl_stubs.om import Aipp, OmVariant, build_om

    demo = demo_dataset()
    found: dict[tuple[int, int, int], list[tuple[float, float]]] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        must("preprocess", demo.folder, folder / "crops", "--format", "packed", "--labels", demo.labels)
        for batch in (1, 16):
            build_om("fingerprint", folder / f"m_bs{batch}.om", batch, variant=OmVariant(aipp=Aipp()))
        for _ in range(repeats):
            for chips, batch in CONFIGURATIONS:
                for feeders in FEEDERS:
                    document = run(folder, chips, batch, feeders, images * chips // 4)
                    steady = document["steady"]["images_per_s"]
                    cpu_s = sum(p["cpu_s"] for p in document["processes"] if p["role"] == "feeder")
                    ratio = steady / document["throughput"]["interface_per_s"]
                    per_1000 = 1000 * cpu_s / document["dataset"]["n_samples"]
                    found.setdefault((chips, batch, feeders), []).append((ratio, per_1000))
                    click.echo(
                        f"{chips} chips, batch {batch}, {feeders} feeders: {ratio:.3f}, {per_1000:.2f}", err=True
                    )
    click.echo("| chips | batch | feeders | steady / interface | spread | feeders' CPU s per 1000 images |")
    click.echo("|---|---|---|---|---|---|")
    for (chips, batch, feeders), values in found.items():
        ratios = [ratio for ratio, _ in values]
        median = statistics.median(ratios)
        spread = (max(ratios) - min(ratios)) / median
        cpu = statistics.median(per_1000 for _, per_1000 in values)
        click.echo(f"| {chips} | {batch} | {feeders} | {median:.3f} | {100 * spread:.0f} % | {cpu:.2f} |")


if __name__ == "__main__":
    main()
