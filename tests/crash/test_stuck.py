"""What neither dies nor moves: stopped processes, chips that never answer, images that take for ever."""

from __future__ import annotations

import fcntl
import io
import os
import signal
import struct
import termios
from pathlib import Path

import numpy as np
import psutil
import pytest
from PIL import Image

from bench.running import Running
from engine.incidents import INCIDENTS
from engine.journal import JOURNAL
from tests.conftest import DataSet, make_data_set, run_engine
from tests.crash.conftest import arguments, read_run, statuses


def endless_jpeg(side: int, n_scans: int) -> bytes:
    """A small sound progressive JPEG that takes libjpeg (side / 4000)^2 x n_scans x 40 ms: its last scan many times."""
    stream = io.BytesIO()
    Image.new("RGB", (side, side), (120, 130, 140)).save(stream, "JPEG", progressive=True)
    data = stream.getvalue()
    scan = data[data.rindex(b"\xff\xda") : -2]
    return data[:-2] + scan * n_scans + data[-2:]


def bombs(folder: Path) -> dict[str, str]:
    """Files that are refused from their headers: {name: Pillow's reason}."""
    Image.new("L", (10_000, 10_000)).save(folder / "gray.png")
    stream = io.BytesIO()
    Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(stream, "JPEG")
    header = bytearray(stream.getvalue())
    at = header.index(b"\xff\xc0") + 5
    header[at : at + 4] = (60_000).to_bytes(2, "big") * 2
    (folder / "header.JPEG").write_bytes(header)
    text = "Image size ({} pixels) exceeds limit of {} pixels, could be decompression bomb DOS attack."
    return {
        "gray.png": text.format(10**8, 89_478_485),
        "header.JPEG": text.format(3_600_000_000, 178_956_970),
    }


def test_images_that_hang_their_decoder_or_are_bombs_fail_by_name_and_the_rest_goes_on(tmp_path: Path) -> None:
    data = make_data_set(tmp_path / "data", 9)
    (data.folder / "endless.JPEG").write_bytes(endless_jpeg(4000, 1000))
    expected = bombs(data.folder)
    expected["endless.JPEG"] = "its decoder took longer than 1 s over one image (--image-timeout) each time"
    with data.labels.open("a") as labels:
        labels.writelines(f"{name} 1\n" for name in expected)
    options = ("--image-timeout", 1, "--max-failed-percent", 100)
    finished = run_engine(*arguments(data, tmp_path, repeat=1), *options)
    assert finished.returncode == 0, finished.stderr
    assert {name: status for name, status in statuses(tmp_path).items() if status != "SCORED"} == {
        name: f"FAILED: {reason}" for name, reason in expected.items()
    }


@pytest.mark.heavy
def test_stopped_processes_are_noticed_killed_and_replaced(
    small_data: DataSet, undisturbed: dict[str, object], running: list[Running], tmp_path: Path
) -> None:
    """SIGSTOP of a decoder and of the feeder: noticed while they stand, replaced, same predictions."""
    command = Running(tmp_path / "stderr.txt", *arguments(small_data, tmp_path))
    running.append(command)
    command.wait_until_working()
    victims = command.pid_of("decoder"), command.pid_of("feeder")
    for victim in victims:
        os.kill(victim, signal.SIGSTOP)
    for victim in victims:
        command.wait_until_said(f"(pid {victim}) is stopped by a signal")
    code, errors = command.finish()
    assert code == 0, errors
    assert all(f"(pid {victim}) was killed by SIGKILL" in errors for victim in victims)
    assert read_run(tmp_path)["predictions_sha256"] == undisturbed["predictions_sha256"]
    report = (tmp_path / INCIDENTS).read_text()
    assert all(f"(pid {victim}) was stopped by a signal and is killed" in report for victim in victims)
    assert "in decode_forever" in report


@pytest.mark.heavy
def test_a_chip_that_hangs_once_is_restarted(
    small_data: DataSet, undisturbed: dict[str, object], tmp_path: Path
) -> None:
    faults = ("--sim-faults", "acl.mdl.execute_async:30=hang", "--stall-timeout", 4)
    finished = run_engine(*arguments(small_data, tmp_path), *faults)
    assert finished.returncode == 0, finished.stderr
    assert "it did not answer for 2 s, half of --stall-timeout" in finished.stderr
    assert read_run(tmp_path)["predictions_sha256"] == undisturbed["predictions_sha256"]


