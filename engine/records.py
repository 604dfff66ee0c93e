"""Append-only record files: what was written whole is read back, whatever happened to the rest of the file.

`record_frames` has the format. A process that dies while it writes leaves a torn tail; readers report it, and the next
writer cuts it off. Damage elsewhere costs the records that it hits and no other.
"""

from __future__ import annotations

import fcntl
import io
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import IO, Any, NamedTuple

from engine.errors import ConfigError, DataError, ResourceError
from engine.files import atomic_path
from engine.record_frames import HEADER_TAG, RECORD_TAG, RecordLimits, frame_of, frames_of, payload_of


class Recovered(NamedTuple):
    """Content of a record file.

    header     : empty where the file has no readable header (an empty file, one torn in its first frame)
    records    : in the order in which they were appended
    torn_bytes : bytes of the file that belong to no whole frame: the torn tail, and damage in the middle
    """

    header: dict[str, Any]
    records: list[Any]
    torn_bytes: int


def read_records(path: Path, limits: RecordLimits | None = None) -> Recovered:
    """Everything that can be read of `path`.

    Raises DataError where the file is no record file or cannot be read, never for one that is torn or damaged.
    """
    with _opened(path) as file:
        return _recover(file, path, limits or RecordLimits())


def read_header(path: Path) -> dict[str, Any]:
    """The header alone, empty where none can be read. Raises as `read_records` does."""
    with _opened(path) as file:
        return _recover_header(file, path)


def records_of(path: Path, limits: RecordLimits | None = None) -> Iterator[Any]:
    """The records of `read_records`, one at a time. Raises as it does, at the first one."""
    limits = limits or RecordLimits()
    with _opened(path) as file:
        _recover_header(file, path)
        n_records = 0
        for frame, _ in frames_of(file, 0, limits):
            if frame.tag == RECORD_TAG:
                n_records += 1
                if n_records > limits.max_records:
                    raise DataError(f"record file {path} holds more than {limits.max_records} records")
                yield frame.value


@contextmanager
def _opened(path: Path) -> Iterator[IO[bytes]]:
    try:
        with path.open("rb") as file:
            yield file
    except FileNotFoundError:
        raise DataError(f"no record file {path}") from None
    except OSError as error:
        raise DataError(f"record file {path} cannot be read: {error.strerror}") from error


def _recover(file: IO[bytes], path: Path, limits: RecordLimits) -> Recovered:
    header: dict[str, Any] = {}
    records: list[Any] = []
    good_bytes = 0
    for frame, n_bytes in frames_of(file, 0, limits):
        good_bytes += n_bytes
        if frame.tag == HEADER_TAG:
            header = header or frame.value
        elif len(records) == limits.max_records:
            raise DataError(f"record file {path} holds more than {limits.max_records} records")
        else:
            records.append(frame.value)
    size = os.fstat(file.fileno()).st_size
    if not good_bytes and not _may_be_torn_header(file):
        raise DataError(f"{path} is no record file of the engine ({size} bytes)")
    return Recovered(header, records, size - good_bytes)


def _may_be_torn_header(file: IO[bytes]) -> bool:
    """Whether the file is empty or starts like a header, as far as it goes."""
    file.seek(0)
    start = file.read(len(HEADER_TAG))
    return start == HEADER_TAG[: len(start)]


