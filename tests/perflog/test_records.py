"""Record files: what was written whole is read back after truncation at any byte, flipped bits, and many writers."""

from __future__ import annotations

import multiprocessing
import os
import signal
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import msgpack
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from engine.errors import ConfigError, DataError
from engine.record_frames import FRAME_BYTES, RECORD_TAG, RecordLimits
from engine.records import RecordWriter, read_records

HEADER = {"kind": "test", "version": 1}
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False) | st.text() | st.binary(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=8,
)
AGAIN = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def write(path: Path, records: list[object]) -> list[int]:
    """Write `records`; the offsets at which a frame (the header's, then each record's) ends."""
    path.unlink(missing_ok=True)
    ends = []
    with RecordWriter(path, HEADER) as writer:
        ends.append(path.stat().st_size)
        for record in records:
            writer.append(record)
            writer.flush()
            ends.append(path.stat().st_size)
    return ends


@AGAIN
@given(records=st.lists(VALUES, max_size=6))
def test_what_is_appended_is_read_back(tmp_path: Path, records: list[object]) -> None:
    write(tmp_path / "log", records)
    assert read_records(tmp_path / "log") == (HEADER, records, 0)


@settings(AGAIN, max_examples=12)
@given(records=st.lists(VALUES, min_size=1, max_size=3))
def test_a_file_cut_at_any_byte_gives_every_record_before_the_cut(tmp_path: Path, records: list[object]) -> None:
    path, cut = tmp_path / "log", tmp_path / "cut"
    ends = write(path, records)
    data = path.read_bytes()
    for size in range(len(data) + 1):
        cut.write_bytes(data[:size])
        whole = [end for end in ends if end <= size]
        expected = records[: max(0, len(whole) - 1)]
        header = HEADER if whole else {}
        assert read_records(cut) == (header, expected, size - (whole[-1] if whole else 0))


def test_a_writer_continues_after_cutting_the_torn_tail_at_any_byte(tmp_path: Path) -> None:
    path, cut = tmp_path / "log", tmp_path / "cut"
    records: list[object] = [{"n": 1}, [2, "two"], b"\xe5REC three"]
    ends = write(path, records)
    data = path.read_bytes()
    for size in range(len(data) + 1):
        cut.write_bytes(data[:size])
        whole = [end for end in ends if end <= size]
        with RecordWriter(cut, HEADER) as writer:
            assert writer.torn_bytes == size - (whole[-1] if whole else 0)
            writer.append("later")
        assert read_records(cut) == (HEADER, [*records[: max(0, len(whole) - 1)], "later"], 0)


