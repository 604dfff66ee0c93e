"""Read the state dict of a ``torch.save`` file without torch and without executing anything.

Two formats are known. *Legacy* (torch before 1.6): four pickles in a row (magic number, protocol, system information,
state dict), a fifth with the keys of the storages, then each storage as an int64 count and its raw items. *Zip* (since
1.6): ``NAME/data.pkl`` and one stored member ``NAME/data/KEY`` per storage. In both a tensor is a call of
``torch._utils._rebuild_tensor_v2`` on a persistent id that names its storage.

Nothing that the file says about sizes is believed before it is checked against the bytes that are there.
"""

from __future__ import annotations

import io
import math
import struct
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import numpy.typing as npt

from engine.errors import ModelError
from engine.toolchain.pickle_machine import Global, Handler, PickleError, PickleMachine

Array = npt.NDArray[Any]

LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
LEGACY_PROTOCOL = 1001
ZIP_MAGIC = b"PK\x03\x04"
#: Where training scripts keep the state dict, beside the optimizer's state and the epoch.
CHECKPOINT_KEYS = ("state_dict", "model")
#: numpy 1.x admits 32 dimensions; weights have at most 5.
MAX_DIMENSIONS = 32

STORAGE_DTYPES = {
    "torch.DoubleStorage": "<f8",
    "torch.FloatStorage": "<f4",
    "torch.HalfStorage": "<f2",
    "torch.LongStorage": "<i8",
    "torch.IntStorage": "<i4",
    "torch.ShortStorage": "<i2",
    "torch.CharStorage": "i1",
    "torch.ByteStorage": "u1",
    "torch.BoolStorage": "?",
}


@dataclass(frozen=True)
class _Storage:
    """The flat array behind one or more tensors, as the pickle describes it."""

    key: str
    dtype: str
    n_items: int

    @property
    def n_bytes(self) -> int:
        return self.n_items * np.dtype(self.dtype).itemsize


@dataclass(frozen=True)
class _Tensor:
    """A view of a storage, as the pickle describes it: offset and strides count items."""

    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


