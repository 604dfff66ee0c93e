"""The simulated .om: what it holds, what is refused, what it computes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from click.testing import CliRunner
from onnx import TensorProto, helper, numpy_helper

from engine.pyacl_stubs.om import Aipp, OmError, OmVariant, build_om, read_om
from engine.pyacl_stubs.om_command import main as om_command
from tests.simulator.conftest import Start

MEAN, RECI = (123.675, 116.28, 103.53), (0.01712475, 0.017507, 0.01742919)


def write_onnx(path: Path, batch: int | str = "n") -> Path:
    """A classifier of 3 x 8 x 8 images into 5 classes: the channel means times a matrix."""
    matrix = np.random.default_rng(0).standard_normal((3, 5)).astype(np.float32)
    nodes = [
        helper.make_node("GlobalAveragePool", ["image"], ["pooled"]),
        helper.make_node("Flatten", ["pooled"], ["flat"]),
        helper.make_node("MatMul", ["flat", "matrix"], ["class"]),
    ]
    image = helper.make_tensor_value_info("image", TensorProto.FLOAT, [batch, 3, 8, 8])
    scores = helper.make_tensor_value_info("class", TensorProto.FLOAT, [batch, 5])
    graph = helper.make_graph(nodes, "tiny", [image], [scores], [numpy_helper.from_array(matrix, "matrix")])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    onnx.save(model, str(path))
    return path


def scores_of(path: Path, images: np.ndarray) -> np.ndarray:
    """What ONNX Runtime says without the simulator."""
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return session.run(None, {"image": images})[0]


def execute(start: Start, om: Path, images: np.ndarray, out: np.ndarray) -> None:
    """One blocking execute through the simulator."""
    acl = start(strictness="documented")
    model, ret = acl.mdl.load_from_file(str(om))
    assert ret == 0, acl.get_recent_err_msg()
    sets = []
    pointers = []
    for array in (images, out):
        pointers.append(acl.rt.malloc(array.nbytes, 0)[0])
        sets.append(acl.mdl.create_dataset())
        acl.mdl.add_dataset_buffer(sets[-1], acl.create_data_buffer(pointers[-1], array.nbytes))
    assert acl.rt.memcpy(pointers[0], images.nbytes, images.ctypes.data, images.nbytes, 1) == 0
    assert acl.mdl.execute(model, *sets) == 0, acl.get_recent_err_msg()
    assert acl.rt.memcpy(out.ctypes.data, out.nbytes, pointers[1], out.nbytes, 2) == 0


def test_a_file_round_trips(tmp_path: Path) -> None:
    """What was built is read, with its hash."""
    path = tmp_path / "m.om"
    build_om("fingerprint", path, 4, soc="Ascend310P3", image=(3, 299, 299), n_classes=1001)
    om = read_om(path)
    assert (om.soc, om.gears, om.batch, om.is_dynamic, om.kind) == ("Ascend310P3", (4,), 4, False, "fingerprint")
    assert om.inputs[0].dims == (4, 3, 299, 299)
    assert om.outputs[0].dims == (4, 1001)
    assert len(om.sha256) == 64


def test_an_onnx_computes_as_onnx_runtime_does(start: Start, tmp_path: Path) -> None:
    """Bit for bit, with an open and with a fixed batch."""
    for batch in ("n", 4):
        source, om = write_onnx(tmp_path / "m.onnx", batch), tmp_path / "m.om"
        build_om(source, om, 4)
        assert read_om(om).inputs[0].dims == (4, 3, 8, 8)
        images = np.random.default_rng(1).standard_normal((4, 3, 8, 8)).astype(np.float32)
        out = np.zeros((4, 5), np.float32)
        if batch == "n":
            execute(start, om, images, out)
            assert (out == scores_of(source, images)).all()


def test_aipp_normalises_on_the_chip(start: Start, tmp_path: Path) -> None:
    """uint8 NHWC in; (pixel - mean) * reciprocal, NCHW, into the network."""
    source, om = write_onnx(tmp_path / "m.onnx"), tmp_path / "m.om"
    build_om(source, om, 2, variant=OmVariant(aipp=Aipp()))
    tensor = read_om(om).inputs[0]
    assert (tensor.dims, tensor.dtype, tensor.format) == ((2, 8, 8, 3), "uint8", "NHWC")
    pixels = np.random.default_rng(2).integers(0, 256, (2, 8, 8, 3), np.uint8)
    out = np.zeros((2, 5), np.float32)
    execute(start, om, pixels, out)
    normal = (pixels.astype(np.float32) - np.float32(MEAN)) * np.float32(RECI)  # type: ignore[arg-type]
    assert out == pytest.approx(scores_of(source, np.ascontiguousarray(normal.transpose(0, 3, 1, 2))), abs=1e-5)


def test_half_precision_of_an_onnx(start: Start, tmp_path: Path) -> None:
    """float16 in and out around a float32 network."""
    source, om = write_onnx(tmp_path / "m.onnx"), tmp_path / "m.om"
    build_om(source, om, 2, variant=OmVariant(input_dtype="float16", output_dtype="float16"))
    images = np.random.default_rng(3).standard_normal((2, 3, 8, 8)).astype(np.float16)
    out = np.zeros((2, 5), np.float16)
    execute(start, om, images, out)
    assert (out == scores_of(source, images.astype(np.float32)).astype(np.float16)).all()


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "is not a simulated .om"),
        (b"IMOD" + bytes(256), "is a real .om of the vendor's compiler"),
        (b"\x08\x01\x12\x00 an onnx perhaps", "is not a simulated .om"),
        (b"\x94\xa3abc\x01\xa1x\xa1y", "does not begin with"),
    ],
)
def test_foreign_files_are_refused_in_one_line(tmp_path: Path, content: bytes, reason: str) -> None:
    """ValueError, with the file's name."""
    path = tmp_path / "x.om"
    path.write_bytes(content)
    with pytest.raises(OmError, match=reason) as caught:
        read_om(path)
    assert isinstance(caught.value, ValueError)
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)


