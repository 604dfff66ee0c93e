"""Pillow's resize + centre crop + normalise, fused: only what the crop needs is computed, and written once.

The horizontal pass comes first, as in every Pillow up to 12, and both passes round to 8 bits, so every pixel is
Pillow's. `kernels.resample_simd` is the fast form; the loops here are its
plain twin.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from kernels.address import address_of
from kernels.coefficients import FILTERS, Taps, taps
from kernels.jit import inner, njit
from kernels.job import (
    AT_CONSTANTS,
    AT_DOWN,
    AT_LINE,
    AT_OFFSETS,
    AT_PLANS,
    AT_RING,
    AT_WINDOWS,
    BOX_BOTTOM,
    BOX_LEFT,
    CROP,
    HAS_VECTORS,
    JOB_SLOTS,
    KIND,
    NEEDED_RING,
    NEEDED_SLACK,
    ORIGIN,
    OUT,
    PLAN,
    PLAN_SLOTS,
    RING_BYTES,
    ROW_BYTES,
    SLACK,
)
from kernels.jpeg.frame import NEEDS_LOOPS, NEEDS_MEMORY
from kernels.normalise import elements, format_kind, normalise_constants, normalise_table
from kernels.reference import PRECISION_BITS, crop_origin, resized_size
from kernels.resample_plan import SimdPlan, make_simd_plan
from kernels.resample_simd import resample_stage
from kernels.spec import PreprocessSpec, TensorFormat

Array = npt.NDArray[Any]
I32 = npt.NDArray[np.int32]
I64 = npt.NDArray[np.int64]
U8 = npt.NDArray[np.uint8]

#: Plans that are kept, of about 20 KB each. ImageNet's first thousand images have about 500 different sizes.
MAX_PLANS = 2048
#: Bytes behind a whole image's pixels, for vectors that read past a row's end.
_WHOLE_SLACK = 1024
_U = np.uintp
_HALF = np.int32(1 << (PRECISION_BITS - 1))
_BITS = np.int32(PRECISION_BITS)
_MAX = np.int32((256 << PRECISION_BITS) - 1)


@dataclass(frozen=True)
class Plan:
    """How one image size becomes the crop. `box` is (left, top, right, bottom), the source pixels that are read.

    record : (PLAN_SLOTS,) int64, what compiled code reads of it (`kernels.job`)
    """

    columns: Taps
    rows: Taps
    simd: SimdPlan | None
    record: I64

    @property
    def box(self) -> tuple[int, int, int, int]:
        return self.columns.first, self.rows.first, self.columns.end, self.rows.end


@dataclass(frozen=True)
class Region:
    """Pixels of a part of an image, wherever a decoder left them.

    pixels : (n,) uint8; pixel (left, top) of the image is at `offset`, packed RGB, the next row `stride` bytes further
    """

    pixels: U8
    offset: int
    stride: int
    left: int
    top: int
    right: int
    bottom: int

    def view(self) -> U8:
        """The region's pixels, (H, W, 3) uint8."""
        shape = (self.bottom - self.top, self.right - self.left, 3)
        return np.lib.stride_tricks.as_strided(self.pixels[self.offset :], shape, (self.stride, 3, 1))

    def start(self, box: tuple[int, int, int, int]) -> int:
        """Where column 0 of the image would be in the box's first row; negative if it is not in the region."""
        return self.offset + (box[1] - self.top) * self.stride - 3 * self.left

    def slack(self, box: tuple[int, int, int, int]) -> int:
        """Bytes of memory behind the box's last pixel."""
        return self.pixels.size - self.start(box) - (box[3] - box[1] - 1) * self.stride - 3 * box[2]

    def check(self, box: tuple[int, int, int, int]) -> None:
        """Raise ValueError unless the box is inside, and the memory holds what is promised."""
        is_inside = self.left <= box[0] and self.top <= box[1] and box[2] <= self.right and box[3] <= self.bottom
        width, height = self.right - self.left, self.bottom - self.top
        end = self.offset + (height - 1) * self.stride + 3 * width
        if not is_inside or self.offset < 0 or self.stride < 3 * width or end > self.pixels.size:
            raise ValueError(f"region {self.left, self.top, self.right, self.bottom} does not hold the box {box}")


