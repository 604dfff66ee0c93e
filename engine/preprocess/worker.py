"""A preprocess worker: reads, decodes and stores the samples it is sent, until its pipe ends."""

from __future__ import annotations

import os
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np

from engine.files import NO_SPACE
from engine.names import NameTable
from engine.preprocess.sinks import Destination, Sink
from engine.preprocess.team import Broken, Done
from engine.process import begin
from engine.sources.base import Array, Source, Store
from kernels.spec import ImageError, PreprocessSpec


@dataclass(frozen=True)
class WorkerJob:
    """What a worker is started with: the names' descriptor (as `DupFd`), what to read and compute, where to put it."""

    names: Any
    root: Path
    store: Store
    spec: PreprocessSpec
    destination: Destination


def worker_main(hub: Connection[Any, Any], number: int, job: WorkerJob) -> None:
    """Run a worker until its hub is gone."""
    begin("preprocess")
    try:
        names = NameTable.mapped(job.root, job.names.detach())
        tensor = job.destination.tensor
        source = job.store.open(names, job.spec, tensor)
        row = np.empty(tensor.shape(job.spec.crop), tensor.numpy_dtype)
        sink = job.destination.open(names, number)
        while True:
            hub.send(Done(preprocess_chunk(hub.recv(), source, sink, row)))
    except (EOFError, BrokenPipeError, ConnectionResetError):
        return
    except OSError as error:
        text = f"{error.filename or 'a tensor'} cannot be written: {error.strerror}"
        advice = ": make room; the same command goes on from here" if error.errno in NO_SPACE else ""
        hub.send(Broken("ResourceError", text + advice))
    except Exception as error:
        hub.send(
            Broken("WorkerError", f"preprocess worker {number} (pid {os.getpid()}): {type(error).__name__}: {error}")
        )


def preprocess_chunk(samples: list[int], source: Source, sink: Sink, row: Array) -> dict[int, str]:
    """Preprocess and store each sample; {sample: why it could not be}."""
    source.expect(samples)
    return {sample: reason for sample in samples if (reason := _failure(sample, source, sink, row)) is not None}


def _failure(sample: int, source: Source, sink: Sink, row: Array) -> str | None:
    try:
        source.write(source.read(sample), row)
    except ImageError as error:
        return str(error)
    sink.put(sample, row)
    return None
