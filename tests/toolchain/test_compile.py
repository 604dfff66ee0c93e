"""`engine compile` against a compiler that behaves as the test tells it: real processes, real files."""

from __future__ import annotations

import hashlib
import re
import stat
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from engine import cli
from engine.presets import find_preset
from engine.pyacl_stubs.om import read_om
from engine.toolchain.atc import aipp_config
from engine.toolchain.atc_support import find_problems, parse_version
from engine.toolchain.zoo import lite0_onnx

#: Notes each call, then does what the test says. $output is the .om that it was asked for.
SCRIPT = """#!/bin/sh
echo "$0 $*" >> "{calls}"
for word in "$@"; do case "$word" in --output=*) output="${{word#--output=}}.om";; esac; done
echo "ATC start working now, please wait for a moment."
{body}
"""
WRITES = 'echo "compiled $* #{version}" | sed "s|--output=[^ ]*||" > "$output"\necho ATC run success'


@dataclass(frozen=True)
class FakeAtc:
    """An `atc` on PATH."""

    folder: Path

    def does(self, body: str = WRITES) -> None:
        script = self.folder / "atc"
        script.write_text(SCRIPT.format(calls=self.folder / "calls", body=body))
        script.chmod(script.stat().st_mode | stat.S_IXUSR)

    @property
    def calls(self) -> list[str]:
        path = self.folder / "calls"
        return path.read_text().splitlines() if path.exists() else []


