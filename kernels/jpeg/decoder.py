"""The decoder: its memory, and the order in which the rooms do their work."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from kernels.jit import inner, njit
from kernels.jpeg.frame import (
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
    NEEDS_MEMORY,
    OK,
    PLANE,
    RESTART_INTERVAL,
    RGB_OFFSET,
    RGB_STRIDE,
    RIGHT,
    SCAN_START,
    STRIDE,
    TABLE_BYTES,
    TOP,
    WIDTH,
    YUV420,
    YUV444,
)
from kernels.jpeg.huffman import AC_BITS, DC_BITS, build_tables
from kernels.jpeg.idct import BATCH_BYTES
from kernels.jpeg.markers import parse_header
from kernels.jpeg.scan import STATE_WORDS, STORE_OFFSET, decode_scan
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
        zeros = self._allocate
        self.frame = zeros(N_SLOTS, np.int64)
        self.quant = zeros((4, 64), np.int16)
        self.codes, self._has_code = zeros((N_TABLES, TABLE_BYTES), np.uint8), zeros(N_TABLES, np.uint8)
        self._built = zeros((N_TABLES, TABLE_BYTES + 1), np.uint8)
        self._canonical = zeros((2, N_TABLES, 17), np.int64)
        self._dc, self._ac = zeros((4, 1 << DC_BITS), np.uint32), zeros((4, 1 << AC_BITS), np.uint32)
        self._single, self._seen = zeros(1 << AC_BITS, np.int32), zeros(16, np.int64)
        self._segments = zeros(2 * MAX_SEGMENTS, np.int64)
        self._batches = zeros(3 * BATCH_BYTES // 2, np.int16)
        self._state = zeros(STATE_WORDS, np.uint64)
        self._scan, self._planes, self.rgb = zeros(0, np.uint8), zeros(0, np.uint8), zeros(0, np.uint8)
        self._rows, self._needs = zeros(0, np.int16), zeros(4, np.int64)

    def _allocate(self, shape: int | tuple[int, ...], kind: Any) -> Any:
        """Zeros. The fuzz run puts guard zones around them here."""
        return np.zeros(shape, kind)

    def header(self, data: U8) -> int:
        """Parse up to the scan and build the tables; fills ``frame[WIDTH]`` and ``frame[HEIGHT]``."""
        return int(
            read_header(
                data, self.frame, self.quant, self.codes, self._has_code, self._seen,
                self._built, self._canonical, self._dc, self._single, self._ac,
            )
        )  # fmt: skip

    def pixels(self, data: U8, box: tuple[int, int, int, int]) -> int:
        """Decode the box (left, top, right, bottom) of the image of the last `header` into `rgb`.

        Pixel (left, top) is at byte ``frame[RGB_OFFSET]``, the next row ``frame[RGB_STRIDE]`` further.
        """
        self.frame[LEFT : BOTTOM + 1] = box
        code = self._decode(data)
        if code == NEEDS_MEMORY:
            self._grow()
            code = self._decode(data)
        return code

    def region(self) -> Region:
        """The last decoded box, valid until the next image."""
        left, top, right, bottom = self.frame[LEFT : BOTTOM + 1].tolist()
        pixels = self.rgb.view()
        pixels.flags.writeable = False
        return Region(pixels, int(self.frame[RGB_OFFSET]), int(self.frame[RGB_STRIDE]), left, top, right, bottom)

    def _decode(self, data: U8) -> int:
        return int(
            decode_region(
                data, self.frame, self.quant, self.codes, self._canonical, self._dc, self._ac, self._segments,
                self._batches, self._state, STORE_OFFSET, self._scan, self._planes, self._rows, self.rgb, self._needs,
            )
        )  # fmt: skip

    def _grow(self) -> None:
        """Give each scratch array what the last image needs, and a quarter more."""
        scan, planes, rgb, rows = (int(n) + int(n) // 4 for n in self._needs)
        if self._scan.size < scan:
            self._scan = self._allocate(scan, np.uint8)
        if self._planes.size < planes:
            self._planes = self._allocate(planes, np.uint8)
        if self.rgb.size < rgb:
            self.rgb = self._allocate(rgb, np.uint8)
        if self._rows.size < rows:
            self._rows = self._allocate(rows, np.int16)


@njit
def read_header(
    data: Any, frame: Any, quant: Any, codes: Any, has_code: Any, seen: Any,
    built: Any, canonical: Any, dc: Any, single: Any, ac: Any,
) -> int:  # fmt: skip
    """See `JpegDecoder.header`."""
    code = parse_header(data, frame, quant, codes, has_code, seen)
    if code != OK:
        return code
    return build_tables(codes, has_code, built, canonical, dc, single, ac)


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
    across, down = (frame[WIDTH] + 1) // 2, (frame[HEIGHT] + 1) // 2
    frame[FIRST_COLUMN] = max((left >> 1) - 1, 0) >> 3
    frame[END_COLUMN] = (min(((right - 1) >> 1) + 1, across - 1) >> 3) + 1
    if layout == YUV420:
        frame[FIRST_ROW] = max((top >> 1) - 1, 0) >> 3
        frame[END_ROW] = (min(((bottom - 1) >> 1) + 1, down - 1) >> 3) + 1
    else:
        frame[FIRST_ROW], frame[END_ROW] = top >> 3, (bottom + 7) >> 3
    width = 8 * (frame[END_COLUMN] - frame[FIRST_COLUMN])
    height = 8 * (frame[END_ROW] - frame[FIRST_ROW])
    luma_height = 2 * height if layout == YUV420 else height
    frame[STRIDE], frame[STRIDE + 1], frame[STRIDE + 2] = 2 * width + 64, width + 64, width + 64
    frame[PLANE] = 0
    frame[PLANE + 1] = frame[STRIDE] * (luma_height + 1)
    frame[PLANE + 2] = frame[PLANE + 1] + frame[STRIDE + 1] * (height + 1)
    frame[RGB_STRIDE], frame[RGB_OFFSET] = 3 * (right - left), 0
    return frame[PLANE + 2] + frame[STRIDE + 2] * (height + 1), 3 * (right - left) * (bottom - top)


@inner
def _fits(needs: Any, scan: Any, planes: Any, rgb: Any, rows: Any) -> bool:
    return bool(
        scan.shape[0] >= needs[0]
        and planes.shape[0] >= needs[1]
        and rgb.shape[0] >= needs[2]
        and rows.shape[0] >= needs[3]
    )


@njit
def decode_region(
    data: Any, frame: Any, quant: Any, codes: Any, canonical: Any, dc: Any, ac: Any, segments: Any,
    batches: Any, state: Any, offsets: Any, scan: Any, planes: Any, rows: Any, rgb: Any, needs: Any,
) -> int:  # fmt: skip
    """See `JpegDecoder.pixels`. NEEDS_MEMORY leaves in `needs` what to allocate."""
    is_inside = 0 <= frame[LEFT] < frame[RIGHT] <= frame[WIDTH] and 0 <= frame[TOP] < frame[BOTTOM] <= frame[HEIGHT]
    if not is_inside:
        return BAD_REGION
    plane_bytes, rgb_bytes = lay_out(frame)
    needs[0] = data.shape[0] + PADDING + OVERRUN
    needs[1], needs[2], needs[3] = plane_bytes + SLACK, rgb_bytes + SLACK, row_memory(frame[WIDTH])
    if not _fits(needs, scan, planes, rgb, rows):
        return NEEDS_MEMORY
    n_segments = unstuff(data, frame[SCAN_START], scan, segments, frame[RESTART_INTERVAL])
    if n_segments < 0:
        return CORRUPT
    target = rgb if frame[LAYOUT] == YUV444 else planes
    code = decode_scan(
        frame, codes, canonical, quant, dc, ac, scan, segments, n_segments, batches, state, offsets, target
    )
    if code != OK:
        batches[:] = 0
        return code
    if frame[LAYOUT] != YUV444:
        upsample(frame, planes, rows, rgb)
    return OK
