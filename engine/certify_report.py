"""The certificate: one JSON with everything, and one Markdown page that reads well on paper."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from engine.files import atomic_write
from engine.layout import MIB

Document = dict[str, Any]
TOPS = range(1, 6)
#: A hash in running text; the list at the end has them whole.
SHORT = 16
#: Of a line of a command: what a sheet of paper takes in a usual fixed-width font.
MOST_COLUMNS = 88
#: Verdicts as the first line has them.
VERDICTS = {
    "met": "ACCURACY MET",
    "NOT MET": "ACCURACY NOT MET",
    "UNDECIDED": "ACCURACY UNDECIDED: too few images to decide",
    "NOT JUDGED": "ACCURACY NOT JUDGED: no reference was given",
}


def write_certificate(document: Document, out: Path) -> None:
    """``certificate.json`` and ``certificate.md``."""
    atomic_write(out / "certificate.json", (json.dumps(document, indent=1) + "\n").encode())
    atomic_write(out / "certificate.md", markdown(document).encode())


def is_simulated(d: Document) -> bool:
    """True if any chip was."""
    return bool(d["bench"]["simulated"]) or any(run["simulated"] for run in d["runs"].values())


def markdown(d: Document) -> str:
    """The page. Nothing on it is wider than a sheet in a usual fixed-width font (96 characters)."""
    blocks = [
        *_heading(d),
        "## What was certified",
        *_subject(d),
        "## Accuracy",
        *_accuracy(d),
        "## Throughput on the images",
        *_throughput(d),
        "## Pure inference",
        *_bench(d),
        "## Steps",
        *_steps(d),
        "## Hashes (sha256)",
        *_hashes(d),
    ]
    return "\n\n".join(blocks) + "\n"


def _heading(d: Document) -> list[str]:
    name = d["export"]["net"] or Path(d["export"]["onnx"]).name
    device = d["bench"]["device_name"]
    n_chips = len(d["request"]["devices"])
    blocks = [f"# Certificate: {name} on {device} x {n_chips}"]
    if is_simulated(d):
        blocks.append(
            f"**SIMULATED chips.** Their rates are the published figures of profile `{d['bench']['profile']}`,\n"
            "computed by a simulator of pyACL; they are no measurement of this model or of any hardware."
        )
    blocks.append(f"**{VERDICTS[d['compare']['verdict']]}**")
    return blocks


def _subject(d: Document) -> list[str]:
    export, data, request, env = d["export"], d["data"], d["request"], d["environment"]
    weights = export["weights"] or "none: the ONNX was given"
    if export.get("is_guides"):
        weights += " (the guide's, by MD5)"
    labels = request["labels"] or "class folders"
    compiled = d["compile"]
    how = {True: "simulated .om", False: f"atc {compiled['atc']}"}[compiled["simulated"]] if compiled["files"] else "-"
    rows = [
        ("weights", weights),
        ("model", f"ONNX, sha256 {export['onnx_sha256'][:SHORT]}..., input image (N, 3, H, W) float32"),
        ("compiled", f"{how}, soc {compiled['soc']}" if compiled["files"] else "no: the backend runs the ONNX"),
        ("images", f"{data['n_images']} of {request['data']} ({data['n_bytes'] / MIB:.1f} MiB)"),
        ("labels", f"{labels}"),
        ("preprocessing", f"preset {request['preset']}, bit for bit the guide's Pillow arithmetic"),
        ("backend", f"{request['backend']}, devices {', '.join(map(str, request['devices']))}"),
        ("host", f"{env['cpu']}, {env['n_cores']} cores, {env['os']}"),
        ("software", f"engine {d['engine_version']} (code {d['code_sha256'][:SHORT]}), Python {env['python']}"),
        *(("" if i else "libraries", text) for i, text in enumerate(_in_threes(env["libraries"]))),
        ("written", d["written_utc"]),
    ]
    return [_table(("", ""), rows)]


def _in_threes(libraries: dict[str, str]) -> list[str]:
    told = [f"{name} {version}" for name, version in libraries.items()]
    return [", ".join(told[i : i + 3]) for i in range(0, len(told), 3)]


def _accuracy(d: Document) -> list[str]:
    runs = d["runs"]
    rows = [
        (batch, *(f"{100 * run['accuracy'][f'top{k}']:.3f}" for k in TOPS), run["dataset"]["n_images"])
        for batch, run in runs.items()
    ]
    blocks = [_table(("batch", *(f"Top-{k} %" for k in TOPS), "images"), rows)]
    failed = {batch: run["dataset"]["n_failed_images"] for batch, run in runs.items()}
    if any(failed.values()):
        told = ", ".join(f"{n} at batch {batch}" for batch, n in failed.items())
        blocks.append(f"Images that could not be decoded, counted as wrong: {told}.")
    same = len({run["predictions_sha256"] for run in runs.values()}) == 1
    if len(runs) > 1:
        blocks.append(
            "The predictions at these batch sizes are identical, image by image."
            if same
            else "The predictions at these batch sizes are NOT identical."
        )
    blocks.append("Counted again from the dumped scores, as the guide's script does it: the same.")
    return [*blocks, *_gates(d["compare"])]


def _gates(compared: Document) -> list[str]:
    if compared["reference"] is None:
        return ["No reference was given: nothing is judged."]
    rows = [
        (
            batch,
            f"Top-{top['k']}",
            f"{top['measured']:.3f}",
            f"{top['reference']:.3f}",
            f"{top['interval'][0]:.2f} .. {top['interval'][1]:.2f}",
            f"{top['absolute_gate']:.3f}",
            f"{top['relative_gate']:.3f}",
            top["verdict"],
        )
        for batch, tops in compared["by_batch"].items()
        for top in tops
    ]
    head = ("batch", "", "measured", "reference", "95 %", "1: points", "2: relative", "gate")
    reasons = [
        f"- batch {batch}, Top-{top['k']}: {top['verdict']}: {top['reason']}"
        for batch, tops in compared["by_batch"].items()
        for top in tops
    ]
    kind = "of the difference, on the same images" if compared["is_paired"] else "Wilson"
    return [
        f"Reference: {compared['reference']} ({compared['source']})",
        _table(head, rows),
        f"All in percent. 95 %: interval, {kind}. The higher of gates 1 and 2 decides.",
        "\n".join(reasons),
    ]


def _throughput(d: Document) -> list[str]:
    blocks = []
    rows = []
    for batch, run in d["runs"].items():
        rates = run["throughput"]
        per_chip = " ".join(f"{device['interface_per_s']:.1f}" for device in run["devices"])
        efficiency = f"{rates['efficiency']:.3f}" if rates["efficiency"] else "-"
        interface = f"{rates['interface_per_s']:.1f}" if rates["interface_per_s"] else "-"
        rows.append((batch, f"{rates['end_to_end_per_s']:.1f}", interface, efficiency, per_chip))
    head = ("batch", "end-to-end", "interface, all chips", "efficiency", "interface of each chip")
    blocks.append(_table(head, rows))
    blocks.append(
        "Images per second. End-to-end: from the first byte read of a JPEG to the last result. Interface: batch x\n"
        "executions / execute time. All chips worked at once; no rate is that of one chip times their number."
    )
    blocks.append("What bounded the runs:")
    unstable = "UNSTABLE (its 95 % interval is wider than 2 %, or it was too short for one); "
    limits = [
        f"- batch {batch}: {unstable if run['is_unstable'] else ''}{run['limit']}" for batch, run in d["runs"].items()
    ]
    blocks.append("\n".join(limits))
    for batch, run in d["runs"].items():
        restored = run["dataset"].get("n_restored", 0)
        if restored:
            n = run["dataset"]["n_samples"]
            blocks.append(
                f"The run at batch {batch} was interrupted: {restored} of {n} results are from before,\n"
                "its rates are those of the rest."
            )
    return blocks


def _bench(d: Document) -> list[str]:
    bench = d["bench"]
    rows = []
    for one in bench["batches"]:
        execute = one["execute_ms"]
        chips = " ".join(f"{chip['rate_per_s']:.1f}" for chip in one["chips"])
        times = [f"{execute[f'p{p}']:.2f}" for p in (50, 90, 95, 99)]
        rows.append((one["batch"], *times, chips, f"{one['interface_per_s']:.1f}"))
    head = ("batch", "p50", "p90", "p95", "p99", "each chip", "all at once")
    n_chips = len(d["request"]["devices"])
    blocks = [
        _table(head, rows),
        f"p50 to p99: execute time of a batch, ms. Rates: images per second, measured while all {n_chips} chips\n"
        f"worked; {bench['rounds']} batches per chip after {bench['warm_up']}; input {bench['input']}.",
    ]
    blocks += [
        f"CLIFF at batch {cliff['batch']}: {cliff['percent']:.0f} % below batch {cliff['best_batch']} per chip."
        for cliff in bench["cliffs"]
    ]
    return blocks


def _steps(d: Document) -> list[str]:
    rows = [(step["name"], f"{step['seconds']:.1f}") for step in d["steps"]]
    commands = [d["export"]["command"]]
    commands += [run["command"] for run in d["runs"].values()]
    commands += [score["command"] for score in d["scores"].values()]
    commands.append(d["bench"]["command"])
    compiled = [one["command"] for one in d["compile"]["files"].values() if one["command"] != "simulated"]
    lines = [_wrapped(command) for command in (*compiled, *commands) if command]
    return [_table(("step", "seconds"), rows), "Each by itself:", "\n".join(lines)]


def _wrapped(command: str) -> str:
    """A shell command as an indented block, cut before options."""
    words = command.replace(" -", "\n-").split("\n")
    lines = [words[0]]
    for word in words[1:]:
        if len(lines[-1]) + len(word) > MOST_COLUMNS:
            lines.append(f"    {word}")
        else:
            lines[-1] += f" {word}"
    return " \\\n".join(f"    {line}" for line in lines)


def _hashes(d: Document) -> list[str]:
    rows = [("ONNX", d["export"]["onnx_sha256"])]
    if d["export"]["weights"]:
        rows = [("weights", d["export"]["weights_sha256"]), ("weights (MD5)", d["export"]["weights_md5"]), *rows]
    rows += [(Path(one["path"]).name, one["sha256"]) for one in d["compile"]["files"].values()]
    rows += [("image files", d["data"]["content"]), ("names and classes", d["data"]["names"])]
    if d["data"]["labels"]:
        rows.append(("label file", d["data"]["labels"]))
    rows += [(f"predictions, batch {batch}", run["predictions_sha256"]) for batch, run in d["runs"].items()]
    rows += [(f"dumps, batch {batch}", score["dumps_sha256"]) for batch, score in d["scores"].items()]
    rows.append(("engine's code", d["code_sha256"]))
    return [_table(("of", "sha256"), rows), "Those of every result file are in certificate.json, under steps."]


def _table(head: Sequence[object], rows: Sequence[Sequence[object]]) -> str:
    """A Markdown table whose columns line up in plain text too."""
    cells = [[str(cell) for cell in row] for row in (head, *rows)]
    widths = [max(len(row[i]) for row in cells) for i in range(len(head))]
    lines = [
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |" for row in cells
    ]
    rule = "|" + "|".join("-" * (width + 2) for width in widths) + "|"
    return "\n".join([lines[0], rule, *lines[1:]])