@pytest.fixture
def atc(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeAtc:
    (tmp_path / "bin").mkdir()
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:/usr/bin:/bin")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("ASCEND_OPP_PATH", raising=False)
    fake = FakeAtc(tmp_path / "bin")
    fake.does()
    return fake


Compile = Callable[..., tuple[int, list[str], str]]


@pytest.fixture
def compile_(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Compile:
    """Run `engine compile` in this process: (exit code, lines of standard output, standard error)."""
    (tmp_path / "work").mkdir()

    def run(*arguments: object) -> tuple[int, list[str], str]:
        monkeypatch.setattr("sys.argv", ["engine", "compile", *map(str, arguments)])
        monkeypatch.chdir(tmp_path / "work")
        code = 0
        try:
            cli.main()
        except SystemExit as error:
            code = int(error.code or 0)
        captured = capsys.readouterr()
        return code, captured.out.splitlines(), captured.err

    return run


def refused(result: tuple[int, list[str], str], code: int, message: str) -> None:
    assert result[0] == code, result
    assert result[2].count("\n") == 1, result[2]
    assert re.search(message, result[2]), result[2]


def make_onnx(
    path: Path, opset: int = 11, op: str = "Relu", dims: tuple[object, ...] = ("N", 3, 8, 8), kind: int = 1
) -> Path:
    """A classifier of ten classes: op, mean over the image, MatMul."""
    domain = "org.example" if op.startswith("My") else ""
    x = "image"
    nodes = []
    if kind != TensorProto.FLOAT:
        nodes.append(helper.make_node("Cast", [x], ["cast"], to=TensorProto.FLOAT))
        x = "cast"
    nodes += [
        helper.make_node(op, [x], ["a"], domain=domain),
        helper.make_node("GlobalAveragePool", ["a"], ["b"]),
        helper.make_node("Flatten", ["b"], ["c"]),
        helper.make_node("MatMul", ["c", "w"], ["class"]),
    ]
    weight = numpy_helper.from_array(np.ones((3, 10), np.float32), "w")
    graph = helper.make_graph(
        nodes,
        "net",
        [helper.make_tensor_value_info("image", kind, dims)],
        [helper.make_tensor_value_info("class", TensorProto.FLOAT, (dims[0], 10))],
        [weight],
    )
    imports = [helper.make_opsetid("", opset), helper.make_opsetid("org.example", 1)]
    model = helper.make_model(graph, opset_imports=imports if domain else imports[:1])
    model.ir_version = 6
    path.write_bytes(model.SerializeToString())
    return path


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_each_batch_is_compiled_with_the_guides_flags(atc: FakeAtc, compile_: Compile, tmp_path: Path) -> None:
    model = make_onnx(tmp_path / "net.onnx")
    code, lines, _ = compile_(model, "--batch", "1,16")
    assert code == 0
    work = tmp_path / "work"
    for batch in (1, 16):
        om = work / f"net_bs{batch}.om"
        line = (
            f"atc --framework=5 --model={model} --output={om.with_suffix('')} --input_format=NCHW "
            f'--input_shape="image:{batch},3,8,8" --soc_version=Ascend310 --log=error'
        )
        assert line in lines
        assert any(text.startswith(f"{om.name}: ") and sha256(om)[:16] in text for text in lines)
    assert len(atc.calls) == 2
    assert "--input_shape=image:16,3,8,8" in atc.calls[1]
    assert sorted(path.name for path in work.iterdir()) == ["net_bs1.om", "net_bs16.om"]


def test_the_printed_line_does_in_a_shell_what_was_done(atc: FakeAtc, compile_: Compile, tmp_path: Path) -> None:
    _, lines, _ = compile_(make_onnx(tmp_path / "net with space.onnx"), "--batch", "4", "-o", tmp_path / "a b")
    (line,) = [text for text in lines if text.startswith("atc ")]
    subprocess.run(line, shell=True, check=True, timeout=30, stdout=subprocess.DEVNULL)
    assert len(atc.calls) == 2
    assert atc.calls[0] == atc.calls[1]


def test_dynamic_batch_aipp_and_fp16_have_their_flags(atc: FakeAtc, compile_: Compile, tmp_path: Path) -> None:
    model = make_onnx(tmp_path / "net.onnx", dims=("N", 3, 224, 224))
    assert compile_(model, "--batch", "1,8", "--dynamic-batch")[0] == 0
    assert "--input_shape=image:-1,3,224,224 --soc_version=Ascend310 --dynamic_batch_size=1,8" in atc.calls[-1]
    assert compile_(model, "--batch", "8", "--fp16-input", "--soc", "Ascend310P3")[0] == 0
    assert "--soc_version=Ascend310P3 --input_fp16_nodes=image" in atc.calls[-1]
    assert compile_(model, "--batch", "8", "--aipp", "--atc-option", "--auto_tune_mode=RL,GA")[0] == 0
    config = tmp_path / "work" / "net_aipp_bs8.aipp.cfg"
    assert f"--enable_small_channel=1 --auto_tune_mode=RL,GA --insert_op_conf={config}" in atc.calls[-1]
    assert config.read_text() == aipp_config(find_preset("resnet"))
    names = {path.name for path in (tmp_path / "work").iterdir()}
    assert names >= {"net_dynamic.om", "net_fp16_bs8.om", "net_aipp_bs8.om"}


def test_the_aipp_file_normalises_as_the_preset_does() -> None:
    text = aipp_config(find_preset("resnet"))
    numbers = {name: float(value) for name, value in re.findall(r"(\w+_chn_\d): (\S+)", text)}
    for channel, (mean, std) in enumerate(zip((0.485, 0.456, 0.406), (0.229, 0.224, 0.225), strict=True)):
        for pixel in (0, 17, 255):
            minimum, factor = numbers[f"min_chn_{channel}"], numbers[f"var_reci_chn_{channel}"]
            on_chip = (pixel - numbers[f"mean_chn_{channel}"] - minimum) * factor
            assert on_chip == pytest.approx((pixel / 255 - mean) / std, abs=1e-9)
    assert "input_format: RGB888_U8" in text
    assert "src_image_size_w: 224" in text


def test_the_same_model_is_not_compiled_twice(atc: FakeAtc, compile_: Compile, tmp_path: Path) -> None:
    model = make_onnx(tmp_path / "net.onnx")
    compile_(model, "--batch", "4")
    first = sha256(tmp_path / "work" / "net_bs4.om")
    (tmp_path / "work" / "net_bs4.om").unlink()
    code, lines, _ = compile_(model, "--batch", "4")
    assert (code, len(atc.calls)) == (0, 1)
    assert lines[-1].endswith("(cache)")
    assert sha256(tmp_path / "work" / "net_bs4.om") == first


@pytest.mark.parametrize("change", ["model", "flags", "compiler", "damaged cache"])
def test_what_differs_is_compiled_again(atc: FakeAtc, compile_: Compile, tmp_path: Path, change: str) -> None:
    model = make_onnx(tmp_path / "net.onnx")
    compile_(model, "--batch", "4")
    more: list[str] = []
    if change == "model":
        make_onnx(model, op="Sigmoid")
    elif change == "flags":
        more = ["--soc", "Ascend310P3"]
    elif change == "compiler":
        atc.does(WRITES.format(version=2))
    else:
        (kept,) = (tmp_path / "cache" / "engine" / "atc").glob("*.om")
        kept.write_bytes(b"damaged")
    code, lines, _ = compile_(model, "--batch", "4", *more)
    assert (code, len(atc.calls)) == (0, 2)
    assert lines[-1].endswith("(atc)")


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("exit 0", r"wrote no .*net_bs4\.om \(exit status 0\): ATC start working now"),
        (': > "$output"', r"\(exit status 0\): ATC start working now"),
        (
            "echo 'E10016: [input] unknown'; echo ATC run failed; exit 1",
            r"\(exit status 1\): E10016: \[input\] unknown;",
        ),
        ("kill -9 $$", r"\(exit status -9\)"),
    ],
)
def test_a_compiler_that_writes_nothing_has_failed(
    atc: FakeAtc, compile_: Compile, tmp_path: Path, body: str, message: str
) -> None:
    atc.does(body)
    refused(compile_(make_onnx(tmp_path / "net.onnx"), "--batch", "4"), 4, message)
    assert "ATC start working now" in (tmp_path / "work" / "net_bs4.atc.log").read_text()
    assert not (tmp_path / "work" / "net_bs4.om").exists()


