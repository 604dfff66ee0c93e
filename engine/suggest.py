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
    near = difflib.get_close_matches(name, names, n=1, cutoff=NEAR)
    hint = f", did you mean {near[0]!r}?" if near else ";"
    return ConfigError(f"unknown {what} {name!r}{hint} known: {', '.join(names)}")
