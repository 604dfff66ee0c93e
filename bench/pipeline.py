"""Does the pipeline keep the chips busy from raw JPEGs?

Method: each repeat is a fresh `engine run --backend sim` of the fingerprint model over the same files; batch sizes are
interleaved; per batch the median of end-to-end / interface and its spread. The chips are SIMULATED with published
rates, so the interface is known; the files, the decoding, the copies and the processes are real. Efficiency below 1
is what the host could not hide, plus the fill and drain of the first and last batches (about a batch time of a chip).

Last answer (2026-11-26, 2 cores of an AMD EPYC, 10,240 images each from 160 ImageNet files, one repeat): end-to-end
over interface 0.9986 at batch 1, 0.9967 at 16, 0.9964 at 32.

Chips faster than the host, and the guide's script beside it: `bench.hostbound`.

What may not be concluded: anything about real chips' drivers, about files that are not in the page cache, or about
hosts with other cores. A spread above 3 % means that the host was busy with something else: repeat.

usage: python -m bench.pipeline [--data DIR --labels FILE] [--batch 1,16,32] [--images N] [--repeats 3]
       [--input float32|float16|uint8] [--json FILE]
"""

from __future__ import annotations

import json
import statistics
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from bench.commands import measured
from bench.inputs import images_or_demo, passes_for

#: Relative spread of the repeats above which the figures are marked.
UNSTABLE_SPREAD = 0.03


@dataclass(frozen=True)
class Sample:
    """One run, images per second."""

    batch: int
    end_to_end_per_s: float
    interface_per_s: float
    host_ceiling_per_s: float

    @classmethod
    def of(cls, document: dict[str, Any]) -> Sample:
        """From run.json."""
        rates = document["throughput"]
        return cls(document["config"]["batch"], *(rates[name] for name in _RATES))

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


@dataclass(frozen=True)
class Setting:
    """One fresh `engine run` on four chips. workers : decoders, None for as many as there are cores"""

    batch: int
    n_images: int
    profile: str
    dtype: str = "float32"
    backend: str = "sim"
    workers: int | None = None


def run_once(data: Path, labels: Path, setting: Setting) -> dict[str, Any]:
    """run.json of a fresh process over about so many images; simulated chips with the host ceiling of the same run."""
    with tempfile.TemporaryDirectory() as folder:
        model = make_model(Path(folder), setting.batch, setting.dtype, setting.profile)
        options: list[object] = ["--data", data, "--labels", labels, "--repeat", passes_for(labels, setting.n_images)]
        options += ["--model", model, "--backend", setting.backend, "--devices", "0-3", "--batch", setting.batch]
        if setting.backend == "sim":
            options += ["--profile", setting.profile, "--measure-ceiling"]
        if setting.workers is not None:
            options += ["--workers", setting.workers]
        return measured(*options)


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
def main(data: Path | None, labels: Path | None, json_file: Path | None, **given: Any) -> None:
    """Measure end-to-end / interface per batch size on four SIMULATED chips."""
    data, labels = images_or_demo(data, labels)
    batches = [int(part) for part in given["batch"].split(",")]
    images, repeats, profile = given["images"], given["repeats"], given["profile"]
    settings = [Setting(batch, images, profile, given["dtype"]) for batch in batches]
    samples = [Sample.of(run_once(data, labels, setting)) for _ in range(repeats) for setting in settings]
    click.echo(f"four SIMULATED chips, profile {profile}, about {images} images, {repeats} repeats\n")
    click.echo(table(samples))
    if json_file is not None:
        json_file.write_text(json.dumps([vars(sample) for sample in samples], indent=2) + "\n")


if __name__ == "__main__":
    main()
