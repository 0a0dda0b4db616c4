"""The event exchange: what happens in the broker, as messages (semantics 9)."""

from __future__ import annotations

from typing import Any

import pytest
from pamqp import commands

from amqpd.auth.events import observer
from amqpd.auth.users import UserStore
from amqpd.core import operations
from amqpd.core.events import EVENTS, EventExchange
from amqpd.core.ports import VHostRow
from tests.support.received import Received, drain, peek
from tests.support.world import WALL, Client, World

C = commands


@pytest.fixture
def client(world: World) -> Client:
    """A client with channel 1 open, whose queue `events` gets all events."""
    world.broker.vhosts.clear()
    world.broker.system_exchanges = {"/": [EVENTS]}
    world.broker.add_vhost(VHostRow("/"))
    EventExchange(world.broker, "/")
    client = world.connect()
    client.open()
    client.declare("events")
    client.method(1, C.Queue.Bind, queue="events", exchange=EVENTS, routing_key="#")
    told(client)
    return client


def told(client: Client) -> list[tuple[str, dict[str, Any]]]:
    """Kind and headers of the events since the last look, without the time."""
    found = []
    for message in drain(client, "events"):
        headers = {name: value for name, value in message.headers.items() if name != "timestamp_in_ms"}
        found.append((message.method.routing_key, headers))
    return found


def kinds(client: Client) -> list[str]:
    return [kind for kind, _ in told(client)]


def one(client: Client) -> tuple[str, dict[str, Any]]:
    (event,) = told(client)
    return event


def test_nothing_is_told_without_an_event_exchange(world: World) -> None:
    client = world.connect()
    client.open()
    answer = client.method(1, C.Exchange.Declare, exchange=EVENTS, exchange_type="topic", passive=True)[0]
    assert answer.reply_code == 404


def test_the_message(world: World, client: Client) -> None:
    world.now = 2500
    client.declare("q")
    (message,) = drain(client, "events")
    assert isinstance(message, Received)
    assert (message.method.exchange, message.method.routing_key, message.body) == (EVENTS, "queue.created", b"")
    assert message.properties.delivery_mode == 2
    assert int(message.properties.timestamp.timestamp()) == (WALL + 2500) // 1000
    assert message.headers["timestamp_in_ms"] == WALL + 2500


def test_the_types_of_its_headers(client: Client) -> None:
    client.declare("q", arguments={"x-max-length": 5})
    raw = peek(client, "events")
    for field in (b"\x04nameS\x00\x00\x00\x01q", b"\x07durablet\x00", b"\x0ftimestamp_in_msl", b"\x09argumentsF"):
        assert field in raw


def test_clients_cannot_publish_to_it(client: Client) -> None:
    (close,) = client.publish(EVENTS, "queue.created")
    assert close.reply_code == 403


def test_queues(client: Client) -> None:
    client.declare("q", durable=True, arguments={"x-max-length": 5})
    who = {"user_who_performed_action": "guest"}
    assert one(client) == (
        "queue.created",
        {
            "name": "q",
            "vhost": "/",
            "durable": True,
            "auto_delete": False,
            "exclusive": False,
            "type": "classic",
            "arguments": {"x-max-length": 5},
            **who,
        },
    )
    client.declare("q", durable=True, arguments={"x-max-length": 5})
    assert told(client) == []
    client.method(1, C.Queue.Delete, queue="q")
    assert one(client) == ("queue.deleted", {"name": "q", "vhost": "/", **who})


def test_exchanges_and_bindings(client: Client) -> None:
    client.method(1, C.Exchange.Declare, exchange="x", exchange_type="direct", auto_delete=True)
    kind, about = one(client)
    assert kind == "exchange.created"
    assert (about["name"], about["type"], about["auto_delete"], about["internal"]) == ("x", "direct", True, False)
    client.declare("q")
    told(client)
    for _ in range(2):
        client.method(1, C.Queue.Bind, queue="q", exchange="x", routing_key="k", arguments={"a": 1})
    assert one(client) == (
        "binding.created",
        {
            "source_name": "x",
            "source_kind": "exchange",
            "destination_name": "q",
            "destination_kind": "queue",
            "routing_key": "k",
            "arguments": {"a": 1},
            "vhost": "/",
            "user_who_performed_action": "guest",
        },
    )
    client.method(1, C.Queue.Unbind, queue="q", exchange="x", routing_key="k", arguments={"a": 1})
    events = told(client)
    assert [kind for kind, _ in events] == ["binding.deleted", "exchange.deleted"]
    assert [about["user_who_performed_action"] for _, about in events] == ["guest", "rmq-internal"]


def test_what_goes_with_a_queue_or_an_exchange(client: Client) -> None:
    client.method(1, C.Exchange.Declare, exchange="x", exchange_type="direct")
    for name in ("q", "r"):
        client.declare(name)
        client.method(1, C.Queue.Bind, queue=name, exchange="x", routing_key="k")
    told(client)
    client.method(1, C.Queue.Delete, queue="q")
    assert kinds(client) == ["binding.deleted", "queue.deleted"]
    client.method(1, C.Exchange.Delete, exchange="x")
    assert kinds(client) == ["binding.deleted", "exchange.deleted"]


