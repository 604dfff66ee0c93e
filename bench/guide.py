"""The guide's way from JPEG files to batches of tensors, on one core and on all: what `engine run` is compared with.

Three baselines of one script (Pillow resizes the whole image, NumPy normalises), each told apart wherever it is named:

- `ALONE`: the arithmetic alone, on bytes that each process has in memory, results thrown away; nothing is read,
  nothing is delivered. The most that so many processes of the script could do; no pipeline reaches it.
- `BATCHES`: a pipeline. Each process reads files and fills batches of 16 in shared memory; the parent takes each batch
  and gives its buffer back. It ends where the engine's null device does, so this is the like-for-like baseline.
- `BINS`: the guide as it is. A pool with one process per 500 files, each image to a `.bin` file of its own and a line
  of text; into a temporary folder, which counts as written when the kernel has it (no sync: in the script's favour).

Times run from a common start, when all processes are up and warm, to the last image.
"""

from __future__ import annotations

import ctypes
import io
import multiprocessing
import os
import tempfile
import time
from collections.abc import Callable, Sequence
from itertools import chain, islice, repeat
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from kernels.reference import crop_origin, resized_size
from kernels.spec import PreprocessSpec

F32 = npt.NDArray[np.float32]

SPEC = PreprocessSpec(256, 224, "bilinear", (0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
_MEAN, _STD = (np.array(values, np.float32)[:, None, None] for values in (SPEC.mean, SPEC.std))
_SHAPE = (3, SPEC.crop, SPEC.crop)

ALONE, BATCHES, BINS = "arithmetic alone, from memory", "batches in shared memory", "the guide as it is, .bin files"
BATCH = 16
#: Buffers of a process: it fills one while the other waits to be taken.
N_BUFFERS = 2
#: The guide's pool has one process for so many files.
FILES_PER_PROCESS = 500
NS_PER_S = 1e9


def tensor_of(source: Path | IO[bytes]) -> F32:
    """The script's tensor of one image, (3, 224, 224) float32: the same operations, in place where it is in place."""
    image = Image.open(source).convert("RGB")
    size = resized_size(*image.size, SPEC.resize)
    if size != image.size:
        image = image.resize(size, Image.Resampling.BILINEAR)
    left, top = (crop_origin(side, SPEC.crop) for side in image.size)
    pixels = np.array(image.crop((left, top, left + SPEC.crop, top + SPEC.crop)), dtype=np.float32)
    tensor: F32 = pixels.transpose(2, 0, 1) / np.float32(255.0)
    tensor -= _MEAN
    tensor /= _STD
    return tensor


def guide(data: bytes) -> F32:
    """The script, from bytes in memory."""
    return tensor_of(io.BytesIO(data))


def rate_alone(paths: Sequence[Path], n_processes: int, passes: int) -> float:
    """Images/s of `ALONE`, `passes` times over the files by all processes together."""
    files = [path.read_bytes() for path in paths]
    return rate_of_processes(_guide_peer, files, n_processes, max(1, passes // n_processes))


def _guide_peer() -> Callable[[bytes], Any]:
    return guide


def rate_of_processes(
    make_peer: Callable[[], Callable[[bytes], Any]], files: Sequence[bytes], n_processes: int, passes: int
) -> float:
    """Images/s of a function of bytes in so many processes, each `passes` times over all files; results thrown away."""
    context = multiprocessing.get_context("spawn")
    barrier = context.Barrier(n_processes + 1)
    workers = [context.Process(target=_work, args=(make_peer, files, passes, barrier)) for _ in range(n_processes)]
    for worker in workers:
        worker.start()
    barrier.wait()
    began_ns = time.perf_counter_ns()
    barrier.wait()
    took_ns = time.perf_counter_ns() - began_ns
    for worker in workers:
        worker.join()
    return n_processes * passes * len(files) / took_ns * NS_PER_S


def _work(make_peer: Callable[[], Callable[[bytes], Any]], files: Sequence[bytes], passes: int, barrier: Any) -> None:
    peer = make_peer()
    peer(files[0])
    barrier.wait()
    for _ in range(passes):
        for file in files:
            peer(file)
    barrier.wait()


class _Filler:
    """One process that fills the buffers it is sent; a buffer belongs to whoever was sent its number."""

    def __init__(self, context: Any) -> None:
        memory = context.RawArray(ctypes.c_float, N_BUFFERS * BATCH * int(np.prod(_SHAPE)))
        self.buffers = _buffers_in(memory)
        self.pipe, theirs = context.Pipe()
        self.process = context.Process(target=_fill_forever, args=(theirs, memory), daemon=True)
        self.process.start()
        theirs.close()


def _buffers_in(memory: Any) -> F32:
    return np.frombuffer(memory, np.float32).reshape(N_BUFFERS, BATCH, *_SHAPE)


def _fill_forever(pipe: Connection, memory: Any) -> None:
    buffers = _buffers_in(memory)
    while True:
        try:
            buffer, paths = pipe.recv()
        except EOFError:
            return
        for row, path in zip(buffers[buffer], paths, strict=False):
            row[...] = tensor_of(path)
        pipe.send((buffer, len(paths)))


class BatchPipeline:
    """The processes of `BATCHES`; a context manager that ends them."""

    def __init__(self, n_processes: int) -> None:
        context = multiprocessing.get_context("spawn")
        self._fillers = [_Filler(context) for _ in range(n_processes)]

    def __enter__(self) -> BatchPipeline:
        return self

    def __exit__(self, *_: object) -> None:
        for filler in self._fillers:
            filler.pipe.close()
            filler.process.join()

    def run(self, paths: Sequence[Path], take: Callable[[F32], None] = lambda batch: None) -> int:
        """Hand out batches to whoever has a buffer free; the number of images that came back.

        take : is called with each batch, (images, 3, 224, 224) float32, whose buffer is filled again afterwards
        """
        batches = (paths[at : at + BATCH] for at in range(0, len(paths), BATCH))
        by_pipe = {filler.pipe: filler for filler in self._fillers}
        n_images = n_out = 0
        for buffer in range(N_BUFFERS):
            for pipe, batch in zip(by_pipe, islice(batches, len(by_pipe)), strict=False):
                pipe.send((buffer, batch))
                n_out += 1
        while n_out:
            for pipe in wait(list(by_pipe)):
                assert isinstance(pipe, Connection)
                buffer, n_filled = pipe.recv()
                take(by_pipe[pipe].buffers[buffer, :n_filled])
                n_images += n_filled
                n_out -= 1
                for batch in islice(batches, 1):
                    pipe.send((buffer, batch))
                    n_out += 1
        return n_images


def rate_of_batches(paths: Sequence[Path], n_processes: int, passes: int) -> float:
    """Images/s of `BATCHES`: from the first file read to the last batch taken, after one pass that is not timed."""
    with BatchPipeline(n_processes) as pipeline:
        pipeline.run(paths)
        began_ns = time.perf_counter_ns()
        n_images = pipeline.run(_repeated(paths, passes))
        return n_images / (time.perf_counter_ns() - began_ns) * NS_PER_S


def _repeated(paths: Sequence[Path], passes: int) -> list[Path]:
    return list(chain.from_iterable(repeat(paths, passes)))


def rate_of_bins(paths: Sequence[Path], n_cores: int, passes: int) -> float:
    """Images/s of `BINS` on so many cores, `passes` times over the files with names of their own.

    The dirty pages of the folder are dropped with it, so that what runs next does not wait for the disk.
    """
    listed = _repeated(paths, passes)
    context = multiprocessing.get_context("spawn")
    lists = [(at, listed[at : at + FILES_PER_PROCESS]) for at in range(0, len(listed), FILES_PER_PROCESS)]
    barrier = context.Barrier(len(lists) + 1)
    cores = sorted(os.sched_getaffinity(0))[:n_cores]
    with tempfile.TemporaryDirectory(prefix="guide-bins-") as folder:
        with context.Pool(len(lists), _get_ready, (barrier, cores, paths[0])) as pool:
            barrier.wait()
            began_ns = time.perf_counter_ns()
            pool.starmap(write_bins, [(folder, first, files) for first, files in lists], chunksize=1)
            took_ns = time.perf_counter_ns() - began_ns
        n_written = sum(1 for _ in Path(folder).iterdir())
    os.sync()
    if n_written != len(listed):
        raise AssertionError(f"{n_written} .bin files of {len(listed)} images")
    return n_written / took_ns * NS_PER_S


def _get_ready(barrier: Any, cores: list[int], path: Path) -> None:
    os.sched_setaffinity(0, cores)
    tensor_of(path)
    barrier.wait()


def write_bins(folder: str, first: int, files: Sequence[Path]) -> None:
    """What one process of the pool does. Its tensors are not contiguous, so that `tofile` goes element by element."""
    with open(os.devnull, "w") as said:
        for number, path in enumerate(files, first):
            print("batch", first // FILES_PER_PROCESS, path.name, "===", number, file=said)
            tensor_of(path).tofile(os.path.join(folder, f"{path.name.split('.')[0]}_{number}.bin"))


#: Baseline -> images/s of (files, processes or cores, passes over all files).
RATES: dict[str, Callable[[Sequence[Path], int, int], float]] = {
    ALONE: rate_alone,
    BATCHES: rate_of_batches,
    BINS: rate_of_bins,
}
