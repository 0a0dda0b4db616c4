"""A broker in memory whose control surface is served on a real unix socket, by a loop in a thread of its own."""

from __future__ import annotations

import asyncio
import http.client
import json
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self, TypeAlias, TypeVar

from click.testing import Result

from amqpd.auth.users import UserStore
from amqpd.management.about import Listener, NodeInfo
from amqpd.management.control import ControlSocket
from amqpd.management.server import Management
from amqpd.server.resources import Resources
from tests.support.world import Client, World

__all__ = ["Controlled", "Ctl", "Response"]

T = TypeVar("T")
Ctl: TypeAlias = Callable[..., Result]
"""Runs amqpctl with a command line, or with words."""


class Response(NamedTuple):
    """What came back."""

    status: int
    body: Any
    headers: dict[str, str]


class Controlled:
    """The broker and its socket, DATA_DIR/control.sock, as long as the `with` lasts.

    The model belongs to the loop's thread: `do` calls something there and hands back what it returns.
    """

    def __init__(self, data_dir: Path) -> None:
        self.data_dir = data_dir
        self.path = data_dir / "control.sock"
        self.stops: list[str] = []
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self.loop.run_forever)
        self.world = World()
        self.world.turn.schedule = self.schedule
        broker, catalog = self.world.broker, self.world.catalog
        self.users = UserStore(catalog.load(), catalog, lambda name: name in broker.vhosts)
        broker.on_vhost_deleted(self.users.vhost_deleted)
        self.users.add_user("guest", "guest", ["administrator"], lambda outcome: None)
        self.users.set_permissions("guest", "/", ".*", ".*", ".*", lambda outcome: None)
        self.node = NodeInfo(
            name="amqpd@test",
            cluster_name="testing",
            version="0.1.0",
            product_name="RabbitMQ",
            product_version="4.2.0",
            data_dir=data_dir,
            started_at=time.time(),
            listeners=[Listener("amqp", "127.0.0.1", 5672)],
            resources=Resources("amqpd@test", data_dir, broker.alarms),
            stop=self.stops.append,
        )
        self.control = ControlSocket(self.path, self.serve)

    def __enter__(self) -> Self:
        self.thread.start()
        self.do(self.control.open)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        asyncio.run_coroutine_threadsafe(self.control.close(), self.loop).result()
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join()
        self.loop.close()

    async def serve(self, control: socket.socket) -> Management:
        management = Management(self.world.broker, self.users, self.node)
        await management.start(control)
        return management

    def schedule(self) -> None:
        self.loop.call_soon(self.world.turn.run)

    def do(self, function: Callable[[], T]) -> T:
        """Call it in the broker's thread."""

        async def call() -> T:
            return function()

        return asyncio.run_coroutine_threadsafe(call(), self.loop).result()

    def connect(self) -> Client:
        """A client with an open channel."""

        def connect() -> Client:
            client = self.world.connect()
            client.open()
            return client

        return self.do(connect)

    # ------------------------------------------------------------------------------------------- as a client

    def request(
        self,
        method: str,
        path: str,
        body: object = None,
        *,
        raw: bytes | None = None,
        headers: dict[str, str] | None = None,
    ) -> Response:
        """One request to /api/PATH; the answer's body decoded where there is one."""
        connection = http.client.HTTPConnection("localhost", timeout=30)
        connection.sock = socket.socket(socket.AF_UNIX)
        try:
            connection.sock.connect(str(self.path))
            payload = raw if body is None else json.dumps(body).encode()
            connection.request(method, f"/api/{path}", payload, headers or {})
            response = connection.getresponse()
            data = response.read()
            return Response(response.status, json.loads(data) if data else None, dict(response.headers))
        finally:
            connection.close()

    def get(self, path: str) -> Any:
        """What is there."""
        response = self.request("GET", path)
        assert response.status == 200, response
        return response.body

    def put(self, path: str, **body: Any) -> Response:
        """PUT these fields."""
        return self.request("PUT", path, body)

    def post(self, path: str, **body: Any) -> Response:
        """POST these fields."""
        return self.request("POST", path, body)

    def delete(self, path: str) -> Response:
        """DELETE it."""
        return self.request("DELETE", path)
