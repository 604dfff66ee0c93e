"""The reader of torch files, against files made by hand: no torch is installed, and most of the files are hostile."""

from __future__ import annotations

import collections
import io
import os
import pickle
import struct
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from engine.errors import ModelError
from engine.toolchain.pickle_machine import PickleError, PickleMachine
from engine.toolchain.torch_pickle import parse_state_dict, read_state_dict
from tests.toolchain.pth import legacy_file, zip_file

STORAGES = {"<f4": "FloatStorage", "<f2": "HalfStorage", "<i8": "LongStorage", "|u1": "ByteStorage"}


def tensor_pickle(text: str, items: int = 6, kind: str = "torch FloatStorage") -> bytes:
    """A pickle in text opcodes of {"w": tensor}, where ``text`` pushes offset, size and stride."""
    pid = b"(X\x07\x00\x00\x00storagec" + kind.replace(" ", "\n").encode() + b"\nX\x01\x00\x00\x000X\x03\x00\x00\x00cpu"
    pid += b"J" + struct.pack("<i", items) + b"tQ"
    return b"\x80\x02}X\x01\x00\x00\x00wctorch._utils\n_rebuild_tensor_v2\n(" + pid + assemble(text) + b"\x89}tRs."


def assemble(text: str) -> bytes:
    """Turn ``0 (2,3) (3,1)`` into the opcodes that push these values."""

    def push(value: Any) -> bytes:
        if isinstance(value, tuple):
            return b"(" + b"".join(push(item) for item in value) + b"t"
        raw = value.to_bytes(10, "little", signed=True)
        return b"\x8a\x0a" + raw

    return b"".join(push(eval(word)) for word in text.split())


SIX = np.arange(6, dtype="<f4")
STORED = {"0": SIX.tobytes()}
FORMATS = [pytest.param(legacy_file, id="legacy"), pytest.param(zip_file, id="zip")]


@pytest.mark.parametrize("write", FORMATS)
@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0 (2,3) (3,1)", SIX.reshape(2, 3)),
        ("0 (3,2) (1,3)", SIX.reshape(2, 3).T),
        ("4 (2,) (1,)", SIX[4:]),
        ("5 () ()", SIX[5]),
        ("0 (1,6) (999999999999999999,1)", SIX[None]),
        ("0 (0,) (1,)", SIX[:0]),
    ],
)
def test_a_tensor_is_read_with_its_offset_and_strides(write: Any, text: str, expected: Any) -> None:
    state = parse_state_dict(write(tensor_pickle(text), STORED), "file")
    assert list(state) == ["w"]
    assert state["w"].dtype == np.float32
    np.testing.assert_array_equal(state["w"], expected)


@pytest.mark.parametrize("write", FORMATS)
@pytest.mark.parametrize(
    "text",
    [
        "0 (7,) (1,)",
        "1 (6,) (1,)",
        "-1 (2,) (1,)",
        "0 (2,) (-1,)",
        "0 (2,) (6,)",
        "0 (2,3) (1,)",
        "0 (1000000000,1000000000) (0,0)",
        "0 (2,3,2) (3,1,0)",
        f"{1 << 62} (1,) (1,)",
        f"0 (2,) ({1 << 62},)",
        f"0 (0,{1 << 62}) (1,1)",
        "0 " + "(" + "1," * 40 + ") " + "(" + "1," * 40 + ")",
    ],
)
def test_a_tensor_outside_its_storage_is_refused(write: Any, text: str) -> None:
    with pytest.raises(ModelError, match=r"tensor 'w' .* does not lie within the 6 items of its storage"):
        parse_state_dict(write(tensor_pickle(text), STORED), "file")


@pytest.mark.parametrize("write", FORMATS)
def test_a_storage_shorter_than_promised_is_refused(write: Any) -> None:
    state_pickle = tensor_pickle("0 (7,) (1,)", items=7)
    with pytest.raises(ModelError, match=r"storage '0' (has 6 items|needs 28 bytes)"):
        parse_state_dict(write(state_pickle, STORED), "file")


def test_a_lying_item_count_is_refused() -> None:
    data = legacy_file(tensor_pickle("0 (2,) (1,)", items=1 << 30), STORED, counts={"0": 1 << 30})
    with pytest.raises(ModelError, match=r"needs 4294967296 bytes but 24 are left"):
        parse_state_dict(data, "file")


