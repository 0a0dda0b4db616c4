"""What would happen to a message: the way that routing takes, told step by step, with nothing published.

It follows the same rules as core/routing and asks the exchanges themselves. A type that chooses by chance or by turns
answers for this once; the next message may go elsewhere.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

from amqpd.core import routing
from amqpd.core.arguments import exchange_resource
from amqpd.core.broker import Broker
from amqpd.core.exchanges.base import Binding, Exchange, create
from amqpd.core.plan import DEFAULT_EXCHANGE_ALIAS, require_topic
from amqpd.core.queues import keeping
from amqpd.core.queues.queue import Queue
from amqpd.core.vhost import VHost
from amqpd.errors import AccessRefused, AmqpError
from amqpd.wire import properties
from amqpd.wire.tables import Table, to_json

__all__ = ["explain_route"]

Item: TypeAlias = dict[str, Any]

BY_BINDING = ("direct", "fanout", "topic", "headers")
"""Types that look at each binding by itself."""


def explain_route(broker: Broker, vhost: VHost, name: str, key: str, props: bytes, user: str | None) -> Item:
    """What a message with this routing key and these properties would meet when `user` (None: anybody) publishes it.

    `refused` is why it would be, None otherwise; `hops` are the exchanges on its way, with the bindings that match;
    `queues` those that it reaches, each with whether it would take it.
    """
    headers = properties.headers(props)
    copies, blind = properties.copies(headers)
    keys = (key, *copies, *blind)
    exchange = vhost.exchanges.get(name) if name else None
    refused = why_refused(broker, vhost, name, exchange, keys, user)
    hops: list[Item] = []
    queues: dict[Queue, None] = {}
    if not name:
        queues = {vhost.queues[each]: None for each in keys if each in vhost.queues}
    elif exchange is not None:
        queues = follow(vhost, exchange, keys, headers, props, hops)
    return {
        "vhost": vhost.name,
        "exchange": name,
        "routing_keys": list(keys),
        "refused": refused,
        "hops": hops,
        "queues": [queue_item(queue) for queue in queues],
        "routed": refused is None and bool(queues),
    }


def why_refused(
    broker: Broker, vhost: VHost, name: str, exchange: Exchange | None, keys: Sequence[str], user: str | None
) -> str | None:
    """What the publisher would be told, if it would be refused."""
    access, seen = broker.access, name or DEFAULT_EXCHANGE_ALIAS
    resource = exchange_resource(seen, vhost.name)
    if user is not None and not access.may_enter(user, vhost.name):
        return f"access to vhost '{vhost.name}' refused for user '{user}'"
    if user is not None and not access.allows(user, vhost.name, "write", seen):
        return f"write access to {resource} refused for user '{user}'"
    if exchange is None:
        return f"no {resource}" if name else None
    if exchange.internal:
        return f"cannot publish to internal {resource}"
    try:
        for key in keys if user is not None else ():
            require_topic(access, str(user), vhost.name, "write", exchange, key)
    except AccessRefused as error:
        return error.explanation
    return None


def follow(
    vhost: VHost, exchange: Exchange, keys: Sequence[str], headers: Table, props: bytes, hops: list[Item]
) -> dict[Queue, None]:
    """The queues that the message reaches; what it meets on the way joins `hops`."""
    found: dict[Queue, None] = {}
    reached_by = {exchange: "publish"}
    waiting = [exchange]
    while waiting:
        current = waiting.pop()
        hop: Item = {"exchange": current.name, "type": current.kind, "reached_by": reached_by[current], "bindings": []}
        hops.append(hop)
        try:
            destinations = current.type.route(keys, headers, props)
        except AmqpError as error:
            hop["error"] = error.explanation
            continue
        following: dict[Exchange, str] = {}
        for destination in destinations:
            if isinstance(destination, Queue):
                found[destination] = None
            elif isinstance(destination, Exchange):
                following[destination] = f"binding from '{current.name}'"
        hop["bindings"] = [
            binding_item(binding)
            for binding in current.outgoing.values()
            if binding.destination in destinations and matches(current, binding, keys, headers, props)
        ]
        if current.alternate is not None:
            used = not routing.reaches(destinations)
            hop["alternate_exchange"] = {"name": current.alternate, "used": used}
            alternate = vhost.exchanges.get(current.alternate)
            if used and not current.alternate:
                found.update((vhost.queues[key], None) for key in keys if key in vhost.queues)
            elif used and alternate is not None:
                following[alternate] = f"alternate exchange of '{current.name}'"
        for other, why in following.items():
            if other not in reached_by:
                reached_by[other] = why
                waiting.append(other)
    return found


def matches(exchange: Exchange, binding: Binding, keys: Sequence[str], headers: Table, props: bytes) -> bool:
    """Is it this binding that leads to its destination, where the type can tell?"""
    if exchange.kind not in BY_BINDING:
        return True
    alone = create(exchange.kind)
    alone.bind(binding)
    return bool(alone.route(keys, headers, props))


def binding_item(binding: Binding) -> Item:
    return {
        "destination": binding.destination.name,
        "destination_type": binding.identity[0],
        "routing_key": binding.routing_key,
        "arguments": to_json(binding.arguments),
    }


def queue_item(queue: Queue) -> Item:
    return {
        "name": queue.name,
        "type": queue.kind,
        "consumers": len(queue.rota.members),
        "full": keeping.is_full(queue),
        "overflow": queue.promises.overflow,
    }
