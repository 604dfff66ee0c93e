"""A first start says what it compiles; a warm one says nothing."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest

from engine import warming
from engine.presets import find_preset

SPEC = find_preset("resnet")


def test_a_slow_start_says_each_step_from_the_first_on(monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    first = threading.Event()

    def say(line: str) -> None:
        said.append(line)
        first.set()

    def slow(spec: object, progress: Callable[[str], None], tensor: object) -> None:
        progress("decoder (1 of 2)")
        assert first.wait(10)
        progress("rank (2 of 2)")

    monkeypatch.setattr(warming, "SLOW_WARM_UP_S", 0.5)
    monkeypatch.setattr(warming, "warm", slow)
    monkeypatch.setattr(warming, "why_elsewhere", lambda _: "")
    warming.warm_up(SPEC, say)
    assert said == [
        "compiling the kernels, once on this machine: decoder (1 of 2)",
        "compiling the kernels, once on this machine: rank (2 of 2)",
    ]


def test_a_warm_start_says_nothing_but_why_the_cache_is_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    monkeypatch.setattr(warming, "warm", lambda spec, progress, tensor: progress("decoder (1 of 1)"))
    monkeypatch.setattr(warming, "why_elsewhere", lambda _: "the cache is elsewhere")
    warming.warm_up(SPEC, said.append)
    assert said == ["the cache is elsewhere"]
