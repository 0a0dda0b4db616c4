"""Connections at the rim, on asyncio's own loop and on uvloop where it is installed."""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import socket
import struct
from collections.abc import Callable
from typing import Any

import pytest

from amqpd.protocol.peer import Peer
from amqpd.protocol.session import Session
from amqpd.server.transport import AmqpProtocol, SocketOptions
from tests.support.world import Logins, World


def loops() -> dict[str, Callable[[], asyncio.AbstractEventLoop]]:
    found: dict[str, Callable[[], asyncio.AbstractEventLoop]] = {"asyncio": asyncio.new_event_loop}
    if importlib.util.find_spec("uvloop"):
        import uvloop

        found["uvloop"] = uvloop.new_event_loop
    return found


@pytest.mark.parametrize("loop", loops())
def test_a_client_that_is_gone_before_it_was_accepted(world: World, loop: str) -> None:
    """Its socket may have no peer any more: it is let go, and nothing goes wrong."""
    lost = asyncio.Event()
    living: set[AmqpProtocol] = set()
    faults: list[dict[str, Any]] = []

    class Watched(AmqpProtocol):
        def connection_lost(self, exc: Exception | None) -> None:
            super().connection_lost(exc)
            lost.set()

    def session(protocol: AmqpProtocol, peer: Peer) -> Session:
        return Session(world.broker, Logins(), world.settings, protocol, peer, world.now, lambda: 0)

    async def scene() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _, context: faults.append(context))
        with socket.create_server(("127.0.0.1", 0)) as listening:
            client = socket.create_connection(listening.getsockname())
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            client.close()
            server = await asyncio.get_running_loop().create_server(
                lambda: Watched(session, living, SocketOptions()), sock=listening
            )
            async with asyncio.timeout(10):
                await lost.wait()
            server.close()

    with contextlib.closing(loops()[loop]()) as running:
        running.run_until_complete(scene())
    assert faults == [] and not living
