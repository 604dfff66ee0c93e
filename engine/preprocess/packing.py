"""`--format packed`: all crops in one file, which appears when it is complete."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt

from engine.errors import ConfigError, EngineError
from engine.index import read_index
from engine.listing import find_samples
from engine.preprocess.job import (
    Inputs,
    PreprocessConfig,
    locked,
    raise_for_failures,
    require_space,
    result_line,
    work_off,
    writing,
)
from engine.preprocess.sinks import PackedPart
from engine.sources.made_with import spec_fields
from engine.sources.packed_format import (
    PackedIndex,
    PackedLayout,
    encode_header,
    hash_bytes,
    is_packed,
    read_packed,
)

I32 = npt.NDArray[np.int32]
#: First bytes of a file that grows: not yet a packed file.
PART_MAGIC = b"ENGPART\n"


def preprocess_to_packed(config: PreprocessConfig, say: Callable[[str], None]) -> None:
    """Pack what is missing and complete the file. Raises TooManyFailures after naming each image that failed."""
    if config.dtype not in (None, "uint8"):
        raise ConfigError(
            f"--dtype {config.dtype} is for --format bin: a packed file holds uint8 crops, normalised when read"
        )
    if config.destination.is_dir():
        raise ConfigError(f"{config.destination} is a folder: --format packed needs the name of a file")
    inputs, index = _inputs_and_index(config, say)
    layout = PackedLayout(len(inputs.names), inputs.spec.crop)
    if _is_up_to_date(config.destination, index):
        say(f"{config.destination} is complete: {layout.n} crops, {layout.crop_bytes:,} bytes each")
        return
    part = PackedPart(config.destination.with_name(f".{config.destination.name}.partial"), layout)
    with writing(part.path):
        part.path.parent.mkdir(parents=True, exist_ok=True)
    with locked(part.path) as fd:
        done = _prepare(fd, part, inputs, index.inputs)
        todo = [sample for sample in range(layout.n) if sample not in done]
        finished = work_off(inputs, part, todo, config.workers, say)
        index.failed.update(finished.reasons)
        _complete(fd, part, index, config.destination)
    labelled = "with labels" if index.labels is not None else "without labels: give them to engine run"
    say(result_line(finished, len(done), f"{config.destination}, {layout.crop_bytes:,} bytes each, {labelled}"))
    raise_for_failures(inputs, finished.reasons, f"{config.destination} has the others, and why these failed")


def _inputs_and_index(config: PreprocessConfig, say: Callable[[str], None]) -> tuple[Inputs, PackedIndex]:
    spec = config.spec
    listing = find_samples(config.source, is_labelled=config.labels is not None)
    listing.store.check(listing.names, spec)
    inputs = Inputs(listing.names, listing.store, spec)
    labels = None
    if config.labels is not None or listing.labels is not None or listing.class_folders is not None:
        data = read_index(config.source, config.labels)
        labels = data.labels
        for note in data.notes:
            say(note)
    return inputs, PackedIndex(config.preset, spec_fields(spec), inputs.names, labels, _inputs_hash(inputs, labels))


def _inputs_hash(inputs: Inputs, labels: I32 | None) -> int:
    """Of everything that a packed file is made from, images by size and time."""
    names = inputs.names
    stats = np.zeros((len(names), 2), np.int64)
    for sample in range(len(names)):
        try:
            status = os.stat(names.path(sample))
        except OSError:
            continue  # a packed file's names are no files; an image that is gone fails by name
        stats[sample] = status.st_size, status.st_mtime_ns
    parts = [
        json.dumps([spec_fields(inputs.spec), os.path.abspath(names.root), repr(inputs.store)]).encode(),
        names.ends.tobytes(),
        names.blob.tobytes(),
        stats.tobytes(),
        b"" if labels is None else labels.tobytes(),
    ]
    return hash_bytes(b"".join(len(part).to_bytes(8, "little") + part for part in parts))


def _is_up_to_date(path: Path, index: PackedIndex) -> bool:
    if not is_packed(path):
        return False
    try:
        _, found = read_packed(path)
    except EngineError:
        return False  # damaged: made again
    return found.inputs == index.inputs and not found.failed


def _prepare(fd: int, part: PackedPart, inputs: Inputs, inputs_hash: int) -> set[int]:
    """Make the file big enough; the samples whose crops are in it already, each checked by its hash."""
    head = PART_MAGIC + inputs_hash.to_bytes(8, "little")
    if os.pread(fd, len(head), 0) != head:
        os.ftruncate(fd, 0)
    missing = part.layout.index_at - os.fstat(fd).st_blocks * 512
    require_space(part.path.parent, max(missing, 0), f"packing {part.layout.n} crops")
    with writing(part.path):
        os.posix_fallocate(fd, 0, part.layout.index_at)
        os.pwrite(fd, head, 0)
    sink = part.open(inputs.names, 0)
    try:
        return {sample for sample, value in enumerate(sink.hashes()) if sink.is_complete(sample, value)}
    finally:
        sink.close()


def _complete(fd: int, part: PackedPart, index: PackedIndex, destination: Path) -> None:
    """Index, header, and only then the name."""
    data = index.encode()
    header = encode_header(part.layout, data)
    with writing(part.path):
        os.ftruncate(fd, part.layout.index_at)
        os.pwrite(fd, data, part.layout.index_at)
        os.pwrite(fd, header, 0)
        os.fsync(fd)
    with writing(destination):
        os.replace(part.path, destination)
