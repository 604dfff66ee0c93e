"""How long and how much a process may take before it is taken for lost."""

from __future__ import annotations

import resource
import signal
from dataclasses import dataclass

from engine.layout import MIB

#: What a decoder may allocate beside what it has mapped at its start. The largest image that is decoded at all
#: (89 million pixels, see kernels.reference) takes 1.2 GB in Pillow on its way from CMYK to RGB to an array.
DECODER_HEADROOM_BYTES = 2048 * MIB
#: A process that this signal ended took too long over one image.
TIME_LIMIT_SIGNAL = signal.SIGALRM
#: Exit codes of a process that could get no more memory, and of one that met any other error that nobody foresaw.
EXIT_NO_MEMORY, EXIT_BROKEN = 86, 87


@dataclass(frozen=True)
class Limits:
    """Seconds until something that does not move is taken for lost.

    stall_s : nothing at all was decoded or executed; a chip that does not answer is given up after half of it
    image_s : one image in its decoder        stopped_s : a process that was stopped by a signal
    """

    stall_s: float = 60.0
    image_s: float = 20.0
    stopped_s: float = 5.0


DEFAULT_LIMITS = Limits()


class ImageClock:
    """Ends this process by `TIME_LIMIT_SIGNAL` if one image takes too long. The kernel keeps the time: no code of this
    process, Python or not, can miss the end."""

    def __init__(self, limit_s: float) -> None:
        self._limit_s = limit_s
        signal.signal(TIME_LIMIT_SIGNAL, signal.SIG_DFL)

    def start(self) -> None:
        """The next image begins."""
        signal.setitimer(signal.ITIMER_REAL, self._limit_s)

    def stop(self) -> None:
        """No image is in hand."""
        signal.setitimer(signal.ITIMER_REAL, 0.0)


def limit_memory(headroom_bytes: int) -> None:
    """This process may allocate this much more; beyond it, allocations fail with MemoryError."""
    limit = mapped_bytes() + headroom_bytes
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    if hard != resource.RLIM_INFINITY:
        limit = min(limit, hard)
    resource.setrlimit(resource.RLIMIT_AS, (limit, hard))


def mapped_bytes() -> int:
    """Address space of this process in use."""
    with open("/proc/self/statm") as file:
        return int(file.read().split()[0]) * resource.getpagesize()
