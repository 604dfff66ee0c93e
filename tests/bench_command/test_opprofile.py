"""`engine profile`: times per operator that add up, files as msprof names them, msprof itself where it is."""

from __future__ import annotations

import csv
import os
import stat
from pathlib import Path

import numpy as np
import pytest

from engine.errors import ConfigError, DeviceError, ModelError
from engine.opprofile import OpProfile, OpRecord, growth, statistic_csv, statistics, summary_csv, table
from engine.opprofile_msprof import bench_command, find_msprof, read_statistic, run_msprof
from engine.opprofile_onnx import profile_onnx, records_of
from engine.pyacl_stubs.om import VENDOR_MAGIC, build_om
from tests.accuracy.test_parity import thumbnail_model
from tests.conftest import run_engine

RECORDS = [
    OpRecord(1, "conv_1", "Conv", "CPU", 0.0, 60.0),
    OpRecord(1, "conv_2", "Conv", "CPU", 65.0, 20.0),
    OpRecord(1, "fc", "Gemm", "CPU", 85.0, 10.0),
    OpRecord(2, "conv_1", "Conv", "CPU", 100.0, 70.0),
    OpRecord(2, "conv_2", "Conv", "CPU", 170.0, 30.0),
    OpRecord(2, "fc", "Gemm", "CPU", 210.0, 10.0),
]


def test_sums_by_type_and_by_operator() -> None:
    conv, gemm = statistics(RECORDS)
    assert (conv.name, conv.count, conv.total_us, conv.min_us, conv.max_us, conv.mean_us) == (
        "Conv", 4, 180.0, 20.0, 70.0, 45.0,
    )  # fmt: skip
    assert (gemm.name, gemm.ratio) == ("Gemm", 10.0)
    assert [row.name for row in statistics(RECORDS, by_operator=True)] == ["Conv conv_1", "Conv conv_2", "Gemm fc"]


def test_the_csv_files_have_the_columns_of_msprof() -> None:
    text = statistic_csv("m", statistics(RECORDS))
    header = "Model Name,OP Type,Core Type,Count,Total Time(us),Min Time(us),Avg Time(us),Max Time(us),Ratio(%)"
    assert text.splitlines()[:2] == [header, "m,Conv,CPU,4,180.000,20.000,45.000,70.000,90.000"]
    rows = list(csv.DictReader(summary_csv("m", RECORDS).splitlines()))
    assert [row["Op Name"] for row in rows] == ["conv_1", "conv_2", "fc"] * 2
    assert [float(row["Task Wait Time(us)"]) for row in rows] == [0, 5, 0, 0, 0, 10]
    assert [row["Infer ID"] for row in rows] == ["1"] * 3 + ["2"] * 3


def test_the_table_fits_a_terminal() -> None:
    long = [OpRecord(1, "x" * 200, "Conv", "CPU", 0.0, 1e6)]
    for rows, n in ((statistics(long, by_operator=True), 1), (statistics(RECORDS), 2)):
        assert max(map(len, table(rows, n, 10))) <= 80
    assert table(statistics(RECORDS), 2, 10)[1].split() == ["Conv", "2", "0.090", "45.0", "90.0"]


def test_growth_finds_what_makes_a_larger_batch_slower_per_image() -> None:
    small = OpProfile("m", 1, "", statistics(RECORDS), [])
    big_records = [OpRecord(1, "c", "Conv", "CPU", 0.0, 1440.0), OpRecord(1, "f", "Gemm", "CPU", 0.0, 40.0)]
    large = OpProfile("m", 8, "", statistics(big_records), [])
    (conv, ms, factor), (gemm, _, gemm_factor) = growth(small, large, 2, 1)
    assert (conv, ms, factor) == ("Conv", pytest.approx(0.18), pytest.approx(2.0))
    assert (gemm, gemm_factor) == ("Gemm", pytest.approx(0.5))


def test_onnx_runtime_tells_each_operator_of_each_measured_inference(tmp_path: Path) -> None:
    model = thumbnail_model(tmp_path / "m.onnx")
    records = profile_onnx(model, np.zeros((2, 3, 224, 224), np.float32), rounds=3, warm_up=2, n_threads=1)
    for infer_id in (1, 2, 3):
        types = [record.op_type for record in records if record.infer_id == infer_id]
        assert types[0] == "AveragePool"
        assert types.count("Gemm") == 1
    assert {record.infer_id for record in records} == {1, 2, 3}
    pool = records[0]
    assert (pool.input_shapes, pool.input_types) == ("2,3,224,224", "FLOAT")
    assert pool.output_shapes == "2,3,8,8"
    assert all(record.duration_us >= 0 for record in records)


def test_a_profile_without_operators_is_refused() -> None:
    with pytest.raises(ModelError, match=r"holds no operators"):
        records_of([{"cat": "Session", "name": "model_run", "ts": 1, "dur": 2}], 0)


