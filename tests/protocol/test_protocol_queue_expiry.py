"""Queues that expire: x-expires is a lease, which consumers hold and gets and declares renew (semantics 3.2)."""

from __future__ import annotations

from typing import Any

import pytest
from pamqp import commands

from tests.support.received import drain, get, messages
from tests.support.world import Client, World

C = commands


@pytest.fixture
def client(world: World) -> Client:
    """A client with channel 1 open and a queue `q` that expires after a second."""
    client = world.connect()
    client.open()
    leased(client)
    return client


def leased(client: Client, **values: Any) -> None:
    client.declare("q", arguments={"x-expires": 1000, **values.pop("arguments", {})}, **values)


def exists(world: World) -> bool:
    return "q" in world.broker.vhosts["/"].queues


def gone_after(world: World, milliseconds: int) -> None:
    """The queue goes at this very millisecond."""
    world.wait(milliseconds - 1)
    assert exists(world)
    world.wait(1)
    assert not exists(world)


def test_an_unused_queue_goes(world: World, client: Client) -> None:
    gone_after(world, 1000)
    (close,) = client.method(1, C.Queue.Declare, queue="q", passive=True)
    assert (close.reply_code, close.reply_text) == (404, "NOT_FOUND - no queue 'q' in vhost '/'")


@pytest.mark.parametrize("how", ["get", "get-empty", "declare", "passive", "other"])
def test_what_renews_the_lease(world: World, client: Client, how: str) -> None:
    for _ in range(5):
        world.wait(999)
        if how == "declare":
            leased(client)
        elif how == "passive":
            client.declare("q", passive=True)
        elif how == "other":
            other = world.connect()
            other.open()
            other.declare("q", passive=True)
        else:
            if how == "get":
                client.publish("", "q")
            assert (get(client, "q", no_ack=True) is None) == (how == "get-empty")
    gone_after(world, 1000)


@pytest.mark.parametrize("how", ["publish", "bind", "purge", "ack"])
def test_what_does_not_renew_it(world: World, client: Client, how: str) -> None:
    client.publish("", "q")
    get(client, "q")
    world.wait(500)
    if how == "publish":
        client.publish("", "q")
    elif how == "bind":
        client.method(1, C.Queue.Bind, queue="q", exchange="amq.fanout")
    elif how == "purge":
        client.method(1, C.Queue.Purge, queue="q")
    else:
        client.method(1, C.Basic.Ack, delivery_tag=1)
    gone_after(world, 500)


@pytest.mark.parametrize("how", ["cancel", "channel", "connection"])
def test_a_consumer_holds_it_and_then_it_runs_anew(world: World, client: Client, how: str) -> None:
    other = world.connect()
    other.open()
    world.wait(600)
    client.consume("q", "a")
    other.consume("q", "b")
    world.wait(10_000)
    client.method(1, C.Basic.Cancel, consumer_tag="a")
    world.wait(10_000)
    assert exists(world)
    if how == "cancel":
        other.method(1, C.Basic.Cancel, consumer_tag="b")
    elif how == "channel":
        other.method(1, C.Channel.Close, reply_code=200, reply_text="", class_id=0, method_id=0)
    else:
        other.lose()
    gone_after(world, 1000)


def test_a_consumer_that_comes_at_the_last_moment(world: World, client: Client) -> None:
    world.wait(999)
    client.consume("q")
    world.wait(5000)
    assert exists(world)


def test_its_messages_are_no_dead_letters(world: World, client: Client) -> None:
    client.method(1, C.Queue.Delete, queue="q")
    client.declare("dead")
    leased(client, arguments={"x-dead-letter-exchange": "", "x-dead-letter-routing-key": "dead"})
    for _ in range(3):
        client.publish("", "q")
    get(client, "q", no_ack=True)
    world.wait(900)
    get(client, "q")
    gone_after(world, 1000)
    # The one that was taken can still be settled.
    assert client.method(1, C.Basic.Reject, delivery_tag=2, requeue=False) == []
    assert drain(client, "dead") == []


def test_messages_that_expire_at_the_same_time_as_their_queue(world: World, client: Client) -> None:
    """The messages' own expiry is one thing, the queue's another: a second's lease and a shorter TTL."""
    client.method(1, C.Queue.Delete, queue="q")
    client.declare("dead")
    arguments = {"x-dead-letter-exchange": "", "x-dead-letter-routing-key": "dead", "x-message-ttl": 999}
    leased(client, arguments=arguments)
    client.publish("", "q")
    gone_after(world, 1000)
    assert len(drain(client, "dead")) == 1


def test_its_bindings_go_with_it(world: World, client: Client) -> None:
    client.method(1, C.Exchange.Declare, exchange="x", exchange_type="fanout", auto_delete=True)
    client.method(1, C.Queue.Bind, queue="q", exchange="x")
    client.method(1, C.Queue.Bind, queue="q", exchange="amq.fanout")
    client.send(client.publish_bytes(1, "amq.fanout", "", b"x", mandatory=True))
    assert client.frames() == []
    world.wait(1000)
    client.send(client.publish_bytes(1, "amq.fanout", "", b"x", mandatory=True))
    assert [message.method.reply_text for message in messages(client.frames())] == ["NO_ROUTE"]
    assert "x" not in world.broker.vhosts["/"].exchanges


def test_a_new_queue_of_the_name_has_its_own_lease(world: World, client: Client) -> None:
    world.wait(500)
    client.method(1, C.Queue.Delete, queue="q")
    leased(client)
    gone_after(world, 1000)


@pytest.mark.parametrize("crash", [False, True])
def test_a_durable_queue_does_not_come_back(world: World, client: Client, crash: bool) -> None:
    client.method(1, C.Queue.Delete, queue="q")
    leased(client, durable=True)
    client.method(1, C.Queue.Bind, queue="q", exchange="amq.fanout")
    client.publish("", "q", delivery_mode=2)
    gone_after(world, 1000)
    world = world.restart(crash=crash)
    assert not exists(world)
    client = world.connect()
    client.open()
    leased(client, durable=True)
    assert client.declare("q", passive=True).message_count == 0
    client.publish("amq.fanout", "")
    assert get(client, "q") is None


@pytest.mark.parametrize("crash", [False, True])
def test_the_lease_begins_anew_with_a_start(world: World, client: Client, crash: bool) -> None:
    client.method(1, C.Queue.Delete, queue="q")
    leased(client, durable=True)
    world.wait(900)
    world = world.restart(crash=crash, down=5000)
    gone_after(world, 1000)


def test_a_redeclaration_does_not_renew_a_quorum_queue(world: World, client: Client) -> None:
    client.method(1, C.Queue.Delete, queue="q")
    leased(client, durable=True, arguments={"x-queue-type": "quorum"})
    world.wait(500)
    leased(client, durable=True, arguments={"x-queue-type": "quorum"})
    gone_after(world, 500)