def whole(rgb: U8) -> Region:
    """The region of a whole image, (H, W, 3) uint8."""
    height, width = rgb.shape[:2]
    flat = np.zeros(rgb.size + _WHOLE_SLACK, np.uint8)
    flat[: rgb.size] = rgb.reshape(-1)
    flat.flags.writeable = False  # one array type, whoever decoded: numba compiles once
    return Region(flat, 0, 3 * width, 0, 0, width, height)


class Resampler:
    """Resize, crop and normalise for one spec and tensor. One per thread: it owns its scratch memory."""

    def __init__(self, spec: PreprocessSpec, tensor: TensorFormat | None = None) -> None:
        if spec.interpolation not in FILTERS:
            raise ValueError(f"unknown interpolation {spec.interpolation!r}, known: {', '.join(FILTERS)}")
        if not 0 < spec.crop <= spec.resize:
            raise ValueError(f"crop {spec.crop} does not fit in images resized to {spec.resize}")
        self.spec = spec
        self.tensor = TensorFormat() if tensor is None else tensor
        self._constants, self._table = normalise_constants(spec), normalise_table(spec, self.tensor)
        self._plans: dict[tuple[int, int], Plan] = {}
        self._columns = np.zeros((3, 0, spec.crop), np.uint8)
        self._ring, self._line = np.zeros(0, np.uint8), np.zeros(3 * spec.crop, np.uint8)
        self._sums = np.zeros(spec.crop, np.int32)
        self._lookup = np.zeros((2 * MAX_PLANS, 2), np.int64)
        self.job = np.zeros(JOB_SLOTS, np.int64)
        self.slots = address_of(self.job)
        self.job[CROP], self.job[KIND] = spec.crop, format_kind(self.tensor)
        self.job[AT_CONSTANTS : AT_LINE + 1] = [address_of(a) for a in (self._constants, self._table, self._line)]
        self.job[AT_PLANS] = address_of(self._lookup)

    def plan(self, width: int, height: int) -> Plan:
        """The plan of an image size, made once while it stays among the last; compiled code finds it too."""
        plan = self._plans.get((width, height))
        if plan is None:
            if len(self._plans) >= MAX_PLANS:
                self._plans.clear()
                self._lookup[:] = 0
            plan = self._plans[width, height] = make_plan(width, height, self.spec)
            _add_plan(self._lookup, width, height, address_of(plan.record))
        return plan

    def __call__(self, plan: Plan, region: Region, out: Array) -> None:
        """Write the crop of the image whose plan and pixels are given; the region must hold the plan's box.

        out : C-contiguous, of the tensor's dtype and shape, overwritten
        """
        region.check(plan.box)
        self.job[PLAN], self.job[ROW_BYTES] = address_of(plan.record), region.stride
        self.job[ORIGIN] = address_of(region.pixels) + region.start(plan.box)
        self.job[SLACK], self.job[OUT] = region.slack(plan.box), address_of(out)
        code = resample_stage(self.slots)
        if code == NEEDS_MEMORY:
            self.grow()
            code = resample_stage(self.slots)
        if code == NEEDS_LOOPS:
            self.by_loops(plan, region, out)

    def grow(self) -> None:
        """After NEEDS_MEMORY: give the ring what the last image needs."""
        self._ring = np.zeros(int(self.job[NEEDED_RING]), np.uint8)
        self.job[AT_RING], self.job[RING_BYTES] = address_of(self._ring), self._ring.size

    def by_loops(self, plan: Plan, region: Region, out: Array) -> None:
        """The plain form: the twin of the vectors, and what does the odd sizes that they leave out."""
        top, bottom = plan.box[1], plan.box[3]
        if self._columns.shape[1] < bottom - top:
            self._columns = np.zeros((3, bottom - top, self.spec.crop), np.uint8)
        columns, rows = plan.columns, plan.rows
        start = region.start(plan.box)
        horizontal(
            region.pixels,
            start,
            region.stride,
            bottom - top,
            columns.low,
            columns.count,
            columns.weights,
            self._columns,
        )
        is_packed = self.tensor.layout == "NHWC"
        vertical(
            top, rows.low, rows.count, rows.weights, self._columns, self._sums, self._table, is_packed, elements(out)
        )


