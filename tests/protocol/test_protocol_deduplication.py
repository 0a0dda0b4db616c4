"""Deduplication: the exchange type x-message-deduplication, and queues with that argument (the plugin's rules)."""

from __future__ import annotations

from typing import Any

import pytest
from pamqp import commands

from tests.support.received import bodies, confirmed, drain, get, messages
from tests.support.world import Client, World

C = commands


def declare(client: Client, arguments: dict[str, Any], kind: str = "x-message-deduplication") -> Any:
    return client.method(1, C.Exchange.Declare, exchange="x", exchange_type=kind, durable=True, arguments=arguments)[0]


def opened(world: World, arguments: dict[str, Any], **values: Any) -> Client:
    """A client, and queue `q` bound to an exchange with these arguments."""
    client = world.connect()
    client.open()
    declare(client, arguments, **values)
    client.declare("q", durable=True)
    client.method(1, C.Queue.Bind, queue="q", exchange="x", routing_key="")
    return client


def publish(client: Client, value: Any, body: bytes = b"m", **headers: Any) -> list[Any]:
    return client.publish("x", "any", body, headers={"x-deduplication-header": value, **headers})


def taken(client: Client) -> list[bytes]:
    return [message.body for message in drain(client, "q")]


def test_a_value_goes_through_once(world: World) -> None:
    client = opened(world, {"x-cache-size": 10})
    for body, value in enumerate(["a", "b", "a", 1, 1, 2, True, True]):
        publish(client, value, b"%d" % body)
    client.publish("x", "", b"without")
    client.publish("x", "", b"without")
    assert taken(client) == [b"0", b"1", b"3", b"5", b"6", b"without", b"without"]


def test_the_oldest_value_makes_room(world: World) -> None:
    client = opened(world, {"x-cache-size": 2})
    for value in (1, 2, 1, 3):
        publish(client, value, b"%d" % value)
    assert taken(client) == [b"1", b"2", b"3"]
    publish(client, 2)
    publish(client, 3)
    assert taken(client) == []
    publish(client, 1)
    assert taken(client) == [b"m"]


@pytest.mark.parametrize(
    ("argument", "header", "ttl"), [(1000, None, 1000), ("1000", None, 1000), (1000, 300, 300), (1000, 0, 1000)]
)
def test_a_value_is_forgotten_after_a_while(world: World, argument: Any, header: int | None, ttl: int) -> None:
    client = opened(world, {"x-cache-size": 10, "x-cache-ttl": argument})
    headers = {} if header is None else {"x-cache-ttl": header}
    publish(client, "a", **headers)
    world.wait(ttl - 1)
    publish(client, "a", **headers)
    assert len(taken(client)) == 1
    world.wait(1)
    publish(client, "a", **headers)
    publish(client, "a", **headers)
    assert len(taken(client)) == 1


def test_a_duplicate_is_confirmed_and_returned_when_mandatory(world: World) -> None:
    client = opened(world, {"x-cache-size": 10})
    client.method(1, C.Confirm.Select)
    assert confirmed(publish(client, "a"), 1) == ([1], [])
    frames = client.publish("x", "", b"again", headers={"x-deduplication-header": "a"}, mandatory=True)
    assert bodies(frames) == [b"again"]
    assert messages(frames)[0].method.reply_code == 312
    assert confirmed(frames, 2) == ([2], [])


def test_copies_are_no_duplicates(world: World) -> None:
    client = opened(world, {"x-cache-size": 10})
    publish(client, "a", CC=["b", "c"])
    assert len(taken(client)) == 1


def test_it_can_be_the_inner_type_of_a_delayed_exchange(world: World) -> None:
    client = opened(world, {"x-delayed-type": "x-message-deduplication", "x-cache-size": 10}, kind="x-delayed-message")
    for _ in range(2):
        publish(client, "a", **{"x-delay": 1000})
    world.wait(1000)
    assert len(taken(client)) == 1


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({}, "Missing or invalid argument, 'x-cache-size' must be an integer greater than 0"),
        ({"x-cache-size": 0}, "Missing or invalid argument, 'x-cache-size' must be an integer greater than 0"),
        ({"x-cache-size": "many"}, "Missing or invalid argument, 'x-cache-size' must be an integer greater than 0"),
        ({"x-cache-size": 1, "x-cache-ttl": -1}, "Invalid argument, 'x-cache-ttl' must be an integer greater than 0"),
        (
            {"x-cache-size": 1, "x-cache-persistence": "tape"},
            "Invalid argument, 'x-cache-persistence' must be either 'disk' or 'memory'",
        ),
    ],
)
def test_arguments_that_are_refused(world: World, arguments: dict[str, Any], text: str) -> None:
    client = world.connect()
    client.open()
    closed = declare(client, arguments)
    assert (closed.reply_code, closed.reply_text) == (406, f"PRECONDITION_FAILED - {text}")