def test_an_earlier_file_does_not_pass_for_the_new_one(atc: FakeAtc, compile_: Compile, tmp_path: Path) -> None:
    atc.does("exit 0")
    earlier = tmp_path / "work" / "net_bs4.om"
    earlier.write_bytes(b"earlier")
    refused(compile_(make_onnx(tmp_path / "net.onnx"), "--batch", "4"), 4, "atc wrote no ")
    assert earlier.read_bytes() == b"earlier"


def test_a_file_counts_more_than_the_exit_status(atc: FakeAtc, compile_: Compile, tmp_path: Path) -> None:
    atc.does(f"{WRITES}\nexit 1")
    code, lines, _ = compile_(make_onnx(tmp_path / "net.onnx"), "--batch", "4")
    assert code == 0
    assert any(
        re.fullmatch(r"note: atc ended with exit status 1 but wrote .*net_bs4\.om: the file counts", t) for t in lines
    )
    assert (tmp_path / "work" / "net_bs4.om").read_text().startswith("compiled")


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (
            {"opset": 17},
            r"it has opset 17 where atc of CANN 5\.0\.4 to 6 takes opset 9 to 13: export it with --opset 11",
        ),
        ({"op": "Acos", "opset": 8}, "it has opset 8 where"),
        ({"op": "Bernoulli", "opset": 15}, r"opset 15 .*; it uses operators that are not in CANN's list .*: Bernoulli"),
        ({"dims": ("N", 1, 8, 8)}, r"input image has shape \(N, 1, 8, 8\), needed \(N, 3, height, width\)"),
        ({"dims": ("N", 3, "H", "W")}, r"input image has shape \(N, 3, H, W\)"),
        ({"dims": (2, 3, 8, 8)}, r"is fixed to batch 2, 4 was asked for"),
        ({"kind": TensorProto.UINT8}, r"input image is uint8, needed float"),
    ],
)
def test_a_model_that_cannot_be_compiled_never_reaches_atc(
    atc: FakeAtc, compile_: Compile, tmp_path: Path, model: dict[str, object], message: str
) -> None:
    refused(compile_(make_onnx(tmp_path / "net.onnx", **model), "--batch", "4"), 4, message)  # type: ignore[arg-type]
    assert atc.calls == []


def test_what_only_atc_can_judge_is_noted(atc: FakeAtc, compile_: Compile, tmp_path: Path) -> None:
    code, lines, _ = compile_(make_onnx(tmp_path / "a.onnx", op="MyOp"), "--batch", "4")
    assert code == 0
    assert any("operators of other domains, which only atc can judge: org.example.MyOp" in text for text in lines)
    code, lines, _ = compile_(make_onnx(tmp_path / "b.onnx", opset=13), "--batch", "4")
    assert code == 0
    assert any("opset 13: CANN 5.0.4 to 6 takes 9 to 13, CANN 5.0.1 (the guide) only 11" in text for text in lines)
    code, lines, _ = compile_(make_onnx(tmp_path / "c.onnx", opset=17), "--batch", "4", "--unchecked")
    assert code == 0
    assert len(atc.calls) == 3


@pytest.mark.parametrize(
    ("version", "is_good"), [("5.0.1", False), ("5.0.4.6", True), ("20.1.rc1", False), ("7.0.0", True)]
)
def test_the_opsets_follow_cann_s_version(
    atc: FakeAtc, compile_: Compile, tmp_path: Path, version: str, is_good: bool
) -> None:
    (atc.folder.parent / "version.info").write_text(f"# CANN\nVersion={version}\n")
    result = compile_(make_onnx(tmp_path / "net.onnx", opset=13), "--batch", "4")
    if is_good:
        assert result[0] == 0
    else:
        refused(result, 4, r"it has opset 13 where atc of CANN [\d.]+ takes opset 11: export it with --opset 11")


@pytest.mark.parametrize(
    ("text", "version"), [("6.3.RC2", (6, 3)), ("5.0.4", (5, 0, 4)), ("1.84.T3.0", None), ("", None), ("20.1", (3,))]
)
def test_versions_of_cann_are_told_from_those_of_its_parts(text: str, version: tuple[int, ...] | None) -> None:
    assert parse_version(text) == version


