"""The host path of one image: encoded bytes to a normalised tensor in a slot."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import numpy.typing as npt

from kernels import reference
from kernels.address import address_of, array_at, call_stage, clock_address, monotonic_ns
from kernels.fallback import PILLOW, Fallback
from kernels.jit import njit
from kernels.job import (
    AT_PLANS,
    BOX_BOTTOM,
    BOX_LEFT,
    BOX_RIGHT,
    BOX_TOP,
    JOB_SLOTS,
    ORIGIN,
    OUT,
    PLAN,
    PLAN_SLOTS,
    ROW_BYTES,
    SLACK,
)
from kernels.jpeg.decoder import JpegDecoder, header_stage, pixels_stage
from kernels.jpeg.frame import (
    AT_FILE,
    AT_RGB,
    BOTTOM,
    HEIGHT,
    LEFT,
    N_SLOTS,
    NEEDS_LOOPS,
    NEEDS_MEMORY,
    NEEDS_PLAN,
    OK,
    RGB_OFFSET,
    RGB_STRIDE,
    RIGHT,
    TOP,
    WIDTH,
)
from kernels.orientation import UNKNOWN, UPRIGHT, orientation, turned
from kernels.resample import MAX_PLANS, Resampler, find_plan, whole
from kernels.resample_simd import resample_stage
from kernels.spec import PreprocessSpec, TensorFormat

Array = npt.NDArray[Any]

#: What `HostPath` calls the decoder of `kernels.jpeg`.
KERNEL = "kernel"

# Slots of the call, (8,) int64: addresses of the frame, the job, the three stages and the clock; what it took.
_FRAME, _JOB, _HEADER, _PIXELS, _RESAMPLE, _CLOCK, _DECODE_NS, _RESAMPLE_NS = range(8)


class HostPath:
    """Decode, resize, crop and normalise. One object per decoder process: it owns its scratch memory."""

    def __init__(self, spec: PreprocessSpec, tensor: TensorFormat | None = None) -> None:
        self.spec = spec
        self.resample = Resampler(spec, tensor)
        self.tensor = self.resample.tensor
        self.jpeg = JpegDecoder()
        self._fallback = Fallback()
        stages = (header_stage.address, pixels_stage.address, resample_stage.address)
        self._call = np.array([self.jpeg.slots, self.resample.slots, *stages, clock_address(), 0, 0], np.int64)
        self._slots = address_of(self._call)

    @property
    def last_resample_ns(self) -> int:
        """Nanoseconds of the last image's resize, crop and normalisation, by the clock of time.perf_counter_ns."""
        return int(self._call[_RESAMPLE_NS])

    def __call__(self, data: bytes | memoryview, out: Array) -> str:
        """Write the image's tensor and return which decoder made its pixels: "kernel", or a library's name.

        data : the encoded file        out : of the tensor's dtype and shape, C-contiguous, e.g. a view of a slot

        Whatever the kernel does not take for a plain and sound JPEG goes to a library; Pillow's verdict counts:
        ImageError with its reason, `out` then being undefined. Oracle: kernels.reference.tensor.
        """
        self.tensor.check(out, self.spec.crop)
        encoded = np.frombuffer(data, np.uint8)
        turn = orientation(data) if self.spec.exif_rotate else UPRIGHT
        if turn == UPRIGHT and self._by_kernel(address_of(encoded), encoded.size, out):
            return KERNEL
        began_ns = time.perf_counter_ns()
        rgb, path = self._fallback(data) if turn == UPRIGHT else self._turned(data, turn)
        decoded_ns = time.perf_counter_ns()
        self.resample(self.resample.plan(rgb.shape[1], rgb.shape[0]), whole(rgb), out)
        self._call[_DECODE_NS:] = decoded_ns - began_ns, time.perf_counter_ns() - decoded_ns
        return path

    def _by_kernel(self, data: int, n_bytes: int, out: Array) -> bool:
        """True if our decoder took the image."""
        target = address_of(out)
        code = _host_image(self._slots, data, n_bytes, target)
        while code in (NEEDS_PLAN, NEEDS_MEMORY):
            frame = self.jpeg.frame
            if code == NEEDS_PLAN:
                self.resample.plan(int(frame[WIDTH]), int(frame[HEIGHT]))
            else:
                self.jpeg.grow()
                self.resample.grow()
            code = _host_image(self._slots, data, n_bytes, target)
        if code == NEEDS_LOOPS:
            began_ns = time.perf_counter_ns()
            frame = self.jpeg.frame
            plan = self.resample.plan(int(frame[WIDTH]), int(frame[HEIGHT]))
            self.resample.by_loops(plan, self.jpeg.region(), out)
            self._call[_RESAMPLE_NS] = time.perf_counter_ns() - began_ns
        return bool(code in (OK, NEEDS_LOOPS))

    def _turned(self, data: bytes | memoryview, turn: int) -> tuple[Array, str]:
        """All pixels, turned upright, and which decoder made them."""
        if turn == UNKNOWN:
            return reference.decode_rgb(data, exif_rotate=True), PILLOW
        if self.jpeg.header(np.frombuffer(data, np.uint8)) == OK:
            width, height = int(self.jpeg.frame[WIDTH]), int(self.jpeg.frame[HEIGHT])
            if self.jpeg.pixels((0, 0, width, height)) == OK:
                return turned(self.jpeg.region().view(), turn), KERNEL
        rgb, path = self._fallback(data)
        return turned(rgb, turn), path


@njit
def _host_image(slots: int, data: int, n_bytes: int, out: int) -> Any:
    """The whole path of one image in one call, its pixels still in the cache when they are resampled.

    Returns a code of `kernels.jpeg.frame`; NEEDS_PLAN with the header read, NEEDS_MEMORY with what is needed said.
    """
    call = array_at(slots, (8,), np.int64)
    frame, job = array_at(call[_FRAME], (N_SLOTS,), np.int64), array_at(call[_JOB], (JOB_SLOTS,), np.int64)
    began_ns = monotonic_ns(call[_CLOCK])
    frame[AT_FILE], frame[AT_FILE + 1], job[OUT] = data, n_bytes, out
    code = call_stage(call[_HEADER], call[_FRAME])
    if code != OK:
        return code
    lookup = array_at(job[AT_PLANS], (2 * MAX_PLANS, 2), np.int64)
    job[PLAN] = lookup[find_plan(lookup, frame[WIDTH], frame[HEIGHT]), 1]
    if job[PLAN] == 0:
        return NEEDS_PLAN
    plan = array_at(job[PLAN], (PLAN_SLOTS,), np.int64)
    for i in range(4):
        frame[LEFT + i] = plan[BOX_LEFT + i]
    code = call_stage(call[_PIXELS], call[_FRAME])
    if code != OK:
        return code
    decoded_ns = monotonic_ns(call[_CLOCK])
    start = frame[RGB_OFFSET] - 3 * frame[LEFT]  # of column 0 in the box's first row
    job[ORIGIN], job[ROW_BYTES] = frame[AT_RGB] + start, frame[RGB_STRIDE]
    last = start + (frame[BOTTOM] - frame[TOP] - 1) * frame[RGB_STRIDE] + 3 * frame[RIGHT]
    job[SLACK] = frame[AT_RGB + 1] - last
    code = call_stage(call[_RESAMPLE], call[_JOB])
    call[_DECODE_NS], call[_RESAMPLE_NS] = decoded_ns - began_ns, monotonic_ns(call[_CLOCK]) - decoded_ns
    return code


assert (BOX_LEFT, BOX_TOP, BOX_RIGHT, BOX_BOTTOM) == (0, 1, 2, 3)
