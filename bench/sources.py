"""How many images a second does each kind of source give, and what CPU time does one cost?

Method: the same images as JPEGs, as float32 and uint8 `.bin` tensors, and packed; each repeat is a fresh
`engine run --backend null --batch 16` over each of them in turn. Medians of end-to-end images/s, and of the CPU time of
all processes per image (run.json's cpu_s), which a busy host moves less than the rate.

Last answer (2 cores of an AMD EPYC, 2026-11-25, 160 images of ImageNet 500 times): packed 14,630 images/s end to end,
121 us of CPU per image; one run that had the cores nearly alone.

What may not be concluded: anything about data that are not in the page cache (a packed file is a quarter of the
tensors' bytes), or about chips.

usage: python -m bench.sources --data DIR --labels FILE [--images N] [--repeats 3]
"""

from __future__ import annotations

import statistics
import tempfile
from pathlib import Path

import click

from bench.commands import measured, must
from bench.inputs import passes_for


def make_sources(data: Path, labels: Path, work: Path) -> dict[str, Path]:
    """The images in every kind of source, by name."""
    must("preprocess", data, work / "float32")
    must("preprocess", "--dtype", "uint8", data, work / "uint8")
    must("preprocess", "--format", "packed", "--labels", labels, data, work / "x.packed")
    return {"JPEG": data, "float32 .bin": work / "float32", "uint8 .bin": work / "uint8", "packed": work / "x.packed"}


def run_once(data: Path, labels: Path, repeat: int) -> tuple[float, float]:
    """(end-to-end images/s, microseconds of CPU per image) of one run."""
    document = measured("--data", data, "--labels", labels, "--backend", "null", "--repeat", repeat)
    return document["throughput"]["end_to_end_per_s"], 1e6 * document["cpu_s"] / document["dataset"]["n_samples"]


@click.command()
@click.option("--data", type=click.Path(path_type=Path), required=True, help="Flat folder of images.")
@click.option("--labels", type=click.Path(path_type=Path), required=True)
@click.option("--images", default=20_000, show_default=True, type=click.IntRange(1), help="Images per run, about.")
@click.option("--repeats", default=3, show_default=True, type=click.IntRange(1))
def main(data: Path, labels: Path, images: int, repeats: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        sources = make_sources(data, labels, Path(folder))
        repeat = passes_for(labels, images)
        runs: dict[str, list[tuple[float, float]]] = {name: [] for name in sources}
        for _ in range(repeats):
            for name, source in sources.items():
                runs[name].append(run_once(source, labels, repeat))
    print("| source | images/s | spread | CPU us per image |\n|---|---|---|---|")
    for name, found in runs.items():
        rates = [rate for rate, _ in found]
        median, cpu_us = statistics.median(rates), statistics.median(cpu for _, cpu in found)
        print(f"| {name} | {median:,.0f} | {100 * (max(rates) - min(rates)) / median:.0f} % | {cpu_us:.0f} |")


if __name__ == "__main__":
    main()
