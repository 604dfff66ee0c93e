"""A slot between its decoder and its ranking."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from engine.messages import Filled


@dataclass
class FilledSlot:
    """What the hub knows of a filled slot.

    times : (rows, 4) int64, columns `messages.IMAGE_TIMES`
    sent_ns, run_sent_ns : when the hub sent it to the decoder, and to the feeder (0 until then)
    """

    message: Filled
    times: npt.NDArray[np.int64]
    sent_ns: int
    decoder_pid: int
    run_sent_ns: int = 0

    @property
    def last_read_ns(self) -> int:
        """When its last read ended."""
        return int(self.times[-1, 0] + self.times[-1, 1])
