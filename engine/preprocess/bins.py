"""`--format bin`: one file per image, byte for byte what the guide's script writes."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Literal, cast

from engine.errors import ConfigError
from engine.listing import find_samples
from engine.preprocess.job import (
    Inputs,
    PreprocessConfig,
    locked,
    raise_for_failures,
    require_one_name_each,
    require_other_folder,
    require_space,
    result_line,
    work_off,
    writing,
)
from engine.preprocess.sinks import BinFolder, tensor_name
from engine.sources.archive import TarStore
from engine.sources.made_with import MANIFEST, read_manifest, spec_fields
from engine.sources.packed import PackedStore
from kernels.spec import TensorFormat

TEMPORARIES = ".engine-preprocess-*.tmp"


def preprocess_to_bins(config: PreprocessConfig, say: Callable[[str], None]) -> None:
    """Write what is missing. Raises TooManyFailures after naming each image that failed."""
    if config.labels is not None:
        raise ConfigError("--labels is for --format packed: .bin files carry no labels; give them to engine run")
    spec = config.spec
    listing = find_samples(config.source, is_labelled=False)
    listing.store.check(listing.names, spec)
    inputs = Inputs(listing.names, listing.store, spec)
    folder = config.destination
    require_other_folder(config.source, folder)
    require_one_name_each(inputs, tensor_name)
    _make_folders(folder, listing.names.root, inputs)
    destination = BinFolder(folder, tensor_format(config.dtype or "float32"))
    with locked(folder / MANIFEST) as manifest:
        for leftover in folder.glob(TEMPORARIES):
            leftover.unlink(missing_ok=True)
        is_same = _claim(manifest, config, destination)
        todo = [s for s in range(len(inputs.names)) if not (is_same and _is_complete(destination, inputs, s))]
        n_bytes = destination.tensor.row_bytes(spec.crop)
        require_space(folder, len(todo) * n_bytes, f"writing {len(todo)} tensors to {folder}")
        finished = work_off(inputs, destination, todo, config.workers, say)
    n_kept = len(inputs.names) - len(todo)
    shape = " x ".join(map(str, destination.tensor.shape(spec.crop)))
    say(result_line(finished, n_kept, f"{folder}, {n_bytes:,} bytes each ({destination.tensor.dtype} {shape})"))
    _report_strangers(folder, inputs, say)
    raise_for_failures(inputs, finished.reasons, f"the others are in {folder}")


def tensor_format(dtype: str) -> TensorFormat:
    """Planes of normalised values, or the crop's pixels."""
    kind = cast(Literal["float32", "float16", "uint8"], dtype)
    return TensorFormat(kind, "NHWC" if dtype == "uint8" else "NCHW")


def _make_folders(folder: Path, root: Path, inputs: Inputs) -> None:
    if folder.exists() and not folder.is_dir():
        raise ConfigError(f"{folder} is a file: needed a folder for the .bin files, or --format packed")
    names = (inputs.names.name(sample).rpartition("/")[0] for sample in range(len(inputs.names)))
    with writing(folder):
        for name in sorted({"", *names}):
            (folder / name).mkdir(parents=True, exist_ok=True)


def _claim(manifest: int, config: PreprocessConfig, destination: BinFolder) -> bool:
    """Say in the folder what its tensors are; whether tensors that are there already are of these images.

    ConfigError where the folder holds tensors of another preset or type: they would be mixed.
    """
    made = {"preset": config.preset, "spec": spec_fields(config.spec), "dtype": destination.tensor.dtype}
    wanted = {"version": 1, **made, "images": os.path.abspath(config.source)}
    found = read_manifest(destination.folder)
    if found and any(found.get(name) != value for name, value in made.items()):
        raise ConfigError(
            f"{destination.folder} holds {found.get('dtype')} tensors of preset {found.get('preset')}: choose another "
            f"folder for {destination.tensor.dtype} tensors of preset {config.preset}, or remove it"
        )
    with writing(destination.folder / MANIFEST):
        os.ftruncate(manifest, 0)
        os.pwrite(manifest, json.dumps(wanted).encode(), 0)
    return found == wanted


def _is_complete(destination: BinFolder, inputs: Inputs, sample: int) -> bool:
    """The tensor has its size and is not older than what it was made from."""
    name = inputs.names.name(sample)
    store = inputs.store
    made_from = store.path if isinstance(store, PackedStore | TarStore) else inputs.names.root / name
    try:
        tensor = os.stat(destination.folder / tensor_name(name))
        return (
            tensor.st_size == destination.tensor.row_bytes(inputs.spec.crop)
            and tensor.st_mtime_ns >= os.stat(made_from).st_mtime_ns
        )
    except OSError:
        return False


def _report_strangers(folder: Path, inputs: Inputs, say: Callable[[str], None]) -> None:
    known = {tensor_name(inputs.names.name(sample)) for sample in range(len(inputs.names))}
    folders = sorted({name.rpartition("/")[0] for name in known})
    strangers = [
        name
        for place in folders
        for entry in os.scandir(folder / place)
        if entry.name.endswith(".bin") and (name := f"{place}/{entry.name}" if place else entry.name) not in known
    ]
    if strangers:
        say(f"{folder} also holds {len(strangers)} .bin files of no image here, such as {min(strangers)}")
