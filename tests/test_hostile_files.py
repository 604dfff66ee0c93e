"""Files that somebody made to hurt: each is refused in one line, without the time or memory that it asks for."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import msgpack
import numpy as np
import pytest

from bench.soak import sparse_packed
from engine.accuracy.measured import read_measured
from engine.collector import Collector
from engine.config import RunConfig, read_config_file
from engine.errors import ConfigError, DataError, EngineError
from engine.index import read_index
from engine.journal import JOURNAL, KIND, VERSION, Journal
from engine.ledger import FAILED, SCORED, Ledger
from engine.perflog.log import entries_of_path
from engine.pyacl_stubs.faults import FaultError, parse
from engine.pyacl_stubs.om import MAGIC, SCHEMA, OmError, parse_om
from engine.pyacl_stubs.profile import ProfileError, load_profile
from engine.records import RecordWriter, read_records
from engine.report.source import page_of
from engine.sources.packed_format import PackedLayout, encode_header, read_packed
from engine.toolchain.torch_pickle import read_state_dict
from engine.verify import verify_result

N = 100
DEEP = "a = " + "[" * 50_000


def test_configurations_that_are_bombs(tmp_path: Path) -> None:
    path = tmp_path / "c.toml"
    path.write_text(DEEP)
    for error, read in ((FaultError, parse), (ProfileError, load_profile)):
        with pytest.raises(error, match=r"c\.toml is not TOML: it is nested too deeply$"):
            read(str(path))
    with pytest.raises(ConfigError, match=r"configuration file .*c\.toml is no TOML: it is nested too deeply$"):
        read_config_file(path, {"a"})
    path.write_text("# " + "x" * (1 << 20))
    with pytest.raises(ConfigError, match=r"is no TOML: it has more than 1\.0 MiB$"):
        read_config_file(path, {"a"})


def restored(out: Path, records: list[object]) -> Ledger:
    """A ledger after a journal of a run of `N` samples that holds these records."""
    header = {"kind": KIND, "version": VERSION, "identity": {"a": "b"}, "options": {}}
    with RecordWriter(out / JOURNAL, header) as writer:
        for record in records:
            writer.append(record)
    journal = Journal(RunConfig(out, out=out, resume=True), {"a": "b"}, N)
    ledger = Ledger(N, 2, 8)
    try:
        journal.restore(ledger, Collector.of(np.zeros(N, np.int32)))
    finally:
        journal.close()
    return ledger


def scored(runs: list[int], n: int, top1: object = 0) -> list[object]:
    return [SCORED, runs, runs, bytes(4 * n), bytes(20 * n), bytes(20 * n), top1, 0]


def test_a_sound_journal_is_restored(tmp_path: Path) -> None:
    assert restored(tmp_path, [scored([3, 2, 9, 1], 3), [FAILED, 5, "x" * 5000]]).n_scored == 3


@pytest.mark.parametrize(
    ("record", "why"),
    [
        (scored([0, 1 << 62], 1), "numbers outside of 0..99"),
        (scored([-1, 2], 2), "numbers outside of 0..99"),
        (scored([0, 1] * 100_000, 1), "numbers twice"),
        (scored([5, 2, 6, 1], 3), "numbers twice"),
        (scored([5, 1], 1, top1="many"), "totals that are no numbers"),
        (scored([5, 1], 2), "cannot reshape array of size 2 into shape (1,)"),
        ([FAILED, N, "x"], "numbers outside of 0..99"),
        ([FAILED, -1, "x"], "numbers outside of 0..99"),
        ([FAILED, "0", "x"], "'<' not supported between instances of 'str' and 'int'"),
        ([], "list index out of range"),
        (7, "'int' object is not subscriptable"),
    ],
)
def test_a_journal_that_lies_is_refused(tmp_path: Path, record: object, why: str) -> None:
    with pytest.raises(DataError) as caught:
        restored(tmp_path, [scored([90, 1], 1), record])
    assert str(caught.value) == (f"record 2 of {tmp_path / JOURNAL} makes no sense ({why}): run anew without --resume")


def test_a_record_of_millions_of_lists_is_skipped(tmp_path: Path) -> None:
    """6 MiB that would become 350 MB of Python's lists."""
    path = tmp_path / "log"
    with RecordWriter(path, {"kind": "test", "version": 1}) as writer:
        writer._pending.append(b"\xdd" + (6 << 20).to_bytes(4, "big") + b"\x90" * (6 << 20))
        writer.append("good")
    found = read_records(path)
    assert found.records == ["good"]
    assert found.torn_bytes > 6 << 20


