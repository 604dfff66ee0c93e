"""`engine bench`: the old tool's files, rates of all chips at once, cliffs."""

from __future__ import annotations

import json
import re
import signal
import subprocess
from pathlib import Path

import numpy as np
import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.errors import ConfigError, EngineError, ModelError
from engine.purebench import BatchBench, ChipTimes
from engine.purebench_models import models_by_batch, old_tool_stem, parse_batches
from engine.purebench_report import find_cliffs, host_bound_lines, pure_infer_line, skew_lines, table
from tests.conftest import DataSet, engine_command, run_engine

#: The readers that exist outside: about a hundred scripts take item 0 of this from a pure-inference file.
OLD_READER = re.compile(r"=(.*?),")
PURE_INFER = re.compile(r"ave_throughputRate = [0-9.e+]+samples/s, ave_latency = [0-9.e+-]+ms\n")


def bench_of(batch: int, execute_ms: list[list[float]], wall_s: float = 1.0) -> BatchBench:
    """One list of execute times per chip."""
    chips = {}
    for chip, times in enumerate(execute_ms):
        execute = (np.array(times) * 1e6).astype(np.int64)
        chips[chip] = ChipTimes(execute // 10, execute, execute // 100, 0, int(wall_s * 1e9))
    return BatchBench("m", batch, "Ascend310", False, "", "zeros", chips)


def test_the_published_reader_finds_the_rate() -> None:
    """The guide's batch 4: 6.02002 ms per image."""
    bench = bench_of(4, [[24.08008] * 20])
    line = pure_infer_line(bench, 0)
    assert PURE_INFER.fullmatch(line)
    assert line == "ave_throughputRate = 166.112samples/s, ave_latency = 6.02002ms\n"
    assert OLD_READER.findall(line.replace("\n", ","))[0].strip() == "166.112samples/s"


@given(st.lists(st.floats(0.5, 500), min_size=1, max_size=50), st.integers(1, 64))
def test_rate_and_latency_are_means_over_batches(times: list[float], batch: int) -> None:
    bench = bench_of(batch, [times])
    assert bench.rate_per_s(0) == pytest.approx(sum(1e3 * batch / ms for ms in times) / len(times), rel=1e-4)
    assert bench.latency_ms(0) == pytest.approx(sum(times) / len(times) / batch, rel=1e-4)
    assert bench.rate_per_s(0) * bench.latency_ms(0) >= 1000 * (
        1 - 1e-9
    )  # the mean of rates is not the rate of the mean


def test_all_chips_at_once_are_added_not_multiplied() -> None:
    """Four chips of which one is twice as slow: 3.5 times one chip, not 4."""
    bench = bench_of(10, [[100.0] * 10, [100.0] * 10, [100.0] * 10, [200.0] * 10], wall_s=2.0)
    assert bench.interface_per_s == pytest.approx(350.0)
    assert bench.wall_per_s == pytest.approx(200.0)
    assert bench.rate_per_s(3) == pytest.approx(50.0)


def test_the_guides_batch_32_is_a_cliff_and_its_other_batches_are_none() -> None:
    rates = {1: 144.766, 4: 167.46, 8: 167.521, 16: 165.952, 32: 108.28}
    benches = [bench_of(batch, [[1e3 * batch / rate] * 3]) for batch, rate in rates.items()]
    (cliff,) = find_cliffs(benches)
    assert (cliff.batch, cliff.best_batch, round(cliff.percent)) == (32, 8, 35)
    assert find_cliffs(benches[:4]) == []
    assert find_cliffs(list(reversed(benches))) == [cliff]


def test_a_host_that_holds_the_chips_back_is_said() -> None:
    assert host_bound_lines([bench_of(1, [[1.0] * 100], wall_s=0.1)]) == []
    (line,) = host_bound_lines([bench_of(1, [[1.0] * 100], wall_s=1.0)])
    assert line.startswith("by the host's clock the chips reach less (images/s, batch 1: 100.0): copies or the host")


def test_a_slow_chip_is_named() -> None:
    assert skew_lines([bench_of(1, [[10.0], [10.4]])]) == []
    (line,) = skew_lines([bench_of(1, [[10.0], [10.0], [20.0]])])
    assert line.startswith("SLOW at batch 1: chip 2 50.00 images/s, the fastest 100.00: ")


def test_a_dynamic_model_is_measured_at_each_of_its_sizes(tmp_path: Path) -> None:
    from engine.pyacl_stubs.om import OmVariant, build_om

    model = tmp_path / "dynamic.om"
    build_om("fingerprint", model, 1, variant=OmVariant(gears=(1, 4)))
    words = ["--batch", "4,1", "--rounds", 2, "--devices", 0, "--input", "zeros", "--backend", "sim"]
    finished = run_engine("bench", "--model", model, *words, "--out", tmp_path / "out")
    assert finished.returncode == 0, finished.stderr
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert names == {f"PureInfer_perf_of_dynamic_bs{batch}_in_device_0.txt" for batch in (1, 4)}
    bad = run_engine("bench", "--model", model, "--batch", 3, *words[2:], "--out", tmp_path / "out")
    assert (bad.returncode, bad.stderr.count("\n")) == (4, 1), bad.stderr


def test_a_slow_chip_and_a_hung_one_are_told(tmp_path: Path) -> None:
    words = ["--model", "fingerprint", "--backend", "sim", "--batch", 4, "--input", "zeros", "--out", tmp_path]
    slow = run_engine("bench", *words, "--rounds", 4, "--sim-slow", "2=0.5", "--json", tmp_path / "b.json")
    assert slow.returncode == 0, slow.stderr
    assert "SLOW at batch 4: chip 2 83.73 images/s, the fastest 167.46: busy, hot, or throttled?\n" in slow.stdout
    whole = json.loads((tmp_path / "b.json").read_text())["batches"][0]["interface_per_s"]
    assert whole == pytest.approx(3.5 * 167.46, rel=1e-3)
    faults = ["--sim-faults", "acl.mdl.execute_async:4/1=hang", "--stall-timeout", 2]
    hung = run_engine("bench", *words, *faults)
    assert (hung.returncode, hung.stderr.count("\n")) == (5, 1), hung.stderr
    assert "chip 1 has completed no batch for 2 s" in hung.stderr


def test_ctrl_c_ends_the_benchmark_at_once_and_leaves_no_process(tmp_path: Path) -> None:
    words = ["--model", "fingerprint", "--backend", "sim", "--batch", 32, "--rounds", 100_000, "--input", "zeros"]
    process = subprocess.Popen(engine_command("bench", *words, "--out", tmp_path), stderr=subprocess.PIPE, text=True)
    children: list[psutil.Process] = []
    while not any("spawn_main" in " ".join(child.cmdline()) for child in children):
        assert process.poll() is None
        children = psutil.Process(process.pid).children(recursive=True)
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=60)
    assert (process.returncode, stderr.strip()) == (130, "engine: interrupted")
    assert psutil.wait_procs(children, timeout=30)[1] == []


