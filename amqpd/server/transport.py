"""The socket side of a session: asyncio's callbacks, one line each, and nothing awaited."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from time import monotonic_ns, time_ns
from typing import NamedTuple, cast

from amqpd.protocol.peer import Peer
from amqpd.protocol.session import Session

__all__ = ["AmqpProtocol", "SessionFactory", "SocketOptions", "now", "wall"]

WRITE_HIGH = 1 << 20
"""Octets in the transport's buffer above which deliveries stop."""


def now() -> int:
    """Monotonic milliseconds, the time that sessions are told."""
    return monotonic_ns() // 1_000_000


def wall() -> int:
    """Milliseconds since the epoch."""
    return time_ns() // 1_000_000


class SocketOptions(NamedTuple):
    """What accepted sockets are set to."""

    nodelay: bool = True
    keepalive: bool = False

    def apply(self, sock: socket.socket) -> None:
        """Set them. asyncio has set TCP_NODELAY already."""
        if not self.nodelay:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 0)
        if self.keepalive:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)


SessionFactory = Callable[["AmqpProtocol", Peer], Session]


class AmqpProtocol(asyncio.Protocol):
    """One accepted connection: asyncio's Protocol towards the loop, a `protocol.outbox.Transport` towards its session.

    `living` holds those that are connected.
    """

    transport: asyncio.Transport
    session: Session

    def __init__(self, factory: SessionFactory, living: set[AmqpProtocol], options: SocketOptions) -> None:
        self.factory = factory
        self.living = living
        self.options = options

    # ------------------------------------------------------------------------------------- from the loop

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are no subclasses of asyncio's, though they do what those do.
        self.transport = transport = cast("asyncio.Transport", transport)
        transport.set_write_buffer_limits(high=WRITE_HIGH)
        self.options.apply(transport.get_extra_info("socket"))
        peer, sock = transport.get_extra_info("peername"), transport.get_extra_info("sockname")
        if peer is None or sock is None:
            # Reset by the client before it was accepted: there is nobody to talk to.
            transport.abort()
            return
        self.session = self.factory(self, Peer(peer[0], peer[1], sock[0], sock[1]))
        self.living.add(self)

    def data_received(self, data: bytes) -> None:
        self.session.receive(data, now())

    def eof_received(self) -> bool:
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        if self in self.living:
            self.living.remove(self)
            self.session.lost(None)

    def pause_writing(self) -> None:
        self.session.pause_writing()

    def resume_writing(self) -> None:
        self.session.resume_writing()

    # ----------------------------------------------------------------------------------- from the session

    def write(self, data: bytes) -> None:
        self.transport.write(data)

    def backlog(self) -> int:
        return self.transport.get_write_buffer_size()

    def pause_reading(self) -> None:
        if not self.transport.is_closing():
            self.transport.pause_reading()

    def resume_reading(self) -> None:
        if not self.transport.is_closing():
            self.transport.resume_reading()

    def close(self) -> None:
        self.transport.close()

    def abort(self) -> None:
        self.transport.abort()
