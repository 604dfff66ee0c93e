"""The steps of `engine certify` that judge: score, compare, pure inference."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from engine.accuracy.compare import Comparison, compare, compare_runs
from engine.accuracy.measured import read_measured
from engine.accuracy.references import Reference, custom_reference, find_reference, references
from engine.accuracy.score import ScoreOptions, score_dumps
from engine.certify import Certification, CertifyRequest
from engine.certify_data import hash_files
from engine.certify_steps import Result, chips, line, model_for
from engine.errors import MismatchError
from engine.files import atomic_write
from engine.leftovers import DUMPS
from engine.models import sha256_of
from engine.predictions_csv import read_rows, write_predictions


def score_step(job: Certification, batch: int, run: Result) -> Result:
    """The accuracy once more, from the dumped scores alone, as the guide's script does it; it must be the same."""
    out = Path(run["folder"])
    inputs = {
        "predictions": run["predictions_sha256"],
        "run": job.entry(f"run at batch {batch}").outputs,
        "dumps": hash_files(sorted(out.glob(f"{DUMPS}/*"))).content,
    }

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
        write_predictions(csv_path, score.index, score.predictions)
        job.say(f"{score.n_images} dumped scores of {n_images} images give the same Top-1..Top-5 as the run counted")
        return [path, csv_path], {
            "n_images": score.n_images,
            "dumps_sha256": inputs["dumps"],
            "in_top": list(score.in_top),
            "n_tied": score.n_tied,
            "command": line("engine", "score", out, job.request.labels or "LABELS", "--ties", "lower", "-o", path),
        }

    return job.step(f"score at batch {batch}", inputs, work)


def scored_labels(predictions: Path) -> dict[str, int]:
    """{image: class} of the images that were scored: a failed one has no dump, and counts as wrong in the run."""
    rows = read_rows(predictions)
    return {row["sample"]: int(row["label"]) for row in rows if not row["status"].startswith("FAILED")}


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
        found["command"] = line(
            *("engine", "bench", "--model", model, "--batch", sizes, "--rounds", request.rounds),
            *("--data", request.data, "--preset", request.preset, *chips(request)),
        )
        return files, found

    return job.step("bench", inputs, work)