def test_the_table_fits_a_terminal() -> None:
    lines = table([bench_of(32, [[295.5] * 20] * 4), bench_of(1, [[0.1] * 20] * 4)])
    assert all(len(line) <= 80 for line in lines)
    assert lines[2].split() == ["32", *["295.50"] * 4, "29.55", "2.96", "108.29", "433.16"]


@pytest.mark.parametrize("text", ["", "0", "1,,4", "4,x", "1,4,4", "-1", "2048", "1.5"])
def test_what_is_no_list_of_batches_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match=r"--batch "):
        parse_batches(text)


def test_siblings_are_found_by_name_and_missing_ones_named(tmp_path: Path) -> None:
    from engine.models import Target
    from engine.pyacl_stubs.om import build_om

    for batch in (1, 4):
        build_om("fingerprint", tmp_path / f"x_bs{batch}.om", batch)
    found = models_by_batch(str(tmp_path / "x_bs1.om"), [4, 1], "sim", Target(1, 224, "Ascend310"))
    assert {batch: Path(model.path).name for batch, model in found.items()} == {4: "x_bs4.om", 1: "x_bs1.om"}
    with pytest.raises(ModelError, match=r"no .*/x_bs8\.om, no .*/x_bs16\.om: each batch size needs a file of its own"):
        models_by_batch(str(tmp_path / "x_bs1.om"), [1, 8, 16], "sim", Target(1, 224, "Ascend310"))


