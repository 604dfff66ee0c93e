"""Too little of something: one clear line, its exit code, nothing half-written."""

from __future__ import annotations

import contextlib
import os
import resource
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench.running import Running
from engine import host
from engine.errors import ResourceError
from engine.journal import JOURNAL
from engine.layout import MIB
from engine.preflight import Needs, check_needs
from tests.conftest import DataSet, run_engine
from tests.crash.conftest import arguments, read_run

NEEDS = Needs(2, 1, 1000, 1000, 20_000, None, Path("/tmp"))


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 2 MiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", folder], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("needs the right to mount a tmpfs: run as root")
    yield folder
    subprocess.run(["umount", "-l", folder], check=True)


def test_a_disk_that_fills_up_in_the_middle_ends_in_one_line_and_a_resumable_journal(
    small_data: DataSet, undisturbed: dict[str, object], running: list[Running], small_disk: Path, tmp_path: Path
) -> None:
    out = small_disk / "out"
    command = Running(tmp_path / "stderr.txt", *arguments(small_data, out))
    running.append(command)
    command.wait_until_working()
    command.wait_for(lambda: (out / JOURNAL).stat().st_size > 1500)
    filler = small_disk / "filler"
    with contextlib.suppress(OSError), filler.open("wb", buffering=0) as file:
        while True:
            file.write(bytes(4096))
    code, errors = command.finish()
    assert code == 6, errors
    assert "Traceback" not in errors
    assert "make room" in errors
    assert sorted(path.name for path in out.iterdir()) == [JOURNAL]
    filler.unlink()
    resumed = run_engine("run", "--resume", out)
    assert resumed.returncode == 0, resumed.stderr
    document = read_run(out)
    assert document["predictions_sha256"] == undisturbed["predictions_sha256"]
    dataset = document["dataset"]
    assert isinstance(dataset, dict)
    assert dataset["n_restored"] > 0


def test_a_disk_too_small_for_the_results_is_refused_at_once(small_data: DataSet, small_disk: Path) -> None:
    refused = run_engine(*arguments(small_data, small_disk / "out", repeat=1), "--dump", "txt", "--limit", 37)
    assert refused.returncode == 0, refused.stderr  # 37 dumps fit
    refused = run_engine(*arguments(small_data, small_disk / "out", repeat=2_000))
    assert refused.returncode == 6
    assert f"the disk of --out {small_disk / 'out'} has" in refused.stderr
    assert "free: lower --limit, make room or choose another --out" in refused.stderr


def test_few_descriptors_are_enough_or_refused_with_the_option(small_data: DataSet, tmp_path: Path) -> None:
    """`ulimit -n 64`: two decoders run, twenty are too many."""

    def limited() -> None:
        resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))

    enough = run_engine(*arguments(small_data, tmp_path / "a", repeat=3), preexec_fn=limited)
    assert enough.returncode == 0, enough.stderr
    too_few = run_engine(*arguments(small_data, tmp_path / "b"), "--workers", 20, preexec_fn=limited)
    assert too_few.returncode == 6
    assert (
        "20 decoders and 1 feeders need 145 file descriptors but 64 are allowed (ulimit -n): lower --workers to 3"
        in too_few.stderr
    )
    assert not list((tmp_path / "b").iterdir())


def test_the_soft_limit_of_descriptors_is_raised(small_data: DataSet, tmp_path: Path) -> None:
    def limited() -> None:
        resource.setrlimit(resource.RLIMIT_NOFILE, (30, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))

    finished = run_engine(*arguments(small_data, tmp_path, repeat=3), preexec_fn=limited)
    assert finished.returncode == 0, finished.stderr


def test_too_little_memory_is_refused_with_need_have_and_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host, "available_memory_bytes", lambda: 150 * MIB)
    with pytest.raises(ResourceError, match=r"3 processes need 192 MiB of memory but 150 MiB are available .* to 1"):
        check_needs(NEEDS)


def test_an_address_space_too_small_is_one_line(small_data: DataSet, tmp_path: Path) -> None:
    """`ulimit -v` of 1.5 GB: far less than an arena of 256 slots of 16 images."""

    def limited() -> None:
        resource.setrlimit(resource.RLIMIT_AS, (1500 * MIB, 1500 * MIB))

    refused = run_engine(*arguments(small_data, tmp_path), "--slots", 2000, preexec_fn=limited)
    assert refused.returncode == 6, refused.stderr
    assert "Traceback" not in refused.stderr
    assert "lower" in refused.stderr


def test_a_read_only_out_is_refused(small_data: DataSet, small_disk: Path) -> None:
    subprocess.run(["mount", "-o", "remount,ro", small_disk], check=True)
    refused = run_engine(*arguments(small_data, small_disk / "out"))
    assert refused.returncode == 6
    assert "cannot be written: Read-only file system" in refused.stderr


def test_output_into_a_closed_pipe_or_nowhere_costs_nothing(small_data: DataSet, tmp_path: Path) -> None:
    """A closed pipe, and then no standard input, output and error at all."""

    def closed() -> None:
        os.closerange(0, 3)

    reader, writer = os.pipe()
    os.close(reader)
    command = Running(tmp_path / "a.txt", *arguments(small_data, tmp_path / "a", repeat=1), stdout=writer)
    os.close(writer)
    assert command.finish()[0] == 0
    command = Running(tmp_path / "b.txt", *arguments(small_data, tmp_path / "b", repeat=1), preexec_fn=closed)
    assert command.finish()[0] == 0
    assert read_run(tmp_path / "a")["predictions_sha256"] == read_run(tmp_path / "b")["predictions_sha256"]
    assert signal.getsignal(signal.SIGPIPE) == signal.SIG_IGN
