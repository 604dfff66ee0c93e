"""Every tensor format holds the values of the reference, bit for bit, whichever way they come."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kernels import reference
from kernels.host import HostPath
from kernels.normalise import HAS_FMA, normalise_constants, normalise_crop
from kernels.resample import Resampler, whole
from kernels.spec import DTYPES, LAYOUTS, PreprocessSpec, TensorFormat
from tests.kernels.conftest import PRESETS, encode, photo

FORMATS = [TensorFormat(dtype, layout) for dtype, layout in product(DTYPES, LAYOUTS)]  # type: ignore[arg-type]
_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)

#: A mean and deviation for which the reciprocal's products differ from the quotients.
_INEXACT = PreprocessSpec(16, 16, "box", (0.88, 0.124, 0.541), (0.48, 0.727, 0.397))


def blank(crop: int, tensor: TensorFormat) -> np.ndarray:
    return np.full(tensor.shape(crop), 77, tensor.numpy_dtype)


def assert_same_bits(got: np.ndarray, expected: np.ndarray) -> None:
    assert got.shape == expected.shape
    assert got.dtype == expected.dtype
    assert got.tobytes() == expected.tobytes()


@pytest.mark.parametrize("tensor", FORMATS, ids=str)
@pytest.mark.parametrize("std", [_STD, (0.1, 1e-3, 7.7), (1.0, 3.0, 1e4)])
@settings(max_examples=15, deadline=None)
@given(crop=st.integers(1, 70), seed=st.integers(0, 99))
def test_a_crop_becomes_the_tensor_of_the_reference(
    tensor: TensorFormat, std: tuple[float, float, float], crop: int, seed: int
) -> None:
    """Crops below a vector too, and deviations that make float16 infinite or subnormal."""
    spec = PreprocessSpec(80, crop, "bilinear", _MEAN, std)
    pixels = np.random.default_rng(seed).integers(0, 256, (crop, crop, 3), np.uint8)
    out = blank(crop, tensor)
    normalise_crop(pixels, spec, tensor, out)
    with np.errstate(over="ignore"):
        assert_same_bits(out, reference.to_tensor(pixels, spec, tensor))


@pytest.mark.parametrize("tensor", FORMATS, ids=str)
@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize(("width", "height"), [(310, 280), (900, 700), (2300, 1900), (60, 90)])
def test_the_host_path_makes_the_tensor_of_the_reference(
    tensor: TensorFormat, preset: str, width: int, height: int
) -> None:
    """Few and many taps of both passes."""
    data = encode(photo(width, height), "JPEG")
    out = blank(PRESETS[preset].crop, tensor)
    HostPath(PRESETS[preset], tensor)(data, out)
    assert_same_bits(out, reference.tensor(data, PRESETS[preset], tensor))


@pytest.mark.parametrize("tensor", FORMATS, ids=str)
@pytest.mark.parametrize("std", [_STD, (0.1, 1e-3, 7.7)])
@pytest.mark.parametrize("crop", [15, 16, 61])
def test_vectors_and_loops_make_the_same_tensor(
    tensor: TensorFormat, std: tuple[float, float, float], crop: int
) -> None:
    spec = PreprocessSpec(64, crop, "lanczos", _MEAN, std)
    resample = Resampler(spec, tensor)
    image = np.asarray(photo(170, 130))
    plan, by_vectors, by_loops = resample.plan(170, 130), blank(crop, tensor), blank(crop, tensor)
    resample(plan, whole(image), by_vectors)
    resample.by_loops(plan, whole(image), by_loops)
    expected = reference.to_tensor(reference.resample(image, spec), spec, tensor)
    assert_same_bits(by_vectors, expected)
    assert_same_bits(by_loops, expected)


def test_a_row_writes_nothing_beside_itself() -> None:
    spec = PRESETS["resnet"]
    pixels = np.random.default_rng(0).integers(0, 256, (224, 224, 3), np.uint8)
    for tensor in FORMATS:
        slot = np.full((3, *tensor.shape(224)), 7, tensor.numpy_dtype)
        normalise_crop(pixels, spec, tensor, slot[1])
        assert (slot[[0, 2]] == 7).all()
        HostPath(spec, tensor)(encode(photo(300, 280), "JPEG"), slot[1])
        assert (slot[[0, 2]] == 7).all()


def test_reciprocals_are_used_where_they_are_exact_and_only_there() -> None:
    assert normalise_constants(PRESETS["resnet"])[6].all()
    assert normalise_constants(_INEXACT)[6].any() == (not HAS_FMA)  # without it they are divisions
    tensor = TensorFormat()
    pixels = np.arange(256, dtype=np.uint8).repeat(3).reshape(16, 16, 3)
    out = blank(16, tensor)
    normalise_crop(pixels, _INEXACT, tensor, out)
    assert_same_bits(out, reference.to_tensor(pixels, _INEXACT, tensor))


def test_a_format_that_does_not_exist_is_a_value_error() -> None:
    with pytest.raises(ValueError, match="unknown tensor dtype 'float64', known: float32, float16, uint8"):
        TensorFormat("float64")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="unknown tensor layout 'CHW', known: NCHW, NHWC"):
        TensorFormat("float32", "CHW")  # type: ignore[arg-type]


def test_arrays_of_another_form_are_value_errors() -> None:
    spec, tensor = PRESETS["resnet"], TensorFormat("uint8", "NHWC")
    pixels, out = np.zeros((224, 224, 3), np.uint8), np.zeros((224, 224, 3), np.uint8)
    with pytest.raises(ValueError, match="out must be C-contiguous uint8"):
        normalise_crop(pixels, spec, tensor, out.astype(np.float32))
    with pytest.raises(ValueError, match="crop must be C-contiguous uint8"):
        normalise_crop(pixels[:, ::-1], spec, tensor, out)
