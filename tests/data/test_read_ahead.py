"""The disk hears of a slot's samples before their turn."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from engine.names import NameTable
from engine.sources import ahead
from engine.sources.ahead import DEPTH, FilesAhead

N = DEPTH + 4


@pytest.fixture
def names(tmp_path: Path) -> NameTable:
    table = NameTable.of(tmp_path, [f"{i}.bin" for i in range(N)])
    for i in range(N):
        (tmp_path / f"{i}.bin").write_bytes(bytes([i]))
    return table


@pytest.fixture
def announced(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Files announced to the kernel, in order."""
    found: list[str] = []
    fadvise = os.posix_fadvise

    def record(fd: int, *rest: int) -> None:
        found.append(Path(os.readlink(f"/proc/self/fd/{fd}")).name)
        fadvise(fd, *rest)

    monkeypatch.setattr(ahead.os, "posix_fadvise", record)
    return found


def first_byte(files: FilesAhead, sample: int) -> int:
    fd = files.open(sample)
    try:
        return os.read(fd, 1)[0]
    finally:
        os.close(fd)


def n_open() -> int:
    return len(os.listdir("/proc/self/fd"))


def test_files_are_announced_a_fixed_number_ahead_of_the_one_that_is_read(
    names: NameTable, announced: list[str]
) -> None:
    files = FilesAhead(names)
    files.expect(range(N))
    assert announced == [f"{i}.bin" for i in range(DEPTH)]
    assert first_byte(files, 0) == 0
    assert announced[DEPTH:] == [f"{DEPTH}.bin"]
    assert [first_byte(files, sample) for sample in range(1, N)] == list(range(1, N))


def test_a_file_that_is_missing_fails_in_its_own_turn(names: NameTable, tmp_path: Path) -> None:
    (tmp_path / "1.bin").unlink()
    files = FilesAhead(names)
    files.expect([0, 1, 2])
    assert first_byte(files, 0) == 0
    with pytest.raises(FileNotFoundError):
        files.open(1)
    assert first_byte(files, 2) == 2


def test_what_was_expected_and_never_read_is_closed(names: NameTable) -> None:
    files, before = FilesAhead(names), n_open()
    files.expect(range(N))
    assert n_open() == before + DEPTH
    files.expect([])
    assert n_open() == before


def test_a_sample_that_nobody_expected_is_opened_all_the_same(names: NameTable) -> None:
    files = FilesAhead(names)
    files.expect([0, 1])
    assert first_byte(files, 5) == 5
    assert first_byte(files, 0) == 0
