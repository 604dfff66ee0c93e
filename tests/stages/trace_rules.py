"""The rules of the Trace Event Format that a viewer relies on, checked on a whole trace."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

#: Times are printed to the nanosecond; sums of floating microseconds may be off by less than that.
EPSILON_US = 2e-3


def check_rules(document: dict[str, Any]) -> None:
    """AssertionError names the first event that breaks a rule."""
    events = document["traceEvents"]
    for event in events:
        assert event["ph"] in "MXCstf", event
        assert isinstance(event["pid"], int), event
        assert isinstance(event["tid"], int), event
        if event["ph"] != "M":
            assert event["ts"] >= 0, event
    _check_names(events)
    slices = _slices(events)
    _check_nesting(slices)
    _check_flows(events, slices)
    _check_counters(events)


def _check_names(events: list[dict[str, Any]]) -> None:
    named = {event["pid"] for event in events if event["ph"] == "M" and event["name"] == "process_name"}
    assert {event["pid"] for event in events} == named


def _slices(events: list[dict[str, Any]]) -> dict[tuple[int, int], list[tuple[float, float, str]]]:
    tracks = defaultdict(list)
    for event in events:
        if event["ph"] == "X":
            assert event["dur"] >= 0, event
            tracks[event["pid"], event["tid"]].append((event["ts"], event["ts"] + event["dur"], event["name"]))
    return tracks


def _check_nesting(tracks: dict[tuple[int, int], list[tuple[float, float, str]]]) -> None:
    """Slices of one thread lie one after the other or one within the other."""
    for track, slices in tracks.items():
        open_ends: list[float] = []
        for begin, end, name in sorted(slices, key=lambda s: (s[0], -s[1])):
            while open_ends and open_ends[-1] <= begin + EPSILON_US:
                open_ends.pop()
            assert not open_ends or end <= open_ends[-1] + EPSILON_US, (track, name, begin, end, open_ends)
            open_ends.append(end)


def _check_flows(events: list[dict[str, Any]], tracks: dict[tuple[int, int], list[tuple[float, float, str]]]) -> None:
    """Each flow begins once, ends once, never goes back in time, and touches a slice at each step."""
    flows = defaultdict(list)
    for event in events:
        if event["ph"] in "stf":
            flows[event["id"]].append(event)
            spans = tracks[event["pid"], event["tid"]]
            assert any(begin - EPSILON_US <= event["ts"] <= end + EPSILON_US for begin, end, _ in spans), event
    assert flows
    for number, steps in flows.items():
        steps.sort(key=lambda step: (step["ts"], "stf".index(step["ph"])))
        phases = "".join(step["ph"] for step in steps)
        assert phases == "s" + "t" * (len(steps) - 2) + "f", (number, phases)


def _check_counters(events: list[dict[str, Any]]) -> None:
    last: dict[tuple[int, str], float] = {}
    for event in events:
        if event["ph"] == "C":
            key = event["pid"], event["name"]
            assert event["ts"] >= last.get(key, 0.0), event
            assert event["args"]["n"] >= 0, event
            last[key] = event["ts"]
    assert last
