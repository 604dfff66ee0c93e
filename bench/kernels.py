"""How fast is each kernel, beside its twin or a peer, per instruction set?

Method: one process per instruction set (ENGINE_KERNEL_ISA), each kernel repeated on the same inputs, interleaved with
the others, and each time run once before it is timed; the least CPU time of the repetitions counts, since interruptions
only add. Inputs: a synthetic photo of 500 x 375 in 4:4:4 and 4:2:0; 1,000 logits x 256 and x 8,192 rows; 1 and 64 input
tensors of 602,112 bytes. The smaller of these stay in L2, the larger come from memory. Ceiling of what only reads: a
sum of the same array in vectors.
Not shown: real images (bench.host), caches shared with other work. Last answer: docs/kernels.md.

    python -m bench.kernels [--isa avx512 avx2 sse generic]
"""

from __future__ import annotations

import argparse
import io
import os
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from numba import types
from numba.core import cgutils
from PIL import Image

from bench.guide import SPEC
from kernels.fingerprint import fingerprint_hash, fingerprint_logits, logits_of_copies
from kernels.host import HostPath
from kernels.isa import INSTRUCTION_SET, available
from kernels.jit import njit
from kernels.jpeg.decoder import JpegDecoder
from kernels.jpeg.frame import HEIGHT, WIDTH
from kernels.rank import rank_rows
from kernels.resample import Resampler, whole
from kernels.simd import I64, U64, call, const, const64, load, vec, vector_op
from kernels.stream import stream_copy

_REPEATS = 30
_TENSOR_WORDS = 75_264
#: Vectors of 64 bytes that one step of the sum adds: as many sums at once, which hides the latency of all.
_SUMS = 8
alloca: Any = cgutils.alloca_once  # untyped in numba


@vector_op(2, types.uint64)
def _sum_blocks(b: Any, words: Any, n_blocks: Any) -> Any:
    """Sum of ``64 * n_blocks`` words."""
    kind = vec(I64, 8)
    sums = [alloca(b, kind) for _ in range(_SUMS)]
    for slot in sums:
        b.store(const(0, 8, I64), slot)
    with cgutils.for_range(b, n_blocks) as loop:
        block = b.add(words, b.mul(loop.index, const64(64 * _SUMS)))
        for i, slot in enumerate(sums):
            b.store(b.add(b.load(slot), load(b, block, kind, 64 * i)), slot)
    total = b.load(sums[0])
    for slot in sums[1:]:
        total = b.add(total, b.load(slot))
    return call(b, "llvm.vector.reduce.add.v8i64", I64, total)


