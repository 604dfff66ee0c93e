"""One process's two one-way pipes to the hub (or the hub's to it)."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from multiprocessing.connection import Connection
from multiprocessing.context import BaseContext
from typing import Any

from engine import messages
from engine.messages import Message


class Channel:
    """Messages in, messages out. `send` may be called from several threads; `receive` from one."""

    def __init__(self, incoming: Any, outgoing: Any) -> None:
        self._incoming: Connection[Any, Any] = incoming
        self._outgoing: Connection[Any, Any] = outgoing
        self._sending = threading.Lock()  # of this process only: a killed peer cannot hold it

    @classmethod
    def pair(cls, context: BaseContext) -> tuple[Channel, ChannelEnds]:
        """The hub's channel, and the ends to hand to the new process."""
        theirs_in, ours_out = context.Pipe(duplex=False)
        ours_in, theirs_out = context.Pipe(duplex=False)
        return cls(ours_in, ours_out), ChannelEnds(theirs_in, theirs_out)

    def send(self, message: Message) -> None:
        """Send; raises OSError (BrokenPipeError) when the peer is dead."""
        frame = messages.encode(message)
        with self._sending:
            self._outgoing.send_bytes(frame)

    def receive(self) -> Message:
        """The next message; raises EOFError or OSError when the peer is dead."""
        return messages.decode(self._incoming.recv_bytes())

    def received(self) -> Iterator[Message]:
        """All messages until the peer closes its end or dies."""
        with contextlib.suppress(EOFError, OSError):
            while True:
                yield self.receive()

    def fileno(self) -> int:
        """Of the incoming pipe: readable when a message or the peer's death is there."""
        return self._incoming.fileno()

    def close(self) -> None:
        self._incoming.close()
        self._outgoing.close()


class ChannelEnds:
    """The pipe ends of a process that is to be started; picklable while it is being started."""

    def __init__(self, incoming: Any, outgoing: Any) -> None:
        self._incoming = incoming
        self._outgoing = outgoing

    def open(self) -> Channel:
        """In the new process: its channel to the hub."""
        return Channel(self._incoming, self._outgoing)

    def close(self) -> None:
        """In the hub, once the process has been started: so that its death ends the pipe."""
        self._incoming.close()
        self._outgoing.close()
