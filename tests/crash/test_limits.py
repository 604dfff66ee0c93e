"""Limits of the host that are met in the middle: of a cgroup, of a disk's files, of a cache that cannot be written."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from engine import host
from engine.journal import JOURNAL
from engine.layout import MIB
from kernels.cache import cache_folder
from kernels.isa import INSTRUCTION_SET
from tests.conftest import DataSet, run_engine
from tests.crash.conftest import arguments, read_run

Mount = Callable[[str], Path]


@pytest.fixture
def mount(tmp_path: Path) -> Iterator[Mount]:
    """Mounts a tmpfs with these options."""
    folders: list[Path] = []

    def mounted(options: str) -> Path:
        folder = tmp_path / f"disk{len(folders)}"
        folder.mkdir()
        if subprocess.run(
            ["mount", "-t", "tmpfs", "-o", options, "tmpfs", folder], capture_output=True, check=False
        ).returncode:
            pytest.skip("needs the right to mount a tmpfs: run as root")
        folders.append(folder)
        return folder

    yield mounted
    for folder in folders:
        subprocess.run(["umount", "-l", folder], check=True)


def test_a_disk_that_is_full_at_the_results_leaves_whole_files_and_a_resumable_journal(
    small_data: DataSet, undisturbed: dict[str, object], mount: Mount
) -> None:
    """The disk can hold its root, --out, the journal and one file more: predictions.csv, but not result.json."""
    disk = mount("size=4m,nr_inodes=4")
    out = disk / "out"
    full = run_engine(*arguments(small_data, out, repeat=1), "--no-log")
    assert full.returncode == 6, full.stderr
    assert full.stderr.splitlines()[-1] == (
        f"engine: writing {out / 'result.json'} needs one more file than its disk can hold: "
        "remove some or choose another folder"
    )
    assert sorted(path.name for path in out.iterdir()) == [JOURNAL, "predictions.csv"]
    assert len((out / "predictions.csv").read_text().splitlines()) == 1 + small_data.n_images
    subprocess.run(["mount", "-o", "remount,size=4m,nr_inodes=100", disk], check=True)
    resumed = run_engine("run", "--resume", out, "--no-log")
    assert resumed.returncode == 0, resumed.stderr
    assert read_run(out)["predictions_sha256"] == undisturbed["predictions_sha256"]


@pytest.mark.heavy
def test_a_disk_that_is_full_at_a_dump_leaves_no_half_of_one(small_data: DataSet, mount: Mount) -> None:
    out = mount("size=4m,nr_inodes=20") / "out"
    full = run_engine(*arguments(small_data, out, repeat=1), "--dump", "bin", "--no-log")
    assert full.returncode == 6, full.stderr
    assert "Traceback" not in full.stderr
    assert full.stdout.splitlines()[-1] == f"not complete; make it so with: engine run --resume {out}"
    assert {path.stat().st_size for path in out.rglob("*_1.bin")} == {4000}
    assert not (out / "run.json").exists()


@pytest.mark.heavy
def test_a_full_disk_of_the_perf_log_costs_the_log_and_no_result(
    small_data: DataSet, undisturbed: dict[str, object], mount: Mount, tmp_path: Path
) -> None:
    log = mount("size=4m,nr_inodes=1") / "log.records"
    full = run_engine(*arguments(small_data, tmp_path / "out", repeat=1), "--log", log)
    assert full.returncode == 0, full.stderr
    assert full.stderr.splitlines()[-1] == f"not logged: record file {log} cannot be written: No space left on device"
    assert read_run(tmp_path / "out")["predictions_sha256"] == undisturbed["predictions_sha256"]


def test_caches_that_cannot_be_written_are_elsewhere_and_that_is_said_once(
    small_data: DataSet, undisturbed: dict[str, object], mount: Mount, tmp_path: Path
) -> None:
    """A home on a read-only disk: kernels (copied, so as not to be compiled again) and models go to the temporary
    folder; a perf log that cannot be written costs a line, not the run."""
    home = mount("size=1m,ro")
    (tmp_path / "tmp").mkdir()
    environment = {
        **os.environ,
        "HOME": str(home),
        "TMPDIR": str(tmp_path / "tmp"),
        "XDG_DATA_HOME": str(home / "data"),
    }
    environment["XDG_CACHE_HOME"] = str(home / "cache")
    compiled = Path(cache_folder(INSTRUCTION_SET))
    elsewhere = tmp_path / "tmp" / f"engine-kernels-{os.getuid()}"
    elsewhere.mkdir(mode=0o700)
    subprocess.run(["cp", "-r", compiled, elsewhere], check=True)
    finished = run_engine(*arguments(small_data, tmp_path / "out", repeat=1), env=environment)
    assert finished.returncode == 0, finished.stderr
    assert read_run(tmp_path / "out")["predictions_sha256"] == undisturbed["predictions_sha256"]
    said = (finished.stdout + finished.stderr).splitlines()
    for line in (
        f"compiled kernels cannot be kept in {home}/cache/engine/kernels: using {elsewhere} instead",
        f"the cache folder {home}/cache/engine is not writable (Read-only file system): "
        f"using {tmp_path}/tmp/engine-cache-{os.getuid()} instead",
        f"not logged: perf log {home}/data/engine/perf.log cannot be made: Read-only file system",
    ):
        assert said.count(line) == 1, said


GROUP_FILES = {
    1: ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
    2: ("memory.max", "memory.current", "inactive_file"),
}


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("where", ["own", "above"])
def test_memory_limits_of_control_groups_are_found(
    version: int, where: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A made-up tree: the limit may be this group's or one above; page cache counts as free."""
    root = tmp_path / "memory" if version == 1 else tmp_path
    own = root / "job" / "step"
    own.mkdir(parents=True)
    limit, usage, cache = GROUP_FILES[version]
    group = own if where == "own" else own.parent
    (group / limit).write_text(f"{100 * MIB}\n")
    (group / usage).write_text(f"{70 * MIB}\n")
    (group / "memory.stat").write_text(f"cache 1\n{cache} {20 * MIB}\nrss 2\n")
    if where == "above":
        (own / limit).write_text("max\n" if version == 2 else f"{(1 << 63) - 4096}\n")
        (own / usage).write_text("0\n")
        (own / "memory.stat").write_text("")
    (tmp_path / "own").write_text(f"4:{'memory' if version == 1 else 'cpu'}:/job/step\n0::/job/step\n")
    monkeypatch.setattr(host, "CGROUP", tmp_path)
    monkeypatch.setattr(host, "OWN_CGROUPS", tmp_path / "own")
    assert host.available_memory_bytes() == 50 * MIB


