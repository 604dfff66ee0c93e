"""The journal of a run: what was settled, on disk while the run goes on, so that a later one does only the rest.

A record file (`engine.records`) in ``--out``. Its header says which run it is of:

    identity   what decides the predictions: hashes of model, data index and code, and every option that matters
    options    the options of that run, for ``engine run --resume DIR``

and each record settles positions (position = pass * n_samples + sample):

    [SCORED, runs, new_runs, ranks, top_ids, top_logits, n_top1, n_inconsistent]
    [FAILED, position, reason]

where runs are ``[first, count, ...]``, `new_runs` are the samples whose first result this is, and ranks (int32), ids
(int32) and logits (float32) are theirs, little-endian. The last two are the collector's totals so far.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from engine import collector as states
from engine.collector import TOP, Collector
from engine.config import RunConfig
from engine.errors import ConfigError, DataError, ResourceError
from engine.index import DataIndex
from engine.ledger import FAILED, SCORED, Ledger
from engine.models import FINGERPRINT, Model
from engine.records import RecordWriter, read_header, records_of

JOURNAL = "journal.records"
SET_ASIDE = "journal.old"
KIND, VERSION = "journal", 1
#: Records reach the kernel after so much time or so many of them: what a killed run loses.
FLUSH_EVERY_S = 0.5
FLUSH_EVERY_RECORDS = 256
#: Options that cannot change a prediction, or whose content is in the identity as a hash.
FREE_OPTIONS = frozenset(
    (
        *("data", "labels", "model", "limit", "batch", "workers", "window", "slots", "devices", "out", "profile"),
        *("measure_ceiling", "start_method", "max_failed_percent", "journal", "resume"),
        *("publish", "trace", "min_duration"),
        *("feeders", "sim_chips", "sim_faults", "sim_slow", "stall_timeout", "image_timeout"),
    )
)

#: Characters of a reason that are believed.
MOST_REASON = 1000

I64 = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Totals:
    """What the earlier parts of a run have settled."""

    n_scored: int = 0
    n_failed: int = 0


def identity_of(config: RunConfig, index: DataIndex, model: Model) -> dict[str, str]:
    """What decides the predictions of a run, by name."""
    is_code = model.name == FINGERPRINT  # its file differs between batches, its numbers do not
    bound = {name: str(value) for name, value in asdict(config).items() if name not in FREE_OPTIONS}
    hashes = {"model": FINGERPRINT if is_code else model.sha256, "data": index_sha256(index), "code": code_sha256()}
    return {**bound, **{name: digest[:16] for name, digest in hashes.items()}, "images": str(len(index))}


def index_sha256(index: DataIndex) -> str:
    """Hash over the names and labels of all samples, in order."""
    digest = hashlib.sha256()
    for array, dtype in ((index.names.ends, "<i8"), (index.names.blob, "u1"), (index.labels, "<i4")):
        digest.update(np.ascontiguousarray(array, dtype).data)
    return digest.hexdigest()


def code_sha256() -> str:
    """Hash over the sources of the engine and its kernels: the version number alone does not follow every change."""
    digest = hashlib.sha256()
    root = Path(__file__).parents[1]
    for package in ("engine", "kernels"):
        for path in sorted((root / package).rglob("*.py")):
            digest.update(f"{path.relative_to(root)}\n".encode() + path.read_bytes())
    return digest.hexdigest()


def read_journal_header(out: Path) -> dict[str, Any]:
    """The header of the journal in the folder of an unfinished run; DataError where there is none."""
    if not (out / JOURNAL).is_file():
        raise DataError(f"no {JOURNAL} in {out}: nothing to resume; needed the --out folder of an unfinished run")
    header = read_header(out / JOURNAL)
    if header and (header.get("kind"), header.get("version")) != (KIND, VERSION):
        raise DataError(f"{out / JOURNAL} is no journal of this version of the engine: run anew without --resume")
    if not isinstance(header.get("identity"), dict) or not isinstance(header.get("options"), dict):
        raise DataError(f"{out / JOURNAL} was cut off in its first line: run anew without --resume")
    return header


class Journal:
    """Appends what the hub settles. The file is exclusively this process's until it is closed."""

    def __init__(self, config: RunConfig, identity: dict[str, str], n_samples: int) -> None:
        """Continue the journal in ``config.out`` if ``config.resume``, else begin one and set an earlier one aside.

        Raises ConfigError for the journal of another run, DataError for none, ResourceError where the disk refuses.
        """
        self._path = config.out / JOURNAL
        self._is_continued = config.resume
        self.notes: list[str] = []
        if config.resume:
            refuse_other(self._path, read_journal_header(config.out)["identity"], identity)
        elif self._path.exists():
            self._path.replace(config.out / SET_ASIDE)
            self.notes.append(
                f"the journal of an unfinished run in {config.out} is set aside as {SET_ASIDE}; "
                "to go on with that run, rename it back and give --resume"
            )
        header = {"kind": KIND, "version": VERSION, "identity": identity, "options": _plain_options(config)}
        self._writer = RecordWriter(self._path, header)
        if self._writer.torn_bytes:
            self.notes.append(f"{self._path}: a torn end of {self._writer.torn_bytes} bytes was cut off")
        self.is_open = True
        self._status = self._path.stat()
        self._n_samples = n_samples
        self._is_kept = np.zeros(n_samples, np.bool_)
        self._n_pending = 0
        self._flushed_s = time.monotonic()

    @property
    def has_results(self) -> bool:
        """This run or an earlier part of it has settled something."""
        return self._is_continued or bool(self._is_kept.any())

    def restore(self, ledger: Ledger, collector: Collector) -> Totals:
        """Settle in `ledger` and `collector` what the journal holds; DataError for records that make no sense."""
        if not self._is_continued:
            return Totals()
        number = 0
        try:
            for record in records_of(self._path):
                number += 1
                self._restore(record, ledger, collector)
        except (AssertionError, LookupError, TypeError, ValueError, OverflowError) as error:
            raise DataError(
                f"record {number} of {self._path} makes no sense ({error}): run anew without --resume"
            ) from error
        ledger.resume()
        return Totals(ledger.n_scored, ledger.n_failed)

    def scored(self, positions: list[int], collector: Collector) -> None:
        """These positions were just scored by `collector`."""
        kept = collector.predictions
        samples = np.array(positions, np.int64) % self._n_samples
        new = samples[~self._is_kept[samples]]
        new = new[np.sort(np.unique(new, return_index=True)[1])]
        self._is_kept[new] = True
        arrays = (kept.ranks[new].astype("<i4"), kept.top_ids[new].astype("<i4"), kept.top_logits[new].astype("<f4"))
        results = (array.tobytes() for array in arrays)
        totals = (collector.n_top1, collector.n_inconsistent)
        self._append([SCORED, runs_of(positions), runs_of(new.tolist()), *results, *totals])

    def failed(self, position: int, reason: str) -> None:
        """This position failed."""
        self._is_kept[position % self._n_samples] = True
        self._append([FAILED, position, reason])

    def tick(self) -> None:
        """Hand what was appended to the kernel, if it is time."""
        if self._n_pending and time.monotonic() - self._flushed_s > FLUSH_EVERY_S:
            self._flush()

    def is_there(self) -> bool:
        """The file was not removed meanwhile."""
        try:
            return os.path.samestat(self._path.stat(), self._status)
        except FileNotFoundError:
            return False

    def close(self) -> None:
        """Hand everything to the disk: the run ended before its end."""
        self.is_open = False
        self._writer.flush(sync=True)
        self._writer.close()

    def discard(self) -> None:
        """Remove it: the run is complete and its results are written, or it never began."""
        self.is_open = False
        self._path.unlink(missing_ok=True)
        with contextlib.suppress(ResourceError):  # what is still to be written goes with the file
            self._writer.close()

    def _append(self, record: list[Any]) -> None:
        self._writer.append(record)
        self._n_pending += 1
        if self._n_pending >= FLUSH_EVERY_RECORDS:
            self._flush()

    def _flush(self) -> None:
        self._writer.flush()
        self._n_pending = 0
        self._flushed_s = time.monotonic()

    def _restore(self, record: Any, ledger: Ledger, collector: Collector) -> None:
        if record[0] == FAILED:
            _, position, reason = record
            ledger.restore(positions_of([position, 1], ledger.n_positions), FAILED)
            collector.fail(position % self._n_samples, str(reason)[:MOST_REASON])
            self._is_kept[position % self._n_samples] = True
            return
        _, runs, new_runs, ranks, top_ids, top_logits, n_top1, n_inconsistent = record
        if type(n_top1) is not int or type(n_inconsistent) is not int:
            raise ValueError("totals that are no numbers")
        collector.n_top1, collector.n_inconsistent = n_top1, n_inconsistent
        ledger.restore(positions_of(runs, ledger.n_positions), SCORED)
        new = positions_of(new_runs, self._n_samples)
        kept = collector.predictions
        if (kept.states[new] != states.PENDING).any():
            raise ValueError("a sample has two results")
        kept.ranks[new] = np.frombuffer(ranks, "<i4").reshape(len(new))
        kept.top_ids[new] = np.frombuffer(top_ids, "<i4").reshape(len(new), TOP)
        kept.top_logits[new] = np.frombuffer(top_logits, "<f4").reshape(len(new), TOP)
        kept.states[new] = np.where(kept.ranks[new] != 0, states.SCORED, states.NAN)
        self._is_kept[new] = True