def test_an_operator_may_be_too_new_for_this_cann(atc: FakeAtc, compile_: Compile, tmp_path: Path) -> None:
    model = make_onnx(tmp_path / "net.onnx", op="Tan")
    code, lines, _ = compile_(model, "--batch", "4")
    assert code == 0
    assert any("operators that are listed for CANN 8.0 but not for 5.0.4: Tan" in text for text in lines)
    (atc.folder.parent / "version.info").write_text("Version=6.0.1\n")
    refused(compile_(model, "--batch", "4"), 4, "operators that are not in CANN's list of supported ones: Tan")


def test_inner_graphs_are_looked_at() -> None:
    inner = helper.make_graph([helper.make_node("StringNormalizer", ["s"], ["t"])], "inner", [], [])
    branch = helper.make_node("If", ["c"], ["y"], then_branch=inner, else_branch=inner)
    model = helper.make_model(helper.make_graph([branch], "net", [], []), opset_imports=[helper.make_opsetid("", 11)])
    assert find_problems(model, (6,)).errors == (
        "it uses operators that are not in CANN's list of supported ones: StringNormalizer",
    )


def test_without_atc_the_next_step_is_named(
    atc: FakeAtc, compile_: Compile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    model = make_onnx(tmp_path / "net.onnx")
    refused(compile_(model), 2, r"no atc on PATH, CANN's compiler: source its set_env\.sh .*--simulate")
    refused(compile_(make_onnx(model, opset=17)), 4, "it has opset 17")


def test_simulated_files_run_the_model(atc: FakeAtc, compile_: Compile, tmp_path: Path) -> None:
    model = make_onnx(tmp_path / "net.onnx", dims=("N", 3, 224, 224))
    code, lines, _ = compile_(model, "--simulate", "--batch", "1,4")
    assert (code, atc.calls) == (0, [])
    assert all(text.endswith(" SIMULATED") for text in lines)
    om = read_om(tmp_path / "work" / "net_bs4.om")
    assert (om.gears, om.kind, om.soc, om.inputs[0].dtype) == ((4,), "onnx", "Ascend310", "float32")
    assert compile_(model, "--simulate", "--batch", "1,4", "--dynamic-batch", "--aipp")[0] == 0
    om = read_om(tmp_path / "work" / "net_aipp_dynamic.om")
    assert (om.gears, om.is_dynamic, om.inputs[0].dims) == ((1, 4), True, (-1, 224, 224, 3))
    assert om.aipp is not None
    assert om.aipp.minimum == pytest.approx((123.675, 116.28, 103.53))
    assert compile_(model, "--simulate", "--batch", "4", "--fp16-input")[0] == 0
    assert read_om(tmp_path / "work" / "net_fp16_bs4.om").inputs[0].dtype == "float16"


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        (["--aipp", "--fp16-input"], 2, "--aipp takes uint8 images and --fp16-input takes float16: choose one"),
        (["--batch", "4,4"], 2, "--batch .4,4. names batch 4 twice"),
        (["--batch", "4,x"], 2, "--batch '4,x' is no list of batch sizes"),
        (["--batch", "0"], 2, "--batch '0' is no list of batch sizes"),
        (["-o", "no/net"], 2, "-o no/net: there is no folder"),
        (["--aipp"], 2, "--aipp with preset resnet delivers 3 x 224 x 224, .* takes 3 x 8 x 8"),
        (["--aipp", "--preset", "resnot"], 2, "unknown preset 'resnot', did you mean 'resnet'"),
    ],
)
def test_options_that_cannot_be_used_are_refused(
    atc: FakeAtc, compile_: Compile, tmp_path: Path, options: list[str], code: int, message: str
) -> None:
    refused(compile_(make_onnx(tmp_path / "net.onnx"), *options), code, message)
    assert atc.calls == []


@pytest.mark.parametrize(
    ("content", "message"), [(None, "cannot be read: No such file"), (b"no model", "is no valid ONNX")]
)
def test_a_file_that_is_no_model_is_refused(
    atc: FakeAtc, compile_: Compile, tmp_path: Path, content: bytes | None, message: str
) -> None:
    path = tmp_path / "net.onnx"
    if content is not None:
        path.write_bytes(content)
    refused(compile_(path), 4, message)


def test_the_table_knows_every_operator_of_lite0() -> None:
    assert find_problems(onnx.load(str(lite0_onnx())), (5, 0, 4)) == find_problems(onnx.ModelProto(), None).__class__(
        (), ()
    )
