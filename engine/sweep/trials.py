"""What a sweep measured, kept in a record file: a killed sweep goes on where it was."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from engine.errors import PerfError
from engine.records import RecordWriter, read_records
from engine.sweep.space import Params, key_of

FILE_NAME = "sweep.rec"
KIND = "engine sweep"
VERSION = 1
#: Measured; ended early because it could not win; left no result; predicts otherwise; is above the latency bound.
OK, STOPPED, FAILED, REJECTED, OVER = "ok", "stopped", "failed", "rejected", "over the bound"


@dataclass(frozen=True)
class Run:
    """One run of a trial.

    value : of the objective, None where it failed        why : empty for `ok`
    elapsed_s : with starting and ending its processes
    """

    params: Params
    repeat: int
    status: str
    value: float | None
    why: str
    document: Mapping[str, Any]
    elapsed_s: float = 0.0

    @property
    def key(self) -> str:
        return key_of(self.params)


@dataclass(frozen=True)
class Trial:
    """A combination and all its runs."""

    params: Params
    runs: tuple[Run, ...]

    @property
    def key(self) -> str:
        return key_of(self.params)

    @property
    def values(self) -> list[float]:
        """Of the runs that count."""
        return [run.value for run in self.runs if run.status == OK and run.value is not None]

    @property
    def status(self) -> str:
        """`ok` if every run counts, else what is wrong with the first that does not."""
        return next((run.status for run in self.runs if run.status != OK), OK)

    @property
    def value(self) -> float | None:
        """Median of the runs that count; of a stopped trial what it had reached."""
        values = self.values or [run.value for run in self.runs if run.status == STOPPED and run.value is not None]
        return median(values) if values else None


def trials_of(runs: Iterable[Run]) -> list[Trial]:
    """Runs by combination, in order of the first of each."""
    grouped: dict[str, list[Run]] = {}
    for run in runs:
        grouped.setdefault(run.key, []).append(run)
    return [Trial(members[0].params, tuple(members)) for members in grouped.values()]


class TrialStore:
    """The record file of one sweep. `definition` is what must be the same for runs to belong together."""

    def __init__(self, folder: Path, definition: Mapping[str, Any], is_resumed: bool) -> None:
        path = folder / FILE_NAME
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise PerfError(f"--out {folder} cannot be made: {error.strerror}") from error
        self.runs: list[Run] = []
        if path.exists():
            self.runs = self._earlier(path, definition, is_resumed)
        self._writer = RecordWriter(path, {"kind": KIND, "version": VERSION, "definition": dict(definition)})

    def _earlier(self, path: Path, definition: Mapping[str, Any], is_resumed: bool) -> list[Run]:
        if not is_resumed:
            raise PerfError(f"{path} holds an earlier sweep: go on with --resume, or choose another --out")
        found = read_sweep(path.parent)
        if found.definition and found.definition != dict(definition):
            names = [n for n in {*found.definition, *definition} if found.definition.get(n) != definition.get(n)]
            raise PerfError(
                f"{path} was begun with another {' and '.join(sorted(names))}: "
                "repeat its options, or choose another --out"
            )
        return found.runs

    def add(self, run: Run) -> None:
        """Keep it: from here on it survives a kill."""
        self.runs.append(run)
        self._writer.append(vars(run))
        self._writer.flush()

    def find(self, key: str, repeat: int) -> Run | None:
        """A run that was made before."""
        return next((run for run in self.runs if run.key == key and run.repeat == repeat), None)

    def close(self) -> None:
        self._writer.close()


@dataclass(frozen=True)
class Sweep:
    """A sweep as read from its folder."""

    definition: dict[str, Any]
    runs: list[Run]
    torn_bytes: int


def read_sweep(folder: Path) -> Sweep:
    """What a sweep kept; PerfError where the folder holds none."""
    path = folder / FILE_NAME
    if not path.is_file():
        raise PerfError(f"{folder} holds no sweep: there is no {FILE_NAME}")
    header, records, torn_bytes = read_records(path)
    if header and header.get("kind") != KIND:
        raise PerfError(f"{path} is a {header.get('kind')}, no sweep")
    try:
        runs = [Run(**record) for record in records]
    except TypeError:
        raise PerfError(f"{path} was written by another version of the engine: start the sweep anew") from None
    definition = header.get("definition")
    return Sweep(definition if isinstance(definition, dict) else {}, runs, torn_bytes)
