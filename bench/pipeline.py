"""Does the pipeline keep the chips busy from raw JPEGs?

Method: each repeat is a fresh `engine run --backend sim` of the fingerprint model over the same files; batch sizes are
interleaved; per batch the median of end-to-end / interface and its spread. The chips are SIMULATED with published
rates, so the interface is known; the files, the decoding, the copies and the processes are real. Efficiency below 1
is what the host could not hide, plus the fill and drain of the first and last batches (about a batch time of a chip).

Last answer (2026-11-26, 2 cores of an AMD EPYC, 10,240 images of the demo each, one repeat): end-to-end / interface
0.9977 at batch 1, 0.9936 at 16, 0.9922 at 32.

What may not be concluded: anything about real chips' drivers, about files that are not in the page cache, or about
hosts with other cores. A spread above 3 % means that the host was busy with something else: repeat.

usage: python -m bench.pipeline [--data DIR --labels FILE] [--batch 1,16,32] [--images N] [--repeats 3]
       [--input float32|float16|uint8] [--json FILE]
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import click

#: Relative spread of the repeats above which the figures are marked.
UNSTABLE_SPREAD = 0.03


@dataclass(frozen=True)
class Sample:
    """One run, images per second."""

    batch: int
    end_to_end_per_s: float
    interface_per_s: float
    host_ceiling_per_s: float

    @property
    def ratio(self) -> float:
        return self.end_to_end_per_s / self.interface_per_s


def make_model(folder: Path, batch: int, dtype: str, profile: str) -> Path:
    """The fingerprint with inputs of this type, for the profile's chip."""
    from engine.presets import find_preset
    from engine.pyacl_stubs import load_profile
    from engine.pyacl_stubs.om import Aipp, OmVariant, build_om

    spec, path = find_preset("resnet"), folder / "model.om"
    aipp = Aipp.of(spec.mean, spec.std) if dtype == "uint8" else None
    variant = OmVariant(input_dtype="" if aipp else dtype, aipp=aipp)
    build_om("fingerprint", path, batch, load_profile(profile).soc, variant=variant)
    return path


def run_once(data: Path, labels: Path, batch: int, n_images: int, profile: str, dtype: str) -> Sample:
    """One fresh process over about `n_images` images."""
    n_files = sum(1 for line in labels.read_text().splitlines() if line.strip())
    with tempfile.TemporaryDirectory() as out:
        options = ["--data", data, "--labels", labels, "--batch", batch, "--repeat", max(1, -(-n_images // n_files))]
        model = make_model(Path(out), batch, dtype, profile)
        fixed = ["--model", model, "--backend", "sim", "--devices", "0-3", "--measure-ceiling"]
        command = [sys.executable, "-m", "engine.cli", "run", *fixed, *options, "--profile", profile, "--out", out]
        subprocess.run([str(word) for word in command], check=True, stdout=subprocess.DEVNULL)
        rates = json.loads((Path(out) / "run.json").read_text())["throughput"]
    return Sample(batch, rates["end_to_end_per_s"], rates["interface_per_s"], rates["host_ceiling_per_s"])


def table(samples: list[Sample]) -> str:
    """Markdown, one row per batch: medians, and the spread (max - min) / median of the ratio."""
    lines = [
        "| batch | end-to-end /s | interface /s | host ceiling /s | end-to-end / interface | spread |",
        "|---|---|---|---|---|---|",
    ]
    for batch in sorted({sample.batch for sample in samples}):
        rows = [sample for sample in samples if sample.batch == batch]
        ratios = [row.ratio for row in rows]
        median = statistics.median(ratios)
        spread = (max(ratios) - min(ratios)) / median
        figures = (statistics.median(getattr(row, name) for row in rows) for name in _RATES)
        rates = " | ".join(f"{figure:.1f}" for figure in figures)
        mark = " UNSTABLE" if spread > UNSTABLE_SPREAD else ""
        lines.append(f"| {batch} | {rates} | {median:.4f} | {100 * spread:.1f} %{mark} |")
    return "\n".join(lines)


_RATES = ("end_to_end_per_s", "interface_per_s", "host_ceiling_per_s")


@click.command()
@click.option("--data", type=click.Path(path_type=Path), help="Flat folder of JPEGs; the demo's images if not given.")
@click.option("--labels", type=click.Path(path_type=Path))
@click.option("--batch", default="1,16,32", show_default=True)
@click.option("--images", default=10_000, show_default=True)
@click.option("--repeats", default=3, show_default=True)
@click.option("--profile", default="resnext101_32x8d-310", show_default=True)
@click.option("--input", "dtype", default="float32", show_default=True, help="Or float16, uint8 (AIPP).")
@click.option("--json", "json_file", type=click.Path(path_type=Path))
def main(
    data: Path | None,
    labels: Path | None,
    batch: str,
    images: int,
    repeats: int,
    profile: str,
    dtype: str,
    json_file: Path | None,
) -> None:
    """Measure end-to-end / interface per batch size on four SIMULATED chips."""
    if data is None or labels is None:
        from engine.demo_data import demo_dataset

        demo = demo_dataset()
        data, labels = demo.folder, demo.labels
    batches = [int(part) for part in batch.split(",")]
    samples = [run_once(data, labels, b, images, profile, dtype) for _ in range(repeats) for b in batches]
    click.echo(f"four SIMULATED chips, profile {profile}, about {images} images, {repeats} repeats\n")
    click.echo(table(samples))
    if json_file is not None:
        json_file.write_text(json.dumps([vars(sample) for sample in samples], indent=2) + "\n")


if __name__ == "__main__":
    main()
