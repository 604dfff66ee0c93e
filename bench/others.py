"""How much of the machine other programs took while something ran: beside others nothing is measured.

Everything that the machine spent, as the kernel counts it (with what a hypervisor took away), less what this process
and its descendants spent. Linux: this process becomes the one that orphans among its descendants are handed to, so that
the time of every one of them comes to it when it ends.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import time
from collections.abc import Callable
from multiprocessing import resource_tracker
from pathlib import Path
from typing import TypeVar

import psutil

PR_SET_CHILD_SUBREAPER = 36
#: Descendants of a command are gone so soon after it.
GONE_WITHIN_S = 5.0
POLL_S = 0.01
#: Columns of the first line of /proc/stat that are time spent: user, nice, system, irq, softirq, steal.
SPENT = (1, 2, 3, 6, 7, 8)

Result = TypeVar("Result")


class Others:
    """Watches the machine while functions run that start processes and wait for them."""

    def __init__(self) -> None:
        if ctypes.CDLL(None, use_errno=True).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0):
            raise OSError(ctypes.get_errno(), "this process cannot become the reaper of its orphans")
        resource_tracker.ensure_running()  # it outlives what starts it
        self._lasting = {child.pid for child in psutil.Process().children(recursive=True)}

    def beside(self, run: Callable[[], Result]) -> tuple[Result, float]:
        """What `run` returns, and the share of all cores' time that others took meanwhile, 0 to 1."""
        began_s, all_before_s, own_before_s = time.monotonic(), _spent_s(), own_s()
        result = run()
        self._reap()
        others_s = (_spent_s() - all_before_s) - (own_s() - own_before_s)
        cores_s = (time.monotonic() - began_s) * (os.cpu_count() or 1)
        return result, max(0.0, others_s / cores_s)

    def _reap(self) -> None:
        """Take up the time of what has ended."""
        deadline_s = time.monotonic() + GONE_WITHIN_S
        while time.monotonic() < deadline_s:
            left = [child.pid for child in psutil.Process().children() if child.pid not in self._lasting]
            if not left:
                return
            for pid in left:
                with contextlib.suppress(ChildProcessError):
                    os.waitpid(pid, os.WNOHANG)
            time.sleep(POLL_S)


def _spent_s() -> float:
    columns = Path("/proc/stat").read_text().split("\n", 1)[0].split()
    return sum(int(columns[at]) for at in SPENT) / os.sysconf("SC_CLK_TCK")


def own_s() -> float:
    """CPU seconds of this process and of all its descendants that have ended."""
    spent = os.times()
    return spent.user + spent.system + spent.children_user + spent.children_system
