"""`engine preprocess` writes the guide's bytes, names what fails, and goes on where it was killed."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from engine.errors import WorkerError
from engine.preprocess.bins import tensor_format
from engine.preprocess.sinks import BinFolder, tensor_name
from engine.preprocess.team import Team
from engine.presets import find_preset
from kernels import reference
from tests.conftest import DataSet, engine_command, make_data_set
from tests.data.inprocess import call_engine
from tests.data.oracle import MODELS, guide_preprocess
from tests.data.workers import dead_main, deadly_main

#: No process of a test may outlive it by more.
DEADLINE_S = 60.0


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> DataSet:
    return make_data_set(tmp_path_factory.mktemp("preprocess"), 23)


def tensors(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.glob("*.bin")}


@pytest.mark.parametrize("preset", sorted(MODELS))
def test_tensors_are_the_guides_byte_for_byte(data: DataSet, tmp_path: Path, preset: str) -> None:
    guide_preprocess(preset, data.folder, tmp_path / "guide")
    result = call_engine("preprocess", "--preset", preset, data.folder, tmp_path / "ours")
    assert result.returncode == 0, result.stderr
    assert "23 written" in result.stdout
    assert tensors(tmp_path / "ours") == tensors(tmp_path / "guide")


def test_real_images_are_the_guides_byte_for_byte(imagenet_sample: DataSet, tmp_path: Path) -> None:
    guide_preprocess("resnet", imagenet_sample.folder, tmp_path / "guide")
    result = call_engine("preprocess", imagenet_sample.folder, tmp_path / "ours")
    assert result.returncode == 0, result.stderr
    assert tensors(tmp_path / "ours") == tensors(tmp_path / "guide")


@pytest.mark.parametrize("dtype", ["float16", "uint8"])
def test_other_types_are_the_float32_rounded_and_the_pixels(data: DataSet, tmp_path: Path, dtype: str) -> None:
    result = call_engine("preprocess", "--dtype", dtype, data.folder, tmp_path / "ours")
    assert result.returncode == 0, result.stderr
    for path in data.folder.iterdir():
        expected = reference.preprocess(path.read_bytes(), find_preset("resnet")).astype(np.float16)
        if dtype == "uint8":
            expected = reference.crop_rgb(path.read_bytes(), find_preset("resnet"))
        assert (tmp_path / "ours" / f"{path.stem}.bin").read_bytes() == expected.tobytes()


def test_complete_tensors_are_kept_and_others_made_again(data: DataSet, tmp_path: Path) -> None:
    """Kept: size and time fit. Made again: cut short, older than the image, or gone."""
    ours = tmp_path / "ours"
    assert call_engine("preprocess", data.folder, ours).returncode == 0
    expected = tensors(ours)
    os.truncate(ours / "img_3.bin", 1000)
    (ours / "img_4.bin").write_bytes(bytes(602_112))
    os.utime(ours / "img_4.bin", (1, 1))
    (ours / "img_5.bin").unlink()
    (ours / "stranger.bin").write_bytes(b"")
    kept_at = (ours / "img_6.bin").stat().st_mtime_ns
    result = call_engine("preprocess", data.folder, ours)
    assert "3 written" in result.stdout, result.stdout
    assert "20 already there, 0 failed" in result.stdout
    assert "also holds 1 .bin files of no image here, such as stranger.bin" in result.stdout
    (ours / "stranger.bin").unlink()
    assert tensors(ours) == expected
    assert (ours / "img_6.bin").stat().st_mtime_ns == kept_at


def test_tensors_that_we_did_not_make_are_not_trusted(data: DataSet, tmp_path: Path) -> None:
    ours = tmp_path / "ours"
    ours.mkdir()
    (ours / "img_1.bin").write_bytes(bytes(602_112))
    result = call_engine("preprocess", data.folder, ours)
    assert "23 written" in result.stdout, result.stdout
    assert (ours / "img_1.bin").read_bytes() != bytes(602_112)


def test_tensors_of_two_kinds_are_not_mixed(data: DataSet, tmp_path: Path) -> None:
    assert call_engine("preprocess", data.folder, tmp_path / "ours").returncode == 0
    for words, wanted in (
        (["--dtype", "float16"], "float16 tensors of preset resnet"),
        (["--preset", "efficientnet-lite0"], "float32 tensors of preset efficientnet-lite0"),
    ):
        result = call_engine("preprocess", *words, data.folder, tmp_path / "ours")
        assert result.returncode == 2
        assert f"holds float32 tensors of preset resnet: choose another folder for {wanted}" in result.stderr


def test_images_that_fail_are_named_and_the_others_written(data: DataSet, tmp_path: Path) -> None:
    images = tmp_path / "val"
    images.mkdir()
    for path in sorted(data.folder.iterdir())[:5]:
        (images / path.name).write_bytes(path.read_bytes())
    (images / "empty.JPEG").write_bytes(b"")
    (images / "torn.JPEG").write_bytes((images / "img_1.JPEG").read_bytes()[:2000])
    result = call_engine("preprocess", images, tmp_path / "ours")
    assert result.returncode == 8
    assert "FAILED empty.JPEG: the file is empty" in result.stderr
    assert "FAILED torn.JPEG: " in result.stderr
    assert "2 of 7 images failed, the first is empty.JPEG; the others are in" in result.stderr
    assert len(tensors(tmp_path / "ours")) == 5
    assert "5 written" in result.stdout


def test_names_that_the_guide_would_write_over_each_other_are_refused(data: DataSet, tmp_path: Path) -> None:
    images = tmp_path / "val"
    images.mkdir()
    for name in ("a.v1.JPEG", "a.v2.JPEG"):
        (images / name).write_bytes((data.folder / "img_1.JPEG").read_bytes())
    result = call_engine("preprocess", images, tmp_path / "ours")
    assert result.returncode == 3
    assert "a.v1.JPEG and a.v2.JPEG would both be a.bin, which is named up to the first dot" in result.stderr
    assert not (tmp_path / "ours").exists()


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["{val}", "{val}"], 2, "is the folder of the images: choose another one for the tensors"),
        (["{tmp}/gone", "{tmp}/x"], 3, "no folder {tmp}/gone: --data needs a folder of images"),
        (["{val}", "{labels}"], 2, "val_label.txt is a file: needed a folder for the .bin files, or --format packed"),
        (
            ["{val}", "{tmp}/x", "--labels", "{labels}"],
            2,
            "--labels is for --format packed: .bin files carry no labels",
        ),
        (["{val}", "{tmp}", "--format", "packed"], 2, "is a folder: --format packed needs the name of a file"),
        (["{val}", "{tmp}/x", "--format", "packed", "--dtype", "float16"], 2, "--dtype float16 is for --format bin"),
        (["{val}", "{tmp}/x", "--preset", "resnt"], 2, "unknown preset 'resnt', did you mean 'resnet'"),
        (["{val}", "/proc/x"], 6, "/proc/x cannot be written: No such file or directory"),
        (["{val}"], 2, "Missing argument 'DST'"),
    ],
)
def test_misuse_is_one_line(data: DataSet, tmp_path: Path, words: list[str], code: int, message: str) -> None:
    places = {"val": data.folder, "labels": data.labels, "tmp": tmp_path}
    result = call_engine("preprocess", *(word.format(**places) for word in words))
    assert message.format(**places) in result.stderr
    assert (result.returncode, len(result.stderr.splitlines())) == (code, 1)


def test_class_folders_stay_class_folders(data: DataSet, tmp_path: Path) -> None:
    for folder, image in (("n01440764", "img_1.JPEG"), ("n15075141", "img_2.JPEG")):
        (tmp_path / "val" / folder).mkdir(parents=True)
        (tmp_path / "val" / folder / image).write_bytes((data.folder / image).read_bytes())
    assert call_engine("preprocess", tmp_path / "val", tmp_path / "ours").returncode == 0
    found = sorted(str(path.relative_to(tmp_path / "ours")) for path in (tmp_path / "ours").rglob("*.bin"))
    assert found == ["n01440764/img_1.bin", "n15075141/img_2.bin"]


@pytest.mark.parametrize(
    ("form", "number"),
    [
        ("bin", signal.SIGKILL),
        pytest.param("packed", signal.SIGKILL, marks=pytest.mark.heavy),
        pytest.param("bin", signal.SIGINT, marks=pytest.mark.heavy),
    ],
)
def test_killed_in_the_middle_nothing_is_half_written_and_it_goes_on(
    tmp_path: Path, number: signal.Signals, form: str
) -> None:
    """Whatever is there under its name is whole; the same command then ends with the bytes of an undisturbed one."""
    data = make_data_set(tmp_path / "data", 40)
    copies = tmp_path / "many"
    copies.mkdir()
    for i in range(240):
        os.link(data.folder / f"img_{i % 40 + 1}.JPEG", copies / f"copy_{i}.JPEG")
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    assert call_engine("preprocess", copies, whole, "--format", form).returncode == 0
    words = engine_command("preprocess", copies, broken, "--format", form, "--workers", 1)  # slow enough to be hit
    process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True)
    wait_for(lambda: is_under_way(broken, form))
    process.send_signal(number)
    _, errors = process.communicate(timeout=DEADLINE_S)
    if number == signal.SIGINT:
        assert process.returncode == 130
        assert "the same command goes on from here" in errors
    else:
        assert process.returncode == -signal.SIGKILL
    wait_for(lambda: not processes_of(process.pid))
    if form == "bin":
        assert {path.stat().st_size for path in broken.glob("*.bin")} == {602_112}
    else:
        assert not broken.exists()
    result = call_engine("preprocess", copies, broken, "--format", form)
    assert result.returncode == 0, result.stderr
    n_kept = int(result.stdout.split(", ")[1].split()[0])
    assert 0 < n_kept < 240
    if form == "bin":
        assert tensors(broken) == tensors(whole)
        assert not list(broken.glob("*.tmp*"))
    else:
        assert broken.read_bytes() == whole.read_bytes()
        assert [path.name for path in tmp_path.glob(".*")] == []


def is_under_way(destination: Path, form: str) -> bool:
    """Some samples are done, and most are not."""
    if form == "bin":
        return len(list(destination.glob("*.bin"))) >= 16
    part = destination.with_name(f".{destination.name}.partial")
    if not part.exists() or part.stat().st_size < 4096 + 8 * 240:
        return False
    with part.open("rb") as file:
        file.seek(4096)
        return int(np.count_nonzero(np.frombuffer(file.read(8 * 240), np.uint64))) >= 16


def processes_of(session: int) -> list[str]:
    """Processes of the command, which was started as a session of its own."""
    return [folder.name for folder in Path("/proc").glob("[0-9]*") if session_of(folder) == session]


def session_of(folder: Path) -> int | None:
    try:
        return int((folder / "stat").read_text().rsplit(")", 1)[1].split()[3])
    except OSError:
        return None


def wait_for(condition: Callable[[], bool]) -> None:
    """Look every 2 ms until the condition holds."""
    deadline = time.perf_counter() + DEADLINE_S
    while not condition():
        assert time.perf_counter() < deadline, "it never happened"
        time.sleep(0.002)


def test_a_worker_that_is_killed_costs_nothing(tmp_path: Path) -> None:
    """Samples 5 and 40 kill the worker that gets them; 40 does so once only."""
    team = Team(deadly_main, [str(tmp_path / "once")], 2)
    assert team.run(list(range(100)), lambda n_done, n_right: None)
    assert team.reasons == {5: "its worker was killed by SIGKILL each time"}
    assert team.n_done == 100


@pytest.mark.heavy
def test_workers_that_die_again_and_again_end_it() -> None:
    team = Team(dead_main, [], 2)
    with pytest.raises(
        WorkerError, match=r"preprocess worker \d exited with 3, death number 9 in a row: stopped; what"
    ):
        team.run(list(range(100)), lambda n_done, n_right: None)


def test_two_at_once_in_one_folder_are_refused(data: DataSet, tmp_path: Path) -> None:
    assert call_engine("preprocess", data.folder, tmp_path / "ours").returncode == 0
    with (tmp_path / "ours" / ".engine-preprocess.json").open("r+") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        result = call_engine("preprocess", data.folder, tmp_path / "ours")
    assert result.returncode == 13
    assert "another engine preprocess is writing there (it holds" in result.stderr


def test_names_of_tensors() -> None:
    assert tensor_name("a.b.JPEG") == "a.bin"
    assert tensor_name("n01440764/x.JPEG") == "n01440764/x.bin"
    assert BinFolder(Path("x"), tensor_format("float32")).tensor.row_bytes(224) == 602_112
