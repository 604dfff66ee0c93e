"""Processes that work through a list of samples; what a dead one held is done by another."""

from __future__ import annotations

import contextlib
import multiprocessing
import socket
from collections import Counter, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any, NamedTuple

from engine import errors
from engine.crew import describe_exit
from engine.errors import EngineError, WorkerError
from engine.forkserver import interrupts_held_back, start_fork_server
from engine.pipeline import stopping_on_signals

#: Samples that a worker is sent at once: the loop here costs little beside them, and a killed worker loses little.
CHUNK = 16
#: Chunks that a worker holds: the one it works on and the next.
CHUNKS_HELD = 2
#: A sample over which this many workers died, alone in its chunk, is given up.
DEATHS_BEFORE_FAILURE = 2
#: Deaths in a row without a chunk done between them that end it all.
DEATHS_IN_A_ROW = 8
TICK_S = 0.5
STOP_PATIENCE_S = 10.0


class Done(NamedTuple):
    """A worker's answer to a chunk: the samples that could not be done, and why."""

    reasons: dict[int, str]


class Broken(NamedTuple):
    """A worker cannot go on: raise this class of engine.errors with this text."""

    error: str
    text: str

    def exception(self) -> EngineError:
        kind = getattr(errors, self.error, WorkerError)
        exception: EngineError = kind(self.text)
        return exception


@dataclass
class Worker:
    """One process and the chunks it holds, oldest first."""

    number: int
    process: BaseProcess
    connection: Connection[Any, Any]
    held: deque[list[int]] = field(default_factory=deque)


class Team:
    """`n_workers` processes that run ``main(connection, number, *job)``: a loop of chunks in, `Done` out, until EOF."""

    def __init__(self, main: Callable[..., None], job: Sequence[Any], n_workers: int) -> None:
        start_fork_server()
        self._context = multiprocessing.get_context("forkserver")
        self._main = main
        self._job = tuple(job)
        self._numbers = range(n_workers)
        self._workers: list[Worker] = []
        self._chunks: deque[list[int]] = deque()
        self._deaths: Counter[int] = Counter()
        self._deaths_in_a_row = 0
        self._is_stopping = False
        self.n_done = 0
        self.reasons: dict[int, str] = {}

    def run(self, samples: Sequence[int], progress: Callable[[int, int], None]) -> bool:
        """Work through the samples; False if a signal ended it early, every chunk that was begun being done.

        Raises what a worker could not go on with, and WorkerError where workers die again and again.
        """
        self._chunks.extend(list(samples[i : i + CHUNK]) for i in range(0, len(samples), CHUNK))
        alarm, alarm_in = socket.socketpair()
        alarm.setblocking(False)
        alarm_in.setblocking(False)
        try:
            with stopping_on_signals(self._stop, alarm_in.fileno()) as signals:
                self._workers = [self._start(number) for number in self._numbers]
                while self._hand_out():
                    self._receive(alarm)
                    progress(self.n_done, 0)
            return not signals
        finally:
            self._close()
            alarm.close()
            alarm_in.close()

    def _stop(self) -> None:
        self._is_stopping = True

    def _start(self, number: int) -> Worker:
        ours, theirs = self._context.Pipe()
        arguments = (theirs, number, *self._job)
        process = self._context.Process(
            target=self._main, args=arguments, name=f"engine-preprocess-{number}", daemon=True
        )
        with interrupts_held_back():
            process.start()
        theirs.close()
        return Worker(number, process, ours)

    def _hand_out(self) -> bool:
        """Give everyone as much as it may hold; whether anybody holds anything."""
        for _ in range(CHUNKS_HELD):
            for worker in self._workers:
                if self._chunks and not self._is_stopping and len(worker.held) < CHUNKS_HELD:
                    worker.held.append(self._chunks.popleft())
                    with contextlib.suppress(OSError):  # a dead worker shows as the end of its pipe
                        worker.connection.send(worker.held[-1])
        return any(worker.held for worker in self._workers)

    def _receive(self, alarm: socket.socket) -> None:
        ready = wait([alarm, *(worker.connection for worker in self._workers)], TICK_S)
        for worker in [worker for worker in self._workers if worker.connection in ready]:
            try:
                message = worker.connection.recv()
            except (EOFError, OSError):
                self._bury(worker)
                continue
            if isinstance(message, Broken):
                raise message.exception()
            self._deaths_in_a_row = 0
            self.n_done += len(worker.held.popleft())
            self.reasons.update(message.reasons)
        with contextlib.suppress(BlockingIOError):
            alarm.recv(64)

    def _bury(self, worker: Worker) -> None:
        worker.process.join(STOP_PATIENCE_S)
        cause = describe_exit(worker.process.exitcode)
        self._deaths_in_a_row += 1
        if self._deaths_in_a_row > DEATHS_IN_A_ROW:
            raise WorkerError(
                f"preprocess worker {worker.number} {cause}, death number {self._deaths_in_a_row} in a row: stopped; "
                "what is complete stays, and the same command goes on from there"
            )
        if worker.held:
            self._take_back(worker.held.popleft(), cause)
            self._chunks.extendleft(worker.held)
        worker.connection.close()
        self._workers[self._workers.index(worker)] = self._start(worker.number)

    def _take_back(self, chunk: list[int], cause: str) -> None:
        """The chunk that a dead worker was at: its samples one by one, and a sample alone only once more."""
        self._deaths.update(chunk)
        if len(chunk) == 1 and self._deaths[chunk[0]] > DEATHS_BEFORE_FAILURE:
            self.reasons[chunk[0]] = f"its worker {cause} each time"
            self.n_done += 1
        else:
            self._chunks.extend([sample] for sample in chunk)

    def _close(self) -> None:
        for worker in self._workers:
            worker.connection.close()
        for worker in self._workers:
            worker.process.join(STOP_PATIENCE_S)
            if worker.process.is_alive():
                worker.process.kill()
                worker.process.join()
        self._workers = []