def read_state_dict(path: Path) -> dict[str, Array]:
    """Return the tensors of the file at ``path`` by name; read-only, in the file's dtypes, sharing memory as in it.

    Raises ModelError for a file that cannot be read, is damaged, or asks for anything but tensors.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ModelError(f"cannot read the weights {path}: {error.strerror}") from error
    return parse_state_dict(data, str(path))


def parse_state_dict(data: bytes, name: str) -> dict[str, Array]:
    """As `read_state_dict`, from the bytes of a file; ``name`` is for the messages."""
    try:
        parse = _parse_zip if data.startswith(ZIP_MAGIC) else _parse_legacy
        state, arrays = parse(data)
        return {key: _view(key, tensor, arrays) for key, tensor in _tensors(state).items()}
    except PickleError as error:
        raise ModelError(f"{name} is not a usable torch state dict: {error}") from error


def _parse_legacy(data: bytes) -> tuple[object, dict[str, Array]]:
    stream = io.BytesIO(data)
    magic = _Reader().run(stream)
    if magic != LEGACY_MAGIC:
        raise PickleError("it begins neither with torch's magic number nor as a zip archive")
    protocol, system = _Reader().run(stream), _Reader().run(stream)
    if protocol != LEGACY_PROTOCOL:
        raise PickleError(f"its protocol is not {LEGACY_PROTOCOL}")
    if not isinstance(system, dict) or system.get("little_endian") is not True:
        raise PickleError("it was not written on a little-endian machine")
    reader = _Reader()
    state = reader.run(stream)
    keys = _Reader().run(stream)
    if not isinstance(keys, list) or set(map(type, keys)) - {str} or set(keys) != set(reader.storages):
        raise PickleError("its list of storages does not match its tensors")
    return state, _legacy_arrays(data, stream.tell(), [reader.storages[key] for key in keys])


def _legacy_arrays(data: bytes, position: int, storages: list[_Storage]) -> dict[str, Array]:
    """Cut the storages out of ``data``, where they lie one after the other from ``position`` on."""
    arrays = {}
    for storage in storages:
        header = data[position : position + 8]
        if len(header) < 8:
            raise PickleError(f"it ends before storage {storage.key!r}: the file is truncated")
        (count,) = struct.unpack("<q", header)
        if count != storage.n_items:
            raise PickleError(f"storage {storage.key!r} has {count} items where its tensors need {storage.n_items}")
        position += 8
        _need_bytes(storage, len(data) - position)
        arrays[storage.key] = np.frombuffer(data, storage.dtype, storage.n_items, position)
        position += storage.n_bytes
    return arrays


def _parse_zip(data: bytes) -> tuple[object, dict[str, Array]]:
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            return _parse_members({info.filename: info for info in archive.infolist()}, archive, len(data))
    except (zipfile.BadZipFile, EOFError, OSError, NotImplementedError, RuntimeError, struct.error) as error:
        raise PickleError(f"its zip archive is damaged ({error})") from error


def _parse_members(
    members: Mapping[str, zipfile.ZipInfo], archive: zipfile.ZipFile, file_bytes: int
) -> tuple[object, dict[str, Array]]:
    # torch stores and never compresses; with that rule an archive cannot unpack to more than its own size.
    compressed = [name for name, info in members.items() if info.compress_type != zipfile.ZIP_STORED]
    if compressed:
        raise PickleError(f"its member {compressed[0]!r} is compressed, which torch never does")
    pickles = [name for name in members if name.count("/") == 1 and name.endswith("/data.pkl")]
    if len(pickles) != 1:
        raise PickleError(f"its zip archive has {len(pickles)} members NAME/data.pkl instead of 1")
    root = pickles[0].removesuffix("data.pkl")
    if root + "byteorder" in members and archive.read(root + "byteorder") != b"little":
        raise PickleError("it was not written on a little-endian machine")
    reader = _Reader()
    state = reader.run(io.BytesIO(archive.read(pickles[0])))
    if sum(storage.n_bytes for storage in reader.storages.values()) > file_bytes:
        raise PickleError("its tensors need more bytes than the file has")
    return state, {key: _zip_array(archive, root, storage) for key, storage in reader.storages.items()}


def _zip_array(archive: zipfile.ZipFile, root: str, storage: _Storage) -> Array:
    try:
        raw = archive.read(f"{root}data/{storage.key}")
    except KeyError as error:
        raise PickleError(f"storage {storage.key!r} is missing from its zip archive") from error
    _need_bytes(storage, len(raw))
    return np.frombuffer(raw, storage.dtype, storage.n_items)


def _need_bytes(storage: _Storage, available: int) -> None:
    if available < storage.n_bytes:
        raise PickleError(
            f"storage {storage.key!r} needs {storage.n_bytes} bytes but {available} are left: the file is truncated"
        )


class _Reader:
    """One pickle of a torch file, and the storages that it mentions."""

    def __init__(self) -> None:
        self.storages: dict[str, _Storage] = {}

    def run(self, stream: io.BytesIO) -> object:
        return PickleMachine(_ADMITTED, self._storage).run(stream)

    def _storage(self, pid: object) -> _Storage:
        """Check a persistent id ``("storage", type, key, location, n_items[, view])``."""
        if not isinstance(pid, tuple) or len(pid) not in (5, 6) or pid[0] != "storage":
            raise PickleError("a persistent id is not torch's description of a storage")
        kind, key, n_items = pid[1], pid[2], pid[4]
        if not isinstance(kind, Global) or kind.name not in STORAGE_DTYPES or not isinstance(key, str):
            raise PickleError("a persistent id is not torch's description of a storage")
        if type(n_items) is not int or n_items < 0 or pid[5:] not in ((), (None,)):
            raise PickleError(f"storage {key!r} has no plain item count")
        storage = _Storage(key, STORAGE_DTYPES[kind.name], n_items)
        if self.storages.setdefault(key, storage) != storage:
            raise PickleError(f"storage {key!r} is described in two different ways")
        return storage


def _new_dict(arguments: tuple[object, ...]) -> dict[str, object]:
    if arguments:
        raise PickleError("an OrderedDict with arguments is not admitted")
    return {}


def _rebuild_tensor(arguments: tuple[object, ...]) -> _Tensor:
    """Stand for ``_rebuild_tensor_v2(storage, offset, size, stride, requires_grad, hooks)``."""
    if len(arguments) < 4 or not isinstance(arguments[0], _Storage):
        raise PickleError("a tensor is described without its storage")
    storage, offset, shape, strides = arguments[:4]
    if type(offset) is not int or not _is_int_tuple(shape) or not _is_int_tuple(strides):
        raise PickleError("a tensor's offset, size or stride is not made of integers")
    return _Tensor(cast(_Storage, storage), offset, cast("tuple[int, ...]", shape), cast("tuple[int, ...]", strides))


def _rebuild_parameter(arguments: tuple[object, ...]) -> _Tensor:
    """Stand for ``_rebuild_parameter(tensor, requires_grad, hooks)``: the tensor itself."""
    if not arguments or not isinstance(arguments[0], _Tensor):
        raise PickleError("a parameter is described without its tensor")
    return arguments[0]


def _is_int_tuple(value: object) -> bool:
    return isinstance(value, tuple) and all(type(item) is int for item in value)


_ADMITTED: Mapping[str, Handler | None] = {
    "collections.OrderedDict": _new_dict,
    "torch._utils._rebuild_tensor_v2": _rebuild_tensor,
    "torch._utils._rebuild_parameter": _rebuild_parameter,
    **dict.fromkeys(STORAGE_DTYPES, cast("Callable[[tuple[object, ...]], object] | None", None)),
}


def _tensors(state: object) -> dict[str, _Tensor]:
    """Check that ``state`` is a mapping from names to tensors, or a training checkpoint that holds one."""
    if isinstance(state, dict):
        state = next((state[key] for key in CHECKPOINT_KEYS if isinstance(state.get(key), dict)), state)
    if not isinstance(state, dict):
        raise PickleError(f"it holds a {type(state).__name__}, not a state dict")
    for key, value in state.items():
        if not isinstance(key, str) or not isinstance(value, _Tensor):
            raise PickleError(f"its entry {str(key)[:80]!r} is no tensor but a {type(value).__name__}")
    return cast("dict[str, _Tensor]", state)


def _view(name: str, tensor: _Tensor, arrays: Mapping[str, Array]) -> Array:
    """Return ``tensor`` as a read-only view that lies inside its storage, whatever the file says."""
    flat = arrays[tensor.storage.key]
    if not _is_inside(tensor):
        raise PickleError(
            f"tensor {name!r} (offset {tensor.offset}, size {tensor.shape}, stride {tensor.strides}) "
            f"does not lie within the {tensor.storage.n_items} items of its storage"
        )
    if 0 in tensor.shape:
        return np.zeros(tensor.shape, flat.dtype)
    strides = [stride * flat.itemsize if n > 1 else 0 for n, stride in zip(tensor.shape, tensor.strides, strict=True)]
    return np.lib.stride_tricks.as_strided(flat[tensor.offset :], tensor.shape, strides, writeable=False)


def _is_inside(tensor: _Tensor) -> bool:
    """True if each item of ``tensor`` is an item of its storage, and no item is repeated beyond its size."""
    numbers = (tensor.offset, *tensor.shape, *tensor.strides)
    if len(tensor.shape) != len(tensor.strides) or len(tensor.shape) > MAX_DIMENSIONS or min(numbers) < 0:
        return False
    n_items = tensor.storage.n_items
    if 0 in tensor.shape:
        return max(tensor.shape) <= max(n_items, 1)
    last = tensor.offset + sum((n - 1) * stride for n, stride in zip(tensor.shape, tensor.strides, strict=True))
    return math.prod(tensor.shape) <= n_items and last < n_items
