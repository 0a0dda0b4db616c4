"""What a message would meet: the same as what one does meet."""

from __future__ import annotations

from typing import Any

import pytest
from pamqp import commands

from amqpd.core import operations
from amqpd.wire import properties
from tests.support.world import Client, World

C = commands


@pytest.fixture
def client(world: World) -> Client:
    client = world.connect()
    client.open()
    return client


def declare(client: Client, name: str, kind: str, **values: Any) -> None:
    client.method(1, C.Exchange.Declare, exchange=name, exchange_type=kind, **values)


def bind(client: Client, queue: str, exchange: str, key: str = "", **values: Any) -> None:
    client.method(1, C.Queue.Bind, queue=queue, exchange=exchange, routing_key=key, **values)


def explain(
    world: World, exchange: str, key: str = "", headers: dict[str, Any] | None = None, user: str | None = None
) -> dict[str, Any]:
    props = properties.encode({"headers": headers} if headers is not None else {})
    return operations.explain_route(world.broker, world.broker.vhosts["/"], exchange, key, props, user)


def names(found: dict[str, Any]) -> list[str]:
    return [queue["name"] for queue in found["queues"]]


def keys(hop: dict[str, Any]) -> list[tuple[str, str]]:
    return [(binding["destination"], binding["routing_key"]) for binding in hop["bindings"]]


def test_the_default_exchange(world: World, client: Client) -> None:
    client.declare("q")
    found = explain(world, "", "q")
    assert (names(found), found["hops"], found["refused"], found["routed"]) == (["q"], [], None, True)
    assert explain(world, "", "missing")["routed"] is False


def test_only_the_bindings_that_match(world: World, client: Client) -> None:
    declare(client, "x", "topic")
    client.declare("q")
    client.declare("r")
    for queue, key in (("q", "a.*"), ("q", "#"), ("q", "b"), ("r", "b.#")):
        bind(client, queue, "x", key)
    found = explain(world, "x", "a.b")
    assert names(found) == ["q"]
    assert keys(found["hops"][0]) == [("q", "a.*"), ("q", "#")]


def test_headers_and_copies(world: World, client: Client) -> None:
    client.declare("q")
    bind(client, "q", "amq.headers", arguments={"x-match": "any", "kind": "a", "size": 1})
    assert names(explain(world, "amq.headers", headers={"kind": "a"})) == ["q"]
    assert names(explain(world, "amq.headers", headers={"kind": "b"})) == []
    bind(client, "q", "amq.direct", "cc")
    found = explain(world, "amq.direct", "k", headers={"CC": ["cc"]})
    assert (found["routing_keys"], names(found)) == (["k", "cc"], ["q"])


def test_through_other_exchanges_and_alternates(world: World, client: Client) -> None:
    declare(client, "x", "direct", arguments={"alternate-exchange": "spare"})
    declare(client, "spare", "fanout")
    declare(client, "y", "fanout")
    client.method(1, C.Exchange.Bind, source="x", destination="y", routing_key="k")
    client.method(1, C.Exchange.Bind, source="y", destination="x", routing_key="")
    for queue, exchange in (("q", "y"), ("left", "spare")):
        client.declare(queue)
        bind(client, queue, exchange)
    found = explain(world, "x", "k")
    assert [(hop["exchange"], hop["reached_by"]) for hop in found["hops"]] == [
        ("x", "publish"),
        ("y", "binding from 'x'"),
    ]
    assert names(found) == ["q"]
    assert found["hops"][0]["alternate_exchange"] == {"name": "spare", "used": False}
    found = explain(world, "x", "other")
    assert [hop["reached_by"] for hop in found["hops"]] == ["publish", "alternate exchange of 'x'"]
    assert (names(found), found["hops"][0]["alternate_exchange"]["used"]) == (["left"], True)


def test_nothing_is_published_and_nobody_remembers(world: World, client: Client) -> None:
    declare(client, "x", "x-recent-history")
    client.declare("q")
    bind(client, "q", "x")
    assert names(explain(world, "x", "k")) == ["q"]
    client.declare("r")
    bind(client, "r", "x")
    assert (world.queue("q").ready, world.queue("r").ready) == (0, 0)


@pytest.mark.parametrize(
    ("right", "exchange", "text"),
    [
        (("write", "amq.topic"), "amq.topic", "write access to exchange 'amq.topic' in vhost '/' refused for user 'u'"),
        (("write", "amq.default"), "", "write access to exchange 'amq.default' in vhost '/' refused for user 'u'"),
        (("enter", "/"), "amq.topic", "access to vhost '/' refused for user 'u'"),
        (
            ("topic write", "k"),
            "amq.topic",
            "write access to topic 'k' in exchange 'amq.topic' in vhost '/' refused for user 'u'",
        ),
    ],
)
def test_who_may_not(world: World, client: Client, right: tuple[str, str], exchange: str, text: str) -> None:
    client.declare("k")
    bind(client, "k", "amq.topic", "#")
    world.rights.refused.add(right)
    found = explain(world, exchange, "k", user="u")
    assert (found["refused"], found["routed"], names(found)) == (text, False, ["k"])
    found = explain(world, exchange, "k")
    assert (found["refused"], found["routed"]) == (None, True)


def test_what_nobody_may(world: World, client: Client) -> None:
    assert explain(world, "missing")["refused"] == "no exchange 'missing' in vhost '/'"
    found = explain(world, "amq.rabbitmq.trace", "k")
    assert found["refused"] == "cannot publish to internal exchange 'amq.rabbitmq.trace' in vhost '/'"


def test_a_full_queue_says_so(world: World, client: Client) -> None:
    client.declare("q", arguments={"x-max-length": 1, "x-overflow": "reject-publish"})
    for full in (False, True):
        (queue,) = explain(world, "", "q")["queues"]
        assert (queue["full"], queue["overflow"]) == (full, "reject-publish")
        client.publish("", "q")
