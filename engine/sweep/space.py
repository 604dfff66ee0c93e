"""What a sweep may set: a few options of `engine run`, each with the values to try, in order."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from engine.errors import PerfError
from engine.suggest import unknown

Value = int | str
Params = dict[str, Value]

AUTO = "auto"
#: Options that can be swept, cheapest to change last: their order is that of the search and of the tables.
TUNABLE = ("batch", "workers", "window", "feeders", "slots")
#: Where the search starts: the defaults of `engine run`, as near as the values allow.
START: Mapping[str, Value] = {"batch": 16, "workers": 10_000, "window": 2, "feeders": 1, "slots": AUTO}
MOST_VALUES = 64


@dataclass(frozen=True)
class Space:
    """{option: values in ascending order, `auto` first}."""

    values: Mapping[str, tuple[Value, ...]]

    def __len__(self) -> int:
        n = 1
        for values in self.values.values():
            n *= len(values)
        return n

    def grid(self) -> Iterator[Params]:
        """All combinations, the last option changing fastest."""
        for combination in itertools.product(*self.values.values()):
            yield dict(zip(self.values, combination, strict=True))

    def nearest(self, wanted: Mapping[str, Value]) -> Params:
        """The combination next to `wanted`."""
        return {name: min(values, key=lambda v: _distance(v, wanted[name])) for name, values in self.values.items()}


def _distance(value: Value, wanted: Value) -> float:
    if AUTO in (value, wanted):
        return 0.0 if value == wanted else 1e9
    return abs(float(value) - float(wanted))


def key_of(params: Mapping[str, Value]) -> str:
    """A combination as text: ``batch=8 workers=2``."""
    return " ".join(f"{name}={params[name]}" for name in TUNABLE if name in params)


def parse_space(assignments: Iterable[str]) -> Space:
    """A space from ``workers=1,2,3`` and the like; PerfError for what cannot be swept."""
    found: dict[str, tuple[Value, ...]] = {}
    for text in assignments:
        name, equals, values = text.partition("=")
        if name not in TUNABLE:
            raise unknown("option to sweep", name, TUNABLE)
        if not equals or not values:
            raise PerfError(f"--grid {text!r}: needed something like {name}=1,2,3")
        if name in found:
            raise PerfError(f"--grid names {name} twice")
        found[name] = _values(name, values)
    if not found:
        raise PerfError("nothing to sweep: needed something like --grid workers=1,2,3 batch=1,8,16")
    return Space({name: found[name] for name in TUNABLE if name in found})


def _values(name: str, text: str) -> tuple[Value, ...]:
    values: set[Value] = set()
    for part in text.split(","):
        word = part.strip()
        if word == AUTO and name in ("slots", "workers"):
            values.add(AUTO)
        elif word.isascii() and word.isdecimal() and 0 < int(word) <= 4096:
            values.add(int(word))
        else:
            raise PerfError(f"--grid {name}={text}: {word!r} is no value for {name}, needed numbers from 1 to 4096")
    if len(values) > MOST_VALUES:
        raise PerfError(f"--grid {name} has {len(values)} values, at most {MOST_VALUES} make sense")
    return tuple(sorted(values, key=lambda v: (-1, 0) if v == AUTO else (0, v)))
