"""The coded scan without its stuffing, cut into the segments between restart markers (T.81 B.1.1.5).

The entropy decoder then never looks for markers. The copy runs at 64 bytes a step to the end of the image data, also
where the region ends earlier: so a file that is cut off is noticed wherever the cut is, as Pillow notices it.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from kernels.jit import inner
from kernels.simd import HAS_AVX512, U64, bytes_equal, copy64_find_ff, copy64_kept, trailing_zeros

#: Zeros behind the copied scan. An MCU reads at most 6 blocks x 64 symbols x 31 bits = 1,488 bytes, plus 8 of the
#: reader, and the reader's place is checked after each MCU: it can never leave the padding.
PADDING = 4096
#: A step of the copy may write 64 bytes from any place below the input's length.
OVERRUN = 64

_EOI = 0xD9


@inner
def unstuff(data: Any, start: int, out: Any, segments: Any, restart_interval: int) -> int:
    """Copy the scan from ``data[start]`` on; returns the number of segments, or -1 for anything but a sound end.

    data : (n,) uint8      out : (>= n + PADDING + OVERRUN,) uint8      segments : (2 m,) int64, start and end of each

    Sound: restart markers in order, and an EOI marker at the end. A missing EOI is a truncated file to Pillow, and
    another marker (a second scan, DNL) is not for this decoder.
    Invariant: o <= i <= n, so that all writes to `out` are below n + OVERRUN.
    """
    n = data.shape[0]
    i, o = start, 0
    n_segments = 0
    segments[0] = 0
    while True:
        if HAS_AVX512:
            i, o = _copy_to_marker(data, i, out, o)
        i, o = _copy_to_ff(data, i, out, o)
        if i + 1 >= n:
            return -1
        marker = data[i + 1]
        if marker == 0:
            out[o] = 0xFF
            o += 1
            i += 2
            continue
        segments[2 * n_segments + 1] = o
        n_segments += 1
        if marker == _EOI:
            break
        is_next = restart_interval > 0 and marker == 0xD0 + (n_segments - 1) % 8
        if not is_next or 2 * n_segments >= segments.shape[0]:
            return -1
        segments[2 * n_segments] = o
        i += 2
    out[o : o + PADDING] = 0
    return n_segments


@inner
def _copy_to_ff(data: Any, i: int, out: Any, o: int) -> Any:
    """Copy up to the next 0xFF byte or the end; returns both places."""
    n = data.shape[0]
    source, target = U64(data.ctypes.data), U64(out.ctypes.data)
    while i + 64 <= n:
        found = copy64_find_ff(target + U64(o), source + U64(i))
        if found != U64(0):
            step = trailing_zeros(found)
            return i + int(step), o + int(step)
        i += 64
        o += 64
    while i < n and data[i] != 0xFF:
        out[o] = data[i]
        i += 1
        o += 1
    return i, o


@inner
def _copy_to_marker(data: Any, i: int, out: Any, o: int) -> Any:
    """Copy without stuffing, 64 bytes a step, up to the next marker or the last bytes; returns both places.

    The zeros behind 0xFF are squeezed out in a register. Most ImageNet files have an 0xFF each 250 bytes.
    """
    n = data.shape[0]
    source, target = U64(data.ctypes.data), U64(out.ctypes.data)
    is_behind_ff = U64(0)
    while i + 64 <= n:
        is_ff, is_zero = bytes_equal(source + U64(i), U64(0xFF)), bytes_equal(source + U64(i), U64(0))
        follows = (is_ff << U64(1)) | is_behind_ff
        if follows & ~is_zero != U64(0):
            break
        o += np.int64(copy64_kept(target + U64(o), source + U64(i), ~follows))
        is_behind_ff = is_ff >> U64(63)
        i += 64
    back = np.int64(is_behind_ff)  # the 0xFF before a step that was not done is looked at again
    return i - back, o - back
