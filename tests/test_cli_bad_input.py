"""Bad input gives one line on standard error that says what, where and what to do, and a documented exit code."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import click
import numpy as np
import numpy.typing as npt
import onnx
import pytest
from click.testing import CliRunner
from onnx import TensorProto, helper, numpy_helper

from engine import cli
from engine.commands.run import SECTIONS
from tests.conftest import DataSet, engine_command, sim

CONFIG, DATA, MODEL, DEVICE, RESOURCE, FAILURES = 2, 3, 4, 5, 6, 8
Refuse = Callable[..., None]


@pytest.fixture
def data(ten_images: DataSet) -> DataSet:
    return ten_images


@pytest.fixture
def refuse(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Refuse:
    """Run the command in this process: it must end with this exit code and one line that matches."""

    def check(code: int, message: str, *arguments: object) -> None:
        monkeypatch.setattr("sys.argv", ["engine", *map(str, arguments)])
        monkeypatch.chdir(tmp_path)
        with pytest.raises(SystemExit) as caught:
            cli.main()
        lines = capsys.readouterr().err.splitlines()
        assert caught.value.code == code, lines
        assert len(lines) == 1, lines
        assert lines[0].startswith("engine: ")
        assert re.search(message, lines[0]), lines[0]

    return check


def with_labels(data: DataSet, tmp_path: Path, content: str | bytes) -> list[object]:
    """A command whose label file has this content."""
    path = tmp_path / "labels.txt"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return [word if word != data.labels else path for word in sim(data)]


# --- the data set


def test_a_missing_folder(refuse: Refuse, data: DataSet, tmp_path: Path) -> None:
    refuse(DATA, r"no folder .*/gone: --data needs", "run", "--data", tmp_path / "gone", "--backend", "sim")


def test_a_file_instead_of_a_folder(refuse: Refuse, data: DataSet) -> None:
    refuse(DATA, r"val_label\.txt is a file: --data needs a folder", "run", "--data", data.labels, "--backend", "sim")


@pytest.mark.parametrize("words", ["run --data", "check-data", "report", "verify", "compare", "perf log --log", "info"])
def test_a_name_that_no_file_can_have(refuse: Refuse, words: str) -> None:
    refuse(CONFIG, rf"Invalid value for .*: {'y' * 100}\.\.\.: File name too long", *words.split(), "y" * 300)


def test_an_empty_folder(refuse: Refuse, tmp_path: Path) -> None:
    refuse(DATA, r"no images in .*: needed files ending in .*\.jpeg", "run", "--data", tmp_path, "--backend", "sim")


def test_no_folder_at_all(refuse: Refuse) -> None:
    refuse(CONFIG, r"which images\? give --data DIR .* or try: engine demo", "run", "--backend", "sim")


def test_a_flat_folder_without_labels(refuse: Refuse, data: DataSet) -> None:
    refuse(DATA, r"10 images without class folders: .* --labels FILE", "run", "--data", data.folder, "--backend", "sim")


def test_a_missing_label_file(refuse: Refuse, data: DataSet, tmp_path: Path) -> None:
    words = ["run", "--data", data.folder, "--labels", tmp_path / "gone.txt", "--backend", "sim"]
    refuse(DATA, r"no label file .*gone\.txt: needed one line 'NAME CLASS' per image", *words)


def test_a_folder_as_label_file(refuse: Refuse, data: DataSet) -> None:
    words = ["run", "--data", data.folder, "--labels", data.folder, "--backend", "sim"]
    refuse(DATA, r"label file .* cannot be read: Is a directory", *words)


def test_labels_that_are_no_file_have_no_end(refuse: Refuse, data: DataSet) -> None:
    command = [word if word != data.labels else "/dev/zero" for word in sim(data)]
    refuse(DATA, r"label file /dev/zero is no file: needed one line 'NAME CLASS' per image", *command)


def test_labels_in_utf16_are_refused_by_that_name(refuse: Refuse, data: DataSet, tmp_path: Path) -> None:
    command = with_labels(data, tmp_path, data.labels.read_text().encode("utf-16"))
    refuse(DATA, r"labels\.txt is UTF-16 text, as Windows tools write it: save it as UTF-8", *command)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("img_10.JPEG 63\n", "img_10.JPEG 63\nghost.JPEG 3\n", r"1 of 11 labels in .* name no image .*, first ghost"),
        ("img_10.JPEG 63\n", "", r"1 of 10 images have no label in .*, first img_10\.JPEG"),
        ("img_2.JPEG 7", "img_2.JPEG cat", r"labels\.txt:2: class 'cat' is no number"),
        ("img_2.JPEG 7", "img_2.JPEG 7.0", r"labels\.txt:2: class '7\.0' is no number"),
        ("img_2.JPEG 7", "img_2.JPEG -1", r"labels\.txt:2: class '-1' is no number"),
        ("img_2.JPEG 7", "img_2.JPEG \u0663", r"labels\.txt:2: class '.' is no number"),
        ("img_2.JPEG 7", "img_2.JPEG " + "9" * 30, r"labels\.txt:2: class '9{20}' is too large to be a class"),
        ("img_2.JPEG 7", "img_2.JPEG", r"labels\.txt:2: needed 'NAME CLASS', got 'img_2\.JPEG'"),
        ("img_3.JPEG 14", "img_2.JPEG 14", r"labels\.txt:3: img_2 has class 7 above and class 14 here"),
    ],
)
def test_a_label_file_that_does_not_fit(
    refuse: Refuse, data: DataSet, tmp_path: Path, old: str, new: str, message: str
) -> None:
    content = data.labels.read_text().replace(old, new)
    refuse(DATA, message, *with_labels(data, tmp_path, content))


@pytest.mark.parametrize("content", [b"", b"\n\n", bytes(range(256)) * 4])
def test_a_label_file_of_another_kind(refuse: Refuse, data: DataSet, tmp_path: Path, content: bytes) -> None:
    refuse(
        DATA, r"10 of 10 images have no label|needed 'NAME CLASS'|is no number", *with_labels(data, tmp_path, content)
    )


# --- options


@pytest.mark.parametrize(
    ("devices", "message"),
    [
        ("a", "--devices 'a' is no list of devices: needed something like 0-3, 0,2 or 1"),
        ("", "--devices '' is no list"),
        ("0,,1", "is no list"),
        ("-1", "is no list"),
        ("0-", "is no list"),
        ("\u0663", "is no list"),
        ("3-0", "the range 3-0 ends before it begins"),
        ("0,0", "names device 0 twice"),
        ("0-1,1", "names device 1 twice"),
        ("0-99999999999", "device 99999999999 is above 255"),
    ],
)
def test_a_malformed_device_list(refuse: Refuse, data: DataSet, devices: str, message: str) -> None:
    refuse(CONFIG, re.escape(message), *sim(data, "--devices", devices))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--backend", "onxx"], r"unknown backend 'onxx', did you mean 'onnxruntime'\? known: auto, cann, null"),
        (["--model", "lite1"], r"unknown model 'lite1', did you mean 'lite0'\? known: "),
        (["--model", "fingerprin"], r"unknown model 'fingerprin', did you mean 'fingerprint'\?"),
        (["--preset", "resnt"], r"unknown preset 'resnt', did you mean 'resnet'\? known: efficientnet-lite0"),
        (["--profile", "resnext101_32x8d-311"], r"unknown profile .*, did you mean 'resnext101_32x8d-310'\?"),
        (["--modle", "lite0"], r"No such option '?--modle'?.*--model"),
        (["--batch", "0"], r"--batch.*0 is not in the range"),
        (["--batch", "many"], r"--batch.*'many' is not a valid"),
        (["--repeat", "0"], r"--repeat.*0 is not in the range"),
        (["--dump", "xml"], r"--dump.*'xml' is not one of"),
        (["surplus"], r"unexpected extra argument"),
    ],
)
def test_an_option_that_is_not_known(refuse: Refuse, data: DataSet, words: list[str], message: str) -> None:
    refuse(CONFIG, message, *sim(data, *words))


def test_a_command_that_is_not_known(refuse: Refuse) -> None:
    refuse(CONFIG, r"unknown command 'rnu', did you mean 'run'\? known: .*demo.*run.*verify", "rnu")


def test_no_command_shows_the_help() -> None:
    result = CliRunner().invoke(cli.cli, [])
    assert result.exit_code == 0
    assert {"demo", "run", "verify"} <= set(result.output.split())


def test_every_help_fits_eighty_columns() -> None:
    for words in ([], *([name] for name in cli.COMMANDS)):
        shown = CliRunner().invoke(cli.cli, [*words, "--help"], terminal_width=80, max_content_width=80)
        assert shown.exit_code == 0, words
        assert max(map(len, shown.output.splitlines())) <= 80, words


def test_the_help_of_run_has_every_option_once_in_a_section() -> None:
    run = cli.cli.get_command(click.Context(cli.cli), "run")
    assert run is not None
    text = CliRunner().invoke(cli.cli, ["run", "--help"], terminal_width=80).output
    titles = re.findall(r"^(\S.*):$", text, re.MULTILINE)
    assert titles == list(SECTIONS.values())
    for parameter in run.params:
        assert len(re.findall(rf"^  {parameter.opts[0]}\b(?!-)", text, re.MULTILINE)) == 1, parameter.name
    assert text.index("\nSimulated chips:") < text.index("  --sim-slow") < text.index("\nWhen things go wrong:")


def test_the_help_lists_every_command_with_a_whole_sentence() -> None:
    """At 80 columns nothing is cut, and each file of `engine/commands` that is a command is there."""
    listed = CliRunner().invoke(cli.cli, ["--help"], terminal_width=80).output.split("Options:")[1]
    assert "..." not in listed.replace("Top-1..", "")
    for name in cli.COMMANDS:
        assert len(re.findall(rf"^  {name} +[A-Z].*[.?]", listed, re.MULTILINE)) == 1, name
    files = {path.stem.replace("_", "-") for path in Path(cli.__file__).parent.joinpath("commands").glob("[a-z]*.py")}
    assert set(cli.COMMANDS) == files - {"options", "perf-judge"}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("bacth = 4", r"unknown option in .*c\.toml: 'bacth', did you mean 'batch'\? known: .*workers"),
        ("batch = = 4", r"c\.toml is no TOML: .*line 1"),
        ('batch = "many"', r"option batch in .*c\.toml: 'many' is not a valid"),
        ("batch = 0", r"option batch in .*c\.toml: 0 is not in the range"),
        ("devices = [0, 1]", r"option devices in .*c\.toml needs one value, got a list"),
        ("[run]\nbatch = 4", r"unknown option in .*c\.toml: 'run'"),
    ],
)
def test_a_configuration_file_that_does_not_fit(
    refuse: Refuse, data: DataSet, tmp_path: Path, content: str, message: str
) -> None:
    path = tmp_path / "c.toml"
    path.write_text(content)
    refuse(CONFIG, message, *sim(data, "--config", path))


def test_a_missing_configuration_file(refuse: Refuse, data: DataSet, tmp_path: Path) -> None:
    refuse(CONFIG, r"no configuration file .*gone\.toml", *sim(data, "--config", tmp_path / "gone.toml"))


def test_results_cannot_go_into_a_file(refuse: Refuse, data: DataSet) -> None:
    refuse(CONFIG, r"--out .*val_label\.txt is a file: needed a folder", *sim(data, "--out", data.labels))
    refuse(RESOURCE, r"--out .* cannot be written: Not a directory", *sim(data, "--out", data.labels / "x"))


def test_only_a_finished_run_can_be_verified(refuse: Refuse, data: DataSet) -> None:
    refuse(DATA, r"no .*run\.json: needed the --out folder of a finished run", "verify", data.folder)


# --- models


def save_onnx(path: Path, shape: list[int | str], n_classes: int, is_flat: bool = True) -> Path:
    """A tiny net: mean colour times random weights; not flat: an image again."""
    weights: npt.NDArray[np.float32] = np.random.default_rng(1).random((3, n_classes), np.float32)
    nodes = [helper.make_node("Relu", ["image"], ["class"])]
    out: list[int | str] = list(shape)
    if is_flat:
        nodes = [
            helper.make_node("GlobalAveragePool", ["image"], ["mean"]),
            helper.make_node("Flatten", ["mean"], ["flat"]),
            helper.make_node("MatMul", ["flat", "weights"], ["class"]),
        ]
        out = [shape[0], n_classes]
    ports = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, size)
        for name, size in [("image", shape), ("class", out)]
    ]
    constants = [numpy_helper.from_array(weights, "weights")] if is_flat else []
    graph = helper.make_graph(nodes, "tiny", ports[:1], ports[1:], constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)])
    model.ir_version = 7
    onnx.save(model, str(path))
    return path


@pytest.mark.parametrize("backend", ["sim", "onnxruntime"])
@pytest.mark.parametrize(
    ("shape", "n_classes", "is_flat", "message"),
    [
        (["N", 3, 224, 224], 0, False, r"output 'class' of .*m\.onnx has shape .*: needed \(N, classes\) scores"),
        (["N", 224, 224, 3], 0, False, r"m\.onnx has shape .*: needed \(N, "),
        (["N", 3, 299, 299], 100, True, r"images of shape \[3, 299, 299\] but the preset makes \[3, 224, 224\]: use"),
        (["N", 3, 100, 100], 100, True, r"images of shape \[3, 100, 100\] but .*: no preset makes that"),
        ([4, 3, 224, 224], 100, True, r"m\.onnx has a fixed batch of 4: run it with --batch 4, not 16"),
    ],
)
def test_an_onnx_that_does_not_fit(
    refuse: Refuse,
    data: DataSet,
    tmp_path: Path,
    backend: str,
    shape: list[int | str],
    n_classes: int,
    is_flat: bool,
    message: str,
) -> None:
    path = save_onnx(tmp_path / "m.onnx", shape, n_classes, is_flat)
    refuse(MODEL, message, *sim(data), "--backend", backend, "--model", path, "--devices", "0")


@pytest.mark.parametrize("backend", ["sim", "onnxruntime"])
def test_a_class_that_the_model_does_not_have(refuse: Refuse, data: DataSet, tmp_path: Path, backend: str) -> None:
    path = save_onnx(tmp_path / "m.onnx", ["N", 3, 224, 224], 60)
    message = r"class 63 of img_10\.JPEG is unknown to .*m\.onnx, which has 60 classes"
    refuse(DATA, message, *sim(data), "--backend", backend, "--model", path, "--devices", "0")


@pytest.mark.parametrize("backend", ["sim", "onnxruntime"])
@pytest.mark.parametrize("content", [b"", b"\x00" * 1000, b"<!DOCTYPE html><html>not found</html>"])
def test_a_file_that_is_no_onnx(refuse: Refuse, data: DataSet, tmp_path: Path, backend: str, content: bytes) -> None:
    path = tmp_path / "m.onnx"
    path.write_bytes(content)
    refuse(MODEL, r"m\.onnx is no ONNX model", *sim(data), "--backend", backend, "--model", path, "--devices", "0")


def test_model_files_of_other_kinds(refuse: Refuse, data: DataSet, tmp_path: Path) -> None:
    (tmp_path / "m.om").write_bytes(b"junk" * 100)
    (tmp_path / "m.pth").write_bytes(b"junk")
    refuse(MODEL, r"the simulator cannot run .*m\.om", *sim(data, "--model", tmp_path / "m.om"))
    refuse(MODEL, r"m\.pth is neither \.onnx nor \.om", *sim(data, "--model", tmp_path / "m.pth"))
    refuse(MODEL, r"no model file .*gone\.onnx", *sim(data, "--model", tmp_path / "gone.onnx"))
    refuse(MODEL, r"fingerprint is built into the simulator", *sim(data, "--backend", "onnxruntime"))


@pytest.mark.parametrize(("devices", "missing"), [("4", 4), ("0-5", 4)])
def test_a_device_that_does_not_exist(refuse: Refuse, data: DataSet, devices: str, missing: int) -> None:
    refuse(DEVICE, rf"no device {missing}: this host has 4 chips, 0-3", *sim(data, "--devices", devices))


def test_a_run_that_was_refused_leaves_nothing_to_resume(refuse: Refuse, data: DataSet, tmp_path: Path) -> None:
    refuse(DEVICE, r"no device 4: this host has 4 chips", *sim(data, "--devices", 4, "--out", tmp_path / "out"))
    assert list((tmp_path / "out").iterdir()) == []


# --- places that cannot be written


def test_a_full_disk_behind_standard_output_is_said(data: DataSet, tmp_path: Path) -> None:
    with open("/dev/full", "w") as full:
        finished = subprocess.run(
            engine_command(*sim(data, "--out", tmp_path / "out", "--devices", "0")),
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            timeout=120,
            check=False,
        )
    assert finished.returncode == RESOURCE
    assert finished.stderr.splitlines()[-1] == (
        "engine: standard output cannot be written (No space left on device): make room or send it elsewhere"
    )


@pytest.mark.parametrize(
    "words",
    [
        ["check-data", "{data}", "--quarantine", "{tmp}/gone/list.txt"],
        ["run", "--data", "{data}", "--no-labels", "--backend", "null", "--trace", "{tmp}"],
    ],
)
def test_a_file_that_cannot_be_made_is_refused_before_the_work(
    refuse: Refuse, data: DataSet, tmp_path: Path, words: list[str]
) -> None:
    named = [word.format(data=data.folder, tmp=tmp_path) for word in words]
    refuse(CONFIG, rf"{words[-2]} {named[-1]}: needed a file in a folder that exists, such as ", *named)
