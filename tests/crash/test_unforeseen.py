"""Errors that nobody foresaw, in one image, in all of them, in a feeder: one is isolated, many end the run."""

from __future__ import annotations

import errno
import importlib
import os
import re
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from engine.errors import WorkerError
from engine.names import NameTable
from engine.pipeline import Outcome, Plan, run_pipeline
from engine.restarts import Restarts
from engine.sources.images import ImageSource, ImageStore
from kernels.spec import PreprocessSpec, TensorFormat
from tests.conftest import DataSet, make_data_set
from tests.crash.inprocess import PASSES, Told, make_plan

ERRORS = {
    "defect": ("KeyError", ("mcu_width",), "KeyError in test_unforeseen.py:LINE: 'mcu_width'"),
    "memory": (
        "MemoryError",
        ("Unable to allocate 9 GiB",),
        "MemoryError in test_unforeseen.py:LINE: Unable to allocate 9 GiB",
    ),
    "disk": (
        "OSError",
        (errno.EIO, "Input/output error"),
        "OSError in test_unforeseen.py:LINE: [Errno 5] Input/output error",
    ),
}


class FaultySource(ImageSource):
    """Raises what its store says, instead of reading."""

    store: FaultyStore

    def read(self, sample: int) -> bytes:
        name, arguments = self.store.errors.get(sample, ("", ()))
        if name and self._is_due(sample):
            raise {"KeyError": KeyError, "MemoryError": MemoryError, "OSError": OSError}[name](*arguments)
        return super().read(sample)

    def _is_due(self, sample: int) -> bool:
        if self.store.once_in is None:
            return True
        try:
            (self.store.once_in / str(sample)).touch(exist_ok=False)
        except FileExistsError:
            return False
        return True


@dataclass(frozen=True)
class FaultyStore(ImageStore):
    """errors : {sample: (class, arguments)}        once_in : a folder that notes which have been"""

    errors: dict[int, tuple[str, tuple[Any, ...]]] = field(default_factory=dict)
    once_in: Path | None = None

    def open(self, names: NameTable, spec: PreprocessSpec, tensor: TensorFormat) -> FaultySource:
        source = super().open(names, spec, tensor)
        source.__class__ = FaultySource
        assert isinstance(source, FaultySource)
        source.store = self
        return source


@pytest.fixture(scope="module")
def plan(small_data: DataSet, tmp_path_factory: pytest.TempPathFactory) -> Plan:
    return make_plan(small_data, tmp_path_factory.mktemp("unforeseen"))


def run_faulty(plan: Plan, store: FaultyStore, told: Told) -> Outcome:
    return run_pipeline(replace(plan, index=replace(plan.index, store=store), repeat=1), told.watcher())


def test_an_image_with_an_error_that_nobody_foresaw_is_failed_by_name_and_the_rest_goes_on(plan: Plan) -> None:
    """A defect, a lack of memory and a bad sector, each in an image of its own; the traceback is kept."""
    kinds = list(ERRORS)
    told = Told()
    outcome = run_faulty(plan, FaultyStore({5 + 10 * i: ERRORS[kind][:2] for i, kind in enumerate(kinds)}), told)
    assert outcome.error is None
    assert (outcome.n_scored, outcome.n_failed) == (34, 3)
    reasons = {
        sample: re.sub(r"\.py:\d+:", ".py:LINE:", why) for sample, why in outcome.collector.predictions.reasons.items()
    }
    assert reasons == {5 + 10 * i: f"its decoder failed each time: {ERRORS[kind][2]}" for i, kind in enumerate(kinds)}
    told.when("decoder 0 ", "failed: KeyError in test_unforeseen.py", "samples are decoded again by another one")
    assert any(
        "Traceback" in report and "in fill_slot" in report and "'mcu_width'" in report for report in told.incidents
    )


def test_an_error_that_does_not_come_again_costs_no_image(plan: Plan, tmp_path: Path) -> None:
    told = Told()
    outcome = run_faulty(plan, FaultyStore({7: ERRORS["disk"][:2]}, once_in=tmp_path), told)
    assert (outcome.error, outcome.n_scored, outcome.n_failed) == (None, 37, 0)
    told.when("decoder 0 ", "failed: OSError in test_unforeseen.py")


