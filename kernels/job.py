"""Numbers that the resampling kernels share: slots of a plan's record and of the resampler's job, both int64 arrays."""

from __future__ import annotations

# A plan: the source box that is read ...
BOX_LEFT, BOX_TOP, BOX_RIGHT, BOX_BOTTOM = range(4)
# ... 1 where the vectors do it, groups of four taps, most row pairs of an output row, bytes that may be read behind the
# box's last pixel ...
HAS_VECTORS, N_GROUPS, MOST_PAIRS, NEEDED_SLACK = range(4, 8)
# ... and addresses of the arrays of `kernels.resample_plan.SimdPlan`; no windows: 0.
AT_OFFSETS, AT_ACROSS, AT_WINDOWS, AT_PAIRS, AT_DOWN = range(8, 13)
PLAN_SLOTS = 16

# The job: address of a plan's record; where column 0 of the image would be in the box's first row, bytes of a row, and
# bytes of memory behind the box's last pixel ...
PLAN, ORIGIN, ROW_BYTES, SLACK = range(4)
# ... the tensor: its address, its kind (`kernels.normalise`), the crop's side in pixels ...
OUT, KIND, CROP = range(4, 7)
# ... addresses of constants and table (`kernels.normalise`), of 3 * crop bytes of scratch, and of the ring with its
# number of bytes.
AT_CONSTANTS, AT_TABLE, AT_LINE, AT_RING = range(7, 11)
RING_BYTES, NEEDED_RING = 11, 12
# Plans that compiled code finds by itself: (MAX_PLANS * 2, 2) of a key and a record's address; see `kernels.host`.
AT_PLANS = 13
JOB_SLOTS = 16
