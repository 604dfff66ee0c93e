"""Where files go: the user's cache folder, and writes that are either whole or absent."""

from __future__ import annotations

import errno
import functools
import os
import secrets
import shutil
import stat
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import platformdirs

from engine.errors import ConfigError, ResourceError
from engine.layout import MIB

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

#: What a full disk, a full quota or `ulimit -f` report.
NO_SPACE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
#: What a failing disk, a mount that became read-only and a lost network file system report.
DISK_FAILED = (errno.EIO, errno.EROFS, errno.ESTALE, errno.ENODEV, errno.ENXIO)
#: Files of options, faults and rates have a few kilobytes.
MOST_TOML_BYTES = MIB
#: A temporary of ours that nobody wrote to for so long was left by a process that was killed.
ABANDONED_S = 3600.0


def cache_dir(*parts: str) -> Path:
    """Return the folder ``parts`` of the user's cache, made if need be.

    Where the user's cache is not writable, a folder of this user below the temporary folder takes its place; that is
    said once on stderr.
    """
    root = _usable_root(platformdirs.user_cache_dir("engine"))
    folder = root.joinpath(*parts)
    folder.mkdir(parents=True, exist_ok=True)
    _remove_abandoned(folder)
    return folder


@functools.lru_cache
def _usable_root(preferred: str) -> Path:
    reason = _why_not_writable(Path(preferred))
    if reason is None:
        return Path(preferred)
    root = _temporary_root()
    print(f"the cache folder {preferred} is not writable ({reason}): using {root} instead", file=sys.stderr)
    return root


def _why_not_writable(folder: Path) -> str | None:
    """Return None if files can be made in ``folder`` (which is made if need be), the reason otherwise."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return None
    except OSError as error:
        return error.strerror or type(error).__name__


def _temporary_root() -> Path:
    """Return a folder that lives as long as the temporary folder does and that only this user can write."""
    shared = Path(tempfile.gettempdir()) / f"engine-cache-{os.getuid()}"
    try:
        shared.mkdir(mode=0o700, exist_ok=True)
        status = shared.lstat()
    except OSError:
        return Path(tempfile.mkdtemp(prefix="engine-cache-"))
    # Anyone can make a folder of this name first: use it only if it is ours and closed to others.
    is_ours = stat.S_ISDIR(status.st_mode) and status.st_uid == os.getuid() and not status.st_mode & 0o022
    if is_ours and _why_not_writable(shared) is None:
        return shared
    return Path(tempfile.mkdtemp(prefix="engine-cache-"))


def parse_toml(path: Path) -> dict[str, Any]:
    """The table in a small TOML file. Raises ValueError for what is none, or a bomb; OSError."""
    with path.open("rb") as file:
        data = file.read(MOST_TOML_BYTES + 1)
    if len(data) > MOST_TOML_BYTES:
        raise ValueError(f"it has more than {amount(MOST_TOML_BYTES)}")
    try:
        table: dict[str, Any] = tomllib.loads(data.decode())
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    return table


def atomic_write(path: Path, data: bytes) -> None:
    """Write ``data`` to ``path``: readers see the old file or the whole new one.

    Raises ResourceError where the disk is full.
    """
    with atomic_path(path, need_bytes=len(data)) as temporary:
        temporary.write_bytes(data)


def require_place(option: str, path: Path, example: str) -> None:
    """ConfigError unless a file can be made there: to be said before the work, not after it."""
    if path.is_dir() or not path.absolute().parent.is_dir():
        raise ConfigError(f"{option} {path}: needed a file in a folder that exists, such as {example}")


def write_report(path: Path, data: bytes) -> None:
    """`atomic_write` of a file that the user named; ResourceError where it cannot be written."""
    with named_by_user(path):
        atomic_write(path, data)


@contextmanager
def named_by_user(path: Path) -> Iterator[None]:
    """ResourceError where the file cannot be written."""
    try:
        yield
    except OSError as error:
        raise ResourceError(f"{path} cannot be written: {error.strerror}: choose another place") from error


@contextmanager
def atomic_path(path: Path, need_bytes: int | None = None) -> Iterator[Path]:
    """Give a temporary path beside ``path`` that takes its place on success and is removed otherwise.

    need_bytes : size of the file, if known, for the message of a full disk
    Raises ResourceError where the disk is full.
    """
    temporary = temporary_beside(path)
    try:
        yield temporary
        os.replace(temporary, path)
    except OSError as error:
        if error.errno in NO_SPACE:
            raise ResourceError(_full_disk(path, need_bytes)) from error
        raise
    finally:
        temporary.unlink(missing_ok=True)


def temporary_beside(path: Path) -> Path:
    """Return an unused name in the folder of ``path``; unique among processes and threads.

    In a cache folder, what a killed process leaves under such a name is removed by a later one.
    """
    return path.with_name(f".{path.name[:100]}.{os.getpid()}-{secrets.token_hex(4)}.tmp")


def abandoned(pattern: str) -> str:
    """Pattern of the temporary names of files with such names."""
    return f".{pattern}.*-????????.tmp"


def _remove_abandoned(folder: Path) -> None:
    """Remove the temporaries of killed processes: by age, since another container's processes cannot be seen."""
    for path in folder.glob(".*.tmp"):
        try:
            if time.time() - path.stat().st_mtime < ABANDONED_S:
                continue
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)
        except FileNotFoundError:
            continue


def _full_disk(path: Path, need_bytes: int | None) -> str:
    need = "more space" if need_bytes is None else amount(need_bytes)
    disk = os.statvfs(path.parent)
    if disk.f_files and not disk.f_favail:
        return f"writing {path} needs one more file than its disk can hold: remove some or choose another folder"
    free = amount(disk.f_bavail * disk.f_frsize)
    return f"writing {path} needs {need} but its disk has {free} free: make room or choose another folder"


def amount(n_bytes: int) -> str:
    """Bytes as MiB or KiB."""
    return f"{n_bytes / MIB:.1f} MiB" if n_bytes >= MIB else f"{n_bytes / 1024:.1f} KiB"
