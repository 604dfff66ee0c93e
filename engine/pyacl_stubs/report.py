"""What the simulator has to say beyond return codes: misuse reports, leaks, and where things were created."""

from __future__ import annotations

import sys
import threading
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

#: A misuse in a loop is told this often, and so many reports are kept.
MAX_PRINTED = 5
MAX_KEPT = 10_000

_PACKAGE = str(Path(__file__).parent)


@dataclass(frozen=True)
class Report:
    """One misuse that strict mode found.

    call : the offending call        where : the program's line of it        code : what it returned
    text : the object, where it was created, what is wrong
    """

    call: str
    where: str
    code: int
    text: str

    def __str__(self) -> str:
        return f"acl simulator: {self.call} at {self.where}: {self.text} [{self.code}]"


class ReportLog:
    """The reports of a process, in order; the first ones of each line of the program are also written to stderr."""

    def __init__(self) -> None:
        self._reports: list[Report] = []
        self._counts: Counter[tuple[str, str]] = Counter()
        self._lock = threading.Lock()

    def add(self, report: Report) -> None:
        """Keep and print a report."""
        with self._lock:
            self._counts[report.call, report.where] += 1
            count = self._counts[report.call, report.where]
            if len(self._reports) < MAX_KEPT:
                self._reports.append(report)
        if count <= MAX_PRINTED:
            more = " (more of this line will not be printed)" if count == MAX_PRINTED else ""
            print(f"{report}{more}", file=sys.stderr)

    def all(self) -> list[Report]:
        """The reports so far."""
        with self._lock:
            return list(self._reports)


def caller() -> str:
    """``file:line`` of the innermost frame that is not the simulator's."""
    frame = sys._getframe(1)
    while frame.f_back is not None and frame.f_code.co_filename.startswith(_PACKAGE):
        frame = frame.f_back
    return f"{Path(frame.f_code.co_filename).name}:{frame.f_lineno}"
