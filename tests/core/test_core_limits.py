"""Limits of virtual hosts and users, topic permissions and default queue types, as clients meet them."""

from __future__ import annotations

from typing import Any

import pytest
from pamqp import commands

from amqpd.core import operations
from amqpd.core.ports import VHostRow
from amqpd.errors import PreconditionFailed
from tests.support.world import Client, World


def set_limits(world: World, **limits: int) -> None:
    done: list[object] = []
    named: dict[str, object] = {name.replace("_", "-"): limit for name, limit in limits.items()}
    operations.set_vhost_limits(world.broker, world.broker.vhosts["/"], named, done.append)
    assert done == [None]


def put_vhost(world: World, **metadata: Any) -> None:
    done: list[object] = []
    operations.put_vhost(world.broker, VHostRow("/", **metadata), done.append)
    assert done == [False]


def connect(world: World) -> tuple[Client, Any]:
    """A client that asks for the virtual host, and what it is told."""
    client = Client(world)
    client.send(b"AMQP\x00\x00\x09\x01")
    client.method(
        0,
        commands.Connection.StartOk,
        client_properties={},
        mechanism="PLAIN",
        response="\0guest\0guest",
        locale="en_US",
    )
    client.method(0, commands.Connection.TuneOk, channel_max=2047, frame_max=131072, heartbeat=0)
    [answer] = client.method(0, commands.Connection.Open, virtual_host="/", capabilities="", insist=False)
    return client, answer


def channel(world: World) -> Client:
    client = world.connect()
    client.open()
    return client


# ------------------------------------------------------------------------------------------------ connections


def test_a_virtual_host_has_only_so_many_connections() -> None:
    world = World()
    set_limits(world, max_connections=1)
    first, answer = connect(world)
    assert isinstance(answer, commands.Connection.OpenOk)
    _, answer = connect(world)
    assert (answer.reply_code, answer.reply_text) == (
        530,
        "NOT_ALLOWED - access to vhost '/' refused for user 'guest': connection limit (1) is reached",
    )
    first.lose()
    assert isinstance(connect(world)[1], commands.Connection.OpenOk)


@pytest.mark.parametrize(("limit", "refused"), [(0, True), (-1, False)])
def test_a_limit_of_nothing_and_no_limit(limit: int, refused: bool) -> None:
    world = World()
    set_limits(world, max_connections=limit, max_queues=limit)
    assert isinstance(connect(world)[1], commands.Connection.Close) is refused


def test_a_user_has_only_so_many_connections_and_channels() -> None:
    world = World()
    world.rights.limits = {"max-connections": 1, "max-channels": 2}
    client = world.connect()
    _, answer = connect(world)
    assert (answer.reply_code, answer.reply_text) == (
        530,
        "NOT_ALLOWED - connection refused for user 'guest': user connection limit (1) is reached",
    )
    client.open(1)
    client.open(2)
    [answer] = client.method(3, commands.Channel.Open)
    assert (answer.reply_code, answer.reply_text) == (
        530,
        "NOT_ALLOWED - number of channels opened for user 'guest' has reached the maximum allowed user limit of 2",
    )


# ----------------------------------------------------------------------------------------------------- queues


def test_a_virtual_host_has_only_so_many_queues() -> None:
    world = World()
    client = channel(world)
    set_limits(world, max_queues=1)
    client.declare("a")
    assert isinstance(client.declare("a"), commands.Queue.DeclareOk)
    answer = client.declare("b")
    assert (answer.reply_code, answer.reply_text) == (
        406,
        "PRECONDITION_FAILED - cannot declare queue 'b': queue limit in vhost '/' (1) is reached",
    )


