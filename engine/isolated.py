"""Calls a function in a process of its own: a chip's runtime is initialised once per process, and what one measurement
leaves behind must not change the next."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import traceback
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import TypeVar

from engine.errors import EngineError, WorkerError

T = TypeVar("T")
#: Seconds that a process may take to end once it has answered.
END_S = 30.0


def call_isolated(function: Callable[..., T], *arguments: object) -> T:
    """``function(*arguments)`` in a new process; both, and the result, must be picklable.

    An EngineError comes back as itself. WorkerError for any other exception and for a process that dies.
    """
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_serve, args=(sender, function, arguments), daemon=True)
    process.start()
    sender.close()
    try:
        answer = receiver.recv()
    except EOFError:
        process.join(END_S)
        raise WorkerError(f"the process of {function.__name__} died {_how(process.exitcode)}") from None
    except BaseException:  # Ctrl-C above all
        process.kill()
        process.join()
        raise
    finally:
        receiver.close()
    process.join(END_S)
    if process.is_alive():
        process.kill()
        process.join()
    if isinstance(answer, EngineError):
        raise answer
    result: T = answer[0]
    return result


def _how(exit_code: int | None) -> str:
    if exit_code is not None and exit_code < 0:
        return f"of {signal.Signals(-exit_code).name}"
    return f"with exit code {exit_code}"


def _serve(sender: Connection, function: Callable[..., object], arguments: tuple[object, ...]) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group: the parent ends this process
    threading.Thread(target=_end_with_parent, daemon=True).start()
    try:
        answer: object = (function(*arguments),)
    except EngineError as error:
        answer = error
    except Exception as error:
        frame = traceback.extract_tb(error.__traceback__)[-1]
        place = f"{os.path.basename(frame.filename)}:{frame.lineno}"
        answer = WorkerError(f"{function.__name__}: {type(error).__name__} in {place}: {error}")
    sender.send(answer)


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
