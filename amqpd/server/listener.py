"""The AMQP listeners, the living connections, and the clock that ticks for them."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence

from amqpd.core.broker import Broker
from amqpd.core.ports import Authenticator
from amqpd.protocol.peer import Peer
from amqpd.protocol.session import Session
from amqpd.protocol.settings import SessionSettings
from amqpd.server.transport import AmqpProtocol, SocketOptions, now, wall

__all__ = ["AmqpServer", "address"]

log = logging.getLogger("amqpd.connection")

TICK = 1.0
"""Seconds between looks at heartbeats and timeouts."""


def address(host: str | None, port: int) -> str:
    """`[::]:5672`, `127.0.0.1:5672`: an address as RabbitMQ writes it. No host is all of them."""
    host = host or "::"
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


class AmqpServer:
    """Accepts connections and gives each a session."""

    def __init__(
        self,
        broker: Broker,
        authenticator: Authenticator,
        settings: SessionSettings,
        options: SocketOptions,
    ) -> None:
        self.broker = broker
        self.authenticator = authenticator
        self.settings = settings
        self.options = options
        self.servers: list[asyncio.Server] = []
        self.listening: list[tuple[str, int]] = []
        """Address and port of each listening socket."""
        self.living: set[AmqpProtocol] = set()
        self.ticker: asyncio.TimerHandle | None = None

    async def listen(self, listeners: Sequence[tuple[str | None, int]], backlog: int = 128) -> None:
        """Open the listeners: (host or None for all, port; 0 chooses one). OSError when an address is not to be had."""
        loop = asyncio.get_running_loop()
        for host, port in listeners:
            server = await loop.create_server(self.protocol, host, port, backlog=backlog)
            self.servers.append(server)
            for sock in server.sockets:
                bound = sock.getsockname()
                self.listening.append((bound[0], bound[1]))
                log.info("started TCP listener on %s", address(bound[0], bound[1]))
        self.tick()

    def protocol(self) -> AmqpProtocol:
        return AmqpProtocol(self.session, self.living, self.options)

    def session(self, transport: AmqpProtocol, peer: Peer) -> Session:
        return Session(self.broker, self.authenticator, self.settings, transport, peer, now(), wall)

    def tick(self) -> None:
        time = now()
        for protocol in list(self.living):
            protocol.session.tick(time)
        self.ticker = asyncio.get_running_loop().call_later(TICK, self.tick)

    def stop_accepting(self) -> None:
        """Close the listeners; connections live on."""
        for server in self.servers:
            server.close()
        self.servers.clear()
        self.listening.clear()

    async def close(self, reason: str, grace: float) -> None:
        """Force all connections to close, and cut those that have not gone within `grace` seconds."""
        self.stop_accepting()
        for protocol in list(self.living):
            protocol.session.force_close(reason)
        loop = asyncio.get_running_loop()
        deadline = loop.time() + grace
        while self.living and loop.time() < deadline:
            await asyncio.sleep(0.01)
        for protocol in list(self.living):
            protocol.abort()
        if self.ticker is not None:
            self.ticker.cancel()
