"""Python's own helpers: the fork server that starts our processes, and its resource tracker."""

from __future__ import annotations

import atexit
import contextlib
import functools
import multiprocessing
import os
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from multiprocessing import forkserver, resource_tracker
from types import FrameType

from engine.process import FOR_THE_HUB, SHIELDED, process_state

#: Imported once in the fork server, so that a new decoder or feeder starts in milliseconds.
PRELOADED = ["engine.decoder", "engine.feeder", "kernels.host", "kernels.fingerprint", "kernels.stream"]


#: The kernel ends a killed process within milliseconds, unless it waits for a broken disk.
GONE_WITHIN_S = 5.0
#: Where a descriptor of this process has a path.
NAMELESS = "/proc/self/fd/"


def start_fork_server() -> None:
    """Start the fork server with this process's own import path, once.

    Left to itself it preloads from the working directory first (Python 3.11): called from a checkout, the children of
    an installed engine would run the checkout's code, and compile its kernels anew.
    """
    kill_stopped_helpers()
    end_helpers_at_exit()
    multiprocessing.set_forkserver_preload(PRELOADED)
    path_before, folder_before = os.environ.get("PYTHONPATH"), os.getcwd()
    os.environ["PYTHONPATH"] = os.pathsep.join(os.path.abspath(entry) for entry in sys.path)
    os.chdir("/")  # the fork server's working directory only: children go back to ours
    try:
        with interrupts_held_back():
            _ensure_running()
    finally:
        os.chdir(folder_before)
        if path_before is None:
            del os.environ["PYTHONPATH"]
        else:
            os.environ["PYTHONPATH"] = path_before


def _ensure_running() -> None:
    """Start it if need be, with a socket that has no name once it is there: a killed process could not remove it.

    Python asks it by the socket's path. Descriptors of its folder and of itself serve as well, by their paths in /proc,
    which are also short where the temporary folder's is too long for a socket.
    """
    pid = getattr(forkserver._forkserver, "_forkserver_pid", None)
    if pid is not None and _is_there(pid):
        return  # a temporary folder that is full meanwhile costs no restart of ours
    server, config = forkserver._forkserver, multiprocessing.process.current_process()._config  # type: ignore[attr-defined]
    folder_before, address_before = config.get("tempdir"), getattr(server, "_forkserver_address", None)
    with tempfile.TemporaryDirectory(prefix="engine-forkserver-") as folder, opened_folder(folder) as folder_fd:
        config["tempdir"] = f"{NAMELESS}{folder_fd}"  # Python's own would be removed at its exit only
        try:
            forkserver.ensure_running()
        finally:
            config["tempdir"] = folder_before
        address: str | None = getattr(server, "_forkserver_address", None)
        if address and address != address_before:
            server._forkserver_address = NAMELESS + str(os.open(address, os.O_PATH | os.O_CLOEXEC))  # type: ignore[attr-defined]
            if address_before and address_before.startswith(NAMELESS):
                os.close(int(address_before.removeprefix(NAMELESS)))


@contextlib.contextmanager
def opened_folder(path: str) -> Iterator[int]:
    """A descriptor of the folder."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield fd
    finally:
        os.close(fd)


def kill_stopped_helpers() -> None:
    """Python's fork server and its resource tracker, if somebody has stopped them: they would never answer or end."""
    for pid in helper_pids():
        _kill_if_stopped(pid)


def helper_pids() -> list[int]:
    """Of the fork server and the resource tracker, if they were started."""
    pids = (
        getattr(forkserver._forkserver, "_forkserver_pid", None),
        getattr(resource_tracker._resource_tracker, "_pid", None),
    )
    return [pid for pid in pids if pid is not None]


@functools.cache
def end_helpers_at_exit() -> None:
    """They end with this process in any case, unless they are stopped.

    So do children; but before, Python waits for each of them, and one may be stopped, or wait for us in turn.
    """
    atexit.register(kill_stopped_helpers)
    atexit.register(_kill_children)


def _kill_children() -> None:
    for child in multiprocessing.active_children():
        child.kill()


def _kill_if_stopped(pid: int) -> None:
    if process_state(pid).is_stopped:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        deadline_s = time.monotonic() + GONE_WITHIN_S  # until then Python takes it for alive, and asks it in vain
        while _is_there(pid) and time.monotonic() < deadline_s:
            time.sleep(0.001)


def _is_there(pid: int) -> bool:
    return process_state(pid).letter not in "Z?"


@contextlib.contextmanager
def interrupts_held_back() -> Iterator[None]:
    """For the start of a child: a signal for the whole group must not hit it before its first line, nor be lost here.

    The child inherits that they are blocked, until `process.begin`; here they come when it is started.
    """
    came: list[int] = []

    def note(number: int, _frame: FrameType | None) -> None:
        came.append(number)  # another thread of this process took it

    before = {n: signal.signal(n, note) for n in FOR_THE_HUB if signal.getsignal(n) != signal.SIG_IGN}
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, SHIELDED)
    try:
        resource_tracker.ensure_running()  # Python starts it with the first child, and then unblocks (3.11)
        signal.pthread_sigmask(signal.SIG_BLOCK, SHIELDED)
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)  # those that wait are noted now
        for number, handler in before.items():
            signal.signal(number, handler)
        for noted in came:
            signal.raise_signal(noted)
