"""What a session has to say: gathered during the turn, written once at its end, and held back when nobody listens.

congested    consumers get nothing more: the transport's buffer is full, or a megabyte has gathered in this turn
backlog      a client that leaves 16 MB of replies, returns and confirms unread is not read either
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from amqpd.core.message import BLIND, without_blind_copies
from amqpd.core.turn import Turn
from amqpd.wire import outgoing

__all__ = ["BACKLOG_MAX", "Outbox", "Transport"]

OUTBOX_MAX = 1 << 20
"""Octets that may gather before consumers get no more."""

BACKLOG_MAX = 16 << 20
"""Octets a client may leave unread before it is not read either."""


class Transport(Protocol):
    """The socket, as a session sees it."""

    def write(self, data: bytes) -> None: ...

    def backlog(self) -> int:
        """Octets written and not yet taken by the peer."""

    def pause_reading(self) -> None: ...

    def resume_reading(self) -> None: ...

    def close(self) -> None:
        """Close once all that was written is out."""

    def abort(self) -> None:
        """Close now."""


class Outbox:
    """The bytes of one session on their way out.

    `flushed()` is called after each write, `room_again()` when consumers that found it congested can be fed.
    """

    def __init__(
        self,
        transport: Transport,
        turn: Turn,
        flushed: Callable[[], None],
        room_again: Callable[[], None],
    ) -> None:
        self.transport = transport
        self.turn = turn
        self.flushed = flushed
        self.room_again = room_again
        self.pieces: list[bytes] = []
        self.octets = 0
        self.touched = False
        self.write_paused = False
        self.starved = False
        self.written = 0
        """Octets written since the connection began."""
        self.fresh = False
        """Has anything been written since the heartbeat last looked?"""

    def send(self, data: bytes) -> None:
        """Bytes to go out at the end of the turn."""
        self.pieces.append(data)
        self.octets += len(data)
        if not self.touched:
            self.touch()

    def send_content(self, content: outgoing.Content, origin: int, number: int, frame_max: int) -> int:
        """A message's content, as it is or with frames made for this channel; its octets."""
        if origin & BLIND:
            pieces: Sequence[bytes] = outgoing.content_for(without_blind_copies(content, origin), number, frame_max)
        elif origin & 0xFFFF == number and (not frame_max or origin >> 16 <= frame_max):
            pieces = (content,) if isinstance(content, bytes) else content
        else:
            pieces = outgoing.content_for(content, number, frame_max)
        self.pieces.extend(pieces)
        octets = sum(map(len, pieces))
        self.octets += octets
        return octets

    def touch(self) -> None:
        """There is something to flush."""
        self.touched = True
        self.turn.touch(self)

    def flush(self) -> None:
        """The turn's last step: one write."""
        self.touched = False
        pieces = self.pieces
        if pieces:
            data = pieces[0] if len(pieces) == 1 else b"".join(pieces)
            # Cleared, not replaced: the consumers' deliver functions hold this very list.
            pieces.clear()
            self.octets = 0
            self.written += len(data)
            self.fresh = True
            self.transport.write(data)
        self.flushed()
        self.feed()

    @property
    def congested(self) -> bool:
        """Is there no room for deliveries?"""
        return self.write_paused or self.octets > OUTBOX_MAX

    def feed(self) -> None:
        """Consumers that found no room may have some now."""
        if self.starved and not self.congested:
            self.starved = False
            self.room_again()

    @property
    def overflowing(self) -> bool:
        """Has the client left so much unread that it should not be read?"""
        return self.write_paused and self.transport.backlog() > BACKLOG_MAX