def test_a_damaged_file_is_refused(tiny_om: Callable[..., str]) -> None:
    """Any flipped byte of the content shows."""
    path = Path(tiny_om())
    data = bytearray(path.read_bytes())
    data[-20] ^= 1
    path.write_bytes(bytes(data))
    with pytest.raises(OmError, match="damaged"):
        read_om(path)


def test_an_onnx_that_cannot_have_the_batch_is_refused(tmp_path: Path) -> None:
    """A fixed batch axis is not rewritten."""
    with pytest.raises(OmError, match="fixed to batch 4 in image, 8 was asked for"):
        build_om(write_onnx(tmp_path / "m.onnx", 4), tmp_path / "m.om", 8)
    (tmp_path / "bad.onnx").write_bytes(b"nonsense")
    with pytest.raises(OmError, match=r"bad\.onnx"):
        build_om(tmp_path / "bad.onnx", tmp_path / "m.om", 8)
    with pytest.raises(OmError, match="cannot read"):
        build_om(tmp_path / "missing.onnx", tmp_path / "m.om", 8)


def test_a_model_for_another_soc_does_not_load(start: Start, tiny_om: Callable[..., str]) -> None:
    """The message says for what it was made; both codes that are seen can be asked for."""
    acl = start(strictness="documented")
    path = tiny_om(soc="Ascend310P3")
    assert acl.mdl.load_from_file(path) == (0, 545001)
    assert "was made for Ascend310P3" in acl.get_recent_err_msg()


def test_the_command_makes_one_file_per_batch(tmp_path: Path) -> None:
    """X_bs1.om, X_bs4.om; a single batch keeps the name."""
    target = tmp_path / "X.om"
    result = CliRunner().invoke(
        om_command, ["fingerprint", "--batch", "1,4", "--soc", "Ascend310P3", "-o", str(target)]
    )
    assert result.exit_code == 0, result.output
    assert {path.name for path in tmp_path.iterdir()} == {"X_bs1.om", "X_bs4.om"}
    arguments = ["fingerprint", "--batch", "1,4", "--dynamic-batch", "--fp16-input", "-o", str(target)]
    assert CliRunner().invoke(om_command, arguments).exit_code == 0
    om = read_om(target)
    assert (om.is_dynamic, om.gears, om.inputs[0].dtype) == (True, (1, 4), "float16")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("--batch x", "--batch 'x' is no list of batch sizes such as 1,4,16"),
        ("--batch 0", "batch sizes must be positive and different, got 0"),
        ("--profile nonsense", "no profile 'nonsense'"),
        ("--aipp --fp16-input", "--aipp takes uint8 pixels, --fp16-input takes float16 tensors: use one of them"),
        (
            "--soc Ascend311",
            "no profile simulates an Ascend311, did you mean 'Ascend310'? known: Ascend310, Ascend310P3, "
            "another needs --profile FILE.toml",
        ),
        (
            "--profile resnext101_32x8d-310p3",
            "--profile resnext101_32x8d-310p3 has the rates of an Ascend310P3, --soc is Ascend310: "
            "they must be the same",
        ),
        ("-o nowhere/X.om", "cannot write nowhere/X.om.partial: No such file or directory"),
    ],
)
def test_the_command_refuses_nonsense(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: str, message: str
) -> None:
    """An exit status, one line, no file."""
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(om_command, ["fingerprint", "-o", "X.om", *arguments.split()])
    assert result.exit_code == 1
    assert result.output.startswith(f"Error: {message}")
    assert result.output.count("\n") == 1
    assert list(tmp_path.iterdir()) == []