def make_plan(width: int, height: int, spec: PreprocessSpec) -> Plan:
    """Both axes' taps for the centre crop of an image resized as the guide does."""
    out_width, out_height = resized_size(width, height, spec.resize)
    left, top = crop_origin(out_width, spec.crop), crop_origin(out_height, spec.crop)
    columns = taps(width, out_width, left, spec.crop, spec.interpolation)
    rows = taps(height, out_height, top, spec.crop, spec.interpolation)
    simd = make_simd_plan(columns, rows)
    record = np.zeros(PLAN_SLOTS, np.int64)
    record[BOX_LEFT : BOX_BOTTOM + 1] = columns.first, rows.first, columns.end, rows.end
    if simd is not None:
        record[HAS_VECTORS : NEEDED_SLACK + 1] = 1, simd.n_groups, simd.most, simd.slack_bytes
        record[AT_OFFSETS : AT_DOWN + 1] = [address_of(a) for a in simd.arrays]
        record[AT_WINDOWS] *= simd.windows.size > 0
    return Plan(columns, rows, simd, record)


@inner
def find_plan(lookup: I64, width: int, height: int) -> int:
    """The row of an image size in a table of twice MAX_PLANS rows, or the free row where it belongs (open addressing).

    A row is a key, which is never 0, and the address of a plan's record, 0 where the row is free.
    """
    key = plan_key(width, height)
    row = _U(key * 0x9E3779B1 >> 16) % _U(lookup.shape[0])
    while lookup[row, 0] not in (0, key):
        row = (row + _U(1)) % _U(lookup.shape[0])
    return int(row)


@inner
def plan_key(width: int, height: int) -> int:
    """What an image size is looked up by."""
    return (width << 32) | height


@njit
def _add_plan(lookup: I64, width: int, height: int, record: int) -> None:
    row = find_plan(lookup, width, height)
    lookup[row, 0], lookup[row, 1] = plan_key(width, height), record


@inner
def _clip(total: Any) -> Any:
    return min(max(total, np.int32(0)), _MAX) >> _BITS


@njit
def horizontal(pixels: U8, start: int, stride: int, n_rows: int, low: I32, count: I32, weights: I32, out: U8) -> None:
    """Rows of packed pixels, column 0 of the image at `start` -> planes (3, >= n_rows, n) uint8.

    int32 sums suffice: Pillow's weights sum to about 2**22, times 255 is below 2**30; 1.5 times as fast as int64.
    """
    for y in range(n_rows):
        for x in range(low.shape[0]):
            p = _U(start + y * stride + 3 * low[x])
            red = green = blue = _HALF
            for t in range(_U(count[x])):
                weight = weights[x, t]
                red += weight * np.int32(pixels[p])
                green += weight * np.int32(pixels[p + _U(1)])
                blue += weight * np.int32(pixels[p + _U(2)])
                p += _U(3)
            out[0, y, x] = _clip(red)
            out[1, y, x] = _clip(green)
            out[2, y, x] = _clip(blue)


@njit
def vertical(
    top: int, low: I32, count: I32, weights: I32, planes: U8, sums: I32, table: Array, is_packed: bool, out: Array
) -> None:
    """Planes whose row 0 is source row `top` -> elements of the tensor by `table`; `sums` is scratch of one row."""
    n = sums.shape[0]
    for y in range(low.shape[0]):
        start = low[y] - top
        for c in range(3):
            sums[:] = _HALF
            for t in range(count[y]):
                weight = weights[y, t]
                line = planes[c, start + t]
                for x in range(n):
                    sums[x] += weight * np.int32(line[x])
            first, step = (3 * y * n + c, 3) if is_packed else ((c * n + y) * n, 1)
            for x in range(n):
                out[_U(first + step * x)] = table[c, _U(_clip(sums[x]))]
