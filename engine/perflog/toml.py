"""A run's configuration as the arguments and the TOML file that `engine run` takes."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

#: Options of run.json's config that say where a run writes, not how it goes.
LEFT_OUT = frozenset({"out", "dump", "config", "trace", "resume"})


def options_of(config: Mapping[str, Any]) -> dict[str, Any]:
    """Options of `engine run` by their TOML names; those that were left to the engine (null) stay so."""
    options = {name: value for name, value in config.items() if name not in LEFT_OUT and value is not None}
    if isinstance(options.get("devices"), list):
        options["devices"] = ",".join(map(str, options["devices"]))
    return {name: value for name, value in options.items() if isinstance(value, (bool, int, float, str))}


def arguments_of(config: Mapping[str, Any]) -> list[str]:
    """The same as command line arguments; switches that are off are left out."""
    words: list[str] = []
    for name, value in options_of(config).items():
        option = "--" + name.replace("_", "-")
        if isinstance(value, bool):
            words += [option] if value else []
        else:
            words.append(f"{option}={value}")
    return words


def toml_of(options: Mapping[str, Any], comment: str) -> str:
    """A TOML file of plain options; `comment` goes before them, line by line."""
    lines = [f"# {line}" for line in comment.splitlines()]
    for name, value in options.items():
        # JSON's text and numbers are TOML's, but for the one control character that TOML wants escaped.
        text = json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
        lines.append(f"{name} = {text}")
    return "\n".join(lines) + "\n"