@njit
def sum_words(words: Any) -> Any:
    """The ceiling of what reads an array once. words : (64 n,) uint64"""
    return _sum_blocks(U64(words.ctypes.data), U64(words.shape[0] // 64))


def photo_jpeg(subsampling: str) -> bytes:
    """A photo-like JPEG of about 4 bits per pixel."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:375, :500]
    pixels = [127 + 80 * np.sin(x / (9 + c)) * np.cos(y / (13 - c)) for c in range(3)]
    noisy = np.clip(np.stack(pixels, 2) + rng.normal(0, 9, (375, 500, 3)), 0, 255).astype(np.uint8)
    stream = io.BytesIO()
    Image.fromarray(noisy).save(stream, "JPEG", quality=88, subsampling=subsampling, optimize=True)
    return stream.getvalue()


def decode_whole(data: bytes) -> Callable[[], Any]:
    """Our decoder on the whole image."""
    decoder, encoded = JpegDecoder(), np.frombuffer(data, np.uint8)

    def run() -> None:
        decoder.header(encoded)
        decoder.pixels((0, 0, int(decoder.frame[WIDTH]), int(decoder.frame[HEIGHT])))

    return run


def decode_by_pillow(data: bytes) -> None:
    """The peer."""
    Image.open(io.BytesIO(data)).load()


def cases() -> dict[str, tuple[Callable[[], Any], float, str]]:
    """name -> what to run, how many units it does, the unit."""
    out = np.zeros((3, SPEC.crop, SPEC.crop), np.float32)
    result: dict[str, tuple[Callable[[], Any], float, str]] = {}
    path = HostPath(SPEC)
    for layout in ("4:4:4", "4:2:0"):
        data = photo_jpeg(layout)
        result[f"decode {layout}, kernel"] = decode_whole(data), len(data), "coded byte"
        result[f"decode {layout}, Pillow"] = partial(decode_by_pillow, data), len(data), "coded byte"
        result[f"host path {layout}"] = partial(path, data, out), 1, "image"
    resample, image = Resampler(SPEC), whole(np.zeros((375, 500, 3), np.uint8))
    plan = resample.plan(500, 375)
    result["resample, vectors"] = (lambda: resample(plan, image, out)), SPEC.crop**2, "output pixel"
    result["resample, loops"] = (lambda: resample.by_loops(plan, image, out)), SPEC.crop**2, "output pixel"
    for place, n_tensors, n_rows in ("L2", 1, 256), ("memory", 64, 8192):
        words = np.arange(n_tensors * _TENSOR_WORDS, dtype=np.uint64)
        result[f"fingerprint hash, {place}"] = partial(fingerprint_hash, words), words.nbytes, "byte"
        result[f"its ceiling: sum, {place}"] = partial(sum_words, words), words.nbytes, "byte"
        logits = np.random.default_rng(0).normal(size=(n_rows, 1000)).astype(np.float32)
        labels = np.arange(n_rows, dtype=np.int32) % 1000
        outs = labels.copy(), np.zeros((n_rows, 5), np.int32), np.zeros((n_rows, 5), np.float32)
        result[f"rank, {place}"] = partial(rank_rows, logits, labels, *outs), logits.nbytes, "byte"
        logit_words = logits.reshape(-1).view(np.uint64)
        result[f"its ceiling: sum of logits, {place}"] = partial(sum_words, logit_words), logits.nbytes, "byte"
    result.update(copies())
    result["rank's peer: np.argsort, L2"] = (
        partial(np.argsort, np.random.default_rng(0).normal(size=(256, 1000)).astype(np.float32)),
        1_024_000,
        "byte",
    )
    return result


def copies() -> dict[str, tuple[Callable[[], Any], float, str]]:
    """64 input tensors from memory to memory, in batches of 8 as a feeder copies them; bytes are counted once."""
    n_bytes = 64 * 8 * _TENSOR_WORDS
    source, room = np.ones(n_bytes, np.uint8), np.ones(n_bytes + 64, np.uint8)
    out = room[-room.ctypes.data % 64 :][:n_bytes]
    batches = list(zip(source.reshape(8, -1), out.reshape(8, -1), strict=True))
    logits = np.zeros((8, 1000), np.float32)
    hashed = [(to.reshape(8, -1), logits_of_copies(to.reshape(8, -1), logits), at.ctypes.data) for at, to in batches]

    def copy(function: Callable[[Any, Any], None]) -> None:
        for at, to in batches:
            function(at, to)

    def copy_then_hash() -> None:
        for (at, to), (rows, _, _) in zip(batches, hashed, strict=True):
            np.copyto(to, at)
            fingerprint_logits(rows, logits)

    def copy_and_hash() -> None:
        for _, run, address in hashed:
            assert run is not None
            run(address)

    return {
        "copy past the caches, memory": (partial(copy, stream_copy), n_bytes, "byte"),
        "its peer: np.copyto, memory": (partial(copy, lambda at, to: np.copyto(to, at)), n_bytes, "byte"),
        "copy and fingerprint at once, memory": (copy_and_hash, n_bytes, "byte"),
        "its peer: np.copyto, then the fingerprint": (copy_then_hash, n_bytes, "byte"),
    }


def measure() -> None:
    """One table for the instruction set of this process."""
    to_run = cases()
    least = dict.fromkeys(to_run, 1 << 62)
    for _ in range(_REPEATS):
        for name, (run, _, _) in to_run.items():
            run()
            start = time.process_time_ns()
            run()
            least[name] = min(least[name], time.process_time_ns() - start)
    print(f"\n{INSTRUCTION_SET}\n| kernel | us | per unit |\n|---|---|---|")
    for name, (_, n_units, unit) in to_run.items():
        rate = f"{n_units / least[name]:.1f} GB/s" if unit == "byte" else f"{least[name] / n_units:.3g} ns per {unit}"
        print(f"| {name} | {least[name] / 1e3:.1f} | {rate} |")


def main() -> int:
    """A fresh process per instruction set."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--isa", nargs="+", default=list(available()), choices=available())
    parser.add_argument("--here", action="store_true", help="measure in this process")
    options = parser.parse_args()
    if options.here:
        measure()
        return 0
    for name in options.isa:
        command = [sys.executable, "-m", "bench.kernels", "--here"]
        subprocess.run(command, env={**os.environ, "ENGINE_KERNEL_ISA": name}, check=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