# ----------------------------------------------------------------------------------------------------- queues


def deduplicating(world: World, **arguments: Any) -> Client:
    """A client, and a queue `q` that deduplicates."""
    client = world.connect()
    client.open()
    client.declare("q", durable=True, arguments={"x-message-deduplication": True, **arguments})
    return client


def put(client: Client, value: Any, body: bytes = b"m", **properties: Any) -> list[Any]:
    return client.publish("", "q", body, headers={"x-deduplication-header": value}, delivery_mode=2, **properties)


def ready(client: Client) -> int:
    count: int = client.declare("q", passive=True).message_count
    return count


def test_a_queue_takes_a_value_once_while_it_has_it(world: World) -> None:
    client = deduplicating(world)
    for body, value in enumerate(["a", "b", "a", "b", "c"]):
        put(client, value, b"%d" % body)
    client.publish("", "q", b"without")
    client.publish("", "q", b"without")
    assert len(world.folded()["q"]) == 3
    assert taken(client) == [b"0", b"1", b"4", b"without", b"without"]
    put(client, "a", b"again")
    assert taken(client) == [b"again"]


@pytest.mark.parametrize("settled", ["ack", "reject"])
def test_an_unsettled_message_counts(world: World, settled: str) -> None:
    client = deduplicating(world)
    put(client, "a")
    message = get(client, "q")
    assert message is not None
    put(client, "a")
    assert ready(client) == 0
    tag = message.method.delivery_tag
    if settled == "ack":
        client.method(1, C.Basic.Ack, delivery_tag=tag)
    else:
        client.method(1, C.Basic.Reject, delivery_tag=tag, requeue=False)
    put(client, "a")
    put(client, "a")
    assert ready(client) == 1


def test_a_requeued_message_counts_until_it_is_taken(world: World) -> None:
    client = deduplicating(world)
    put(client, "a")
    message = get(client, "q")
    assert message is not None
    client.method(1, C.Basic.Nack, delivery_tag=message.method.delivery_tag, requeue=True)
    put(client, "a")
    assert ready(client) == 1
    client.consume("q", no_ack=True)
    assert bodies(put(client, "a", b"next")) == [b"next"]
    assert bodies(put(client, "a", b"next")) == [b"next"]


def test_a_duplicate_is_confirmed_and_one_without_room_is_not(world: World) -> None:
    client = deduplicating(world, **{"x-max-length": 1, "x-overflow": "reject-publish"})
    client.method(1, C.Confirm.Select)
    assert confirmed(put(client, "a"), 1) == ([1], [])
    assert confirmed(put(client, "a"), 2) == ([2], [])
    assert confirmed(put(client, "b"), 3) == ([], [3])
    assert len(taken(client)) == 1
    assert confirmed(put(client, "b"), 4) == ([4], [])
    assert ready(client) == 1


@pytest.mark.parametrize("how", ["expire", "push out", "purge"])
def test_a_message_that_is_dropped_counts_no_more(world: World, how: str) -> None:
    client = deduplicating(world, **({"x-max-length": 1} if how == "push out" else {}))
    put(client, "a", expiration="100")
    if how == "expire":
        world.wait(100)
    elif how == "push out":
        put(client, "b")
    else:
        client.method(1, C.Queue.Purge, queue="q")
    put(client, "a", b"again")
    assert taken(client) == [b"again"]


@pytest.mark.parametrize("crash", [True, False])
def test_what_is_in_the_queue_counts_after_a_restart(world: World, crash: bool) -> None:
    put(deduplicating(world), "a", b"first")
    world = world.restart(crash=crash)
    client = deduplicating(world)
    put(client, "a", b"second")
    assert taken(client) == [b"first"]


def test_other_queues_have_the_message_all_the_same(world: World) -> None:
    client = deduplicating(world)
    client.declare("r", durable=True)
    for queue in "qr":
        client.method(1, C.Queue.Bind, queue=queue, exchange="amq.fanout", routing_key="")
    for _ in range(2):
        client.publish("amq.fanout", "", headers={"x-deduplication-header": "a"}, delivery_mode=2)
    assert {name: len(ids) for name, ids in world.folded().items()} == {"q": 1, "r": 2}


def test_the_argument_is_checked_and_compared(world: World) -> None:
    client = deduplicating(world)
    closed = client.declare("q", durable=True)
    assert closed.reply_text.startswith(
        "PRECONDITION_FAILED - inequivalent arg 'x-message-deduplication' for queue 'q'"
    )
    client.method(1, C.Channel.CloseOk)
    client.open()
    closed = client.declare("r", arguments={"x-message-deduplication": "yes"})
    assert closed.reply_code == 406
