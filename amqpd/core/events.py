"""What happens in the broker, told by messages: the event exchange, and the system exchanges that others talk through.

Operations and sessions call `broker.emit(kind, about)`. That does nothing until an EventExchange takes its place: then
each event is a message to amq.rabbitmq.event, a topic exchange in one virtual host, with the kind (`queue.created`) as
its routing key, no body, and what it is about as headers: texts are S, truths t, numbers l, tables F, lists A. It is
persistent and has a timestamp, in seconds, and in milliseconds as the header timestamp_in_ms. The header
user_who_performed_action is who asked, or rmq-internal for what follows by itself.

Source: RabbitMQ's event exchange plugin (rabbit_exchange_type_event); its README lists the events.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from amqpd.core import routing
from amqpd.core.exchanges.base import Binding, Exchange, create
from amqpd.core.plan import durable_ids
from amqpd.core.queues.queue import Queue
from amqpd.wire import framing, properties
from amqpd.wire.outgoing import shortstr
from amqpd.wire.tables import Field, Table, longstr

if TYPE_CHECKING:
    from amqpd.core.broker import Broker
    from amqpd.core.vhost import VHost

__all__ = [
    "EVENTS",
    "INTERNAL",
    "EventExchange",
    "about_binding",
    "about_exchange",
    "about_queue",
    "say",
    "say_through",
]

EVENTS: Final = "amq.rabbitmq.event"

INTERNAL: Final = "rmq-internal"
"""The user who is behind what follows from something else."""

SLICE: Final = 65536 - 8
"""Octets of a body that go into one frame."""


# ------------------------------------------------------------------------------------------- system exchanges


def say_through(vhost: VHost, name: str) -> None:
    """Have a topic exchange of this name, internal and in no catalog, in the virtual host."""
    topic = create("topic")
    vhost.add_exchange(
        Exchange(name, vhost.name, "topic", durable=True, auto_delete=False, internal=True, arguments={}, type=topic)
    )


def say(broker: Broker, vhost_name: str, name: str, key: str, props: bytes, body: bytes, persistent: bool) -> None:
    """Publish a message of the broker's own; where nobody is bound nothing is made."""
    vhost = broker.vhosts.get(vhost_name)
    exchange = vhost.exchanges.get(name) if vhost is not None else None
    if vhost is None or exchange is None:
        return
    targets = routing.route(exchange, (key,), {}, vhost.exchanges, vhost.queues)
    if not targets:
        return
    head = b"\x00\x3c\x00\x00" + len(body).to_bytes(8, "big") + props
    frames = [framing.frame(framing.HEADER, 0, head)]
    frames += [framing.frame(framing.BODY, 0, body[at : at + SLICE]) for at in range(0, len(body), SLICE)]
    content = b"".join(frames) if len(body) <= SLICE else tuple(frames)
    largest = max(map(len, frames))
    durable = durable_ids(targets) if persistent else ()
    broker.enqueue(targets, durable, persistent, shortstr(name) + shortstr(key), content, largest << 16)


# -------------------------------------------------------------------------------------------------- events


class EventExchange:
    """The events go to the event exchange of this virtual host from now on."""

    def __init__(self, broker: Broker, vhost: str) -> None:
        self.broker = broker
        self.vhost = vhost
        broker.emit = self.emit

    def emit(self, kind: str, about: Mapping[str, Any]) -> None:
        """Publish an event."""
        turn = self.broker.turn
        moment = turn.now + turn.wall
        headers: Table = {name: field_of(value) for name, value in about.items()}
        headers["timestamp_in_ms"] = Field("l", moment)
        props = properties.encode({"delivery_mode": 2, "timestamp": moment // 1000})
        props = properties.rewrite(props, headers=headers)
        say(self.broker, self.vhost, EVENTS, kind, props, b"", persistent=True)


def field_of(value: Any) -> Field:
    """A value as RabbitMQ writes it into the headers of an event."""
    if isinstance(value, Field):
        return value
    if isinstance(value, bool):
        return Field("t", value)
    if isinstance(value, int):
        return Field("l", value)
    if isinstance(value, float):
        return Field("d", value)
    if isinstance(value, Mapping):
        return Field("F", {name: field_of(item) for name, item in value.items()})
    if isinstance(value, list | tuple):
        return Field("A", [field_of(item) for item in value])
    return longstr(str(value))


def about_queue(queue: Queue) -> dict[str, Any]:
    """What is told of a queue that has been created."""
    return {
        "name": queue.name,
        "vhost": queue.vhost,
        "durable": queue.durable,
        "auto_delete": queue.auto_delete,
        "exclusive": queue.owner is not None,
        "type": queue.kind,
        "arguments": queue.arguments,
    }


def about_exchange(exchange: Exchange) -> dict[str, Any]:
    """What is told of an exchange that has been created."""
    return {
        "name": exchange.name,
        "vhost": exchange.vhost,
        "type": exchange.kind,
        "durable": exchange.durable,
        "auto_delete": exchange.auto_delete,
        "internal": exchange.internal,
        "arguments": exchange.arguments,
    }


def about_binding(binding: Binding) -> dict[str, Any]:
    """What is told of a binding, when it comes and when it goes."""
    return {
        "source_name": binding.source.name,
        "source_kind": "exchange",
        "destination_name": binding.destination.name,
        "destination_kind": "queue" if isinstance(binding.destination, Queue) else "exchange",
        "routing_key": binding.routing_key,
        "arguments": binding.arguments,
        "vhost": binding.source.vhost,
    }
