"""`engine export`: what it writes, what it says, and what it refuses in one line."""

from __future__ import annotations

import hashlib
import os
import pickle
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
import pytest

from engine import cli
from engine.toolchain.efficientnet_lite import SCALES
from engine.toolchain.efficientnet_lite import parameter_shapes as lite_shapes
from engine.toolchain.export import GUIDE_MD5, identity_lines
from engine.toolchain.resnet import VARIANTS
from engine.toolchain.torch_pickle import parse_state_dict, read_state_dict
from engine.toolchain.zoo import lite0_weights
from tests.toolchain.pth import write_pth, zip_file
from tests.toolchain.test_resnet import random_state

State = dict[str, npt.NDArray[Any]]
Export = Callable[..., tuple[int, str, str]]


@pytest.fixture
def export(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Export:
    """Run `engine export` in this process: (exit code, standard output, standard error)."""

    def run(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr("sys.argv", ["engine", "export", *map(str, arguments)])
        monkeypatch.chdir(tmp_path)
        code = 0
        try:
            cli.main()
        except SystemExit as error:
            code = int(error.code or 0)
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return run


@pytest.fixture(scope="module")
def resnet18() -> State:
    return random_state(VARIANTS["resnet18"], 7)


def refused(result: tuple[int, str, str], code: int, message: str) -> None:
    assert result[0] == code, result
    assert result[2].count("\n") == 1
    assert re.search(message, result[2]), result[2]


@pytest.mark.parametrize("is_zip", [True, False], ids=["zip", "legacy"])
def test_weights_become_a_checked_model(export: Export, tmp_path: Path, resnet18: State, is_zip: bool) -> None:
    weights = write_pth(tmp_path / "net.pth", resnet18, is_zip)
    code, out, _ = export("resnet18", "--weights", weights, "-o", "net.onnx")
    assert code == 0
    model = onnx.load(tmp_path / "net.onnx")
    onnx.checker.check_model(model, full_check=True)
    assert model.opset_import[0].version == 11
    digest = hashlib.sha256((tmp_path / "net.onnx").read_bytes()).hexdigest()
    assert f"sha256   {digest}" in out
    assert ": 102 tensors, " in out
    assert "image (N, 3, 224, 224) float32 -> class (N, 7) float32" in out
    assert "MD5" not in out


def test_both_formats_and_the_parallel_prefix_give_the_same_model(
    export: Export, tmp_path: Path, resnet18: State
) -> None:
    parallel = {f"module.{name}": value for name, value in resnet18.items()}
    counted = {**resnet18, "bn1.num_batches_tracked": np.zeros((), np.float32)}
    digests = set()
    for i, (state, is_zip) in enumerate([(resnet18, True), (resnet18, False), (parallel, True), (counted, True)]):
        weights = write_pth(tmp_path / f"{i}.pth", state, is_zip)
        assert export("resnet18", "--weights", weights, "-o", f"{i}.onnx")[0] == 0
        digests.add(hashlib.sha256((tmp_path / f"{i}.onnx").read_bytes()).hexdigest())
    assert len(digests) == 1


@pytest.mark.parametrize("key", ["state_dict", "model"])
def test_a_training_checkpoint_holds_a_state_dict(tmp_path: Path, key: str) -> None:
    state = {"w": np.arange(6, dtype=np.float32).reshape(2, 3)}
    read = read_state_dict(write_pth(tmp_path / "checkpoint.pth", state, key=key))
    assert list(read) == ["w"]
    np.testing.assert_array_equal(read["w"], state["w"])


def test_lite0_needs_no_weights_and_computes_what_the_built_in_model_does(export: Export, tmp_path: Path) -> None:
    from engine.toolchain.zoo import lite0_onnx

    assert export("lite0", "-o", "lite0.onnx")[0] == 0
    assert onnx.load(tmp_path / "lite0.onnx").opset_import[0].version == 11
    images = np.random.default_rng(3).normal(size=(2, 3, 224, 224)).astype(np.float32)
    exported, built_in = (
        onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"]).run(None, {"image": images})[0]
        for path in (tmp_path / "lite0.onnx", lite0_onnx())
    )
    np.testing.assert_array_equal(exported, built_in)


def test_lite0_has_the_shapes_of_the_published_file() -> None:
    state = parse_state_dict(lite0_weights(), "lite0")
    names = [name for name in state if not name.endswith("num_batches_tracked")]
    shapes = lite_shapes(SCALES["efficientnet_lite0"], 1000)
    assert names == list(shapes)
    assert [state[name].shape for name in names] == list(shapes.values())


def changed(state: State, **changes: Any) -> State:
    """The state dict with entries replaced; None takes one away."""
    merged = {**state, **{name.replace("__", "."): value for name, value in changes.items()}}
    return {name: value for name, value in merged.items() if value is not None}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"bn1__bias": None}, r"it lacks 'bn1\.bias'$"),
        ({"bn1__bias": None, "fc__bias": None}, r"it lacks 'bn1\.bias' \(and 1 more\)$"),
        ({"extra": np.zeros(3)}, r"it has 'extra', which that net does not have$"),
        (
            {"conv1__weight": np.zeros((64, 1, 7, 7))},
            r"'conv1\.weight' has shape \(64, 1, 7, 7\) where \(64, 3, 7, 7\)",
        ),
        ({"fc__weight": np.zeros((7, 511))}, r"'fc\.weight' has shape \(7, 511\) where \(7, 512\) is needed"),
        ({"fc__bias": np.full(7, np.nan)}, r"'fc\.bias' holds values that are not finite"),
    ],
)
def test_weights_of_another_net_are_refused(
    export: Export, tmp_path: Path, resnet18: State, changes: dict[str, Any], message: str
) -> None:
    weights = write_pth(tmp_path / "net.pth", changed(resnet18, **changes))
    refused(export("resnet18", "--weights", weights, "-o", "net.onnx"), 4, message)
    assert not (tmp_path / "net.onnx").exists()


