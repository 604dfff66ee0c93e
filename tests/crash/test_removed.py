"""The folder of the results goes away during a run."""

from __future__ import annotations

import os
import shutil
import signal
from pathlib import Path

import pytest

from bench.running import Running
from engine.claim import Claim
from engine.errors import InUseError
from tests.conftest import DataSet
from tests.crash.conftest import arguments, read_run


def test_results_of_a_run_whose_folder_was_removed_are_written_and_that_is_said(
    small_data: DataSet, running: list[Running], tmp_path: Path
) -> None:
    out, said = tmp_path / "out", tmp_path / "stdout.txt"
    with said.open("w") as stdout:
        options = arguments(small_data, out, repeat=100_000, backend="null")
        command = Running(tmp_path / "stderr.txt", *options, stdout=stdout)
    running.append(command)
    command.wait_until_working()
    shutil.rmtree(out)
    os.kill(command.process.pid, signal.SIGINT)
    code, errors = command.finish()
    assert code == 130
    assert "Traceback" not in errors
    assert read_run(out)["interrupted"] is True
    lines = said.read_text().splitlines()
    assert f"--out {out} was removed or renamed during the run: it is made again, and the results go there" in lines
    assert f"not complete, and it cannot be resumed: the journal in {out} was removed during the run" in lines


def test_a_folder_that_took_the_place_is_held_or_left_to_whoever_holds_it(tmp_path: Path) -> None:
    out, said = tmp_path / "out", list[str]()
    claim = Claim(out, said.append)
    claim.renew()
    assert not said
    out.rename(tmp_path / "moved")
    out.mkdir()
    claim.renew()
    assert said == [
        f"--out {out} was removed or renamed during the run: another folder has its name now, and the results go there"
    ]
    out.rmdir()
    other = Claim(out, said.append)
    with pytest.raises(InUseError, match=r"another run is writing into --out .*: wait for it or choose another folder"):
        claim.renew()
    claim.release()
    other.release()
