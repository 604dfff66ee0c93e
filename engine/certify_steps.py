"""The steps of `engine certify` that make: export, compile, run. Results are plain values for log and certificate."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from engine.certify import Certification, CertifyRequest
from engine.config import RunConfig
from engine.errors import ModelError
from engine.journal import JOURNAL
from engine.models import sha256_of, simulated_soc
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
            "command": line("engine", "export", net, *_option("--weights", weights), "-o", made.path),
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
            "is_unstable": document["steady"] is None or document["steady"]["is_unstable"],
            "limit": document["verdict"]["text"],
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
    return line(
        *("engine", "run", "--data", request.data, *_option("--labels", request.labels), "--model", model),
        *("--batch", batch, "--preset", request.preset, *_option("--limit", request.limit), *chips(request)),
        *("--dump", "bin", "--out", out),
    )


def chips(request: CertifyRequest) -> list[object]:
    """The options that say which chips."""
    profile = request.profile if request.backend == "sim" else None
    devices = ",".join(map(str, request.devices))
    return ["--backend", request.backend, "--devices", devices, *_option("--profile", profile)]


def _option(name: str, value: object) -> list[object]:
    return [] if value is None else [name, value]


def line(*words: object) -> str:
    """The command as a line for a shell."""
    return shlex.join(map(str, words))
