"""Workers that die, in a module that is imported fast."""

from __future__ import annotations

import os
import signal
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from engine.preprocess.team import Done


def deadly_main(hub: Connection[Any, Any], number: int, once: str) -> None:
    while True:
        try:
            chunk = hub.recv()
        except EOFError:
            return
        if 5 in chunk or (40 in chunk and not os.path.exists(once)):
            Path(once).touch() if 40 in chunk else None
            os.kill(os.getpid(), signal.SIGKILL)
        hub.send(Done({}))


def dead_main(hub: object, number: int) -> None:
    os._exit(3)
