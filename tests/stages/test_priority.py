"""Who gets a core first."""

from __future__ import annotations

from pathlib import Path

import psutil

from bench.running import Running
from engine.decoder import NICER_BY
from tests.conftest import make_data_set
from tests.crash.conftest import arguments


def test_decoders_are_nicer_than_the_hub_and_the_feeder(tmp_path: Path) -> None:
    run = Running(tmp_path / "log", *arguments(make_data_set(tmp_path / "data", 2), tmp_path, repeat=100_000))
    try:
        run.wait_until_working()
        hub, decoder, feeder = (
            psutil.Process(pid).nice() for pid in (run.process.pid, run.pid_of("decoder"), run.pid_of("feeder"))
        )
        assert (decoder, feeder) == (min(hub + NICER_BY, 19), hub)
    finally:
        run.kill()
