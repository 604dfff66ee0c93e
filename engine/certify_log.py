"""What a certification has done so far, on disk: which step, from which inputs, with which outputs and result.

One JSON file, replaced as a whole after each step. A step counts as done if its inputs are the same and its outputs are
there with the same content; anything else is done again.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from engine.errors import DataError
from engine.files import atomic_write
from engine.models import sha256_of

STEPS = "steps.json"
VERSION = 1


@dataclass(frozen=True)
class Entry:
    """One step. outputs : {path below the folder: sha256}        seconds : None while it is not finished"""

    inputs: dict[str, Any]
    outputs: dict[str, str] = field(default_factory=dict)
    result: dict[str, Any] = field(default_factory=dict)
    seconds: float | None = None


class StepLog:
    """The steps of the certification in `folder`."""

    def __init__(self, folder: Path) -> None:
        """Read what is there. DataError for a file that is no such log."""
        self._folder = folder
        self._path = folder / STEPS
        self._entries: dict[str, Entry] = {}
        try:
            document = json.loads(self._path.read_bytes())
            if document["version"] == VERSION:
                self._entries = {name: Entry(**entry) for name, entry in document["steps"].items()}
        except FileNotFoundError:
            return
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise DataError(
                f"{self._path} is no log of engine certify: remove it to begin anew, or choose another --out"
            ) from error

    def finished(self, name: str, inputs: dict[str, Any]) -> Entry | None:
        """The step's entry if it was finished from these inputs and its outputs are unchanged."""
        entry = self._entries.get(name)
        if entry is None or entry.seconds is None or entry.inputs != _plain(inputs):
            return None
        files = {self._folder / path: digest for path, digest in entry.outputs.items()}
        if not all(path.is_file() and sha256_of(path) == digest for path, digest in files.items()):
            return None
        return entry

    def was_begun(self, name: str, inputs: dict[str, Any]) -> bool:
        """True if the step was begun from these inputs and not finished."""
        entry = self._entries.get(name)
        return entry is not None and entry.seconds is None and entry.inputs == _plain(inputs)

    def begin(self, name: str, inputs: dict[str, Any]) -> None:
        """The step begins: what an earlier one left is no longer trusted."""
        self._write(name, Entry(_plain(inputs)))

    def finish(self, name: str, entry: Entry) -> None:
        """The step is finished. entry : its outputs are hashed here if they have no hash yet"""
        outputs = {path: digest or sha256_of(self._folder / path) for path, digest in entry.outputs.items()}
        self._write(name, Entry(_plain(entry.inputs), outputs, _plain(entry.result), entry.seconds))

    def entry(self, name: str) -> Entry:
        """A step that was begun or finished."""
        return self._entries[name]

    def _write(self, name: str, entry: Entry) -> None:
        self._entries[name] = entry
        steps = {key: asdict(value) for key, value in self._entries.items()}
        atomic_write(self._path, (json.dumps({"version": VERSION, "steps": steps}, indent=1) + "\n").encode())


def _plain(values: dict[str, Any]) -> dict[str, Any]:
    """As it comes back from the file."""
    plain: dict[str, Any] = json.loads(json.dumps(values))
    return plain
