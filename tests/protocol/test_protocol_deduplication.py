"""The exchange type x-message-deduplication (semantics 2; the plugin's rules)."""

from __future__ import annotations

from typing import Any

import pytest
from pamqp import commands

from tests.support.received import bodies, confirmed, drain, messages
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
