"""The firehose: what is published and delivered while a virtual host is traced (semantics 9)."""

from __future__ import annotations

import pytest
from pamqp import commands

from amqpd.core import operations
from tests.support.received import Received, bodies, confirmed, drain, get, messages, peek, split_publish
from tests.support.world import Client, World

C = commands

TRACE = "amq.rabbitmq.trace"


def trace(world: World, on: bool = True) -> None:
    row = world.broker.vhosts["/"].row
    operations.put_vhost(world.broker, row._replace(tracing=on), lambda _: None)
    world.run()


@pytest.fixture
def client(world: World) -> Client:
    """A client with channel 1 open, a queue `q`, and a queue `traced` that the firehose goes to."""
    client = world.connect()
    client.open()
    client.declare("q", durable=True)
    client.declare("traced")
    client.method(1, C.Queue.Bind, queue="traced", exchange=TRACE, routing_key="#")
    return client


def traced(client: Client) -> list[Received]:
    return drain(client, "traced")


def keys(found: list[Received]) -> list[str]:
    return [message.method.routing_key for message in found]


def test_off_there_is_nothing(client: Client) -> None:
    client.publish("", "q")
    get(client, "q")
    assert traced(client) == []


def test_a_publish_and_a_delivery(world: World, client: Client) -> None:
    trace(world)
    client.publish("", "q", b"body", headers={"own": 1}, priority=3, message_id="m", delivery_mode=2, timestamp=None)
    client.consume("q", no_ack=True)
    publish, deliver = traced(client)
    assert (publish.method.exchange, publish.method.routing_key) == (TRACE, "publish.")
    assert (deliver.method.exchange, deliver.method.routing_key) == (TRACE, "deliver.q")
    common = {
        "exchange_name": "",
        "routing_keys": ["q"],
        "properties": {"headers": {"own": 1}, "delivery_mode": 2, "priority": 3, "message_id": "m"},
        "node": world.broker.node_name,
        "vhost": "/",
        "connection": client.session.name,
        "channel": 1,
        "user": "guest",
    }
    assert publish.headers == {**common, "routed_queues": ["q"]}
    assert deliver.headers == {**common, "redelivered": 0}
    for copy in (publish, deliver):
        assert copy.body == b"body"
        assert (copy.properties.delivery_mode, copy.properties.message_id) == (None, None)


def test_consumers_that_are_there_are_traced_and_are_left_alone_afterwards(world: World, client: Client) -> None:
    client.consume("q")
    trace(world)
    assert bodies(client.publish("", "q", b"1")) == [b"1"]
    trace(world, on=False)
    assert bodies(client.publish("", "q", b"2")) == [b"2"]
    assert keys(traced(client)) == ["publish.", "deliver.q"]
    assert client.method(1, C.Basic.Ack, delivery_tag=2, multiple=True) == []
    assert world.queue("q").unacked == 0


def test_plans_made_before_are_traced_too(world: World, client: Client) -> None:
    for _ in range(5):
        client.publish("amq.fanout", "k")
    trace(world)
    client.send(b"".join(client.publish_bytes(1, "amq.fanout", "k", b"%d" % number) for number in range(3)))
    found = traced(client)
    assert keys(found) == ["publish.amq.fanout"] * 3
    assert [message.headers["routed_queues"] for message in found] == [[], [], []]


def test_redeliveries_and_gets(world: World, client: Client) -> None:
    trace(world)
    client.publish("", "q")
    get(client, "q")
    client.method(1, C.Basic.Nack, delivery_tag=1, requeue=True)
    get(client, "q")
    assert [message.headers.get("redelivered") for message in traced(client)] == [None, 0, 1]


def test_all_routing_keys_are_told(world: World, client: Client) -> None:
    trace(world)
    client.publish("amq.direct", "k", headers={"CC": ["cc"], "BCC": ["bcc"]})
    (message,) = traced(client)
    assert message.headers["routing_keys"] == ["k", "cc", "bcc"]
    assert message.headers["properties"] == {"headers": {"CC": ["cc"]}}


def test_confirms_returns_and_transactions_go_on(world: World, client: Client) -> None:
    trace(world)
    client.method(1, C.Confirm.Select)
    frames = client.method(1, C.Basic.Qos, prefetch_count=0)
    client.send(client.publish_bytes(1, "", "nowhere", b"x", mandatory=True))
    frames = client.frames()
    assert bodies(frames) == [b"x"]
    assert confirmed(frames, 1) == ([1], [])
    client.open(2)
    client.method(2, C.Tx.Select)
    client.publish("", "q", number=2)
    client.method(2, C.Tx.Commit)
    assert keys(traced(client)) == ["publish.", "publish."]


def test_durable_messages_survive_all_the_same(world: World, client: Client) -> None:
    trace(world)
    client.publish("", "q", delivery_mode=2)
    assert len(world.folded()["q"]) == 1


def test_the_firehose_is_not_traced(world: World, client: Client) -> None:
    trace(world)
    client.publish("", "q")
    client.consume("traced", "t")
    assert traced(client) == []
    client.publish("", "q")
    assert keys(messages(client.frames())) == []


def test_large_bodies_are_whole(world: World, client: Client) -> None:
    trace(world)
    body = bytes(200_000)
    client.send(split_publish(1, "q", body, 100_000))
    (message,) = traced(client)
    assert message.body == body


def test_a_restart_ends_it(world: World, client: Client) -> None:
    trace(world)
    world = world.restart()
    assert world.broker.vhosts["/"].row.tracing is False


def test_headers_that_nobody_can_decode_harm_nobody(world: World, client: Client) -> None:
    """They were published before; they are delivered as they are, and the firehose leaves them out."""
    data = client.publish_bytes(1, "", "q", b"x", headers={"a": 1})
    client.send(data.replace(b"\x01a", b"\x09a"))
    trace(world)
    assert b"\x09ab" in peek(client, "q")
    (copy,) = traced(client)
    assert copy.method.routing_key == "deliver.q"
    assert copy.headers["properties"] == {"headers": {}}