def test_the_command_profiles_a_simulated_om_as_its_onnx_and_says_so(tmp_path: Path) -> None:
    model = thumbnail_model(tmp_path / "m.onnx")
    build_om(model, tmp_path / "m_bs2.om", 2)
    words = ["--batch", 2, "--rounds", 2, "--against", 1, "--out", tmp_path / "p"]
    finished = run_engine("profile", "--model", tmp_path / "m_bs2.om", *words)
    assert finished.returncode == 0, finished.stderr
    assert "m_bs2.om is a simulated .om: the ONNX inside it is run on this CPU" in finished.stdout
    assert "time per image at batch 2 against batch 1, costliest growth first" in finished.stdout
    rows = list(csv.DictReader((tmp_path / "p" / "op_statistic_0_1.csv").read_text().splitlines()))
    assert {"AveragePool", "Gemm"} <= {row["OP Type"] for row in rows}
    assert sum(float(row["Ratio(%)"]) for row in rows) == pytest.approx(100, abs=0.01)
    summary = list(csv.DictReader((tmp_path / "p" / "op_summary_0_1.csv").read_text().splitlines()))
    total = sum(float(row["Total Time(us)"]) for row in rows)
    assert sum(float(row["Task Duration(us)"]) for row in summary) == pytest.approx(total)


#: Does what msprof does: runs nothing, but keeps its arguments and leaves the files of a release.
FAKE_MSPROF = """#!/bin/sh
for word in "$@"; do case "$word" in --output=*) out="${word#--output=}";; esac; done
echo "$@" >> "$out/calls"
[ -n "$FAIL" ] && { echo "[ERROR] Invalid device"; exit 3; }
case "$1" in --export=on) ;; *) [ -n "$LATE" ] && exit 0;; esac
mkdir -p "$out/PROF_1/mindstudio_profiler_output"
printf 'Device_id,OP Type,Core Type,Count,Total Time(us),Min Time(us),Avg Time(us),Max Time(us),Ratio(%%)\\n' \
  > "$out/PROF_1/mindstudio_profiler_output/op_statistic_20260101.csv"
printf '0,TransData,AI_CORE,4,10.5,1,2.6,5,5.0\\n0,Conv2D,AI_CORE,8,200.5,600,25,6000,95.0\\n' \
  >> "$out/PROF_1/mindstudio_profiler_output/op_statistic_20260101.csv"
echo 'Op Name' > "$out/PROF_1/mindstudio_profiler_output/op_summary_20260101.csv"
"""


@pytest.fixture
def msprof(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "bin"
    folder.mkdir()
    tool = folder / "msprof"
    tool.write_text(FAKE_MSPROF)
    tool.chmod(tool.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    return tool


def test_a_real_om_is_profiled_by_msprof_with_the_exact_line_printed(msprof: Path, tmp_path: Path) -> None:
    om = tmp_path / "resnet_bs32.om"
    om.write_bytes(VENDOR_MAGIC + b"\0" * 100)
    out = tmp_path / "p"
    finished = run_engine("profile", "--model", om, "--batch", 32, "--device", 2, "--rounds", 5, "--out", out)
    assert finished.returncode == 0, finished.stderr
    line = finished.stdout.splitlines()[0]
    assert line.startswith(f"{msprof} --output={out}/msprof '--application=")
    assert f"bench --backend cann --model {om} --batch 32 --devices 2 --rounds 5 --input random" in line
    assert (out / "op_statistic_0_1.csv").read_text().count("\n") == 3
    assert finished.stdout.index("Conv2D") < finished.stdout.index("TransData")
    assert "msprof, chip 2" in finished.stdout


def test_an_old_release_is_asked_to_export(msprof: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LATE", "1")
    said: list[str] = []
    statistic, summary = run_msprof(bench_command("m.om", 1, 0, 5), tmp_path / "p", said.append)
    assert [row.name for row in read_statistic(statistic)] == ["Conv2D", "TransData"]
    assert summary is not None
    assert said[1] == f"{msprof} --export=on --output={tmp_path}/p/msprof"


def test_a_failing_msprof_is_told_with_its_last_words(
    msprof: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAIL", "1")
    with pytest.raises(DeviceError, match=r"msprof ended with exit code 3: \[ERROR\] Invalid device"):
        run_msprof(bench_command("m.om", 1, 0, 5), tmp_path / "p", lambda line: None)


def test_without_msprof_the_remedy_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("ASCEND_TOOLKIT_HOME", str(tmp_path / "cann"))
    with pytest.raises(ConfigError, match=r"needs CANN's msprof, which is not here: source the toolkit's set_env\.sh"):
        find_msprof()
    tool = tmp_path / "cann" / "tools" / "profiler" / "bin" / "msprof"
    tool.parent.mkdir(parents=True)
    tool.touch()
    assert find_msprof() == str(tool)


@pytest.mark.parametrize("content", ["", "a,b\n1,2\n", "OP Type,Count\nConv,x\n"])
def test_another_csv_is_no_statistic(tmp_path: Path, content: str) -> None:
    path = tmp_path / "op_statistic.csv"
    path.write_text(content)
    with pytest.raises(DeviceError, match=r"op_statistic\.csv (is no op_statistic of msprof|lists no operators)"):
        read_statistic(path)


@pytest.mark.parametrize(
    ("words", "code", "text"),
    [
        (["--model", "fingerprint"], 4, "model fingerprint is no graph"),
        (["--model", "none.onnx"], 4, "none.onnx"),
        (["--model", "lite0", "--preset", "inceptionv3"], 4, "choose another --preset"),
    ],
)
def test_misuse_is_one_line(tmp_path: Path, words: list[str], code: int, text: str) -> None:
    finished = run_engine("profile", *words, "--out", tmp_path)
    assert (finished.returncode, finished.stderr.count("\n")) == (code, 1), finished.stderr
    assert text in finished.stderr