def refuse_other(path: Path, theirs: dict[str, str], ours: dict[str, str]) -> None:
    """ConfigError that names what differs, unless both identities are the same."""
    names = sorted({*theirs, *ours})
    differences = [
        f"{name} was {theirs.get(name, 'absent')}, is {ours.get(name, 'absent')}"
        for name in names
        if theirs.get(name) != ours.get(name)
    ]
    if differences:
        raise ConfigError(
            f"{path} is of another run: {'; '.join(differences)}: give what that run had, or run anew without --resume"
        )


def runs_of(numbers: list[int]) -> list[int]:
    """``[first, count, ...]`` of the runs of consecutive numbers."""
    runs: list[int] = []
    for number in numbers:
        if runs and number == runs[-2] + runs[-1]:
            runs[-1] += 1
        else:
            runs += [number, 1]
    return runs


def positions_of(runs: list[int], n: int) -> I64:
    """The numbers in `runs`; ValueError unless all are in 0..n-1."""
    pairs = list(zip(runs[::2], runs[1::2], strict=True))
    if any(first < 0 or count < 1 or first + count > n for first, count in pairs):
        raise ValueError(f"numbers outside of 0..{n - 1}")
    if sum(count for _, count in pairs) > n:
        raise ValueError("numbers twice")
    numbers = np.concatenate([np.arange(first, first + count) for first, count in pairs] or [np.empty(0, np.int64)])
    if len(pairs) > 1 and len(np.unique(numbers)) != len(numbers):
        raise ValueError("numbers twice")
    return numbers


def _plain_options(config: RunConfig) -> dict[str, Any]:
    """Options as text, None or truth values; paths absolute, so that a resumed run may start elsewhere."""
    options = asdict(config)
    options["devices"] = ",".join(map(str, config.devices))
    for name, value in options.items():
        if isinstance(value, Path):
            options[name] = str(value.absolute())
        elif value is not None and not isinstance(value, bool):
            options[name] = str(value)
    return options
