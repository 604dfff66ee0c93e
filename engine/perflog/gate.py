"""A baseline's configuration, run again."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from engine.perflog.children import ChildRun, run_child
from engine.perflog.log import LogOptions, append, entry_of
from engine.perflog.toml import arguments_of


def run_again(
    base: Mapping[str, Any], n_runs: int, file: Path | None, say: Callable[[str], None]
) -> list[dict[str, Any]]:
    """Run the configuration of `base` `n_runs` times, after one run that does not count, and log the runs."""
    child = ChildRun(arguments_of(base["config"]))
    run_child(child)
    entries = []
    for number in range(n_runs):
        entry = entry_of(run_child(child), LogOptions("run", file, label=base["label"]))
        append([entry], file)
        entries.append(entry)
        say(f"run {number + 1} of {n_runs}: {entry['throughput']['end_to_end_per_s']:.1f} images/s")
    return entries
