"""With which preset stored inputs were made, and whether a run's preset is the same."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from engine.errors import DataError
from kernels.spec import PreprocessSpec

#: Says what the tensors in a folder are. Hidden: the guide's scripts take every `*.bin`, and nothing else.
MANIFEST = ".engine-preprocess.json"
#: What of a preset the pixels of a crop depend on; the rest is applied when they are read.
CROP_FIELDS = ("resize", "crop", "interpolation")


def spec_fields(spec: PreprocessSpec) -> dict[str, Any]:
    """A spec as files have it."""
    return {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(spec).items()}


def read_manifest(folder: Path) -> dict[str, Any]:
    """What `engine preprocess` says of the tensors in the folder; empty where it did not make them."""
    try:
        found = json.loads((folder / MANIFEST).read_bytes())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def require_preset(what: str, preset: str, made: Mapping[str, Any], spec: PreprocessSpec, *, are_pixels: bool) -> None:
    """DataError unless inputs made with the numbers `made` are those of `spec`.

    are_pixels : they are not normalised, so only how they were cropped counts
    """
    wanted = spec_fields(spec)
    for name in CROP_FIELDS if are_pixels else wanted:
        if made.get(name) != wanted[name]:
            raise DataError(
                f"{what} were made with {name} {made.get(name)} (preset {preset}) but the preset asks for "
                f"{wanted[name]}: use --preset {preset}, or make them again"
            )
