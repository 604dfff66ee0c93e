"""The demo's images are like ImageNet's where it matters for time, and their folder is whole or made again."""

from __future__ import annotations

import io
import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, JpegImagePlugin

from engine import demo_data
from engine.demo_images import CHROMA_COUNTS, N_IMAGES, ImagePlan, make_jpeg, plan_images

SUBSAMPLINGS = {0: "4:4:4", 1: "4:2:2", 2: "4:2:0", -1: "4:4:0"}


@pytest.fixture(scope="module")
def some_images() -> list[tuple[ImagePlan, bytes]]:
    """Every sixth image, and the only one of 4:4:0."""
    plans = plan_images()
    chosen = plans[::6] + [plan for plan in plans if plan.chroma == "4:4:0"]
    return [(plan, make_jpeg(plan)) for plan in chosen]


def test_sizes_are_those_of_imagenet() -> None:
    sizes = np.array([(plan.width, plan.height) for plan in plan_images()])
    np.testing.assert_allclose(sizes.mean(0), (468, 401), rtol=0.06)
    assert 0.07 < np.mean(sizes.min(1) < 256) < 0.13
    assert 0.03 < np.mean(sizes.min(1) >= 512) < 0.07
    assert 0.15 < np.mean(sizes[:, 0] < sizes[:, 1]) < 0.35
    assert (sizes[:, 1] > 2 * sizes[:, 0]).any()


def test_chroma_is_that_of_imagenet() -> None:
    assert Counter(plan.chroma for plan in plan_images()) == CHROMA_COUNTS
    assert CHROMA_COUNTS["4:4:4"] / N_IMAGES == pytest.approx(0.76, abs=0.01)


def test_bytes_and_entropy_are_those_of_imagenet(some_images: list[tuple[ImagePlan, bytes]]) -> None:
    n_bytes = np.array([len(data) for _, data in some_images])
    n_pixels = np.array([plan.width * plan.height for plan, _ in some_images])
    assert n_bytes.mean() == pytest.approx(109_600, rel=0.15)
    bits = 8 * n_bytes / n_pixels
    assert bits.mean() == pytest.approx(4.35, rel=0.1)
    assert bits.std() > 1.2


def test_files_are_what_their_plan_says(some_images: list[tuple[ImagePlan, bytes]]) -> None:
    for plan, data in some_images:
        image = Image.open(io.BytesIO(data))
        assert image.format == "JPEG"
        assert image.size == (plan.width, plan.height)
        assert "progressive" not in image.info
        if plan.chroma == "gray":
            assert image.mode == "L"
        else:
            assert SUBSAMPLINGS[JpegImagePlugin.get_sampling(image)] == plan.chroma


def test_the_same_plan_gives_the_same_bytes(some_images: list[tuple[ImagePlan, bytes]]) -> None:
    assert [make_jpeg(plan) for plan, _ in some_images[:3]] == [data for _, data in some_images[:3]]


@pytest.fixture
def small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A data set of 8 images, in a cache of its own."""
    plans = [plan for plan in plan_images() if plan.width * plan.height < 100_000][:8]
    monkeypatch.setattr(demo_data, "plan_images", lambda: plans)
    monkeypatch.setattr(demo_data, "N_IMAGES", len(plans))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path


def test_the_data_set_is_made_once(small: Path) -> None:
    said: list[str] = []
    data = demo_data.demo_dataset(said.append)
    assert demo_data.demo_dataset(said.append) == data
    assert len(said) == 1
    assert data.folder.is_relative_to(small)
    lines = [line.split() for line in data.labels.read_text().splitlines()]
    assert [name for name, _ in lines] == sorted(path.name for path in data.folder.iterdir())
    assert all(demo_data.true_class((data.folder / name).read_bytes()) == int(label) for name, label in lines)
    assert len(list(data.labels.parent.parent.iterdir())) == 1


@pytest.mark.parametrize("damage", ["flipped", "removed", "added", "labels", "manifest", "emptied"])
def test_a_damaged_folder_is_made_again(small: Path, damage: str) -> None:
    data = demo_data.demo_dataset()
    image = sorted(data.folder.iterdir())[3]
    labels, whole = data.labels.read_bytes(), image.read_bytes()
    if damage == "flipped":
        image.write_bytes(whole[:-100] + bytes([whole[-100] ^ 1]) + whole[-99:])
    elif damage == "removed":
        image.unlink()
    elif damage == "added":
        (data.folder / "other.JPEG").write_bytes(whole)
    elif damage == "labels":
        data.labels.write_bytes(labels[:-3])
    elif damage == "manifest":
        (data.labels.parent / "manifest.json").write_text(json.dumps({}))
    else:
        (data.labels.parent / "manifest.json").unlink()
    said: list[str] = []
    assert demo_data.demo_dataset(said.append) == data
    assert said
    assert (data.labels.read_bytes(), image.read_bytes()) == (labels, whole)
    assert len(list(data.folder.iterdir())) == 8
