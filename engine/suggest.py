"""Errors for names that are not known, with the nearest one that is."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

from engine.errors import ConfigError

#: Similarity from which a known name is suggested: low enough for `onxx` to find `onnxruntime`.
NEAR = 0.4


def unknown(what: str, name: str, known: Iterable[str]) -> ConfigError:
    """ConfigError such as ``unknown backend 'onxx', did you mean 'onnxruntime'? known: cann, null, ...``."""
    names = sorted(known)
    return ConfigError(f"unknown {what} {name!r}{did_you_mean(name, names) or ';'} known: {', '.join(names)}")


def did_you_mean(name: str, known: Iterable[str], cutoff: float = NEAR) -> str:
    """``, did you mean 'onnxruntime'?``, or nothing where no name is near."""
    near = difflib.get_close_matches(name, sorted(known), n=1, cutoff=cutoff)
    return f", did you mean {near[0]!r}?" if near else ""
