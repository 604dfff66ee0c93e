"""The guide's scripts and ours, side by side: the same arguments give the same files."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from engine.errors import ConfigError
from engine.toolchain.guide import SCRIPTS, command_words
from tests.conftest import COMMAND_SECONDS, DataSet, make_data_set
from tests.data.inprocess import call_engine
from tests.data.oracle import guide_info, guide_preprocess, guide_result


@pytest.fixture(scope="module")
def scripts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("scripts")
    result = call_engine("guide-scripts", folder)
    assert result.returncode == 0, result.stderr
    assert sorted(result.stdout.split()) == sorted(str(folder / f"{name}.py") for name in SCRIPTS)
    return folder


def run_script(script: Path, *arguments: object, cwd: Path) -> subprocess.CompletedProcess[str]:
    """As a shell script of a colleague would, away from the checkout."""
    words = [sys.executable, str(script), *map(str, arguments)]
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    return subprocess.run(
        words, capture_output=True, text=True, timeout=COMMAND_SECONDS, cwd=cwd, env=environment, check=False
    )


def side_by_side(data: DataSet, scripts: Path, tmp_path: Path) -> None:
    """Chapters 4.2, 4.3 and 6.1, with the guide's relative paths."""
    guide_preprocess("resnet", data.folder, tmp_path / "guide")
    run = run_script(scripts / "imagenet_torch_preprocess.py", "resnet", data.folder, "./prep_dataset", cwd=tmp_path)
    assert run.returncode == 0, run.stderr
    for path in (tmp_path / "guide").iterdir():
        assert (tmp_path / "prep_dataset" / path.name).read_bytes() == path.read_bytes()
    here = os.getcwd()
    os.chdir(tmp_path)
    try:
        guide_info("./prep_dataset", tmp_path / "guide.info", "224", "224")
    finally:
        os.chdir(here)
    run = run_script(scripts / "gen_dataset_info.py", "bin", "./prep_dataset", "./x.info", "224", "224", cwd=tmp_path)
    assert run.returncode == 0, run.stderr
    assert entries(tmp_path / "x.info") == entries(tmp_path / "guide.info")
    indices = [int(line.split()[0]) for line in (tmp_path / "x.info").read_text().splitlines()]
    assert indices == list(range(data.n_images))
    make_dumps(data, tmp_path / "dumpOutput_device0")
    guide_result(tmp_path / "dumpOutput_device0", data.labels, tmp_path / "guide.json")
    run = run_script(
        scripts / "imagenet_acc_eval.py", "dumpOutput_device0/", data.labels, "./", "result.json", cwd=tmp_path
    )
    assert run.returncode == 0, run.stderr
    assert (tmp_path / "result.json").read_bytes() == (tmp_path / "guide.json").read_bytes()


def entries(info: Path) -> list[str]:
    return sorted(line.partition(" ")[2] for line in info.read_text().splitlines())


def make_dumps(data: DataSet, folder: Path) -> None:
    """Scores of which a part has the label at each of the first six ranks."""
    folder.mkdir()
    rng = np.random.default_rng(11)
    for line in data.labels.read_text().splitlines():
        name, class_id = line.split()
        scores = rng.permutation(1000).astype(np.float32)
        wanted = 999 - rng.integers(0, 6)
        other = int(np.flatnonzero(scores == wanted)[0])
        scores[[other, int(class_id)]] = scores[[int(class_id), other]]
        (folder / f"{name.split('.')[0]}_1.txt").write_text(" ".join(f"{score:g}" for score in scores) + "\n")


def test_scripts_side_by_side(scripts: Path, tmp_path: Path) -> None:
    side_by_side(make_data_set(tmp_path / "data", 17), scripts, tmp_path)
    document = json.loads((tmp_path / "result.json").read_text())
    assert document["value"][0] == {"key": "Number of images", "value": "17"}


def test_scripts_side_by_side_on_real_images(scripts: Path, tmp_path: Path, imagenet_sample: DataSet) -> None:
    side_by_side(imagenet_sample, scripts, tmp_path)


def test_weights_become_the_guides_onnx(tmp_path: Path) -> None:
    """The words reach `engine export`: a file that is no weights is refused by name."""
    assert command_words(["resnext101_32x8d_pth2onnx.py", "./a.pth", "b.onnx"]) == [
        "export", "--weights", "./a.pth", "--output", "b.onnx", "--", "resnext101_32x8d",
    ]  # fmt: skip
    (tmp_path / "a.pth").write_bytes(b"no weights")
    run = subprocess.run(
        [
            sys.executable,
            "-m",
            "engine.toolchain.guide",
            "resnext101_32x8d_pth2onnx",
            tmp_path / "a.pth",
            tmp_path / "b.onnx",
        ],
        capture_output=True,
        text=True,
        timeout=COMMAND_SECONDS,
        check=False,
    )
    assert run.returncode != 0
    assert run.stderr.startswith("engine: ")
    assert "a.pth" in run.stderr


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "which of the guide's scripts\\? give one of imagenet_torch_preprocess, gen_dataset_info"),
        (["gen_dataset"], "unknown script of the guide 'gen_dataset', did you mean 'gen_dataset_info'\\?"),
        (["imagenet_torch_preprocess", "resnet", "a"], "takes MODEL SRC DST, got 2 arguments: resnet a"),
        (["imagenet_acc_eval"], "imagenet_acc_eval takes DUMP LABELS DIR JSON, got 0 arguments: none"),
        (["gen_dataset_info", "bin", "d", "i"], "takes 'bin DIR INFO WIDTH HEIGHT' or 'jpg DIR INFO', got bin d i"),
        (
            ["gen_dataset_info", "png", "d", "i", "2", "2"],
            "takes 'bin DIR INFO WIDTH HEIGHT' or 'jpg DIR INFO', got png",
        ),
    ],
)
def test_wrong_arguments_are_said(words: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        command_words(words)


def test_scripts_of_others_are_not_written_over(scripts: Path, tmp_path: Path) -> None:
    (tmp_path / "gen_dataset_info.py").write_text("print('the real one')\n")
    result = call_engine("guide-scripts", tmp_path)
    assert result.returncode == 2
    assert f"1 files there are not ours, such as {tmp_path}/gen_dataset_info.py: choose another folder" in result.stderr
    assert call_engine("guide-scripts", tmp_path, "--force").returncode == 0
    assert call_engine("guide-scripts", tmp_path).returncode == 0
