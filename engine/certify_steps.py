"""The steps of `engine certify`. Each gives its result as plain values, for the log and the certificate."""

from __future__ import annotations

import csv
import json
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from engine.accuracy.compare import Comparison, compare, compare_runs
from engine.accuracy.measured import read_measured
from engine.accuracy.references import Reference, custom_reference, find_reference, references
from engine.accuracy.score import ScoreOptions, score_dumps
from engine.certify import Certification, CertifyRequest
from engine.config import RunConfig
from engine.errors import MismatchError, ModelError
from engine.files import atomic_write
from engine.journal import JOURNAL
from engine.models import sha256_of, simulated_soc
from engine.results import predictions_csv
from engine.toolchain.compile import CompileRequest, compile_model
from engine.toolchain.export import ALIASES, GUIDE_MD5, LITE0, ExportRequest, export_model, nets_that_fit

Result = dict[str, Any]
MODEL = "model.onnx"


def export_step(job: Certification) -> Result:
    """Weights to ``model.onnx``, or a given ONNX as it is."""
    request = job.request
    if request.model is not None and request.model != LITE0:
        return _given_onnx(job, Path(request.model))
    net, weights = request.net, request.weights
    if weights is None:
        net = ALIASES[LITE0]
    elif net is None:
        net = _net_of(weights)
    digest = "built in" if weights is None else sha256_of(weights)

    def work(goes_on: bool) -> tuple[list[Path], Result]:
        made = export_model(ExportRequest(net, weights, request.out / MODEL), job.say)
        return [made.path], {
            "net": net,
            "onnx": str(made.path),
            "onnx_sha256": made.sha256,
            "weights": made.weights,
            "weights_md5": made.weights_md5,
            "weights_sha256": made.weights_sha256,
            "is_guides": made.weights_md5 == GUIDE_MD5,
            "opset": made.opset,
            "n_classes": made.n_classes,
            "command": _line("engine", "export", net, *_option("--weights", weights), "-o", made.path),
        }

    return job.step("export", {"net": net, "weights": digest}, work)


def _given_onnx(job: Certification, path: Path) -> Result:
    digest = sha256_of(path)

    def work(goes_on: bool) -> tuple[list[Path], Result]:
        job.say(f"{path}: taken as it is, sha256 {digest}")
        return [], {"net": None, "onnx": str(path), "onnx_sha256": digest, "weights": None, "command": None}

    return job.step("export", {"onnx": digest, "path": str(path)}, work)


def _net_of(weights: Path) -> str:
    """The torch-free net that these weights fit; ModelError where none does, or several."""
    fits = nets_that_fit(weights)
    if len(fits) != 1:
        which = f"they fit {' and '.join(fits)}" if fits else "they fit none of those that are written without torch"
        raise ModelError(f"which net are the weights {weights}? {which}: give --net NAME")
    return fits[0]


def compile_step(job: Certification, exported: Result) -> Result:
    """One .om per batch size. ONNX Runtime runs the ONNX itself."""
    request = job.request
    is_simulated = request.backend == "sim"
    soc = simulated_soc(request.profile) if is_simulated else request.soc
    inputs = {
        "onnx": exported["onnx_sha256"],
        "batches": request.all_batches,
        "backend": request.backend,
        "soc": soc,
        "preset": request.preset,
        "atc": _atc_identity(request.backend),
    }

    def work(goes_on: bool) -> tuple[list[Path], Result]:
        if request.backend not in ("cann", "sim"):
            job.say(f"nothing to compile: {request.backend} runs the ONNX itself")
            return [], {"files": {}, "soc": None, "atc": None, "simulated": False}
        made = compile_model(
            CompileRequest(
                Path(exported["onnx"]), request.all_batches, request.out / "model", soc, is_simulated=is_simulated
            ),
            job.say,
        )
        files = {
            str(one.batches[0]): {"path": str(one.path), "sha256": one.sha256, "command": one.line or "simulated"}
            for one in made
        }
        paths = [one.path for one in made]
        return paths, {"files": files, "soc": soc, "atc": inputs["atc"], "simulated": is_simulated}

    return job.step("compile", inputs, work)


def _atc_identity(backend: str) -> str | None:
    if backend != "cann":
        return None
    from engine.toolchain.atc import find_atc

    return find_atc().identity


def model_for(compiled: Result, exported_onnx: str, batch: int) -> str:
    """The file that the backend loads at this batch size."""
    files = compiled["files"]
    return str(files[str(batch)]["path"]) if files else exported_onnx


