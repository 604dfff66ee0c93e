"""Pipelines whose hub is the process of the test: what they say is kept, with its time, and parts can be replaced."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from pathlib import Path

from engine.config import RunConfig
from engine.hub import Watcher
from engine.pipeline import Plan
from engine.run import prepare
from tests.conftest import DataSet

PASSES = 3


@dataclass
class Told:
    """What a run said, and when."""

    lines: list[tuple[int, str]] = field(default_factory=list)
    incidents: list[str] = field(default_factory=list)

    def watcher(self) -> Watcher:
        return Watcher(lambda _done, _top1: None, self._notice, incident=self._incident)

    def when(self, *parts: str) -> int:
        """When the first line came that holds all these, in nanoseconds."""
        found = [at_ns for at_ns, line in self.lines if all(part in line for part in parts)]
        assert found, (parts, self.lines)
        return found[0]

    def _notice(self, line: str) -> None:
        self.lines.append((time.perf_counter_ns(), line))

    def _incident(self, report: str) -> str:
        self.incidents.append(report)
        return "memory"


def make_plan(data: DataSet, out: Path) -> Plan:
    """Three passes through two simulated chips, with one decoder."""
    config = RunConfig(
        data.folder, data.labels, "fingerprint", devices=(0, 1), batch=4, workers=1, repeat=PASSES, out=out
    )
    return prepare(config, lambda _line: None).plan
