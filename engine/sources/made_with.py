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
#: An option that is written only where it was asked for: files older than it say nothing of it.
EXIF_ROTATE = "exif_rotate"
#: What of a preset the pixels of a crop depend on; the rest is applied when they are read.
CROP_FIELDS = ("resize", "crop", "interpolation", EXIF_ROTATE)


def spec_fields(spec: PreprocessSpec) -> dict[str, Any]:
    """A spec as files have it."""
    fields = {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(spec).items()}
    return fields if spec.exif_rotate else {name: value for name, value in fields.items() if name != EXIF_ROTATE}


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
    if bool(made.get(EXIF_ROTATE)) != spec.exif_rotate:
        with_, give = ("with", "give it here, too") if made.get(EXIF_ROTATE) else ("without", "leave it away")
        raise DataError(f"{what} were made {with_} --exif-rotate: {give}, or make them again")
    for name in CROP_FIELDS if are_pixels else wanted:
        if made.get(name) != wanted.get(name):
            raise DataError(
                f"{what} were made with {name} {made.get(name)} (preset {preset}) but the preset asks for "
                f"{wanted[name]}: use --preset {preset}, or make them again"
            )