class Payload:
    """What an attacker pickles: unpickling it makes a folder."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (f"mkdir {self.target}",)


@pytest.mark.parametrize("protocol", [0, 1, 2, 3, 4, 5])
@pytest.mark.parametrize("write", FORMATS)
def test_a_payload_is_refused_by_name_and_not_executed(write: Any, protocol: int, tmp_path: Path) -> None:
    target = tmp_path / "executed"
    hostile = pickle.dumps(collections.OrderedDict(w=Payload(target)), protocol)
    with pytest.raises(ModelError, match=r"posix\.system|uses \w+, which no state dict needs") as caught:
        parse_state_dict(write(hostile, STORED), "file")
    assert "\n" not in str(caught.value)
    assert not target.exists()


@pytest.mark.parametrize(
    ("program", "message"),
    [
        (b"cbuiltins\neval\n(X\x01\x00\x00\x001tR.", "'builtins.eval', which is not admitted"),
        (b"ctorch\nload\n.", "'torch.load', which is not admitted"),
        (b"ccollections\nOrderedDict\n)\x81.", "uses NEWOBJ"),
        (b"(S'x'\nios\nsystem\n.", "uses STRING"),
        (b"ctorch\nFloatStorage\n)R.", "calls torch.FloatStorage, which is not admitted"),
        (b"}ccollections\nOrderedDict\n}b.", "sets the state of a Global"),
        (b"})K\x01s.", "key of type tuple"),
        (b"}" + b")" + b"\x85" * 500_000 + b"K\x01s.", "key of type tuple"),
        (b"r\xff\xff\xff\xff.", "damaged"),
        (b"\x8b\x00\x00\x00\x7f.", "damaged"),
        (b"\x8a\xff" + b"\x7f" * 255 + b".", "integer of 2039 bits"),
        (b"X\xff\xff\xff\x7fabc.", "damaged"),
        (b"0.", "uses POP"),
        (b"t.", "damaged"),
        (b"K\x01K\x02a.", "appends to a int"),
        (b"\x82\x01.", "uses EXT1"),
        (b"K\x01.", "holds a int, not a state dict"),
        (b"}X\x01\x00\x00\x00aK\x01s.", "entry 'a' is no tensor but a int"),
        (b"}K\x05K\x01s.", "entry '5' is no tensor"),
    ],
)
def test_a_hostile_program_is_refused_in_one_line(program: bytes, message: str) -> None:
    with pytest.raises(ModelError) as caught:
        parse_state_dict(zip_file(b"\x80\x02" + program, {}), "file")
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize("write", FORMATS)
def test_a_file_cut_anywhere_is_refused(write: Any) -> None:
    whole = write(tensor_pickle("0 (2,3) (3,1)"), STORED)
    for length in range(len(whole)):
        with pytest.raises(ModelError):
            parse_state_dict(whole[:length], "file")


def test_any_changed_byte_is_either_refused_or_read_within_bounds() -> None:
    whole = legacy_file(tensor_pickle("0 (2,3) (3,1)"), STORED)
    rng = np.random.default_rng(7)
    n_refused = 0
    for position in range(len(whole)):
        damaged = bytearray(whole)
        damaged[position] ^= int(rng.integers(1, 256))
        try:
            state = parse_state_dict(bytes(damaged), "file")
        except ModelError:
            n_refused += 1
        else:
            assert all(array.size <= 6 and array.sum() is not None for array in state.values())
    assert n_refused > 100


def test_a_compressed_archive_is_refused() -> None:
    bomb = zip_file(tensor_pickle("0 (6,) (1,)"), {"0": bytes(1 << 20)}, zipfile.ZIP_DEFLATED)
    with pytest.raises(ModelError, match="is compressed, which torch never does"):
        parse_state_dict(bomb, "file")


def test_a_parameter_is_its_tensor() -> None:
    inner = tensor_pickle("0 (6,) (1,)")
    start = inner.index(b"ctorch._utils")
    wrapped = inner[:start] + b"ctorch._utils\n_rebuild_parameter\n(" + inner[start:-2] + b"\x88}tRs."
    np.testing.assert_array_equal(parse_state_dict(zip_file(wrapped, STORED), "file")["w"], SIX)


@pytest.mark.parametrize(("dtype", "name"), STORAGES.items())
def test_storage_types_give_their_dtypes(dtype: str, name: str) -> None:
    values = np.arange(6).astype(dtype)
    data = zip_file(tensor_pickle("0 (6,) (1,)", kind=f"torch {name}"), {"0": values.tobytes()})
    array = parse_state_dict(data, "file")["w"]
    assert array.dtype == np.dtype(dtype)
    np.testing.assert_array_equal(array, values)


def test_tensors_cannot_be_written(tmp_path: Path) -> None:
    path = tmp_path / "w.pth"
    path.write_bytes(zip_file(tensor_pickle("0 (6,) (1,)"), STORED))
    assert not read_state_dict(path)["w"].flags.writeable


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"cannot read the weights .*no\.pth: No such file"):
        read_state_dict(tmp_path / "no.pth")


@pytest.mark.parametrize("data", [b"", b"PK\x03\x04", b"PK\x03\x04" + bytes(100), b"\x89PNG", b"\x80\x02K\x01."])
def test_a_file_of_another_kind_is_refused(data: bytes) -> None:
    with pytest.raises(ModelError, match="file is not a usable torch state dict"):
        parse_state_dict(data, "file")


def test_the_machine_stops_behind_its_pickle() -> None:
    stream = io.BytesIO(b"\x80\x02K\x01.\x80\x02K\x02.")
    machine_results = [PickleMachine({}, lambda pid: pid).run(stream) for _ in range(2)]
    assert machine_results == [1, 2]
    with pytest.raises(PickleError):
        PickleMachine({}, lambda pid: pid).run(stream)
