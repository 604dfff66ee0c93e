"""The decoder: its memory, and the order in which the rooms do their work."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from kernels.address import address_of, array_at, list_array, listed
from kernels.jit import Stage, inner
from kernels.jpeg.block import STORE_OFFSET
from kernels.jpeg.frame import (
    AT_AC,
    AT_BATCHES,
    AT_BUILT,
    AT_CANONICAL,
    AT_CODES,
    AT_DC,
    AT_FILE,
    AT_HAS_CODE,
    AT_OFFSETS,
    AT_PLANES,
    AT_QUANT,
    AT_RGB,
    AT_ROWS,
    AT_SCAN,
    AT_SEEN,
    AT_SEGMENTS,
    AT_SINGLE,
    AT_STATE,
    BAD_REGION,
    BOTTOM,
    CORRUPT,
    END_COLUMN,
    END_ROW,
    FIRST_COLUMN,
    FIRST_ROW,
    GRAY,
    HEIGHT,
    LAYOUT,
    LEFT,
    N_SLOTS,
    N_TABLES,
    NEEDS,
    NEEDS_MEMORY,
    OK,
    PLANE,
    RESTART_INTERVAL,
    RGB_OFFSET,
    RGB_STRIDE,
    RIGHT,
    SCAN_START,
    SIGN_SHIFT,
    STRIDE,
    TABLE_BYTES,
    TOP,
    WIDTH,
    YUV444,
)
from kernels.jpeg.huffman import AC_BITS, AC_BYTES, DC_BITS, build_tables
from kernels.jpeg.idct import BATCH_BYTES
from kernels.jpeg.markers import luma_blocks, parse_header
from kernels.jpeg.scan import STATE_WORDS, decode_scan
from kernels.jpeg.stuffing import OVERRUN, PADDING, unstuff
from kernels.jpeg.upsample import row_memory, upsample
from kernels.resample import Region

U8 = npt.NDArray[np.uint8]

#: Bytes behind planes and pixels that vectors may touch: 64 of a load, 96 of a store of RGB.
SLACK = 1024
#: Restart segments: one per MCU is possible, more than these are left to the library.
MAX_SEGMENTS = 66_000


class JpegDecoder:
    """Decodes the region of an image that a crop needs. One per thread; its memory grows with the images.

    Call `header`, then `pixels` with a region; the pixels are valid until the next image.
    """

    def __init__(self) -> None:
        self.frame = self._allocate(N_SLOTS, np.int64)
        self.slots = address_of(self.frame)
        self._arrays: dict[int, Any] = {}
        for slot, (shape, kind) in _ARRAYS.items():
            self._keep(slot, self._allocate(shape, kind))
        self._keep(AT_OFFSETS, STORE_OFFSET)
        self.frame[SIGN_SHIFT] = 63

    def _keep(self, slot: int, array: Any) -> None:
        self._arrays[slot] = array
        list_array(self.frame, slot, array)

    def _allocate(self, shape: int | tuple[int, ...], kind: Any) -> Any:
        """Zeros. The fuzz run puts guard zones around them here."""
        return np.zeros(shape, kind)

    def array(self, slot: int) -> Any:
        """The array of a slot `AT_...` of the frame."""
        return self._arrays[slot]

    def header(self, data: U8) -> int:
        """Parse up to the scan and build the tables; fills ``frame[WIDTH]`` and ``frame[HEIGHT]``.

        data : (n,) uint8, the file; it must stay alive until the pixels are decoded.
        """
        self._keep(AT_FILE, data)
        return header_stage(self.slots)

    def pixels(self, box: tuple[int, int, int, int]) -> int:
        """Decode the box (left, top, right, bottom) of the image of the last `header`; see `region`."""
        self.frame[LEFT : BOTTOM + 1] = box
        code = pixels_stage(self.slots)
        if code == NEEDS_MEMORY:
            self.grow()
            code = pixels_stage(self.slots)
        return code

    def region(self) -> Region:
        """The last decoded box, valid until the next image."""
        left, top, right, bottom = self.frame[LEFT : BOTTOM + 1].tolist()
        offset, stride = int(self.frame[RGB_OFFSET]), int(self.frame[RGB_STRIDE])
        return Region(self._arrays[AT_RGB], offset, stride, left, top, right, bottom)

    def grow(self) -> None:
        """After NEEDS_MEMORY: give each array what the last image needs, and a quarter more."""
        for slot, needed in zip(
            (AT_SCAN, AT_PLANES, AT_RGB, AT_ROWS), self.frame[NEEDS : NEEDS + 4].tolist(), strict=True
        ):
            array = self._arrays[slot]
            if array.size < needed:
                self._keep(slot, self._allocate(needed + needed // 4, array.dtype))


#: Shape and type of each array; those of no size grow with the images.
_ARRAYS: dict[int, tuple[Any, Any]] = {
    AT_QUANT: ((4, 64), np.int16),
    AT_CODES: ((N_TABLES, TABLE_BYTES), np.uint8),
    AT_HAS_CODE: (N_TABLES, np.uint8),
    AT_SEEN: (16, np.int64),
    AT_BUILT: ((N_TABLES, TABLE_BYTES + 1), np.uint8),
    AT_CANONICAL: ((2, N_TABLES, 17), np.int64),
    AT_DC: ((4, 1 << DC_BITS), np.uint32),
    AT_AC: ((4, AC_BYTES), np.uint8),
    AT_SINGLE: (1 << AC_BITS, np.int32),
    AT_SEGMENTS: (2 * MAX_SEGMENTS, np.int64),
    AT_BATCHES: (3 * BATCH_BYTES // 2, np.int16),
    AT_STATE: (STATE_WORDS, np.uint64),
    AT_SCAN: (0, np.uint8),
    AT_PLANES: (0, np.uint8),
    AT_ROWS: (0, np.int16),
    AT_RGB: (0, np.uint8),
}


@Stage
def header_stage(slots: int) -> int:
    """See `JpegDecoder.header`."""
    frame = array_at(slots, (N_SLOTS,), np.int64)
    codes = array_at(frame[AT_CODES], (N_TABLES, TABLE_BYTES), np.uint8)
    has_code = listed(frame, AT_HAS_CODE, np.uint8)
    code = parse_header(
        listed(frame, AT_FILE, np.uint8), frame, array_at(frame[AT_QUANT], (4, 64), np.int16), codes, has_code,
        listed(frame, AT_SEEN, np.int64),
    )  # fmt: skip
    if code != OK:
        return code
    return build_tables(
        codes, has_code, array_at(frame[AT_BUILT], (N_TABLES, TABLE_BYTES + 1), np.uint8),
        array_at(frame[AT_CANONICAL], (2, N_TABLES, 17), np.int64),
        array_at(frame[AT_DC], (4, 1 << DC_BITS), np.uint32), listed(frame, AT_SINGLE, np.int32),
        frame[AT_AC],
    )  # fmt: skip


@inner
def lay_out(frame: Any) -> Any:
    """MCUs and planes of the region; returns the bytes of the planes and of the pixels.

    Fancy upsampling needs a chroma sample more on each side: the MCUs are those of the widened region.
    """
    left, top, right, bottom = frame[LEFT], frame[TOP], frame[RIGHT], frame[BOTTOM]
    layout = frame[LAYOUT]
    if layout in (YUV444, GRAY):
        frame[FIRST_COLUMN], frame[END_COLUMN] = left >> 3, (right + 7) >> 3
        frame[FIRST_ROW], frame[END_ROW] = top >> 3, (bottom + 7) >> 3
        width = 8 * (frame[END_COLUMN] - frame[FIRST_COLUMN])
        height = 8 * (frame[END_ROW] - frame[FIRST_ROW])
        frame[PLANE] = 0
        frame[STRIDE + 1] = 0
        if layout == YUV444:  # straight to RGB
            frame[STRIDE] = frame[RGB_STRIDE] = 3 * width
            frame[RGB_OFFSET] = (top & 7) * 3 * width + 3 * (left & 7)
            return 0, 3 * width * height
        frame[STRIDE] = width + 64
        frame[RGB_STRIDE], frame[RGB_OFFSET] = 3 * (right - left), 0
        return frame[STRIDE] * (height + 1), 3 * (right - left) * (bottom - top)
    across, down = luma_blocks(layout)
    frame[FIRST_COLUMN], frame[END_COLUMN] = _chroma_blocks(left, right, frame[WIDTH], across)
    frame[FIRST_ROW], frame[END_ROW] = _chroma_blocks(top, bottom, frame[HEIGHT], down)
    width = 8 * (frame[END_COLUMN] - frame[FIRST_COLUMN])
    height = 8 * (frame[END_ROW] - frame[FIRST_ROW])
    frame[STRIDE], frame[STRIDE + 1], frame[STRIDE + 2] = across * width + 64, width + 64, width + 64
    frame[PLANE] = 0
    frame[PLANE + 1] = frame[STRIDE] * (down * height + 1)
    frame[PLANE + 2] = frame[PLANE + 1] + frame[STRIDE + 1] * (height + 1)
    frame[RGB_STRIDE], frame[RGB_OFFSET] = 3 * (right - left), 0
    return frame[PLANE + 2] + frame[STRIDE + 2] * (height + 1), 3 * (right - left) * (bottom - top)


@inner
def _chroma_blocks(start: int, end: int, size: int, factor: int) -> Any:
    """First block and the one past the last of a chroma axis that the pixels from `start` to `end` of `size` need."""
    if factor == 1:
        return start >> 3, (end + 7) >> 3
    last = (size + 1) // 2 - 1
    return max((start >> 1) - 1, 0) >> 3, (min(((end - 1) >> 1) + 1, last) >> 3) + 1


@inner
def _fits(frame: Any) -> bool:
    return bool(
        frame[AT_SCAN + 1] >= frame[NEEDS]
        and frame[AT_PLANES + 1] >= frame[NEEDS + 1]
        and frame[AT_RGB + 1] >= frame[NEEDS + 2]
        and frame[AT_ROWS + 1] >= frame[NEEDS + 3]
    )


@Stage
def pixels_stage(slots: int) -> int:
    """See `JpegDecoder.pixels`. NEEDS_MEMORY leaves in the frame what to allocate."""
    frame = array_at(slots, (N_SLOTS,), np.int64)
    is_inside = 0 <= frame[LEFT] < frame[RIGHT] <= frame[WIDTH] and 0 <= frame[TOP] < frame[BOTTOM] <= frame[HEIGHT]
    if not is_inside:
        return BAD_REGION
    plane_bytes, rgb_bytes = lay_out(frame)
    frame[NEEDS] = frame[AT_FILE + 1] + PADDING + OVERRUN
    frame[NEEDS + 1], frame[NEEDS + 2] = plane_bytes + SLACK, rgb_bytes + SLACK
    frame[NEEDS + 3] = row_memory(frame[WIDTH])
    if not _fits(frame):
        return NEEDS_MEMORY
    scan, segments = listed(frame, AT_SCAN, np.uint8), listed(frame, AT_SEGMENTS, np.int64)
    n_segments = unstuff(listed(frame, AT_FILE, np.uint8), frame[SCAN_START], scan, segments, frame[RESTART_INTERVAL])
    if n_segments < 0:
        return CORRUPT
    code = decode_scan(frame, listed(frame, AT_STATE, np.uint64), segments, n_segments)
    if code != OK:
        batches = listed(frame, AT_BATCHES, np.int16)
        batches[:] = 0
        return code
    if frame[LAYOUT] != YUV444:
        upsample(
            frame, listed(frame, AT_PLANES, np.uint8), listed(frame, AT_ROWS, np.int16), listed(frame, AT_RGB, np.uint8)
        )
    return OK
