"""What a path is a page of."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from engine.errors import PerfError
from engine.perflog.log import read_any_log, read_log
from engine.report.content import Page
from engine.sweep.trials import FILE_NAME

NEEDED = "needed the folder of a run (run.json) or of a sweep, or a perf log"


def page_of(source: Path, against: Path | None = None, log_file: Path | None = None) -> Page:
    """The page of a run, a sweep or a log; PerfError where `source` is none of them.

    log_file : where the page of a run finds earlier ones; None: the user's own log
    """
    from engine.report.log_page import log_page
    from engine.report.run_page import run_page
    from engine.report.sweep_page import sweep_page

    if source.is_dir() and (source / FILE_NAME).is_file():
        return sweep_page(source)
    folder = source.parent if source.name == "run.json" else source
    if (folder / "run.json").is_file():
        document = _read(folder / "run.json")
        log = read_any_log(log_file)
        try:
            return run_page(folder, document, log, against)
        except (KeyError, TypeError, AttributeError, IndexError) as error:
            raise PerfError(f"{folder / 'run.json'} is no whole run.json of this engine: {error!r}") from error
    if source.is_file():
        return log_page(read_log(source))
    raise PerfError(f"{source} is nothing to make a page of: {NEEDED}")


def _read(path: Path) -> dict[str, Any]:
    try:
        document = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise PerfError(f"{path} is no run.json: {error}") from error
    if not isinstance(document, dict):
        raise PerfError(f"{path} is no run.json: {NEEDED}")
    return document
