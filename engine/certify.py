"""`engine certify`: the whole guide in one go, step by step, each remembered with hashes of its inputs and outputs."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from engine import __version__, host
from engine.accuracy.compare import Gate
from engine.certify_data import hash_data
from engine.certify_log import Entry, StepLog
from engine.claim import claimed, make_out_folder
from engine.errors import ConfigError, GateError, InconclusiveError, ModelError
from engine.index import DataIndex, read_index
from engine.journal import code_sha256
from engine.models import sha256_of

Say = Callable[[str], None]
#: A step's work: (it goes on with what an interrupted one left) -> outputs by path below the folder, and the result.
Work = Callable[[bool], tuple[list[Path], dict[str, Any]]]


@dataclass(frozen=True)
class CertifyRequest:
    """What to certify.

    weights, net : a .pth and which net it is (None: by its shapes)        model : or lite0, or an .onnx
    run_batches  : batch sizes of the runs over all images                 batches : of pure inference
    reference    : published accuracy by name, or another run's folder; None: by the net's name if it is in the table
    """

    data: Path
    labels: Path | None
    out: Path
    backend: str
    devices: tuple[int, ...]
    weights: Path | None = None
    net: str | None = None
    model: str | None = None
    run_batches: tuple[int, ...] = (1, 16)
    batches: tuple[int, ...] = (1, 4, 8, 16, 32)
    preset: str = "resnet"
    soc: str = "Ascend310"
    profile: str = ""
    rounds: int = 20
    limit: int | None = None
    reference: str | None = None
    top1: float | None = None
    top5: float | None = None
    gate: Gate = field(default_factory=Gate)

    @property
    def all_batches(self) -> tuple[int, ...]:
        """Batch sizes that need an .om."""
        return tuple(sorted({*self.run_batches, *self.batches}))


class Certification:
    """The steps so far. Each `step` either finds its result in the log or does its work."""

    def __init__(self, request: CertifyRequest, index: DataIndex, say: Say) -> None:
        self.request, self.index, self._say = request, index, say
        self._log = StepLog(request.out)
        self._n_steps = 4 + 2 * len(request.run_batches)
        self._number = 0
        self.names: list[str] = []
        self.code = code_sha256()
        self.host = host.cpu_model()

    def step(self, name: str, inputs: dict[str, Any], work: Work) -> dict[str, Any]:
        """The step's result, from the log where inputs and outputs are unchanged."""
        inputs = {**inputs, "code": self.code}
        self._number += 1
        self.names.append(name)
        head = f"[{self._number}/{self._n_steps}] {name}"
        known = self._log.finished(name, inputs)
        if known is not None:
            self._say(f"{head}: done before, from the same inputs")
            return known.result
        goes_on = self._log.was_begun(name, inputs)
        self._log.begin(name, inputs)
        self._say(f"{head}{': going on' if goes_on else ''}")
        began_ns = time.perf_counter_ns()
        outputs, result = work(goes_on)
        seconds = (time.perf_counter_ns() - began_ns) / 1e9
        files = {str(path.relative_to(self.request.out)): "" for path in outputs}
        self._log.finish(name, Entry(inputs, files, result, seconds))
        return self._log.entry(name).result

    def entry(self, name: str) -> Entry:
        """A finished step."""
        return self._log.entry(name)

    def say(self, text: str) -> None:
        """Lines of a step."""
        self._say("\n".join(f"    {line}" for line in text.splitlines()))


def certify(request: CertifyRequest, say: Say) -> dict[str, Any]:
    """Do all steps and write ``certificate.md`` and ``certificate.json``; returns the latter's document.

    Raises what a step raises. An accuracy that is not met does not: the certificate says so.
    """
    from engine.certify_judging import bench_step, compare_step, score_step
    from engine.certify_report import write_certificate
    from engine.certify_steps import compile_step, export_step, run_step

    _check(request)
    index = read_index(request.data, request.labels)
    for note in index.notes:
        say(note)
    index = index.first(request.limit) if request.limit is not None else index
    make_out_folder(request.out)
    with claimed(request.out, say):
        job = Certification(request, index, say)
        say(f"hashing {len(index)} {index.store.plural} ...")
        data = asdict(hash_data(request.data, index))
        data["labels"] = sha256_of(request.labels) if request.labels is not None else None
        exported = export_step(job)
        compiled = compile_step(job, exported)
        runs = {batch: run_step(job, batch, compiled, data) for batch in request.run_batches}
        scores = {batch: score_step(job, batch, runs[batch]) for batch in request.run_batches}
        compared = compare_step(job, exported, runs)
        benched = bench_step(job, compiled, data)
        document = {
            "certificate_version": 1,
            "engine_version": __version__,
            "code_sha256": job.code,
            "written_utc": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            "request": _plain_request(request),
            "environment": host.environment(),
            "data": data,
            "export": exported,
            "compile": compiled,
            "runs": {str(batch): run for batch, run in runs.items()},
            "scores": {str(batch): score for batch, score in scores.items()},
            "compare": compared,
            "bench": benched,
            "steps": [_step_document(job, name) for name in job.names],
        }
        write_certificate(document, request.out)
    return document


def raise_for_verdict(document: dict[str, Any]) -> None:
    """GateError where the accuracy is not met; InconclusiveError where that is undecided and a reference was asked for.

    Too few images for the published accuracy that goes with a net's name are no fault of the command: it is said.
    """
    compared, request = document["compare"], document["request"]
    was_asked = any(request[name] is not None for name in ("reference", "top1", "top5"))
    errors = [("NOT MET", GateError), *([("UNDECIDED", InconclusiveError)] if was_asked else [])]
    for verdict, error in errors:
        reasons = [
            f"batch {batch}, Top-{top['k']}: {top['reason']}"
            for batch, tops in compared["by_batch"].items()
            for top in tops
            if top["verdict"] == verdict
        ]
        if reasons:
            raise error(
                f"accuracy {verdict.lower()}: {reasons[0]}" + (f" (and {len(reasons) - 1} more)" * (len(reasons) > 1))
            )


def _check(request: CertifyRequest) -> None:
    if (request.weights is None) == (request.model is None):
        raise ConfigError("certify what? give --weights FILE.pth, or --model lite0 or PATH.onnx")
    if request.net is not None and request.weights is None:
        raise ConfigError("--net says which net --weights belongs to: it needs --weights")
    if request.model is not None and request.model != "lite0" and not request.model.endswith(".onnx"):
        raise ModelError(f"--model {request.model}: needed lite0 or PATH.onnx; a .pth goes with --weights")
    if request.backend == "null":
        raise ConfigError("the null device computes nothing: there is nothing to certify")


def _plain_request(request: CertifyRequest) -> dict[str, Any]:
    return {name: str(value) if isinstance(value, Path) else value for name, value in asdict(request).items()}


def _step_document(job: Certification, name: str) -> dict[str, Any]:
    entry = job.entry(name)
    return {"name": name, "seconds": entry.seconds, "inputs": entry.inputs, "outputs": entry.outputs}
