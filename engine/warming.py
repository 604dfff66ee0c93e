"""Kernels compiled before they are needed, and said where that takes long."""

from __future__ import annotations

import threading
from collections.abc import Callable

from kernels.cache import why_elsewhere
from kernels.isa import INSTRUCTION_SET
from kernels.spec import PreprocessSpec, TensorFormat
from kernels.warm import warm

#: Loading kernels from the disk cache takes less than this.
SLOW_WARM_UP_S = 1.0


def warm_up(spec: PreprocessSpec, say: Callable[[str], None], tensor: TensorFormat | None = None) -> None:
    """Compile the kernels before the first worker starts; said, step by step, where it takes long: the first time."""
    steps = ["start"]

    def say_step() -> None:
        say(f"compiling the kernels, once on this machine: {steps[-1]}")

    def begin(step: str) -> None:
        steps.append(step)
        if timer.finished.is_set():
            say_step()

    if note := why_elsewhere(INSTRUCTION_SET):
        say(note)
    timer = threading.Timer(SLOW_WARM_UP_S, say_step)
    timer.daemon = True
    timer.start()
    try:
        warm(spec, begin, tensor)
    finally:
        timer.cancel()
