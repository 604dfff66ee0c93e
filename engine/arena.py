"""The slot arena: one nameless shared memory that all processes map.

A memfd has no name, so nothing is left behind whatever is killed. The hub creates it empty, passes its descriptor to
every process, and gives it its size once the model has said how many classes it has; only then is it mapped.
"""

from __future__ import annotations

import mmap
import os
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from engine.errors import ResourceError
from engine.layout import MIB, ArenaLayout

F32 = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Slot:
    """Views of one slot; whoever was sent its number owns it.

    inputs  : (images_per_slot, *shape of one image) of the model's dtype
    outputs : (images_per_slot, n_classes) float32
    """

    inputs: npt.NDArray[Any]
    outputs: F32


class Arena:
    """All slots, mapped into this process."""

    def __init__(self, fd: int, layout: ArenaLayout) -> None:
        """Map the memory behind `fd`, which must have been given its size by `allocate`."""
        self.layout = layout
        try:
            memory: Any = mmap.mmap(fd, layout.n_bytes)
        except OSError as error:
            raise ResourceError(
                f"arena of {layout.n_bytes / MIB:.1f} MiB cannot be mapped ({error.strerror}): "
                "lower --slots or --batch, or raise the limit (ulimit -v)"
            ) from error
        whole = np.frombuffer(memory, np.uint8)
        self._slots = [self._views(whole, number) for number in range(layout.n_slots)]

    def slot(self, number: int) -> Slot:
        """The slot with this number."""
        return self._slots[number]

    def _views(self, whole: npt.NDArray[np.uint8], number: int) -> Slot:
        layout = self.layout
        n = layout.images_per_slot
        start = number * layout.slot_bytes
        middle = start + layout.input_bytes
        dtype, shape = layout.image.tensor.numpy_dtype, layout.image.shape
        inputs = whole[start : start + n * layout.image.n_bytes].view(dtype).reshape(n, *shape)
        outputs = whole[middle : middle + n * layout.n_classes * 4].view(np.float32).reshape(n, layout.n_classes)
        return Slot(inputs, outputs)


def create_arena_fd() -> int:
    """Descriptor of a new empty shared memory without a name."""
    return os.memfd_create("engine-arena", os.MFD_CLOEXEC)


def allocate(fd: int, layout: ArenaLayout) -> None:
    """Reserve every page now, so that a lack of memory is an error here and not a SIGBUS later."""
    try:
        os.posix_fallocate(fd, 0, layout.n_bytes)
    except OSError as error:
        raise ResourceError(
            f"arena of {layout.n_bytes / MIB:.1f} MiB cannot be reserved ({error.strerror}): lower --slots or --batch"
        ) from error
