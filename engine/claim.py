"""One run per folder: a lock on ``--out`` that the kernel lets go of when its process ends, however it ends."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from engine.errors import ConfigError, InUseError, ResourceError


def make_out_folder(out: Path) -> None:
    """The folder for results, made if need be; ConfigError or ResourceError where nothing can be written there."""
    try:
        out.mkdir(parents=True, exist_ok=True)
        probe = out / ".engine-probe"
        probe.touch()
        probe.unlink()
    except FileExistsError:
        raise ConfigError(f"--out {out} is a file: needed a folder") from None
    except OSError as error:
        raise ResourceError(f"--out {out} cannot be written: {error.strerror}") from error


class Claim:
    """Holds `out`, which is made if need be, for this process. The lock is on the folder itself: it leaves no file.

    Raises InUseError while another process holds it. Where the file system cannot lock, that is said.
    """

    def __init__(self, out: Path, say: Callable[[str], None]) -> None:
        self._out = out
        self._say = say
        self._fd = self._hold()

    def renew(self) -> None:
        """Hold what has this name now, before results are written there: the folder may be gone, or another one."""
        if self._is_there(self._fd):
            return
        os.close(self._fd)
        self._fd = -1
        how = "another folder has its name now" if self._out.exists() else "it is made again"
        self._fd = self._hold()
        self._say(f"--out {self._out} was removed or renamed during the run: {how}, and the results go there")

    def release(self) -> None:
        """Let go of it."""
        if self._fd >= 0:
            os.close(self._fd)

    def _hold(self) -> int:
        while True:
            make_out_folder(self._out)
            try:
                fd = os.open(self._out, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            except FileNotFoundError:
                continue  # removed at this moment
            try:
                self._lock(fd)
            except BaseException:
                os.close(fd)
                raise
            if self._is_there(fd):
                return fd
            os.close(fd)

    def _lock(self, fd: int) -> None:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise InUseError(
                f"another run is writing into --out {self._out}: wait for it or choose another folder"
            ) from None
        except OSError as error:
            self._say(
                f"--out {self._out} cannot be locked ({error.strerror}): make sure that no other run writes into it"
            )

    def _is_there(self, fd: int) -> bool:
        """This descriptor is of the folder that has the name."""
        try:
            return os.path.samestat(os.stat(self._out), os.fstat(fd))
        except FileNotFoundError:
            return False


@contextmanager
def claimed(out: Path, say: Callable[[str], None]) -> Iterator[Claim]:
    """A `Claim` that is released at the end."""
    claim = Claim(out, say)
    try:
        yield claim
    finally:
        claim.release()