def test_a_stall_ends_the_run_with_a_report_and_can_be_resumed(tmp_path: Path) -> None:
    """The only decoder works on an image that never ends, so nothing is decoded or executed any more."""
    data = make_data_set(tmp_path / "data", 9)
    (data.folder / "endless.JPEG").write_bytes(endless_jpeg(4000, 3000))
    with data.labels.open("a") as labels:
        labels.write("endless.JPEG 1\n")
    out = tmp_path / "out"
    stalled = run_engine(*arguments(data, out, repeat=1), "--workers", 1, "--stall-timeout", 4, "--image-timeout", 100)
    assert stalled.returncode == 15, stalled.stderr
    assert "nothing moved for 4 s (--stall-timeout): the run is stopped; the stacks of all processes" in stalled.stderr
    assert f"engine run --resume {out}" in stalled.stdout
    report = (out / INCIDENTS).read_text()
    assert "nothing moved" in report
    assert all(part in report for part in ("-- hub", "-- decoder 0", "-- feeder 0", "positions"))
    assert 'kernels/fallback.py", line' in report  # where the image is, in whichever library
    limits = ("--image-timeout", 0.3, "--stall-timeout", 60, "--max-failed-percent", 100)
    resumed = run_engine("run", "--resume", out, *limits)
    assert resumed.returncode == 0, resumed.stderr
    found = statuses(out)
    assert {name for name, status in found.items() if status != "SCORED"} == {"endless.JPEG"}
    assert len(found) == 10
    assert not (out / JOURNAL).exists()


@pytest.mark.heavy
def test_chips_that_hang_again_after_each_restart_are_lost_one_by_one(small_data: DataSet, tmp_path: Path) -> None:
    faults = ("--devices", "0-1", "--sim-faults", "acl.mdl.execute_async:20+=hang*", "--stall-timeout", 3)
    finished = run_engine(*arguments(small_data, tmp_path), *faults)
    assert finished.returncode == 5, finished.stderr
    assert finished.stderr.count("it did not answer for 1.5 s, half of --stall-timeout") >= 6
    assert "engine: no chip is left; the last one: it did not answer for 1.5 s" in finished.stderr


@pytest.mark.parametrize(
    "number",
    [signal.SIGTERM, *(pytest.param(number, marks=pytest.mark.heavy) for number in (signal.SIGINT, signal.SIGHUP))],
)
def test_the_second_signal_ends_at_once(
    number: signal.Signals, small_data: DataSet, running: list[Running], tmp_path: Path
) -> None:
    """Sent to the whole group, with chips that hang, so that the first one never gets to the end of its drain."""
    faults = ("--sim-faults", "acl.mdl.execute_async:1+=hang*")
    command = Running(tmp_path / "stderr.txt", *arguments(small_data, tmp_path), *faults)
    running.append(command)
    command.wait_until_working()
    children = [psutil.Process(pid) for pid in command.all_pids()]
    os.killpg(command.process.pid, number)
    with pytest.raises(psutil.TimeoutExpired):
        psutil.Process(command.process.pid).wait(timeout=1)
    os.killpg(command.process.pid, number)
    code, errors = command.finish()
    assert code == 130, errors
    assert "Traceback" not in errors
    _, alive = psutil.wait_procs(children, timeout=5)
    assert not alive
    assert (tmp_path / JOURNAL).exists()


def test_a_closed_terminal_gives_a_partial_report(small_data: DataSet, running: list[Running], tmp_path: Path) -> None:
    """The terminal goes away while the run draws on it: SIGHUP, and every further write fails."""
    ours, theirs = os.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    command = Running(
        tmp_path / "stderr.txt",
        *arguments(small_data, tmp_path, repeat=100_000, backend="null"),
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        preexec_fn=lambda: take_terminal(theirs),
    )
    running.append(command)
    os.close(theirs)
    journal = tmp_path / JOURNAL
    command.wait_for(lambda: journal.exists() and journal.stat().st_size > 2000)
    os.close(ours)
    assert command.finish()[0] == 130
    assert read_run(tmp_path)["interrupted"] is True


def take_terminal(fd: int) -> None:
    """In the new process: this terminal is its controlling one."""
    fcntl.ioctl(fd, termios.TIOCSCTTY, 0)