def run_step(job: Certification, batch: int, compiled: Result, data: Mapping[str, Any]) -> Result:
    """All images through all chips at once, scores dumped. An interrupted run goes on where it was."""
    request = job.request
    out = request.out / f"run_bs{batch}"
    model = model_for(compiled, job.entry("export").result["onnx"], batch)
    inputs = {
        "model": sha256_of(Path(model)),
        "data": dict(data),
        "preset": request.preset,
        "batch": batch,
        "devices": request.devices,
        "backend": request.backend,
        "profile": request.profile,
        "host": job.host,
    }

    def work(goes_on: bool) -> tuple[list[Path], Result]:
        config = RunConfig(
            request.data,
            request.labels,
            model,
            request.backend,
            request.devices,
            batch,
            preset=request.preset,
            limit=request.limit,
            out=out,
            dump="bin",
            profile=request.profile,
            resume=goes_on and (out / JOURNAL).is_file(),
        )
        document = _executed(job, config)
        names = ("run.json", "predictions.csv", "result.json")
        perf_files = sorted(out.glob(f"perf_vision_batchsize_{batch}_device_*.txt"))
        return [*(out / name for name in names), *perf_files], {
            "folder": str(out),
            "command": _run_command(request, model, batch, out),
            **{key: document[key] for key in ("accuracy", "throughput", "dataset", "simulated", "profile", "model")},
            "devices": [
                {key: device[key] for key in ("device", "name", "n_images", "interface_per_s", "utilisation")}
                for device in document["devices"]
            ],
            "predictions_sha256": document["predictions_sha256"],
        }

    return job.step(f"run at batch {batch}", inputs, work)


def _executed(job: Certification, config: RunConfig) -> Result:
    """run.json of a run that went to its end. Raises what ended it otherwise."""
    from engine.results import failed_lines
    from engine.run import execute
    from engine.summary import summarise

    report, outcome, index = execute(config, job.say)
    if outcome.was_interrupted:
        raise KeyboardInterrupt
    if outcome.error is not None:
        raise outcome.error
    job.say(summarise(report, list(failed_lines(index, outcome.collector.predictions))))
    report.raise_for_result()
    return report.document


def _run_command(request: CertifyRequest, model: str, batch: int, out: Path) -> str:
    return _line(
        *("engine", "run", "--data", request.data, *_option("--labels", request.labels), "--model", model),
        *("--batch", batch, "--preset", request.preset, *_option("--limit", request.limit), *_chips(request)),
        *("--dump", "bin", "--out", out),
    )


def _chips(request: CertifyRequest) -> list[object]:
    """The options that say which chips."""
    profile = request.profile if request.backend == "sim" else None
    devices = ",".join(map(str, request.devices))
    return ["--backend", request.backend, "--devices", devices, *_option("--profile", profile)]


def _option(name: str, value: object) -> list[object]:
    return [] if value is None else [name, value]


def _line(*words: object) -> str:
    """The command as a line for a shell."""
    return shlex.join(map(str, words))


def score_step(job: Certification, batch: int, run: Result) -> Result:
    """The accuracy once more, from the dumped scores alone, as the guide's script does it; it must be the same."""
    out = Path(run["folder"])
    inputs = {"predictions": run["predictions_sha256"], "run": job.entry(f"run at batch {batch}").outputs}

    def work(goes_on: bool) -> tuple[list[Path], Result]:
        labels = scored_labels(out / "predictions.csv")
        score = score_dumps(out, labels, ScoreOptions(label_offset=run["model"]["label_offset"], ties="lower"))
        n_images = run["dataset"]["n_images"]
        expected = [round(run["accuracy"][f"top{k}"] * n_images) for k in range(1, len(score.in_top) + 1)]
        if list(score.in_top) != expected:
            raise MismatchError(
                f"the dumped scores in {out} give {list(score.in_top)} images in Top-1..Top-5, "
                f"the run counted {expected}"
            )
        path = out / "scored.json"
        atomic_write(path, json.dumps(score.document).encode())
        csv_path = out / "scored.csv"
        atomic_write(csv_path, predictions_csv(score.index, score.predictions).encode("utf-8", "surrogateescape"))
        job.say(f"{score.n_images} dumped scores of {n_images} images give the same Top-1..Top-5 as the run counted")
        return [path, csv_path], {
            "n_images": score.n_images,
            "in_top": list(score.in_top),
            "n_tied": score.n_tied,
            "command": _line("engine", "score", out, job.request.labels or "LABELS", "--ties", "lower", "-o", path),
        }

    return job.step(f"score at batch {batch}", inputs, work)