def test_queues_whose_commit_is_under_way_count() -> None:
    world = World()
    client = channel(world)
    set_limits(world, max_queues=1)
    waiting: list[Any] = []
    world.catalog.submit = lambda changes, done: waiting.append(done)  # type: ignore[method-assign]
    client.method(1, commands.Queue.Declare, queue="a", durable=True)
    client.open(2)
    [answer] = client.method(2, commands.Queue.Declare, queue="b")
    assert answer.reply_code == 406


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        ({"durable": True}, "quorum"),
        ({"durable": True, "arguments": {"x-queue-type": "classic"}}, "classic"),
        ({}, "classic"),
        ({"durable": True, "exclusive": True}, "classic"),
        ({"durable": True, "auto_delete": True}, "classic"),
    ],
)
def test_queues_declared_without_a_type_are_of_the_default_one(values: dict[str, Any], kind: str) -> None:
    world = World()
    client = channel(world)
    put_vhost(world, default_queue_type="quorum")
    assert isinstance(client.declare("q", **values), commands.Queue.DeclareOk)
    assert world.queue("q").kind == kind
    assert isinstance(client.declare("q", **values), commands.Queue.DeclareOk), "and are declared again"


def test_the_nodes_default_holds_where_the_virtual_host_has_none() -> None:
    world = World()
    world.broker.default_queue_type = "quorum"
    client = channel(world)
    client.declare("a", durable=True)
    put_vhost(world, default_queue_type="stream")
    client.declare("b", durable=True)
    assert (world.queue("a").kind, world.queue("b").kind) == ("quorum", "stream")


def test_a_virtual_host_that_is_protected_stays() -> None:
    world = World()
    put_vhost(world, protected_from_deletion=True)
    with pytest.raises(PreconditionFailed) as raised:
        operations.delete_vhost(world.broker, "/", lambda _: None)
    assert raised.value.http_status == 412 and "/" in world.broker.vhosts
    with pytest.raises(PreconditionFailed, match="Unsupported default queue type 'x'"):
        put_vhost(world, default_queue_type="x")


# -------------------------------------------------------------------------------------------------- topics


def test_a_topic_that_is_not_the_users_is_not_published_to() -> None:
    world = World()
    world.rights.refused = {("topic write", "no.entry")}
    client = channel(world)
    client.declare("q")
    client.method(1, commands.Queue.Bind, queue="q", exchange="amq.topic", routing_key="#")
    for _ in range(3):
        assert client.publish("amq.topic", "yes") == []
    [answer] = client.publish("amq.topic", "no.entry")
    assert (answer.reply_code, answer.reply_text) == (
        403,
        "ACCESS_REFUSED - write access to topic 'no.entry' in exchange 'amq.topic' in vhost '/' refused for user "
        "'guest'",
    )
    assert world.queue("q").ready == 3


def test_a_copy_to_a_topic_that_is_not_the_users_is_refused_too() -> None:
    world = World()
    world.rights.refused = {("topic write", "no.entry")}
    client = channel(world)
    [answer] = client.publish("amq.topic", "yes", headers={"CC": ["no.entry"]})
    assert answer.reply_code == 403


def test_only_topic_exchanges_have_topics() -> None:
    world = World()
    world.rights.refused = {("topic write", "k"), ("topic read", "k")}
    client = channel(world)
    client.declare("q")
    assert isinstance(
        client.method(1, commands.Queue.Bind, queue="q", exchange="amq.direct", routing_key="k")[0],
        commands.Queue.BindOk,
    )
    assert client.publish("amq.direct", "k") == [] and world.queue("q").ready == 1


@pytest.mark.parametrize("method", [commands.Queue.Bind, commands.Queue.Unbind])
def test_a_topic_that_is_not_the_users_is_not_bound(method: type) -> None:
    world = World()
    world.rights.refused = {("topic read", "no.entry")}
    client = channel(world)
    client.declare("q")
    [answer] = client.method(1, method, queue="q", exchange="amq.topic", routing_key="no.entry")
    assert (answer.reply_code, answer.reply_text) == (
        403,
        "ACCESS_REFUSED - read access to topic 'no.entry' in exchange 'amq.topic' in vhost '/' refused for user "
        "'guest'",
    )
