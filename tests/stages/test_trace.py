"""A traced run: the file keeps the format's rules, and holds what the run did."""

from __future__ import annotations

import gzip
import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import DataSet, run_engine
from tests.stages.trace_rules import check_rules

BATCH = 4


def traced(data: DataSet, out: Path, trace: Path, *more: object) -> tuple[dict[str, Any], dict[str, Any]]:
    """run.json and the trace of three passes over two simulated chips."""
    inputs = ["--data", data.folder, "--labels", data.labels, "--model", "fingerprint", "--backend", "sim"]
    sizes = ["--devices", "0,2", "--batch", BATCH, "--workers", 2, "--repeat", 3, "--out", out, "--trace", trace]
    finished = run_engine("run", *inputs, *sizes, *more)
    assert finished.returncode == 0, finished.stderr
    data_bytes = trace.read_bytes()
    text = gzip.decompress(data_bytes) if trace.suffix == ".gz" else data_bytes
    return json.loads((out / "run.json").read_text()), json.loads(text)


def test_a_trace_keeps_the_rules_of_its_format_and_tells_every_image_batch_and_chip(
    small_data: DataSet, tmp_path: Path
) -> None:
    document, trace = traced(small_data, tmp_path / "out", tmp_path / "trace.json")
    check_rules(trace)
    events = trace["traceEvents"]
    n_images, n_batches = 3 * small_data.n_images, sum(device["n_batches"] for device in document["devices"])
    counts = Counter((event["ph"], event["name"]) for event in events)
    assert {counts["X", name] for name in ("read", "decode", "resample")} == {n_images}
    assert {counts["X", name] for name in ("h2d", "execute", "d2h")} == {n_batches}
    assert (counts["s", "batch"], counts["f", "batch"]) == (n_batches, n_batches)
    for device in document["devices"]:
        names = [e for e in events if e["ph"] == "M" and e["args"].get("name") == f"chip {device['device']}"]
        assert len(names) == 1
        spans = [e["dur"] for e in events if e["ph"] == "X" and e["name"] == "execute" and e["pid"] == names[0]["pid"]]
        assert sum(spans) / 1e3 == pytest.approx(device["execute_ms_per_batch"] * device["n_batches"], rel=1e-6)
    free = [event["args"]["n"] for event in events if event["ph"] == "C" and event["name"] == "free slots"]
    assert (free[0], free[-1]) == (document["slots"]["n_slots"],) * 2
    assert max(free) == document["slots"]["n_slots"]
    assert min(free) >= 0


def test_what_a_chip_did_lies_between_its_decoding_and_its_ranking(small_data: DataSet, tmp_path: Path) -> None:
    """The chip's clock and the host's are one, compressed and with several batches of a slot, too."""
    _, trace = traced(small_data, tmp_path / "out", tmp_path / "trace.json.gz", "--batch", 1, "--repeat", 20)
    check_rules(trace)
    by_trip: dict[int, dict[str, list[tuple[float, float]]]] = {}
    for event in trace["traceEvents"]:
        if event["ph"] == "X" and "trip" in event["args"]:
            spans = by_trip.setdefault(event["args"]["trip"], {}).setdefault(event["name"], [])
            spans.append((event["ts"], event["ts"] + event["dur"]))
    assert len(by_trip) > 100
    for trip in by_trip.values():
        assert trip["fill"][0][1] <= min(begin for begin, _ in trip["h2d"])
        assert max(end for _, end in trip["d2h"]) <= trip["rank"][0][0]


MINIMAL: list[dict[str, Any]] = [
    {"ph": "M", "pid": 1, "tid": 1, "name": "process_name", "args": {"name": "all"}},
    {"ph": "X", "pid": 1, "tid": 1, "name": "fill", "ts": 1.0, "dur": 5.0},
    {"ph": "X", "pid": 1, "tid": 1, "name": "read", "ts": 1.0, "dur": 4.0},
    {"ph": "s", "pid": 1, "tid": 1, "name": "batch", "cat": "batch", "id": 1, "ts": 1.0},
    {"ph": "t", "pid": 1, "tid": 2, "name": "batch", "cat": "batch", "id": 1, "ts": 7.0},
    {"ph": "f", "pid": 1, "tid": 3, "name": "batch", "cat": "batch", "id": 1, "ts": 8.0, "bp": "e"},
    {"ph": "C", "pid": 1, "tid": 0, "name": "free", "ts": 8.0, "args": {"n": 1}},
    {"ph": "X", "pid": 1, "tid": 2, "name": "execute", "ts": 7.0, "dur": 1.0},
    {"ph": "X", "pid": 1, "tid": 3, "name": "rank", "ts": 8.0, "dur": 1.0},
    {"ph": "M", "pid": 1, "tid": 1, "name": "process_sort_index", "args": {"sort_index": 0}},
]


BREAKS: dict[str, tuple[int, dict[str, Any]]] = {
    "a slice ends after the one that it began in": (2, {"dur": 5.001}),
    "an arrow begins where nothing is open": (3, {"ts": 9.0}),
    "an arrow ends at the next slice": (5, {"bp": ""}),
    "an arrow passes no chip but a decoder": (4, {"tid": 1, "ts": 2.5}),
    "an arrow without an end": (5, {"ph": "t", "tid": 2, "ts": 7.0}),
    "a time below a nanosecond": (1, {"ts": 1.0001}),
    "a negative counter": (6, {"args": {"n": -1}}),
    "a process without a name": (0, {"pid": 3}),
    "a process id of 64 bits": (6, {"pid": 2**40}),
}


def in_order_of_files(events: list[dict[str, Any]]) -> dict[str, Any]:
    """As engine writes them: names, slices, arrows, counters."""
    return {"traceEvents": sorted(events, key=lambda event: "MXstfC".index(event["ph"]))}


def test_the_rules_hold_for_a_minimal_trace() -> None:
    check_rules(in_order_of_files(MINIMAL))


@pytest.mark.parametrize("what", BREAKS)
def test_a_broken_rule_is_found(what: str) -> None:
    at, change = BREAKS[what]
    events = [event | change if number == at else event for number, event in enumerate(MINIMAL)]
    with pytest.raises(AssertionError):
        check_rules(in_order_of_files(events))


def test_a_trace_that_cannot_be_written_is_refused_before_the_run(small_data: DataSet, tmp_path: Path) -> None:
    inputs = [
        "--data",
        small_data.folder,
        "--labels",
        small_data.labels,
        "--backend",
        "null",
        "--out",
        tmp_path / "out",
    ]
    finished = run_engine("run", *inputs, "--trace", tmp_path / "absent" / "trace.json")
    assert finished.returncode == 2
    path = tmp_path / "absent" / "trace.json"
    assert f"--trace {path}: needed a file in a folder that exists, such as trace.json" in finished.stderr
    assert not (tmp_path / "out" / "run.json").exists()
