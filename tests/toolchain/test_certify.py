"""`engine certify` from nothing to a certificate on simulated chips, disturbed on the way; real processes and files."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from engine.certify import raise_for_verdict
from engine.certify_log import STEPS, Entry, StepLog
from engine.errors import DataError, InconclusiveError
from engine.presets import find_preset
from engine.toolchain.resnet import VARIANTS
from kernels.warm import warm
from tests.conftest import DataSet, engine_command, run_engine
from tests.toolchain.pth import write_pth
from tests.toolchain.test_resnet import random_state

STEP_NAMES = (
    *("export", "compile", "run at batch 1", "run at batch 8", "score at batch 1", "score at batch 8"),
    *("compare", "bench"),
)


@pytest.fixture(scope="module", autouse=True)
def kernels() -> None:
    """Compiled before a command has to be done within its time."""
    warm(find_preset("resnet"))


@pytest.fixture(scope="module")
def net(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A classifier that costs nothing: the means of the three channels, times a matrix."""
    nodes = [
        helper.make_node("GlobalAveragePool", ["image"], ["pooled"]),
        helper.make_node("Flatten", ["pooled"], ["means"]),
        helper.make_node("Gemm", ["means", "weight", "bias"], ["class"]),
    ]
    rng = np.random.default_rng(4)
    constants = [
        numpy_helper.from_array(rng.normal(size=shape).astype(np.float32), name)
        for name, shape in (("weight", (3, 1000)), ("bias", (1000,)))
    ]
    ports = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
        for name, shape in (("image", ("N", 3, 224, 224)), ("class", ("N", 1000)))
    ]
    graph = helper.make_graph(nodes, "net", ports[:1], ports[1:], constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 11)])
    model.ir_version = 6
    path = tmp_path_factory.mktemp("net") / "net.onnx"
    onnx.save(model, str(path))
    return path


def certify_command(net: Path, data: DataSet, out: Path, *more: object) -> list[object]:
    return [
        *("certify", "--model", net, "--data", data.folder, "--labels", data.labels, "--backend", "sim"),
        *("--devices", "0-1", "--run-batch", "1,8", "--batch", "1,8", "--rounds", "2", "--out", out, *more),
    ]