def test_the_net_that_the_weights_fit_is_named(export: Export, tmp_path: Path, resnet18: State) -> None:
    weights = write_pth(tmp_path / "net.pth", resnet18)
    refused(export("resnet34", "--weights", weights, "-o", "net.onnx"), 4, "these weights fit resnet18$")


class Payload:
    """What an attacker pickles: unpickling it makes a folder."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (f"mkdir {self.target}",)


def test_a_foreign_class_is_named_and_not_executed(export: Export, tmp_path: Path) -> None:
    weights = tmp_path / "net.pth"
    weights.write_bytes(zip_file(pickle.dumps({"w": Payload(tmp_path / "executed")}, 2), {}))
    refused(
        export("resnet18", "--weights", weights, "-o", "net.onnx"), 4, r"'posix\.system', .*; nothing was executed$"
    )
    assert not (tmp_path / "executed").exists()


@pytest.mark.parametrize("is_zip", [True, False], ids=["zip", "legacy"])
def test_a_truncated_file_is_refused(export: Export, tmp_path: Path, resnet18: State, is_zip: bool) -> None:
    weights = write_pth(tmp_path / "net.pth", resnet18, is_zip)
    weights.write_bytes(weights.read_bytes()[:-1000])
    refused(
        export("resnet18", "--weights", weights, "-o", "net.onnx"),
        4,
        r"net\.pth is not a usable torch state dict: .*(truncated|its zip archive is damaged)",
    )


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["resnet18", "-o", "net.onnx"], 2, r"which weights\? give --weights FILE\.pth for resnet18"),
        (["resnet18", "--weights", "no.pth", "-o", "net.onnx"], 4, r"cannot read the weights no\.pth: No such file"),
        (["lite0", "-o", "net.om"], 2, r"-o net\.om: needed a name that ends in \.onnx"),
        (["lite0", "-o", "no/net.onnx"], 2, r"-o no/net\.onnx: there is no folder"),
        (["lite0", "-o", "net.onnx", "--opset", "10"], 2, r"10 is not in the range 11<=x<=17"),
    ],
)
def test_a_command_that_cannot_work_is_refused(export: Export, arguments: list[str], code: int, message: str) -> None:
    refused(export(*arguments), code, message)


def test_a_net_that_needs_torch_says_so(export: Export, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "torch", None)
    refused(
        export("vgg16", "--weights", "vgg16.pth", "-o", "net.onnx"),
        2,
        r"exporting 'vgg16' needs torch and torchvision, .*: pip install torch torchvision; without them: lite0, ",
    )


def test_the_guides_weights_are_known_by_their_md5() -> None:
    name = "resnext101_32x8d-8ba56ff5.pth"
    guide = identity_lines("resnext101_32x8d", name, GUIDE_MD5, "8ba56ff5" + "0" * 56)
    assert guide == [f"MD5      {GUIDE_MD5}: the guide's weights, {name}"]
    other = identity_lines("resnext101_32x8d", "x.pth", "0" * 32, "0" * 64)
    assert other == [f"MD5      {'0' * 32}: NOT the guide's weights ({GUIDE_MD5}); exported all the same"]
    (renamed,) = identity_lines("resnet18", "resnet18-f37072fd.pth", "0" * 32, "1" * 64)
    assert "NOT what the file's name promises (f37072fd...)" in renamed
