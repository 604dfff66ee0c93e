"""The rules of the Trace Event Format that a viewer relies on, checked on a whole trace.

Times are nanoseconds and compared exactly. Events are taken as Perfetto's trace processor takes them: sorted by time,
those of one time in the order of the file; a slice lies within the one that is open on its thread, or none is; an arrow
is bound to the innermost slice that is open on its thread at that moment, and is lost where none is.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator
from typing import Any

Event = dict[str, Any]
Track = tuple[int, int]
#: Fields that each kind of event must have beside ph, pid and tid.
FIELDS = {
    "M": {"name", "args"},
    "X": {"name", "ts", "dur"},
    "C": {"name", "ts", "args"},
    "s": {"name", "cat", "id", "ts"},
    "t": {"name", "cat", "id", "ts"},
    "f": {"name", "cat", "id", "ts", "bp"},
}
METADATA = {"process_name": str, "thread_name": str, "process_sort_index": int}
#: What may be open where an arrow begins, passes and ends.
BOUND_TO = {"s": {"fill", "read", "decode", "resample"}, "t": {"h2d", "execute", "d2h"}, "f": {"rank"}}
#: Process ids of the format are 32 bits wide.
MOST_PID = 2**31 - 1


def check_rules(document: dict[str, Any]) -> None:
    """AssertionError names the first event that breaks a rule."""
    events = document["traceEvents"]
    assert events
    for event in events:
        _check_fields(event)
    _check_names(events)
    _check_slices_and_arrows(events)
    _check_counters(events)


def nanoseconds(event: Event, name: str) -> int:
    """A time in microseconds, which must be whole nanoseconds."""
    value = event[name] * 1e3
    assert abs(value - round(value)) < 0.01, event
    return round(value)


def _check_fields(event: Event) -> None:
    assert event["ph"] in FIELDS, event
    assert FIELDS[event["ph"]] <= event.keys(), event
    assert all(isinstance(event[name], int) and 0 <= event[name] <= MOST_PID for name in ("pid", "tid")), event
    assert all(nanoseconds(event, name) >= 0 for name in ("ts", "dur") if name in event), event
    if event["ph"] == "M":
        (value,) = event["args"].values()
        assert isinstance(value, METADATA[event["name"]]), event
    if event["ph"] == "f":
        assert event["bp"] == "e", event  # without it an arrow ends at the next slice, not at the one that is open


def _check_names(events: list[Event]) -> None:
    """Each process has one name and one place in the order, each thread at most one name."""
    named = Counter(
        (e["name"], e["pid"], e["tid"] if e["name"] == "thread_name" else 0) for e in events if e["ph"] == "M"
    )
    assert set(named.values()) == {1}, named
    for kind in ("process_name", "process_sort_index"):
        assert {event["pid"] for event in events} == {pid for name, pid, _ in named if name == kind}


def _in_order(events: list[Event]) -> Iterator[tuple[int, Event]]:
    timed = [(nanoseconds(event, "ts"), event) for event in events if event["ph"] != "M"]
    yield from sorted(timed, key=lambda pair: pair[0])  # stable: the order of the file decides among equals


def _check_slices_and_arrows(events: list[Event]) -> None:
    open_: dict[Track, list[tuple[int, str]]] = defaultdict(list)
    arrows: dict[tuple[str, int], str] = defaultdict(str)
    for at, event in _in_order(events):
        stack = open_[event["pid"], event["tid"]]
        while stack and stack[-1][0] <= at:
            stack.pop()
        if event["ph"] == "X":
            end = at + nanoseconds(event, "dur")
            assert not stack or end <= stack[-1][0], (event, stack)
            stack.append((end, event["name"]))
        elif event["ph"] in BOUND_TO:
            assert stack, event
            assert stack[-1][1] in BOUND_TO[event["ph"]], (event, stack)
            arrows[event["cat"], event["id"]] += event["ph"]
    assert arrows
    for key, phases in arrows.items():
        assert phases == "s" + "t" * (len(phases) - 2) + "f", (key, phases)


def _check_counters(events: list[Event]) -> None:
    last: dict[tuple[int, str], int] = {}
    for event in events:
        if event["ph"] == "C":
            key, at = (event["pid"], event["name"]), nanoseconds(event, "ts")
            assert at >= last.get(key, 0), event
            assert all(isinstance(value, int) and value >= 0 for value in event["args"].values()), event
            last[key] = at
    assert last
