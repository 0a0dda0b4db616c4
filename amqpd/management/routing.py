"""What messages meet: routes that RabbitMQ does not have.

/api/exchanges/VHOST/NAME/explain-route      POST {"routing_key", "properties", "user"}
/api/exchanges/VHOST/NAME/tail               GET ?routing_key=KEY&count=N&seconds=N

A tail answers with one JSON object per line, as messages come: as many as `count`, for at most `seconds`. It reads from
a queue of its own, bound to the exchange with the routing key, that holds TAIL_LENGTH messages at most and drops the
oldest; what was dropped is not shown. So it slows nobody down and piles nothing up.
"""

from __future__ import annotations

import asyncio
import json
from base64 import b64encode
from typing import Any

from aiohttp import web

from amqpd.core import operations
from amqpd.core.broker import Broker
from amqpd.core.message import BLIND, Message, exchange_of, props_of, routing_key_of, without_blind_copies
from amqpd.core.operations import Actor, DeclaredQueue
from amqpd.core.queues.ledger import Run
from amqpd.core.queues.queue import Queue
from amqpd.core.vhost import VHost
from amqpd.management.conventions import (
    Outcome,
    Refusal,
    actor,
    json_response,
    name_in_path,
    not_found,
    read_object,
    text,
)
from amqpd.management.topology import exchange_name
from amqpd.wire import framing, properties
from amqpd.wire.properties import PropertyError
from amqpd.wire.tables import TableError, from_json

__all__ = ["Routing"]

TAIL_LENGTH = 100
"""Messages that wait for a tail at most."""

TAIL_PAUSE = 0.1
"""Seconds between two looks."""

PAYLOAD_MAX = 4096
"""Octets of a body that are shown."""


class Routing:
    """The routes that show where messages go."""

    def __init__(self, broker: Broker) -> None:
        self.broker = broker

    def routes(self) -> list[web.RouteDef]:
        """All of them."""
        exchange = "/api/exchanges/{vhost:[^/]+}/{name:[^/]+}"
        return [
            web.post(f"{exchange}/explain-route", self.explain_route),
            web.get(f"{exchange}/tail", self.tail),
        ]

    def vhost(self, request: web.Request) -> VHost:
        """The virtual host in the path."""
        vhost = self.broker.vhosts.get(name_in_path(request, "vhost"))
        if vhost is None:
            raise not_found()
        return vhost

    async def explain_route(self, request: web.Request) -> web.Response:
        vhost, name, body = self.vhost(request), exchange_name(request), await read_object(request)
        user = text(body, "user") if body.get("user") is not None else None
        try:
            props = properties.encode(body.get("properties") or {})
        except (PropertyError, TableError) as error:
            raise Refusal(400, f"properties: {error}") from None
        key = text(body, "routing_key", "")
        return json_response(operations.explain_route(self.broker, vhost, name, key, props, user))

    async def tail(self, request: web.Request) -> web.StreamResponse:
        vhost, name = self.vhost(request), exchange_name(request)
        count, seconds = number(request, "count", 10), number(request, "seconds", 60)
        asking = actor()
        # The queue is exclusive to this request.
        tap = Actor(asking.user, asking.access, object())
        declared = Outcome[DeclaredQueue]()
        operations.declare_queue(
            self.broker,
            vhost,
            tap,
            "",
            durable=False,
            exclusive=True,
            auto_delete=False,
            arguments=from_json({"x-max-length": TAIL_LENGTH}),
            done=declared,
        )
        queue = vhost.queues[(await declared.result()).name]
        try:
            key, bound = request.query.get("routing_key", "#"), Outcome[None]()
            operations.bind(self.broker, vhost, tap, name, "queue", queue.name, key, {}, bound)
            await bound.result()
            response = web.StreamResponse(headers={"Content-Type": "application/x-ndjson", "Cache-Control": "no-cache"})
            await response.prepare(request)
            await self.show(request, queue, response, count, seconds)
            return response
        finally:
            deleted = Outcome[int]()
            operations.delete_queue(self.broker, vhost, tap, queue.name, if_unused=False, if_empty=False, done=deleted)

    async def show(
        self, request: web.Request, queue: Queue, response: web.StreamResponse, count: int, seconds: int
    ) -> None:
        """Write so many messages, as they come, for so long or until nobody reads any more."""
        loop = asyncio.get_running_loop()
        end = loop.time() + seconds
        while count > 0 and queue.alive and loop.time() < end:
            if request.transport is None or request.transport.is_closing():
                return
            found = queue.get()
            if found is None:
                await asyncio.sleep(TAIL_PAUSE)
                continue
            message = found[0]
            queue.settle(Run(0, queue, None, [message]))
            await response.write(json.dumps(shown(message)).encode("ascii") + b"\n")
            count -= 1


def number(request: web.Request, name: str, default: int) -> int:
    """A natural number of the query."""
    value = request.query.get(name, str(default))
    if not (value.isascii() and value.isdigit()):
        raise Refusal(400, f"{name} is not a number")
    return int(value)


def shown(message: Message) -> dict[str, Any]:
    """A message as a line of a tail: RabbitMQ's fields of messages that are got over HTTP."""
    body, origin = body_of(message), message[3]
    if origin & BLIND:
        message = 0, message[1], without_blind_copies(message[2], origin), 0, 0
    item: dict[str, Any] = {
        "exchange": exchange_of(message),
        "routing_key": routing_key_of(message),
        "properties": properties.to_json(props_of(message)),
        "payload_bytes": len(body),
    }
    part = body[:PAYLOAD_MAX]
    try:
        return item | {"payload": part.decode(), "payload_encoding": "string"}
    except UnicodeDecodeError:
        return item | {"payload": b64encode(part).decode(), "payload_encoding": "base64"}


def body_of(message: Message) -> bytes:
    """The octets of the message's body."""
    content = message[2]
    frames = content if isinstance(content, bytes) else b"".join(content)
    parts, position = [], 0
    while position < len(frames):
        kind, _, size = framing.unpack_head(frames, position)
        if kind == framing.BODY:
            parts.append(frames[position + 7 : position + 7 + size])
        position += size + 8
    return b"".join(parts)
