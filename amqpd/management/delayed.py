"""Delayed messages over HTTP. RabbitMQ's plugin has only their number; these routes are ours.

/api/exchanges/VHOST/NAME/delayed       GET ?count: those that are due next, at most so many (100)
/api/exchanges/VHOST/NAME/delayed/ID    DELETE: the message is not delivered
"""

from __future__ import annotations

from aiohttp import web

from amqpd.core import operations
from amqpd.core.broker import Broker
from amqpd.core.vhost import VHost
from amqpd.management import fields
from amqpd.management.conventions import Outcome, Refusal, actor, json_response, not_found
from amqpd.management.topology import exchange_name

__all__ = ["Delayed"]

COUNT = 100
COUNT_MAX = 10_000


class Delayed:
    """The routes of messages that wait."""

    def __init__(self, broker: Broker) -> None:
        self.broker = broker

    def routes(self) -> list[web.RouteDef]:
        """All of them."""
        delayed = "/api/exchanges/{vhost:[^/]+}/{name:[^/]+}/delayed"
        return [web.get(delayed, self.list_delayed), web.delete(f"{delayed}/{{id:[^/]+}}", self.cancel_delayed)]

    def vhost(self, request: web.Request) -> VHost:
        """The virtual host in the path."""
        vhost = self.broker.vhosts.get(request.match_info["vhost"])
        if vhost is None:
            raise not_found()
        return vhost

    async def list_delayed(self, request: web.Request) -> web.Response:
        vhost, name = self.vhost(request), exchange_name(request)
        count = request.query.get("count", str(COUNT))
        if not (count.isascii() and count.isdigit() and 1 <= int(count) <= COUNT_MAX):
            raise Refusal(400, f"count is not a number from 1 to {COUNT_MAX}")
        found = operations.list_delayed(self.broker, vhost, actor(), name, int(count))
        return json_response([fields.delayed(waiting, vhost.name, name) for waiting in found])

    async def cancel_delayed(self, request: web.Request) -> web.Response:
        vhost, name, done = self.vhost(request), exchange_name(request), Outcome[None]()
        due, _, message_id = request.match_info["id"].partition("-")
        if not (due.isdecimal() and message_id.isdecimal()):
            raise not_found()
        operations.cancel_delayed(self.broker, vhost, actor(), name, int(due), int(message_id), done)
        await done.result()
        return web.Response(status=204)
