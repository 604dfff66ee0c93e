"""A slot between its decoder and its ranking."""

from __future__ import annotations

import struct
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from engine.messages import IMAGE_TIMES, IMAGE_TIMES_BYTES, Filled

_last_read = struct.Struct("=qq")


@dataclass
class FilledSlot:
    """What the hub knows of a filled slot.

    sent_ns, run_sent_ns : when the hub sent it to the decoder, and to the feeder (0 until then)
    """

    message: Filled
    sent_ns: int
    decoder_pid: int
    run_sent_ns: int = 0

    @property
    def last_read_ns(self) -> int:
        """When its last read ended."""
        return sum(_last_read.unpack_from(self.message.times, (self.n_images - 1) * IMAGE_TIMES_BYTES))

    @property
    def n_images(self) -> int:
        """Its rows, those of failed images included."""
        return len(self.message.times) // IMAGE_TIMES_BYTES

    @property
    def times(self) -> npt.NDArray[np.int64]:
        """(n_images, 4) int64, columns `messages.IMAGE_TIMES`."""
        return np.frombuffer(self.message.times, np.int64).reshape(-1, len(IMAGE_TIMES))
