"""Functions that an older CANN does not have: programs test for them with ``hasattr``."""

from __future__ import annotations

import importlib
from typing import Any

_taken_away: list[tuple[Any, str, Any]] = []


def take_away(absent: str) -> None:
    """Let the modules lack these functions ("acl.rt.x,acl.y"), and have all others. ValueError for an unknown one."""
    give_back()
    for name in filter(None, absent.replace(" ", "").split(",")):
        module_name, _, function = name.removeprefix("acl.").rpartition(".")
        module = importlib.import_module(f"engine.pyacl_stubs.{module_name or 'acl'}")
        if not hasattr(module, function):
            raise ValueError(f"absent: there is no {name}")
        _taken_away.append((module, function, getattr(module, function)))
        delattr(module, function)


def give_back() -> None:
    """All functions are there."""
    while _taken_away:
        module, function, value = _taken_away.pop()
        setattr(module, function, value)
