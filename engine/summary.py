"""The summary of a run, for a terminal of 80 columns."""

from __future__ import annotations

from typing import Any

from engine.results import Report
from engine.summary_speed import chip_lines, latency_line, publish_lines, steady_lines, verdict_lines

#: An efficiency above this means that the ceiling was measured too low: nothing outruns its own bound.
DOUBTFUL_EFFICIENCY = 1.02
#: Failed images that the summary names; predictions.csv has them all.
MOST_FAILED_SHOWN = 5
COUNTED = ", counted as wrong"


def summarise(report: Report, failed: list[str]) -> str:
    """What the run found, what is inside each figure, and what is simulated.

    failed : one line per image that failed
    """
    d = report.document
    blocks = [_heading(d), *_accuracy(d), *_throughput(d), *_failures(d, failed), f"results in {report.config.out}"]
    return "\n".join(blocks)


def _heading(d: dict[str, Any]) -> str:
    config, dataset = d["config"], d["dataset"]
    what = f"{d['model']['name']}, {dataset['n_images']} images x {dataset['repeat']}, batch {config['batch']}"
    if config["exif_rotate"]:
        what += "\nEXIF-ROTATED: images were turned upright by --exif-rotate, which the guide does not do"
    if d["simulated"]:
        return f"{what}\nSIMULATED chips, profile {d['profile']}: their rates are published figures"
    return f"{what}\nbackend {config['backend']}, {d['devices'][0]['name']} x {len(d['devices'])}"


def _accuracy(d: dict[str, Any]) -> list[str]:
    if not d["dataset"]["is_labelled"]:
        dump, out = d["config"]["dump"], d["config"]["out"]
        later = f"engine score {out} LABELS" if dump else "run with --dump txt, then engine score"
        return ["no labels: no accuracy", f"  later             {later}", *_oddities(d, "")]
    if d["accuracy"] is None:
        return ["accuracy            none: the null device computes nothing"]
    tops = " ".join(f"{100 * d['accuracy'][f'top{k}']:.2f}" for k in range(1, 6))
    lines = [f"Top-1..Top-5        {tops} %  of {d['dataset']['n_images']} images"]
    if d["dataset"]["n_failed_images"]:
        tops = " ".join(f"{100 * d['accuracy_of_scored'][f'top{k}']:.2f}" for k in range(1, 6))
        n_scored = d["dataset"]["n_images"] - d["dataset"]["n_failed_images"]
        lines.append(f"  of those decoded  {tops} %  of {n_scored} images")
    if d["model"]["label_offset"]:
        lines.append(
            f"  labels + {d['model']['label_offset']} = columns of the model's {d['model']['n_classes']} outputs"
        )
    return lines + _oddities(d, COUNTED)


def _oddities(d: dict[str, Any], counted: str) -> list[str]:
    dataset, lines = d["dataset"], []
    if dataset["n_nan_images"]:
        lines.append(f"  NaN scores        {dataset['n_nan_images']} images{counted}")
    if dataset["n_inconsistent"]:
        lines.append(f"  INCONSISTENT      {dataset['n_inconsistent']} results differ from the first pass")
    return lines


def _throughput(d: dict[str, Any]) -> list[str]:
    rates = d["throughput"]
    ceiling = rates["host_ceiling_per_s"]
    lines = [
        f"end-to-end          {rates['end_to_end_per_s']:9.1f} images/s  first byte read to last result",
        *steady_lines(d["steady"]),
    ]
    if rates["interface_per_s"]:
        lines.append(f"interface           {rates['interface_per_s']:9.1f} images/s  the chips alone, no copies")
        lines += chip_lines(d["devices"])
    if ceiling is not None:
        lines.append(f"host ceiling        {ceiling:9.1f} images/s  the decoders alone, from files")
    if rates["efficiency"] is not None:
        against = "min(interface, host ceiling)" if ceiling is not None else "interface"
        lines.append(f"efficiency          {rates['efficiency']:9.4f} end-to-end / {against}")
    if ceiling is not None and rates["efficiency"] > DOUBTFUL_EFFICIENCY:
        lines.append("  UNSTABLE          this host was busy while its ceiling was measured: repeat on a quiet one")
    paths = ", ".join(f"{count} by {name}" for name, count in sorted(d["decode_paths"].items()))
    lines.append(f"decoded             {paths or 'nothing'}")
    lines.append(latency_line(d["latency_ms"]))
    return lines + verdict_lines(d["verdict"]) + publish_lines(d)


def _failures(d: dict[str, Any], failed: list[str]) -> list[str]:
    if not failed:
        return []
    counted = COUNTED if d["dataset"]["is_labelled"] else ""
    lines = [f"FAILED              {len(failed)} of {d['dataset']['n_images']} images{counted}"]
    lines += [f"  {line}" for line in failed[:MOST_FAILED_SHOWN]]
    if len(failed) > MOST_FAILED_SHOWN:
        lines.append(f"  and {len(failed) - MOST_FAILED_SHOWN} more: see status in predictions.csv")
    return lines
