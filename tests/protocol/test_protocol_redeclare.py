"""Redeclaring what is there as something else: refused, unless the node is told to be lenient (semantics 3.1, 12)."""

from __future__ import annotations

from typing import Any

import pytest
from pamqp import commands

from amqpd.core.arguments import Redeclare
from tests.support.world import Client, World

C = commands

QUORUM = {"x-queue-type": "quorum", "x-expires": 1000, "x-delivery-limit": 3}


@pytest.fixture
def client(world: World) -> Client:
    client = world.connect()
    client.open()
    return client


def refused(answer: Any) -> str:
    assert isinstance(answer, C.Channel.Close)
    assert answer.reply_code == 406
    return str(answer.reply_text)


def exchange(client: Client, kind: str = "direct", **values: Any) -> Any:
    return client.method(1, C.Exchange.Declare, exchange="x", exchange_type=kind, **values)[0]


CHANGES: list[dict[str, Any]] = [
    {"durable": False},
    {"auto_delete": True},
    {"arguments": {"x-max-length": 4}},
    {"arguments": {"x-queue-type": "quorum"}},
]


@pytest.mark.parametrize("change", CHANGES)
def test_strict_is_the_default(client: Client, change: dict[str, Any]) -> None:
    client.declare("q", durable=True)
    assert "inequivalent arg" in refused(client.declare("q", **{"durable": True, **change}))


@pytest.mark.parametrize("change", CHANGES)
def test_relaxed_leaves_the_queue_as_it_is(world: World, client: Client, change: dict[str, Any]) -> None:
    world.broker.redeclare = Redeclare(relaxed=True)
    client.declare("q", durable=True)
    client.publish("", "q")
    answer = client.declare("q", **{"durable": True, **change})
    assert isinstance(answer, C.Queue.DeclareOk)
    assert answer.message_count == 1
    queue = world.queue("q")
    assert (queue.durable, queue.auto_delete, queue.arguments, queue.kind) == (True, False, {}, "classic")


def test_relaxed_makes_no_queue_of_a_stream(world: World, client: Client) -> None:
    world.broker.redeclare = Redeclare(relaxed=True)
    client.declare("q", durable=True)
    text = refused(client.declare("q", durable=True, arguments={"x-queue-type": "stream"}))
    assert "inequivalent arg 'x-queue-type' for queue 'q' in vhost '/'" in text


def test_relaxed_opens_no_exclusive_queue(world: World, client: Client) -> None:
    world.broker.redeclare = Redeclare(relaxed=True)
    client.declare("q", exclusive=True)
    other = world.connect()
    other.open()
    answer = other.declare("q")
    assert isinstance(answer, C.Channel.Close)
    assert answer.reply_code == 405


def test_relaxed_exchanges(world: World, client: Client) -> None:
    world.broker.redeclare = Redeclare(relaxed=True)
    exchange(client, durable=True)
    changed = {"durable": False, "auto_delete": True, "arguments": {"alternate-exchange": "y"}}
    assert isinstance(exchange(client, **changed), C.Exchange.DeclareOk)
    found = world.broker.vhosts["/"].exchanges["x"]
    assert (found.durable, found.auto_delete, found.arguments) == (True, False, {})
    assert "inequivalent arg 'type'" in refused(exchange(client, "fanout"))
    client = world.connect()
    client.open()
    assert "inequivalent arg 'internal'" in refused(exchange(client, internal=True))


@pytest.mark.parametrize("named", [True, False])
def test_a_quorum_queue_as_a_classic_one(world: World, client: Client, named: bool) -> None:
    world.broker.redeclare = Redeclare(quorum_as_classic=True)
    client.declare("q", durable=True, arguments=QUORUM)
    kind = {"x-queue-type": "classic"} if named else {}
    for more in ({}, {"x-max-priority": 5}):
        assert isinstance(client.declare("q", arguments={**kind, "x-expires": 1000, **more}), C.Queue.DeclareOk)
    assert world.queue("q").kind == "quorum"
    assert "'x-message-ttl'" in refused(client.declare("q", arguments={**kind, "x-expires": 1000, "x-message-ttl": 5}))


def test_only_that_way_round(world: World, client: Client) -> None:
    world.broker.redeclare = Redeclare(quorum_as_classic=True)
    client.declare("q", durable=True)
    assert "'x-queue-type'" in refused(client.declare("q", durable=True, arguments={"x-queue-type": "quorum"}))
    client = world.connect()
    client.open()
    client.declare("r", durable=True, arguments=QUORUM)
    assert "'x-delivery-limit'" in refused(
        client.declare("r", durable=True, arguments={**QUORUM, "x-delivery-limit": 4})
    )