def scored_labels(predictions: Path) -> dict[str, int]:
    """{image: class} of the images that were scored: a failed one has no dump, and counts as wrong in the run."""
    with predictions.open(encoding="utf-8", errors="surrogateescape", newline="") as file:
        return {
            row["sample"]: int(row["label"]) for row in csv.DictReader(file) if not row["status"].startswith("FAILED")
        }


def compare_step(job: Certification, exported: Result, runs: Mapping[int, Result]) -> Result:
    """Each run's accuracy against the reference. Without one nothing is judged, and the certificate says so."""
    request = job.request
    other = Path(request.reference) if request.reference and Path(request.reference).exists() else None
    inputs = {
        "runs": {str(batch): run["predictions_sha256"] for batch, run in runs.items()},
        "net": exported["net"],
        "reference": request.reference,
        "published": [request.top1, request.top5],
        "gate": [request.gate.points, request.gate.relative_percent],
        "other": sha256_of(other / "predictions.csv" if other.is_dir() else other) if other else None,
    }

    def work(goes_on: bool) -> tuple[list[Path], Result]:
        reference = None if other else _reference(request, exported["net"])
        if other is None and reference is None:
            job.say("no reference: the accuracy is reported, not judged (--reference, --top1)")
            return [], {"verdict": "NOT JUDGED", "reference": None, "source": None, "by_batch": {}}
        comparisons = {batch: _compared(run, reference, other, request) for batch, run in runs.items()}
        for batch, comparison in comparisons.items():
            for top in comparison.tops:
                job.say(f"batch {batch}, Top-{top.k}: gate {top.verdict}: {top.reason}")
        verdicts = {comparison.verdict for comparison in comparisons.values()}
        first = next(iter(comparisons.values()))
        return [], {
            "verdict": next(v for v in ("NOT MET", "UNDECIDED", "met") if v in verdicts),
            "reference": first.reference,
            "source": first.source,
            "is_paired": first.is_paired,
            "by_batch": {str(batch): comparison.document["tops"] for batch, comparison in comparisons.items()},
            "n_flips": {str(batch): len(comparison.flips) for batch, comparison in comparisons.items()},
        }

    return job.step("compare", inputs, work)


def _reference(request: CertifyRequest, net: str | None) -> Reference | None:
    """The published accuracy that was asked for, else the net's own if it is in the table."""
    if request.top1 is not None or request.top5 is not None:
        return custom_reference(request.top1, request.top5)
    if request.reference is not None:
        return find_reference(request.reference)
    return find_reference(net) if net in {name for name, _ in references()} and net is not None else None


def _compared(run: Result, reference: Reference | None, other: Path | None, request: CertifyRequest) -> Comparison:
    measured = read_measured(Path(run["folder"]))
    if other is not None:
        return compare_runs(measured, read_measured(other), request.gate)
    assert reference is not None
    return compare(measured, reference, request.gate)


def bench_step(job: Certification, compiled: Result, data: Mapping[str, Any]) -> Result:
    """Pure inference at each batch size, all chips at once, with tensors of the first images."""
    from engine.purebench import pure_bench
    from engine.purebench_models import BenchRequest, old_tool_stem, plan_jobs
    from engine.purebench_report import document, table, write_pure_infer

    request = job.request
    model = model_for(compiled, job.entry("export").result["onnx"], request.batches[0])
    inputs = {
        "models": compiled["files"] or job.entry("export").result["onnx_sha256"],
        "batches": request.batches,
        "rounds": request.rounds,
        "devices": request.devices,
        "backend": request.backend,
        "profile": request.profile,
        "data": data["content"],
        "host": job.host,
    }

    def work(goes_on: bool) -> tuple[list[Path], Result]:
        asked = BenchRequest(
            model,
            request.batches,
            request.backend,
            request.devices,
            request.rounds,
            data=request.data,
            preset=request.preset,
            profile=request.profile,
        )
        folder = request.out / "bench"
        folder.mkdir(exist_ok=True)
        benches, files = [], []
        for one in plan_jobs(asked):
            benches.append(pure_bench(one))
            of_batch = model_for(compiled, model, one.devices.batch)
            files += write_pure_infer(benches[-1], old_tool_stem(of_batch, one.devices.batch), folder)
            job.say(f"batch {one.devices.batch}: {benches[-1].interface_per_s:.1f} images/s of all chips at once")
        job.say("\n".join(table(benches)))
        found = document(benches, asked.rounds, asked.warm_up)
        sizes = ",".join(map(str, request.batches))
        found["command"] = _line(
            *("engine", "bench", "--model", model, "--batch", sizes, "--rounds", request.rounds),
            *("--data", request.data, "--preset", request.preset, *_chips(request)),
        )
        return files, found

    return job.step("bench", inputs, work)