def test_an_error_in_every_image_ends_the_run(plan: Plan) -> None:
    """After as many restarts as are allowed, and no more; what was done is kept."""
    told = Told()
    outcome = run_faulty(plan, FaultyStore(dict.fromkeys(range(37), ERRORS["defect"][:2])), told)
    assert isinstance(outcome.error, WorkerError)
    assert re.fullmatch(
        r"decoder 0 \(pid \d+\) failed: KeyError in test_unforeseen\.py:\d+: 'mcu_width'; that was death \d+ of a "
        r"decoder within \d images: the run is stopped; find the cause with --workers 1 and --limit, then go on with "
        r"--resume",
        str(outcome.error),
    )
    assert sum("failed: KeyError" in line for _, line in told.lines) <= 10


@dataclass(frozen=True)
class Saboteur:
    """In the feeder's process, where it is unpickled: this function of that module meets a defect, always."""

    module: str
    function: str

    def __reduce__(self) -> tuple[Callable[..., Saboteur], tuple[str, str]]:
        return _sabotaged, (self.module, self.function)


def _sabotaged(module: str, function: str) -> Saboteur:
    owner: Any = importlib.import_module(module)
    *classes, name = function.split(".")
    for part in classes:
        owner = getattr(owner, part)

    def defect(*_: object) -> None:
        raise RuntimeError("no such stream")

    setattr(owner, name, defect)
    return Saboteur(module, function)


def run_sabotaged(plan: Plan, saboteur: Saboteur, told: Told) -> Outcome:
    job = replace(plan.device_job, options={**plan.device_job.options, "saboteur": saboteur})
    return run_pipeline(replace(plan, device_job=job), told.watcher())


def test_a_feeder_that_cannot_start_ends_the_run_after_three_more_attempts(plan: Plan) -> None:
    told = Told()
    with pytest.raises(WorkerError) as caught:
        run_sabotaged(plan, Saboteur("engine.feeder", "open_backend"), told)
    assert re.fullmatch(
        r"feeder 0 \(pid \d+\) failed: RuntimeError in test_unforeseen\.py:\d+: no such stream while it was starting, "
        r"the 4th to do so",
        str(caught.value),
    )
    assert sum("while it was starting; another one takes its place" in line for _, line in told.lines) == 3


def test_a_feeder_that_fails_again_and_again_ends_the_run(plan: Plan) -> None:
    told = Told()
    outcome = run_sabotaged(plan, Saboteur("engine.backends.acl", "AclDevice.submit"), told)
    assert isinstance(outcome.error, WorkerError)
    assert re.fullmatch(
        r"feeder 0 \(pid \d+\) failed: RuntimeError in test_unforeseen\.py:\d+: no such stream; that was death 5 of a "
        r"feeder within 0 images: the run is stopped; .*",
        str(outcome.error),
    )
    assert sum("its" in line and "slots are run again by another one" in line for _, line in told.lines) == 4
    assert any("feeder, chip" in report and "no such stream" in report for report in told.incidents)


def test_a_file_that_is_gone_or_replaced_after_the_index_was_read_is_failed_by_name(tmp_path: Path) -> None:
    data = make_data_set(tmp_path / "data", 9)
    plan = make_plan(data, tmp_path / "out")
    gone, looped, folder = (data.folder / f"img_{i}.JPEG" for i in (2, 4, 6))
    for path in (gone, looped, folder):
        path.unlink()
    os.symlink(looped, looped)
    folder.mkdir()
    outcome = run_pipeline(plan, Told().watcher())
    assert (outcome.error, outcome.n_scored, outcome.n_failed) == (None, 6 * PASSES, 3 * PASSES)
    assert outcome.collector.predictions.reasons == {
        1: "cannot be read: No such file or directory",
        3: "cannot be read: Too many levels of symbolic links",
        5: "is no regular file",
    }


def test_deaths_are_forgiven_for_work() -> None:
    """One death for each eight images goes on for ever; a burst of nine does not."""
    restarts = Restarts()
    for _ in range(1000):
        restarts.died("decoder", 1, "decoder 0 died")
        restarts.worked("decoder", 8)
    for _ in range(8):
        restarts.died("decoder", 1, "decoder 0 died")
    with pytest.raises(WorkerError, match="decoder 0 died; that was death 9 of a decoder within 0 images: the run is"):
        restarts.died("decoder", 1, "decoder 0 died")
    restarts.died("feeder", 1, "feeder 0 died")
