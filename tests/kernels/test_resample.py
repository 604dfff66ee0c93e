"""Resampling: both forms against exact integers, for every filter."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from kernels import reference
from kernels.coefficients import FILTERS, taps
from kernels.resample import Region, Resampler, whole
from kernels.spec import PreprocessSpec
from tests.kernels.conftest import photo

_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


@pytest.mark.parametrize("interpolation", FILTERS)
@settings(max_examples=40, deadline=None)
@given(in_size=st.integers(1, 3000), out_size=st.integers(1, 1200), data=st.data())
def test_the_weights_are_those_of_the_twin(
    interpolation: str, in_size: int, out_size: int, data: st.DataObject
) -> None:
    first = data.draw(st.integers(0, out_size - 1))
    n = min(20, out_size - first)
    got = taps(in_size, out_size, first, n, interpolation)
    for i in range(n):
        low, weights = reference.coefficients(in_size, out_size, first + i, interpolation)
        assert (got.low[i], got.weights[i, : got.count[i]].tolist()) == (low, weights)


@pytest.mark.parametrize("interpolation", FILTERS)
@settings(max_examples=25, deadline=None)
@given(
    width=st.integers(1, 700), height=st.integers(1, 700), crop=st.sampled_from([5, 16, 17, 96]), seed=st.integers(0, 9)
)
def test_vectors_and_loops_give_the_tensor_of_pillow(
    interpolation: str, width: int, height: int, crop: int, seed: int
) -> None:
    """A crop of 5 is below a vector: the loops do it."""
    width, height = max(width, height // 40), max(height, width // 40)
    spec = PreprocessSpec(96, crop, interpolation, _MEAN, _STD)
    image = photo(width, height, seed)
    resample = Resampler(spec)
    plan = resample.plan(width, height)
    by_vectors, by_loops = (np.full((3, crop, crop), np.nan, np.float32) for _ in range(2))
    resample(plan, whole(np.asarray(image)), by_vectors)
    resample.by_loops(plan, whole(np.asarray(image)), by_loops)
    out_width, out_height = reference.resized_size(width, height, 96)
    kind = Image.Resampling[interpolation.upper()]
    resized = image.resize((out_width, height), kind).resize((out_width, out_height), kind)
    left, top = reference.crop_origin(out_width, crop), reference.crop_origin(out_height, crop)
    cropped = np.asarray(resized.crop((left, top, left + crop, top + crop)))
    expected = reference.normalise_chw(cropped, spec)
    assert np.array_equal(by_vectors, expected)
    assert np.array_equal(by_loops, expected)


@pytest.mark.parametrize("crop", [96, 80, 24])
@pytest.mark.parametrize("n_bytes_off", [0, 4, 32])
def test_a_tensor_is_the_same_wherever_it_lies_and_nothing_beside_it_is_written(crop: int, n_bytes_off: int) -> None:
    """Whole cache lines are written past the caches; the rest is not."""
    resample, image = Resampler(PreprocessSpec(96, crop, "bilinear", _MEAN, _STD)), whole(np.asarray(photo(150, 130)))
    plan = resample.plan(150, 130)
    expected = np.zeros((3, crop, crop), np.float32)
    resample.by_loops(plan, image, expected)
    memory = np.full(expected.nbytes + 3 * 64, 0xAB, np.uint8)
    first = -memory.ctypes.data % 64 + n_bytes_off
    last = first + expected.nbytes
    resample(plan, image, memory[first:last].view(np.float32).reshape(expected.shape))
    assert memory[first:last].tobytes() == expected.tobytes()
    assert (memory[:first] == 0xAB).all()
    assert (memory[last:] == 0xAB).all()


def test_the_integer_twin_is_pillow() -> None:
    spec = PreprocessSpec(64, 48, "lanczos", _MEAN, _STD)
    image = photo(150, 90)
    resized = image.resize((106, 90), Image.Resampling.LANCZOS).resize((106, 64), Image.Resampling.LANCZOS)
    assert np.array_equal(reference.resample(np.asarray(image), spec), np.asarray(resized.crop((29, 8, 77, 56))))


@pytest.mark.parametrize("std", [(0.229, 0.224, 0.225), (0.1, 1e-3, 7.7), (1.0, 3.0, 0.3333333)])
def test_normalisation_is_exact_for_every_value(std: tuple[float, float, float]) -> None:
    spec = PreprocessSpec(256, 256, "bilinear", (0.5, 0.1, 0.9), std)
    ramp = np.repeat(np.arange(256, dtype=np.uint8), 256).reshape(256, 256, 1).repeat(3, 2)
    resample = Resampler(spec)
    out = np.zeros((3, 256, 256), np.float32)
    resample(resample.plan(256, 256), whole(ramp), out)
    assert np.array_equal(out.view(np.int32), reference.normalise_chw(ramp, spec).view(np.int32))


def test_a_region_that_lacks_pixels_is_a_value_error() -> None:
    resample = Resampler(PreprocessSpec(64, 48, "bilinear", _MEAN, _STD))
    small = Region(np.zeros(3 * 20 * 20 + 1024, np.uint8), 0, 60, 0, 0, 20, 20)
    with pytest.raises(ValueError, match="does not hold the box"):
        resample(resample.plan(100, 100), small, np.zeros((3, 48, 48), np.float32))


def test_what_no_filter_is_called_is_a_value_error() -> None:
    with pytest.raises(ValueError, match="unknown interpolation 'cubic'"):
        Resampler(PreprocessSpec(64, 48, "cubic", _MEAN, _STD))
    with pytest.raises(ValueError, match="does not fit"):
        Resampler(PreprocessSpec(64, 65, "bilinear", _MEAN, _STD))
