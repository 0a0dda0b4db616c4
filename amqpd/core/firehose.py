"""The firehose: copies of the messages that come and go, published to amq.rabbitmq.trace of their virtual host.

    publish.EXCHANGE    a client has published, before it is enqueued
    deliver.QUEUE       a message goes to a consumer, or answers basic.get

A copy has the message's body, and headers that tell what it was:

    exchange_name, node             S
    routing_keys                    A    of S: its routing key, CC and BCC
    properties                      F    its properties; texts are S, numbers I
    vhost, connection, user         S    of the client
    channel                         I
    routed_queues                   A    of S; publish only
    redelivered                     I    0 or 1; deliver only

It is transient and has no other properties. Messages that were published to amq.rabbitmq.trace itself are not traced.
Where nothing is bound to it nothing is made. Source: RabbitMQ's rabbit_trace; Firehose Tracer.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from amqpd.core import deadletter, routing
from amqpd.core.broker import Broker
from amqpd.core.message import Message, exchange_of, props_of, with_props
from amqpd.core.vhost import VHost
from amqpd.wire import properties
from amqpd.wire.outgoing import shortstr
from amqpd.wire.tables import Field, Table, longstr

__all__ = ["Client", "delivered", "published"]

TRACE: Final = "amq.rabbitmq.trace"
SHORTSTR_MAX: Final = 255
NO_PROPERTIES: Final = b"\x00\x00"

Client = tuple[str, int, str]
"""Connection, channel, user."""


def published(broker: Broker, vhost: VHost, client: Client, message: Message, queues: Sequence[str]) -> None:
    """The client has published the message, which goes to these queues."""
    extra: Table = {"routed_queues": Field("A", [longstr(name) for name in queues])}
    trace(broker, vhost, f"publish.{exchange_of(message)}", client, message, extra)


def delivered(broker: Broker, vhost: VHost, client: Client, message: Message, queue: str, redelivered: bool) -> None:
    """The client is given the message from this queue."""
    trace(broker, vhost, f"deliver.{queue}", client, message, {"redelivered": Field("I", int(redelivered))})


def trace(broker: Broker, vhost: VHost, key: str, client: Client, message: Message, extra: Table) -> None:
    name = exchange_of(message)
    if name == TRACE:
        return
    targets = routing.route(vhost.exchanges[TRACE], (key,), {}, vhost.exchanges, vhost.queues)
    if not targets:
        return
    props = props_of(message)
    headers = deadletter.headers_of(props)
    keys, blind = deadletter.keys_in(headers, message)
    told = properties.table(props)
    if properties.facts(props).has_headers:
        told["headers"] = Field("F", {name: field for name, field in headers.items() if name != "BCC"})
    connection, channel, user = client
    table: Table = {
        "exchange_name": longstr(name),
        "routing_keys": Field("A", [longstr(key) for key in (*keys, *blind)]),
        "properties": Field("F", told),
        "node": longstr(broker.node_name),
        "vhost": longstr(vhost.name),
        "connection": longstr(connection),
        "channel": Field("I", channel),
        "user": longstr(user),
        **extra,
    }
    plain = message[0], message[1], message[2], 0, 0
    content, origin = with_props(plain, properties.rewrite(NO_PROPERTIES, headers=table), 0)
    short = key.encode("utf-8", "surrogateescape")[:SHORTSTR_MAX].decode("utf-8", "ignore")
    broker.enqueue(targets, (), False, shortstr(TRACE) + shortstr(short), content, origin)
