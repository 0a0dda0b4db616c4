"""Connections, channels and consumers over HTTP.

/api/connections[/NAME]     GET, DELETE (the header X-Reason is what the client is told)
/api/channels               GET
/api/consumers[/VHOST]      GET
"""

from __future__ import annotations

from aiohttp import web

from amqpd.core.broker import Broker, Connection
from amqpd.management import fields, lists
from amqpd.management.conventions import json_response, not_found
from amqpd.management.lists import Item

__all__ = ["Clients"]

DEFAULT_REASON = "Closed via management API"


class Clients:
    """The routes of who is connected."""

    def __init__(self, broker: Broker, node: str) -> None:
        self.broker = broker
        self.node = node

    def routes(self) -> list[web.RouteDef]:
        """All of them."""
        return [
            web.get("/api/connections", self.list_connections),
            web.get("/api/connections/{name:[^/]+}", self.get_connection),
            web.delete("/api/connections/{name:[^/]+}", self.close_connection),
            web.get("/api/channels", self.list_channels),
            web.get("/api/consumers", self.list_consumers),
            web.get("/api/consumers/{vhost:[^/]+}", self.list_consumers),
        ]

    def show(self, item: dict[str, object]) -> Item:
        """What a connection says of itself or of a channel, and where it is."""
        return {**item, "node": self.node}

    async def list_connections(self, request: web.Request) -> web.StreamResponse:
        return await lists.respond(request, self.broker.connections, lambda connection: self.show(connection.info()))

    def connection(self, request: web.Request) -> Connection:
        """The connection in the path."""
        name = request.match_info["name"]
        for connection in self.broker.connections:
            if connection.name == name:
                return connection
        raise not_found()

    async def get_connection(self, request: web.Request) -> web.Response:
        item = self.show(self.connection(request).info())
        return json_response(lists.only_columns(request, item))

    async def close_connection(self, request: web.Request) -> web.Response:
        self.connection(request).force_close(request.headers.get("X-Reason") or DEFAULT_REASON)
        return web.Response(status=204)

    async def list_channels(self, request: web.Request) -> web.StreamResponse:
        channels = [channel for connection in self.broker.connections for channel in connection.channels_info()]
        return await lists.respond(request, channels, self.show)

    async def list_consumers(self, request: web.Request) -> web.StreamResponse:
        vhosts = list(self.broker.vhosts.values())
        if "vhost" in request.match_info:
            vhosts = [vhost for vhost in vhosts if vhost.name == request.match_info["vhost"]]
            if not vhosts:
                raise not_found()
        consumers = [consumer for vhost in vhosts for queue in vhost.queues.values() for consumer in queue.rota.members]
        by_queue = ("queue.vhost", "queue.name")
        return await lists.respond(request, consumers, lambda consumer: fields.consumer(consumer, self.node), by_queue)