class RecordWriter:
    """Appends records to a file, which is made with `header` if it does not exist.

    An existing file must have the same ``kind`` and ``version``. Its torn tail is cut off first; `torn_bytes` says how
    much. `append` keeps the record in memory, `flush` hands all of them to the kernel: from then on they survive the
    death of this process (``flush(sync=True)``: also that of the host).

    is_shared : False: this writer owns the file until it is closed, and a second one raises ConfigError.
                True: any number of processes append; each flush locks the file for a moment.
    Raises DataError for a file of another kind, ResourceError where the disk refuses.
    """

    def __init__(self, path: Path, header: dict[str, Any], is_shared: bool = False) -> None:
        self._path = path
        self._header = header
        self._is_shared = is_shared
        self._pending: list[bytes] = []
        self._end = 0  # the file was seen to be whole up to here
        self.torn_bytes = 0
        self._file = self._open_file()
        try:
            self._lock()
            self._adopt()
        except BaseException:
            self._file.close()
            raise
        if is_shared:
            self._unlock()

    def append(self, value: Any) -> None:
        """Keep `value` (what msgpack takes: maps with text keys, lists, text, bytes, numbers) for the next flush.

        Raises ValueError where readers with the usual limits would not accept it.
        """
        payload = payload_of(value)
        if len(payload) > RecordLimits.max_record_bytes:
            raise ValueError(f"a record of {len(payload)} bytes is above {RecordLimits.max_record_bytes}")
        self._pending.append(payload)

    def flush(self, sync: bool = False) -> None:
        """Write what was appended; all of it or, with ResourceError, none."""
        if self._is_shared:
            self._lock()
        try:
            if self._is_shared:
                self._find_end()
            self._write([(RECORD_TAG, payload) for payload in self._pending])
            self._pending.clear()
            if sync:
                os.fsync(self._file.fileno())
        finally:
            if self._is_shared:
                self._unlock()

    def close(self) -> None:
        """Flush and let go of the file; again is harmless."""
        if self._file.closed:
            return
        try:
            self.flush()
        finally:
            self._file.close()

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep other writers of a shared file waiting; nothing may be appended here meanwhile."""
        self._lock()
        try:
            yield
        finally:
            self._unlock()

    def __enter__(self) -> RecordWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _open_file(self) -> io.FileIO:
        try:
            return io.FileIO(os.open(self._path, os.O_RDWR | os.O_CREAT, 0o644), "r+")
        except OSError as error:
            raise ResourceError(f"record file {self._path} cannot be written: {error.strerror}") from error

    def _adopt(self) -> None:
        """Check whose file it is, cut its torn tail, write the header where it has none."""
        with self._path.open("rb") as file:
            header = _recover_header(file, self._path)
        theirs = (header.get("kind"), header.get("version"))
        ours = (self._header["kind"], self._header["version"])
        if header and theirs != ours:
            raise DataError(
                f"record file {self._path} is a {theirs[0]} of version {theirs[1]}: needed a {ours[0]} of version "
                f"{ours[1]}; choose another file"
            )
        self._find_end()
        if not header:
            self._write([(HEADER_TAG, payload_of(self._header))])

    def _find_end(self) -> None:
        """Move to the end of the last whole frame and cut off what is after it."""
        size = os.fstat(self._file.fileno()).st_size
        if size < self._end:
            self._end = 0  # somebody cut the file
        if size != self._end:
            with self._path.open("rb") as file:
                for frame, _ in frames_of(file, self._end, RecordLimits()):
                    self._end = frame.end
            self.torn_bytes += size - self._end
            self._file.truncate(self._end)

    def _write(self, frames: list[tuple[bytes, bytes]]) -> None:
        data, offset = bytearray(), self._end
        for tag, payload in frames:
            data += frame_of(tag, payload, offset + len(data))
        try:
            self._file.seek(offset)
            view = memoryview(data)
            while view:
                view = view[self._file.write(view) :]
        except OSError as error:
            self._file.truncate(offset)
            raise ResourceError(
                f"appending {len(data)} bytes to {self._path} failed: {error.strerror}; what it held is intact"
            ) from error
        self._end = offset + len(data)

    def _lock(self) -> None:
        if self._is_shared:
            fcntl.flock(self._file, fcntl.LOCK_EX)
            if not self._is_current():
                self._file.close()
                self._file, self._end = self._open_file(), 0
                self._lock()
                self._adopt()
            return
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ConfigError(
                f"record file {self._path} is being written by another process: wait for it, or choose another file"
            ) from None

    def _is_current(self) -> bool:
        """Whether the path still leads to the file that is open: it was perhaps replaced by a shorter one."""
        try:
            there = self._path.stat()
        except FileNotFoundError:
            return False
        ours = os.fstat(self._file.fileno())
        return (there.st_dev, there.st_ino) == (ours.st_dev, ours.st_ino)

    def _unlock(self) -> None:
        fcntl.flock(self._file, fcntl.LOCK_UN)


def rewrite_records(path: Path, header: dict[str, Any], is_kept: Callable[[Any], bool]) -> None:
    """Put a file with the records that `is_kept` in the place of `path`, whole or not at all.

    Writers that share the file wait meanwhile and go on in the new one. Raises as `RecordWriter` does.
    """
    with RecordWriter(path, header, is_shared=True) as writer, writer.locked():
        kept = [record for record in read_records(path).records if is_kept(record)]
        with atomic_path(path) as temporary, RecordWriter(temporary, header) as fresh:
            for record in kept:
                fresh.append(record)
            fresh.flush(sync=True)


def _recover_header(file: IO[bytes], path: Path) -> dict[str, Any]:
    """The header alone; DataError for a file that holds no frame and is no torn one."""
    has_frames = False
    for frame, _ in frames_of(file, 0, RecordLimits()):
        has_frames = True
        if frame.tag == HEADER_TAG:
            header: dict[str, Any] = frame.value
            return header
    if not has_frames and not _may_be_torn_header(file):
        raise DataError(f"{path} is no record file of the engine: it is left as it is; choose another file")
    return {}