def test_a_flipped_bit_costs_the_record_that_it_hits_and_no_other(tmp_path: Path) -> None:
    path, hurt = tmp_path / "log", tmp_path / "hurt"
    records: list[object] = [{"rate": 1.5}, "second", [3, 3, 3], b"\xe5HDR\xe5REC"]
    ends = write(path, records)
    data = path.read_bytes()
    for bit in range(8 * len(data)):
        hurt.write_bytes(data[: bit // 8] + bytes([data[bit // 8] ^ 1 << bit % 8]) + data[bit // 8 + 1 :])
        frame = sum(end <= bit // 8 for end in ends)
        length = ends[frame] - (ends[frame - 1] if frame else 0)
        kept = [record for i, record in enumerate(records, 1) if i != frame]
        assert read_records(hurt) == ({} if frame == 0 else HEADER, kept, length)


def test_a_file_whose_header_is_damaged_gets_a_new_one_and_keeps_its_records(tmp_path: Path) -> None:
    path = tmp_path / "log"
    write(path, ["first"])
    data = bytearray(path.read_bytes())
    data[FRAME_BYTES] ^= 1
    path.write_bytes(data)
    with RecordWriter(path, HEADER) as writer:
        writer.append("second")
    header, records, _ = read_records(path)
    assert (header, records) == (HEADER, ["first", "second"])


@AGAIN
@given(junk=st.binary(min_size=1, max_size=400), start=st.sampled_from([b"", RECORD_TAG, b"\xe5HDR"]))
def test_no_content_makes_a_reader_fail_in_another_way_than_saying_what_the_file_is(
    tmp_path: Path, junk: bytes, start: bytes
) -> None:
    path = tmp_path / "junk"
    path.write_bytes(start + junk)
    if (start + junk)[:4] == b"\xe5HDR"[: len(start + junk)]:
        assert read_records(path) == ({}, [], len(start + junk))
        return
    with pytest.raises(DataError) as caught:
        read_records(path)
    assert str(caught.value) == f"{path} is no record file of the engine ({len(start + junk)} bytes)"


def test_a_file_of_something_else_is_never_cut(tmp_path: Path) -> None:
    path = tmp_path / "picture.png"
    path.write_bytes(b"\x89PNG and so on")
    with pytest.raises(DataError, match=r"picture.png is no record file of the engine: it is left as it is"):
        RecordWriter(path, HEADER)
    assert path.read_bytes() == b"\x89PNG and so on"


def test_a_file_of_another_kind_is_refused_with_both_kinds(tmp_path: Path) -> None:
    write(tmp_path / "log", [])
    with pytest.raises(DataError, match="is a test of version 1: needed a journal of version 2; choose another file"):
        RecordWriter(tmp_path / "log", {"kind": "journal", "version": 2})


def frame(payload: bytes, offset: int) -> bytes:
    """A frame made without the writer, as a forger would."""
    prefix = struct.pack("<4sII", RECORD_TAG, len(payload), zlib.crc32(payload))
    return prefix + struct.pack("<I", zlib.crc32(struct.pack("<Q", offset), zlib.crc32(prefix))) + payload


@pytest.mark.parametrize("payload", [b"\x91" * 100_000, b"\xdd\xff\xff\xff\xff", b"\xc1", b"\x81\x01\x02", b"\x01\x02"])
def test_a_well_sealed_frame_with_hostile_content_is_skipped(tmp_path: Path, payload: bytes) -> None:
    path = tmp_path / "log"
    end = write(path, [])[0]
    hostile = frame(payload, end)
    path.write_bytes(path.read_bytes() + hostile + frame(msgpack.packb("good"), end + len(hostile)))
    assert read_records(path) == (HEADER, ["good"], len(hostile))


def test_a_frame_inside_a_record_is_no_record(tmp_path: Path) -> None:
    path = tmp_path / "log"
    inner = frame(msgpack.packb("inner"), 0)
    write(path, [b"x" * 50 + inner])
    damaged = bytearray(path.read_bytes())
    damaged[-len(inner) - 60] ^= 1  # the record's own head: its frame is lost, the bytes in it are searched
    path.write_bytes(damaged)
    assert read_records(path).records == []


def test_limits_bound_what_is_read(tmp_path: Path) -> None:
    path = tmp_path / "log"
    write(path, [b"x" * 1000, "small", "third"])
    assert read_records(path, RecordLimits(max_record_bytes=100)).records == ["small", "third"]
    with pytest.raises(DataError, match="holds more than 2 records"):
        read_records(path, RecordLimits(max_records=2))
    with pytest.raises(ValueError, match="is above 4194304"), RecordWriter(path, HEADER) as writer:
        writer.append(b"x" * (4 << 20))


def test_two_owners_at_once_are_refused(tmp_path: Path) -> None:
    with (
        RecordWriter(tmp_path / "log", HEADER),
        pytest.raises(ConfigError, match="is being written by another process"),
    ):
        RecordWriter(tmp_path / "log", HEADER)


def append_many(path: Path, worker: int, n: int) -> None:
    for i in range(n):
        with RecordWriter(path, HEADER, is_shared=True) as writer:
            writer.append([worker, i])


def test_processes_that_share_a_file_lose_nothing(tmp_path: Path) -> None:
    path = tmp_path / "log"
    context = multiprocessing.get_context("spawn")
    workers = [context.Process(target=append_many, args=(path, worker, 25)) for worker in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
        assert worker.exitcode == 0
    _, records, torn_bytes = read_records(path)
    assert torn_bytes == 0
    assert sorted(records) == [[worker, i] for worker in range(3) for i in range(25)]
    for worker in range(3):
        assert [i for w, i in records if w == worker] == list(range(25))


def test_a_writer_finds_the_file_that_took_the_place_of_its_own(tmp_path: Path) -> None:
    path = tmp_path / "log"
    with RecordWriter(path, HEADER, is_shared=True) as writer:
        writer.append("old")
        writer.flush()
        write(tmp_path / "pruned", ["kept"])
        os.replace(tmp_path / "pruned", path)
        writer.append("new")
    assert read_records(path) == (HEADER, ["kept", "new"], 0)


KILLED = """
import sys
from pathlib import Path
from engine.records import RecordWriter
writer = RecordWriter(Path(sys.argv[1]), {"kind": "test", "version": 1})
n = 0
while True:
    writer.append([n, "x" * 5000])
    writer.flush()
    n += 1
    print(n, flush=True)
"""


def test_what_was_flushed_survives_sigkill(tmp_path: Path) -> None:
    path = tmp_path / "log"
    process = subprocess.Popen([sys.executable, "-c", KILLED, str(path)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    n_said = 0
    while n_said < 50:
        n_said = int(process.stdout.readline())
    process.send_signal(signal.SIGKILL)
    n_said = max([n_said, *(int(line) for line in process.stdout.read().split())])
    process.wait(30)
    process.stdout.close()
    records = read_records(path).records
    assert [record[0] for record in records[:n_said]] == list(range(n_said))
    with RecordWriter(path, HEADER) as writer:
        writer.append("after")
    assert read_records(path).torn_bytes == 0