def packed_with(path: Path, change: Callable[[dict[str, object]], object]) -> Path:
    """A sparse packed file of 9 crops whose index is changed, with hashes that fit."""
    sparse_packed(path, 9)
    layout = PackedLayout(9, 224)
    data = path.read_bytes()
    fields = msgpack.unpackb(data[layout.index_at :], strict_map_key=False)
    changed = change(fields)
    index = changed if isinstance(changed, bytes) else msgpack.packb(fields)
    path.write_bytes(encode_header(layout, index) + data[64 : layout.index_at] + index)
    return path


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda f: [f.pop("labels")], "KeyError: 'labels'"),
        (lambda f: f.update(more=1), "TypeError: .*unexpected keyword argument 'more'"),
        (lambda f: f.update(labels=bytes(8)), "9 crops, 9 names, 2 labels"),
        (lambda f: f.update(name_ends=np.full(9, 1 << 60).tobytes()), "names outside of their blob"),
        (lambda f: f.update(labels=np.full(9, -5, "<i4").tobytes()), "a class of -5"),
        (lambda f: f.update(failed={9: "x"}), "failed images that are none of its crops"),
        (lambda f: f.update(spec=[1]), "its spec is of another kind"),
        (lambda _: b"\x91" * 100_000, "(StackError|ValueError|RecursionError).*"),
        (lambda _: b"\xdd\xff\xff\xff\xff", "ValueError: .*"),
    ],
)
def test_a_packed_file_that_lies_is_refused(
    tmp_path: Path, change: Callable[[dict[str, object]], object], why: str
) -> None:
    path = packed_with(tmp_path / "x.packed", change)
    with pytest.raises(DataError, match=rf"is damaged or incomplete: its index makes no sense \({why}\); make"):
        read_packed(path)


def test_a_simulated_model_of_nested_or_wrong_fields_is_refused() -> None:
    for body in (b"\x91" * 100_000, msgpack.packb({"kind": "onnx"}), msgpack.packb([])):
        frame = msgpack.packb([MAGIC, SCHEMA, hashlib.sha256(body).hexdigest(), body])
        with pytest.raises(OmError):
            parse_om(frame, "x.om")


@pytest.mark.parametrize(
    "read",
    [lambda out: verify_result(out, print), entries_of_path, page_of, read_measured],
    ids=["verify", "perf", "report", "compare"],
)
def test_a_run_json_that_is_nested_without_end_is_refused(tmp_path: Path, read: Callable[[Path], object]) -> None:
    (tmp_path / "run.json").write_text('{"config":' + "[" * 200_000)
    (tmp_path / "predictions.csv").write_text("sample,label,rank,top5_ids,top5_logits,status\n")
    with pytest.raises(EngineError, match=r"run\.json|predictions\.csv") as caught:
        read(tmp_path)
    assert "\n" not in str(caught.value)


def make_tar(path: Path, members: list[tuple[tarfile.TarInfo, bytes]]) -> Path:
    with tarfile.open(path, "w") as tar:
        for info, data in members:
            tar.addfile(info, io.BytesIO(data))
    return path


def member(
    name: str, data: bytes = b"x", kind: bytes = tarfile.REGTYPE, link: str = ""
) -> tuple[tarfile.TarInfo, bytes]:
    info = tarfile.TarInfo(name)
    info.size, info.type, info.linkname = len(data), kind, link
    return info, data


@pytest.mark.parametrize("name", ["../../etc/a.jpg", "x/../../a.jpg", "/../a.jpg"])
def test_an_archive_whose_members_escape_is_refused(tmp_path: Path, name: str) -> None:
    """Nothing is extracted, but tensors are written under these names."""
    path = make_tar(tmp_path / "a.tar", [member("x/b.jpg"), member(name)])
    if name.startswith("/"):
        assert read_index(path, labels_of(tmp_path, "a", "b")).names.name(0) == "a.jpg"
        return
    with pytest.raises(DataError) as caught:
        read_index(path, None)
    assert str(caught.value) == f"archive {path} holds {name}, which is outside of it: make it again"


def labels_of(folder: Path, *stems: str) -> Path:
    path = folder / "labels.txt"
    path.write_text("".join(f"{stem}.jpg 1\n" for stem in stems))
    return path


def test_links_and_devices_in_an_archive_are_no_images(tmp_path: Path) -> None:
    members = [
        member("/etc/b.jpg"),
        member("c.jpg", b"", tarfile.SYMTYPE, "/etc/passwd"),
        member("d.jpg", b"", tarfile.LNKTYPE, "../../etc/passwd"),
        member("e.jpg", b"", tarfile.CHRTYPE),
    ]
    index = read_index(make_tar(tmp_path / "a.tar", members), labels_of(tmp_path, "b"))
    assert [index.names.name(i) for i in range(len(index))] == ["b.jpg"]


def test_a_member_longer_than_its_archive_is_refused(tmp_path: Path) -> None:
    path = make_tar(tmp_path / "a.tar", [member("a/a.jpg", b"x" * 600)])
    data = bytearray(path.read_bytes())
    info = tarfile.TarInfo("a/a.jpg")
    info.size = 1 << 60
    path.write_bytes(info.tobuf(tarfile.GNU_FORMAT) + data[512:])
    with pytest.raises(DataError, match=r"archive .*a\.tar "):
        read_index(path, None)


def test_weights_in_a_zip_bomb_are_refused(tmp_path: Path) -> None:
    """A gigabyte of zeros in a megabyte: members of a torch file are stored, never compressed."""
    path = tmp_path / "x.pth"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive, archive.open("x/data.pkl", "w") as file:
        for _ in range(64):
            file.write(bytes(1 << 20))
    with pytest.raises(EngineError, match=r"x\.pth is not a usable torch state dict: "):
        read_state_dict(path)


def test_json_is_what_it_says() -> None:
    """The deep document above is really one that Python's parser gives up on."""
    with pytest.raises(RecursionError):
        json.loads("[" * 200_000)
