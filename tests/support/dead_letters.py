"""What tests of dead letters do again and again."""

from __future__ import annotations

from typing import Any

from pamqp import commands

from tests.support.received import drain, get
from tests.support.world import Client, World

C = commands


def with_dead_letters(world: World) -> Client:
    """A client with channel 1 open, a fanout exchange `dlx`, and a queue `dead` bound to it."""
    client = reopen(world)
    exchange(client, "dlx", "fanout")
    client.declare("dead", durable=True)
    client.method(1, C.Queue.Bind, queue="dead", exchange="dlx")
    return client


def exchange(client: Client, name: str, kind: str, **values: Any) -> None:
    client.method(1, C.Exchange.Declare, exchange=name, exchange_type=kind, durable=True, **values)


def source(client: Client, name: str = "q", dlx: str = "dlx", key: str | None = None, **arguments: Any) -> None:
    """A durable queue that dead-letters; its other arguments without x- and with underscores."""
    table = {f"x-{word.replace('_', '-')}": value for word, value in arguments.items()}
    table |= {"x-dead-letter-exchange": dlx} | ({} if key is None else {"x-dead-letter-routing-key": key})
    client.declare(name, durable=True, arguments=table)


def bound(client: Client, queue: str, exchange: str, key: str = "", **values: Any) -> None:
    client.declare(queue, durable=True)
    client.method(1, C.Queue.Bind, queue=queue, exchange=exchange, routing_key=key, **values)


def fill(client: Client, count: int, queue: str = "q", **properties: Any) -> None:
    client.send(b"".join(client.publish_bytes(1, "", queue, b"%d" % number, **properties) for number in range(count)))


def refuse(client: Client, queue: str = "q", count: int = 1) -> None:
    """Take so many messages and reject each."""
    for _ in range(count):
        message = get(client, queue)
        assert message is not None
        assert client.method(1, C.Basic.Reject, delivery_tag=message.method.delivery_tag, requeue=False) == []


def left(client: Client, queue: str = "dead") -> list[bytes]:
    return [message.body for message in drain(client, queue)]


def reopen(world: World) -> Client:
    client = world.connect()
    client.open()
    return client
