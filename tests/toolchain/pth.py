"""Files as torch.save writes them, made without torch."""

from __future__ import annotations

import io
import pickle
import struct
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from engine.toolchain.torch_pickle import LEGACY_MAGIC

State = Mapping[str, npt.NDArray[Any]]


def legacy_file(state_pickle: bytes, storages: dict[str, bytes], counts: dict[str, int] | None = None) -> bytes:
    """A file as torch wrote it before 1.6."""
    head = [LEGACY_MAGIC, 1001, {"protocol_version": 1001, "little_endian": True, "type_sizes": {"int": 4}}]
    parts = [pickle.dumps(item, 2) for item in head] + [state_pickle, pickle.dumps(list(storages), 2)]
    for key, raw in storages.items():
        count = (counts or {}).get(key, len(raw) // 4)
        parts.append(struct.pack("<q", count) + raw)
    return b"".join(parts)


def zip_file(state_pickle: bytes, storages: dict[str, bytes], compression: int = zipfile.ZIP_STORED) -> bytes:
    """A file as torch has written it since 1.6."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", compression) as archive:
        archive.writestr("archive/data.pkl", state_pickle)
        for key, raw in storages.items():
            archive.writestr(f"archive/data/{key}", raw)
        archive.writestr("archive/version", "3\n")
    return stream.getvalue()


def _text(value: str) -> bytes:
    return b"X" + struct.pack("<I", len(value)) + value.encode()


def _ints(values: tuple[int, ...]) -> bytes:
    return b"(" + b"".join(b"J" + struct.pack("<i", value) for value in values) + b"t"


def _tensor(key: str, array: npt.NDArray[Any]) -> bytes:
    """The call that rebuilds one contiguous float32 tensor."""
    strides = tuple(step // array.itemsize for step in array.strides)
    storage = b"(" + _text("storage") + b"ctorch\nFloatStorage\n" + _text(key) + _text("cpu")
    storage += b"J" + struct.pack("<i", array.size) + b"tQ"
    arguments = b"(" + storage + _ints((0,))[1:-1] + _ints(array.shape) + _ints(strides) + b"\x89}t"
    return b"ctorch._utils\n_rebuild_tensor_v2\n" + arguments + b"R"


def write_pth(path: Path, state: State, is_zip: bool = True, key: str | None = None) -> Path:
    """Write a state dict of float32 tensors. key : where a training checkpoint keeps it, None for no checkpoint"""
    arrays = {name: np.ascontiguousarray(value, "<f4").reshape(value.shape) for name, value in state.items()}
    items = b"".join(_text(name) + _tensor(str(i), array) for i, (name, array) in enumerate(arrays.items()))
    storages = {str(i): array.tobytes() for i, array in enumerate(arrays.values())}
    write = zip_file if is_zip else legacy_file
    program = b"}(" + items + b"u"
    if key is not None:
        program = b"}(" + _text("epoch") + b"K\x03" + _text(key) + program + b"u"
    path.write_bytes(write(b"\x80\x02" + program + b".", storages))
    return path