def test_connections_channels_and_consumers(world: World, client: Client) -> None:
    other = world.connect()
    login, created = told(client)
    assert login[0] == "user.authentication.success"
    assert (login[1]["name"], login[1]["auth_mechanism"]) == ("guest", "PLAIN")
    assert created[0] == "connection.created"
    assert (created[1]["name"], created[1]["user"], created[1]["vhost"]) == (other.session.name, "guest", "/")
    assert created[1]["client_properties"]["capabilities"] == {"consumer_cancel_notify": True}
    other.open(3)
    kind, about = one(client)
    assert (kind, about["name"], about["number"]) == ("channel.created", f"{other.session.name} (3)", 3)
    other.declare("own", number=3, exclusive=True)
    other.consume("own", "tag", number=3)
    _, (kind, about) = told(client)
    assert (kind, about["consumer_tag"], about["queue"], about["ack_required"]) == (
        "consumer.created",
        "tag",
        "own",
        True,
    )
    other.lose()
    events = told(client)
    assert [kind for kind, _ in events] == ["consumer.deleted", "channel.closed", "queue.deleted", "connection.closed"]
    assert events[-1][1]["name"] == other.session.name


def test_consumers_that_lose_their_queue(client: Client) -> None:
    client.declare("q")
    client.consume("q", "tag")
    told(client)
    client.method(1, C.Queue.Delete, queue="q")
    events = told(client)
    assert [kind for kind, _ in events] == ["consumer.deleted", "queue.deleted"]
    assert events[0][1]["consumer_tag"] == "tag"


def test_a_login_that_is_refused(world: World, client: Client) -> None:
    other = Client(world)
    other.send(b"AMQP\x00\x00\x09\x01")
    other.method(
        0, C.Connection.StartOk, client_properties={}, mechanism="PLAIN", response="\0guest\0wrong", locale="en_US"
    )
    kind, about = one(client)
    assert (kind, about["name"]) == ("user.authentication.failure", "guest")


def test_policies_parameters_and_virtual_hosts(world: World, client: Client) -> None:
    broker = world.broker
    vhost = broker.vhosts["/"]
    operations.set_policy(broker, vhost, "p", pattern="q", definition={"max-length": 1}, done=lambda _: None)
    operations.clear_policy(broker, vhost, "p", done=lambda _: None)
    operations.set_vhost_limits(broker, vhost, {"max-queues": 9}, lambda _: None)
    operations.clear_vhost_limits(broker, vhost, lambda _: None)
    operations.put_vhost(broker, VHostRow("v", "for tests", ("a",)), lambda _: None)
    operations.delete_vhost(broker, "v", lambda _: None)
    world.run()
    assert told(client) == [
        (
            "policy.set",
            {
                "name": "p",
                "vhost": "/",
                "pattern": "q",
                "definition": {"max-length": 1},
                "priority": 0,
                "apply-to": "all",
            },
        ),
        ("policy.cleared", {"name": "p", "vhost": "/"}),
        ("vhost.limits.set", {"name": "limits", "vhost": "/", "max-queues": 9}),
        ("vhost.limits.cleared", {"name": "limits", "vhost": "/"}),
        ("vhost.created", {"name": "v", "description": "for tests", "tags": ["a"]}),
        ("vhost.deleted", {"name": "v"}),
    ]


def test_alarms(world: World, client: Client) -> None:
    alarms = world.broker.alarms
    alarms.raise_("memory", "much")
    alarms.raise_("memory", "more")
    alarms.raise_("disk", "little")
    alarms.clear("memory")
    alarms.clear("memory")
    node = {"node": world.broker.node_name}
    assert told(client) == [
        ("alarm.set", {"source": "memory", **node}),
        ("alarm.set", {"source": "disk", **node}),
        ("alarm.cleared", {"source": "memory", **node}),
    ]


def test_users_and_permissions(world: World, client: Client) -> None:
    users = UserStore(world.catalog.load(), world.catalog, world.broker.vhosts.__contains__)
    users.observe = observer(world.broker.emit)
    ignore = lambda _: None  # noqa: E731
    users.add_user("u", "secret", [], ignore)
    users.change_password("u", "other", ignore)
    users.set_tags("u", ["monitoring"], ignore)
    users.set_permissions("u", "/", "c", "w", "r", ignore)
    users.set_topic_permissions("u", "/", "amq.topic", "w", "r", ignore)
    users.clear_topic_permissions("u", "/", None, ignore)
    users.clear_permissions("u", "/", ignore)
    users.delete_user("u", ignore)
    world.run()
    place = {"user": "u", "vhost": "/"}
    assert told(client) == [
        ("user.created", {"name": "u"}),
        ("user.password.changed", {"name": "u"}),
        ("user.tags.set", {"name": "u", "tags": ["monitoring"]}),
        ("permission.created", {**place, "configure": "c", "write": "w", "read": "r"}),
        ("topic.permission.created", {**place, "exchange": "amq.topic", "write": "w", "read": "r"}),
        ("topic.permission.deleted", place),
        ("permission.deleted", place),
        ("user.deleted", {"name": "u"}),
    ]


def test_durable_bindings_of_it_do_not_hinder_a_start_without_it(world: World, client: Client) -> None:
    client.declare("kept", durable=True)
    client.method(1, C.Queue.Bind, queue="kept", exchange=EVENTS, routing_key="queue.*")
    without = world.restart()
    assert EVENTS not in without.broker.vhosts["/"].exchanges
    assert "kept" in without.broker.vhosts["/"].queues