def test_the_old_tools_name_tells_batches_apart() -> None:
    assert old_tool_stem("a/resnext101_32x8d_bs4.om", 4) == "resnext101_32x8d_bs4"
    assert old_tool_stem("a/resnext101_32x8d_bs4.om", 16) == "resnext101_32x8d_bs16"
    assert old_tool_stem("lite0", 8) == "lite0_bs8"
    assert old_tool_stem("a/resnext101_32x8d.onnx", 4) == "resnext101_32x8d_bs4"


def test_simulated_chips_reach_the_published_rates(tmp_path: Path, small_data: DataSet) -> None:
    """The guide's own rows: 144.766 images/s at batch 1 and 167.521 at batch 8, per chip; two chips give twice that."""
    out, document = tmp_path / "out", tmp_path / "b.json"
    words = ["--model", "fingerprint", "--backend", "sim", "--batch", "1,8", "--rounds", 5, "--devices", "0,2"]
    finished = run_engine("bench", *words, "--data", small_data.folder, "--out", out, "--json", document)
    assert finished.returncode == 0, finished.stderr
    assert "SIMULATED chips, profile resnext101_32x8d-310" in finished.stdout
    assert f"input real: 32 images of {small_data.folder}" in finished.stdout
    assert sorted(path.name for path in out.iterdir()) == [
        f"PureInfer_perf_of_fingerprint_bs{batch}_in_device_{chip}.txt" for batch in (1, 8) for chip in (0, 2)
    ]
    for batch, rate in ((1, 144.766), (8, 167.521)):
        text = (out / f"PureInfer_perf_of_fingerprint_bs{batch}_in_device_2.txt").read_text()
        assert PURE_INFER.fullmatch(text)
        assert float(OLD_READER.findall(text)[0].replace("samples/s", "")) == pytest.approx(rate, rel=1e-3)
    batches = json.loads(document.read_text())["batches"]
    assert [entry["batch"] for entry in batches] == [1, 8]
    assert batches[1]["interface_per_s"] == pytest.approx(2 * 167.521, rel=1e-3)
    assert batches[1]["h2d_ms"]["p50"] > 0
    assert json.loads(document.read_text())["simulated"] is True


@pytest.mark.parametrize(("kind", "about"), [("random", "random: standard normal"), ("zeros", "zeros")])
def test_onnx_runtime_is_measured_and_the_input_is_said(tmp_path: Path, kind: str, about: str) -> None:
    words = ["--backend", "onnxruntime", "--batch", "2", "--rounds", 2, "--input", kind, "--out", tmp_path]
    finished = run_engine("bench", *words)
    assert finished.returncode == 0, finished.stderr
    assert f"2 rounds after 3, input {about}" in finished.stdout
    assert "SIMULATED" not in finished.stdout
    assert (tmp_path / "PureInfer_perf_of_lite0_bs2_in_device_0.txt").is_file()


@pytest.mark.parametrize(
    ("words", "code", "text"),
    [
        (["--backend", "null"], 4, "the null device computes nothing"),
        (["--model", "none.onnx"], 4, "no none.onnx"),
        (["--model", "fingerprint", "--preset", "inceptionv3", "--batch", "1,x"], 2, "no list of batch sizes"),
        (["--data", "/nowhere"], 3, "no folder /nowhere"),
        (["--devices", "9"], 5, "no device 9"),
    ],
)
def test_misuse_is_one_line(tmp_path: Path, words: list[str], code: int, text: str) -> None:
    finished = run_engine("bench", "--model", "fingerprint", "--backend", "sim", *words, "--out", tmp_path)
    assert (finished.returncode, finished.stderr.count("\n")) == (code, 1), finished.stderr
    assert text in finished.stderr


def test_a_chip_that_fails_ends_the_benchmark_with_its_reason() -> None:
    from engine.backends.base import DeviceJob
    from engine.models import Target, resolve_model
    from engine.purebench import PureBenchJob, pure_bench

    model = resolve_model("fingerprint", "sim", Target(2, 224, "Ascend310"))
    faults = {"n_devices": 1, "faults": "acl.mdl.execute_async:4=507011"}
    options = {"simulated": True, "profile": "resnext101_32x8d-310", "settings": faults}
    job = PureBenchJob("sim", DeviceJob(model.path, (0,), 2, 2, 1, 224, options), rounds=8, input="zeros")
    with pytest.raises(EngineError, match=r"acl\.mdl\.execute_async failed on chip 0: .*507011"):
        pure_bench(job)