@pytest.mark.parametrize("where", ["own", "above"])
@pytest.mark.parametrize("version", [1, 2])
def test_a_quota_of_this_or_any_group_above_bounds_the_cores(
    version: int, where: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two and a half cores' worth are two; half a core's worth is one; no quota leaves the affinity."""
    root = tmp_path / "cpu" if version == 1 else tmp_path
    own = root / "job" / "step"
    own.mkdir(parents=True)
    (tmp_path / "own").write_text(f"4:{'cpu,cpuacct' if version == 1 else 'memory'}:/job/step\n0::/job/step\n")
    monkeypatch.setattr(host, "CGROUP", tmp_path)
    monkeypatch.setattr(host, "OWN_CGROUPS", tmp_path / "own")
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)))
    group = own if where == "own" else own.parent
    for quota, cores in ((250_000, 2), (50_000, 1), (None, 8)):
        if version == 2:
            (group / "cpu.max").write_text(f"{quota or 'max'} 100000\n")
        else:
            (group / "cpu.cfs_quota_us").write_text(f"{quota or -1}\n")
            (group / "cpu.cfs_period_us").write_text("100000\n")
        assert host.n_cores() == cores


@pytest.fixture
def group_of_512_mib() -> Iterator[Path]:
    """A real group below this process's own, its folder."""
    own = next((g for g in host._cgroups("memory") if g.is_dir() and (g / "cgroup.procs").exists()), None)
    group = None if own is None else own / f"engine-test-{os.getpid()}"
    try:
        assert group is not None
        group.mkdir()
        limit = next(group / files[0] for files in GROUP_FILES.values() if (group / files[0]).exists())
        limit.write_text(str(512 * MIB))
    except (OSError, AssertionError, StopIteration):
        if group is not None and group.is_dir():
            group.rmdir()
        pytest.skip("needs the right to make a memory cgroup: run as root with cgroups writable")
    yield group
    deadline = time.monotonic() + 10
    while (group / "cgroup.procs").read_text() and time.monotonic() < deadline:  # Python's helpers, ending
        time.sleep(0.01)
    group.rmdir()


def test_an_arena_beyond_the_groups_limit_is_refused_and_one_within_runs(
    small_data: DataSet, group_of_512_mib: Path, tmp_path: Path
) -> None:
    def joins() -> None:
        (group_of_512_mib / "cgroup.procs").write_text(str(os.getpid()))

    sizes = ("--workers", 1, "--no-log")
    refused = run_engine(*arguments(small_data, tmp_path / "a"), *sizes, "--slots", 400, preexec_fn=joins)
    assert refused.returncode == 6, refused.stderr
    last = refused.stderr.splitlines()[-1]
    assert last.startswith("engine: arena of 400 slots x "), last
    assert " MiB are available: lower --slots to " in last
    fits = run_engine(*arguments(small_data, tmp_path / "b", repeat=2), *sizes, "--slots", 8, preexec_fn=joins)
    assert fits.returncode == 0, fits.stderr
