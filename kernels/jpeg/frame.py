"""Numbers that the rooms of the decoder share: return codes, and the slots of the `frame` array."""

from __future__ import annotations

#: Return codes. Only OK leaves pixels behind.
OK, UNSUPPORTED, CORRUPT, NEEDS_MEMORY, BAD_REGION, NEEDS_PLAN, NEEDS_LOOPS = range(7)

#: Chroma layouts: luma samples per chroma sample, across x down.
YUV444, YUV422, YUV420, GRAY, YUV440 = range(5)

# Slots of `frame`, (N_SLOTS,) int64: what the header says ...
WIDTH, HEIGHT, N_COMPONENTS, LAYOUT = range(4)
MCUS_ACROSS, MCUS_DOWN, RESTART_INTERVAL, SCAN_START = range(4, 8)
QUANT_TABLE, DC_TABLE, AC_TABLE = 8, 11, 14  # three slots each, by component
# ... the region, in pixels, and the MCUs and planes that it needs
LEFT, TOP, RIGHT, BOTTOM = range(17, 21)
FIRST_COLUMN, END_COLUMN, FIRST_ROW, END_ROW = range(21, 25)
STRIDE, PLANE = 25, 28  # three slots each: bytes of a row, and offset of the plane
RGB_STRIDE, RGB_OFFSET = 31, 32  # bytes of a row of the output, and the offset of pixel (LEFT, TOP)
NEEDS = 33  # four slots: bytes of the scan, of the planes, of the pixels, and int16 of a row, that are needed
# ... and where the decoder's arrays are: address and number of elements of each
AT_FILE, AT_QUANT, AT_CODES, AT_HAS_CODE, AT_SEEN, AT_BUILT, AT_CANONICAL, AT_DC, AT_AC = range(40, 58, 2)
AT_SINGLE, AT_SEGMENTS, AT_BATCHES, AT_STATE, AT_OFFSETS, AT_SCAN, AT_PLANES, AT_ROWS, AT_RGB = range(58, 76, 2)
SIGN_SHIFT = 76  # 63: see kernels.jpeg.bits
N_SLOTS = 77

#: Huffman tables: class * 4 + destination, each with 16 counts and up to 256 symbols.
N_TABLES, TABLE_BYTES = 8, 272
#: Widest and highest that T.81 allows; above 89,478,485 pixels Pillow suspects a decompression bomb.
MAX_PIXELS = 89_478_485