@pytest.fixture(scope="module")
def certified(net: Path, small_data: DataSet, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a finished certification."""
    out = tmp_path_factory.mktemp("certified") / "out"
    done = run_engine(*certify_command(net, small_data, out))
    assert done.returncode == 0, done.stderr
    return out


def document(out: Path) -> dict[str, Any]:
    made: dict[str, Any] = json.loads((out / "certificate.json").read_text())
    return made


def test_the_certificate_holds_every_step_with_its_hashes(certified: Path, net: Path) -> None:
    made = document(certified)
    assert [step["name"] for step in made["steps"]] == list(STEP_NAMES)
    n_outputs = 0
    for step in made["steps"]:
        for path, digest in step["outputs"].items():
            assert hashlib.sha256((certified / path).read_bytes()).hexdigest() == digest
            n_outputs += 1
    assert n_outputs == 2 + 2 * (3 + 2) + 2 * 2 + 4
    assert made["export"]["onnx_sha256"] == hashlib.sha256(net.read_bytes()).hexdigest()
    assert set(made["compile"]["files"]) == {"1", "8"}
    assert made["bench"]["simulated"] is True


def test_its_figures_are_those_of_the_files_beside_it(certified: Path) -> None:
    made = document(certified)
    for batch in ("1", "8"):
        run = json.loads((certified / f"run_bs{batch}" / "run.json").read_text())
        told = made["runs"][batch]
        assert told["accuracy"] == run["accuracy"]
        assert told["throughput"] == run["throughput"]
        assert told["predictions_sha256"] == run["predictions_sha256"]
        assert told["limit"] == run["verdict"]["text"]
        assert [chip["interface_per_s"] for chip in told["devices"]] == [d["interface_per_s"] for d in run["devices"]]
        assert made["scores"][batch]["n_images"] == 37
    for one in made["bench"]["batches"]:
        for chip in one["chips"]:
            name = f"PureInfer_perf_of_model_bs{one['batch']}_in_device_{chip['device']}.txt"
            text = (certified / "bench" / name).read_text()
            assert text.startswith(f"ave_throughputRate = {chip['rate_per_s']:.6g}samples/s")
        # All chips at once: the sum of what each did, not one of them times their number.
        assert one["interface_per_s"] == pytest.approx(sum(chip["rate_per_s"] for chip in one["chips"]), rel=0.05)


def test_the_page_reads_well_on_paper(certified: Path) -> None:
    page = (certified / "certificate.md").read_text()
    assert "**SIMULATED chips.** Their rates are the published figures of profile `resnext101_32x8d-310`" in page
    assert "**ACCURACY NOT JUDGED: no reference was given**" in page
    assert "The predictions at these batch sizes are identical, image by image." in page
    made = document(certified)
    for digest in (made["export"]["onnx_sha256"], made["data"]["content"], made["runs"]["8"]["predictions_sha256"]):
        assert digest in page
    for batch in ("1", "8"):  # 37 images are too few for a rate
        assert re.search(
            rf"^- batch {batch}: UNSTABLE .*; {re.escape(made['runs'][batch]['limit'])}$", page, re.MULTILINE
        )
    for k in range(1, 6):
        assert f"{100 * made['runs']['1']['accuracy'][f'top{k}']:.3f}" in page
    tables = [line for line in page.splitlines() if line.startswith("|") and "/" not in line]
    assert max(map(len, tables)) <= 110
    for number, line in enumerate(lines := page.splitlines()):
        if number and line.startswith("|") and lines[number - 1].startswith("|"):
            assert len(line) == len(lines[number - 1])


def test_the_same_command_again_does_nothing_again(certified: Path, net: Path, small_data: DataSet) -> None:
    before = document(certified)
    done = run_engine(*certify_command(net, small_data, certified))
    assert done.returncode == 0, done.stderr
    assert done.stdout.count(": done before, from the same inputs") == len(STEP_NAMES)
    after = document(certified)
    assert {**after, "written_utc": ""} | {"environment": {}} == {**before, "written_utc": ""} | {"environment": {}}


def done_before(stdout: str) -> list[str]:
    marked = [line for line in stdout.splitlines() if line.endswith(": done before, from the same inputs")]
    return [line.partition("] ")[2].partition(":")[0] for line in marked]


def test_what_changed_is_done_again_and_nothing_else(certified: Path, net: Path, small_data: DataSet) -> None:
    """A damaged output makes its step run again; the accuracy gate only the comparison."""
    csv = certified / "run_bs8" / "scored.csv"
    whole = csv.read_bytes()
    csv.write_bytes(b"damaged")
    done = run_engine(*certify_command(net, small_data, certified, "--top1", "50"))
    assert done_before(done.stdout) == [n for n in STEP_NAMES if n not in ("score at batch 8", "compare")]
    assert csv.read_bytes() == whole
    assert done.returncode == 11
    assert "accuracy not met: batch 1, Top-1: " in done.stderr
    assert document(certified)["compare"]["verdict"] == "NOT MET"
    assert "**ACCURACY NOT MET**" in (certified / "certificate.md").read_text()


def test_dumps_that_say_something_else_than_the_run_are_an_error(
    certified: Path, net: Path, small_data: DataSet
) -> None:
    """The second count is a check that can fail: the scores of one image now name its class first."""
    (dump,) = (certified / "run_bs8").glob("dumpOutput_device*/img_5_1.bin")
    whole = dump.read_bytes()
    scores = np.zeros(1000, np.float32)
    scores[7 * 4 % 1000] = 1.0
    dump.write_bytes(scores.tobytes())
    try:
        done = run_engine(*certify_command(net, small_data, certified))
    finally:
        dump.write_bytes(whole)
    assert done.returncode == 9
    assert re.search(r"give \[\d+, .*\] images in Top-1..Top-5, the run counted \[\d+, .*\]$", done.stderr.strip())
    assert done_before(done.stdout) == [*STEP_NAMES[:5]]


@pytest.mark.parametrize(("asked", "raises"), [({"reference": "resnet18"}, True), ({}, False)])
def test_too_few_images_are_an_error_where_a_reference_was_asked_for(asked: dict[str, str], raises: bool) -> None:
    tops = [{"k": 1, "verdict": "UNDECIDED", "reason": "4 images give +-30 points"}]
    request = {"reference": None, "top1": None, "top5": None, **asked}
    made = {"compare": {"verdict": "UNDECIDED", "by_batch": {"8": tops}}, "request": request}
    context = pytest.raises(InconclusiveError, match=r"^accuracy undecided: batch 8, Top-1: 4 images give")
    with context if raises else contextlib.nullcontext():
        raise_for_verdict(made)


def wait_for_line(lines: Iterator[str], text: str) -> None:
    for line in lines:
        if text in line:
            return
    raise AssertionError(f"it never said {text!r}")


@pytest.mark.parametrize("moment", ["] run at batch 8", "] bench"])
def test_killed_on_the_way_it_goes_on(
    certified: Path, net: Path, small_data: DataSet, tmp_path: Path, moment: str
) -> None:
    """SIGKILL of the whole group: the same command goes on with that step and certifies the same predictions."""
    command = certify_command(net, small_data, tmp_path / "out")
    with subprocess.Popen(
        engine_command(*command),
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        start_new_session=True,
    ) as process:
        assert process.stdout is not None
        wait_for_line(process.stdout, moment)
        os.killpg(process.pid, signal.SIGKILL)
    assert not (tmp_path / "out" / "certificate.md").exists()
    done = run_engine(*command)
    assert done.returncode == 0, done.stderr
    step = moment.removeprefix("] ")
    assert done_before(done.stdout) == list(STEP_NAMES[: STEP_NAMES.index(step)])
    assert f"{moment}: going on" in done.stdout
    ours, undisturbed = document(tmp_path / "out"), document(certified)
    for batch in ("1", "8"):
        assert ours["runs"][batch]["predictions_sha256"] == undisturbed["runs"][batch]["predictions_sha256"]


def test_weights_are_known_by_their_shapes(small_data: DataSet, tmp_path: Path) -> None:
    weights = write_pth(tmp_path / "net.pth", random_state(VARIANTS["resnet18"], 1000))
    done = run_engine(
        *("certify", "--weights", weights, "--data", small_data.folder, "--labels", small_data.labels, "--limit", "4"),
        *("--backend", "onnxruntime", "--run-batch", "2", "--batch", "2", "--rounds", "1", "--out", tmp_path / "out"),
    )
    assert done.returncode == 11, done.stderr  # random weights against the published accuracy
    made = document(tmp_path / "out")
    assert made["export"]["net"] == "resnet18"
    assert made["export"]["weights_sha256"] == hashlib.sha256(weights.read_bytes()).hexdigest()
    assert made["compare"]["reference"].startswith("resnet18 ")
    assert made["compile"]["files"] == {}
    page = (tmp_path / "out" / "certificate.md").read_text()
    assert "SIMULATED" not in page
    assert page.startswith("# Certificate: resnet18 on ")


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        ([], 2, "certify what? give --weights FILE.pth, or --model lite0 or PATH.onnx"),
        (["--model", "lite0", "--weights", "x.pth"], 2, "certify what?"),
        (["--model", "net.om"], 4, "--model net.om: needed lite0 or PATH.onnx; a .pth goes with --weights"),
        (["--model", "lite0", "--net", "resnet18"], 2, "--net says which net --weights belongs to"),
        (["--model", "lite0", "--backend", "null"], 2, "the null device computes nothing"),
        (["--weights", "no.pth"], 4, "cannot read the weights no.pth: No such file"),
    ],
)
def test_a_command_that_cannot_work_is_refused(
    small_data: DataSet, tmp_path: Path, options: list[str], code: int, message: str
) -> None:
    done = run_engine(
        "certify", "--data", small_data.folder, "--labels", small_data.labels, *options, "--out", tmp_path
    )
    assert done.returncode == code
    (line,) = done.stderr.splitlines()
    assert message in line


def test_a_step_is_done_only_with_the_same_inputs_and_outputs(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("one")
    log = StepLog(tmp_path)
    log.begin("a", {"n": 1, "sizes": (1, 2)})
    assert StepLog(tmp_path).was_begun("a", {"n": 1, "sizes": (1, 2)})
    assert StepLog(tmp_path).finished("a", {"n": 1, "sizes": (1, 2)}) is None
    log.finish("a", Entry({"n": 1, "sizes": (1, 2)}, {"file": ""}, {"x": 3}, 0.5))
    found = StepLog(tmp_path).finished("a", {"n": 1, "sizes": [1, 2]})
    assert found is not None
    assert (found.result, found.seconds) == ({"x": 3}, 0.5)
    assert StepLog(tmp_path).finished("a", {"n": 2, "sizes": [1, 2]}) is None
    assert not StepLog(tmp_path).was_begun("a", {"n": 1, "sizes": [1, 2]})
    (tmp_path / "file").write_text("two")
    assert StepLog(tmp_path).finished("a", {"n": 1, "sizes": [1, 2]}) is None


@pytest.mark.parametrize("content", ["{", "[]", '{"version": 1, "steps": {"a": {"x": 1}}}'])
def test_a_log_of_something_else_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / STEPS).write_text(content)
    with pytest.raises(DataError, match=r"steps\.json is no log of engine certify: remove it to begin anew"):
        StepLog(tmp_path)
