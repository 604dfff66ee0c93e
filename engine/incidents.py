"""The file in ``--out`` that reports what went wrong in the processes: stacks, states, who held what."""

from __future__ import annotations

import os
from pathlib import Path

INCIDENTS = "incidents.txt"
#: A run that goes wrong again and again keeps the first reports.
MOST_BYTES = 4 << 20


class Incidents:
    """Appends reports. The file exists only if there is one."""

    def __init__(self, path: Path, is_continued: bool = False) -> None:
        """is_continued : reports of an earlier part of this run stay"""
        self._path = path
        if not is_continued:
            path.unlink(missing_ok=True)

    def __call__(self, report: str) -> str:
        """Keep the report; returns where it is, or why it is not."""
        try:
            with self._path.open("ab") as file:
                if file.tell() < MOST_BYTES:
                    file.write(report.encode(errors="replace"))
                    file.flush()
                    os.fsync(file.fileno())
        except OSError as error:
            return f"no file ({self._path}: {error.strerror})"
        return str(self._path)
