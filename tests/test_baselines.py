"""The guide's script as the benchmarks run it: its pixels, every image once, ratios of one and the same round."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bench.commands import measured
from bench.guide import ALONE, BATCH, BATCHES, BINS, F32, RATES, SPEC, BatchPipeline, tensor_of, write_bins
from bench.hostbound import Outcome, rows_of
from bench.pages import replace_table
from kernels.reference import preprocess


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    """JPEGs of one colour each, more than two batches, and one of other sizes."""
    paths = []
    for i in range(2 * BATCH + 3):
        paths.append(tmp_path / f"img_{i}.JPEG")
        Image.new("RGB", (230 + i, 300), (7 * i, 255 - 7 * i, 100)).save(paths[-1])
    return paths


def test_the_scripts_tensor_is_that_of_the_reference(files: list[Path]) -> None:
    """Bit for bit: what the baselines take time for is what the kernels must equal."""
    assert np.array_equal(tensor_of(files[5]), preprocess(files[5].read_bytes(), SPEC))


def test_every_image_comes_out_of_shared_memory_once(files: list[Path]) -> None:
    """Also those of a last batch that is not full; each tensor as the script makes it."""
    taken: list[F32] = []
    with BatchPipeline(1) as pipeline:
        n_images = pipeline.run(files, lambda batch: taken.extend(batch.copy()))
    assert n_images == len(files)
    assert sorted(t.tobytes() for t in taken) == sorted(tensor_of(path).tobytes() for path in files)


def test_a_bin_file_holds_the_scripts_tensor(files: list[Path], tmp_path: Path) -> None:
    (tmp_path / "bins").mkdir()
    write_bins(str(tmp_path / "bins"), 500, files[:2])
    assert (tmp_path / "bins" / "img_1_501.bin").read_bytes() == tensor_of(files[1]).tobytes()


def test_a_ratio_is_of_one_round_and_of_as_many_cores() -> None:
    """A host that is twice as slow in one round changes no ratio; two cores are compared with two."""
    base = {(name, n): Outcome(100.0 * n) for name in RATES for n in (1, 2)}
    calm = base | {("run", 2): Outcome(1000.0, ceiling_per_s=1250.0)}
    slow = {key: Outcome(found.images_per_s / 2, found.ceiling_per_s) for key, found in calm.items()}
    (row,) = rows_of([calm, slow, calm], [("run", 2)])
    assert row.ratios == {ALONE: 5.0, BATCHES: 5.0, BINS: 5.0}
    assert row.images_per_s == 1000.0
    assert row.share == 0.8


def test_a_page_without_the_comments_is_refused() -> None:
    with pytest.raises(SystemExit) as refused:
        replace_table("docs/data.md", "bench.host", "text")
    assert str(refused.value) == (
        "docs/data.md lacks the comments <!-- bench.host: table --> and <!-- bench.host: end -->, "
        "between which the table stands"
    )


def test_a_run_that_measured_nothing_ends_the_benchmark(tmp_path: Path) -> None:
    with pytest.raises(SystemExit) as refused:
        measured("--data", tmp_path / "none", "--backend", "null")
    assert str(refused.value).startswith(f"engine run --data {tmp_path}/none --backend null ended with 3 and left no")


def spin(seconds: float) -> str:
    """A program that takes so much CPU time."""
    return f"import time\nwhile time.process_time() < {seconds}: pass"


OTHERS = """
import subprocess, sys
from bench.others import Others, own_s
before_s = own_s()
command = f"import subprocess, sys; subprocess.Popen([sys.executable, '-c', {sys.argv[1]!r}])"
_, share = Others().beside(lambda: subprocess.run([sys.executable, "-c", command], check=True))
print(own_s() - before_s, share)
"""


def test_the_time_of_an_orphan_is_not_that_of_other_programs() -> None:
    """A grandchild that outlives its parent, as a run's decoders outlive the fork server, is waited for and counted."""
    command = [sys.executable, "-c", OTHERS, spin(0.5)]
    own_s, share = map(float, subprocess.run(command, check=True, capture_output=True, text=True).stdout.split())
    assert own_s >= 0.5
    assert 0.0 <= share <= 1.0
