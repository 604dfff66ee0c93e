"""Python's own helpers: the fork server that starts our processes, and its resource tracker."""

from __future__ import annotations

import atexit
import contextlib
import functools
import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Iterator
from multiprocessing import forkserver, resource_tracker

from engine.process import FOR_THE_HUB, process_state
from engine.stacks import DUMP_SIGNAL

#: Imported once in the fork server, so that a new decoder or feeder starts in milliseconds.
PRELOADED = ["engine.decoder", "engine.feeder", "kernels.host", "kernels.fingerprint", "kernels.stream"]


#: The kernel ends a killed process within milliseconds, unless it waits for a broken disk.
GONE_WITHIN_S = 5.0


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
        with interrupts_ignored():
            forkserver.ensure_running()
    finally:
        os.chdir(folder_before)
        if path_before is None:
            del os.environ["PYTHONPATH"]
        else:
            os.environ["PYTHONPATH"] = path_before


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
        while process_state(pid).letter not in "Z?" and time.monotonic() < deadline_s:
            time.sleep(0.001)


@contextlib.contextmanager
def interrupts_ignored() -> Iterator[None]:
    """Children inherit what they ignore: a signal for the group must not hit them before their first line."""
    before = {number: signal.signal(number, signal.SIG_IGN) for number in (*FOR_THE_HUB, DUMP_SIGNAL)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
