"""dead-letter-strategy at-least-once: a quorum queue keeps its dead letters until they have arrived (semantics 3.4)."""

from __future__ import annotations

from typing import Any

import pytest
from pamqp import commands

from tests.support.received import confirmed, drain, get
from tests.support.world import Client, World

C = commands


@pytest.fixture
def client(world: World) -> Client:
    return reopen(world)


def reopen(world: World) -> Client:
    client = world.connect()
    client.open()
    return client


def source(client: Client, **arguments: Any) -> None:
    table = {
        "x-queue-type": "quorum",
        "x-dead-letter-exchange": "dlx",
        "x-dead-letter-strategy": "at-least-once",
        "x-overflow": "reject-publish",
        **arguments,
    }
    assert isinstance(client.declare("q", durable=True, arguments=table), C.Queue.DeclareOk)


def dlx(client: Client, *queues: str, **arguments: Any) -> None:
    client.method(1, C.Exchange.Declare, exchange="dlx", exchange_type="fanout", durable=True)
    for name in queues:
        client.declare(name, durable=True, arguments=arguments)
        client.method(1, C.Queue.Bind, queue=name, exchange="dlx")


def refuse(client: Client, *payloads: bytes, **properties: Any) -> None:
    """Publish and reject each."""
    for payload in payloads:
        client.publish("", "q", payload, delivery_mode=2, **properties)
        message = get(client, "q")
        assert message is not None
        client.method(1, C.Basic.Reject, delivery_tag=message.method.delivery_tag, requeue=False)


def left(client: Client, queue: str = "dead") -> list[bytes]:
    return [message.body for message in drain(client, queue)]


def kept(world: World) -> int:
    return len(world.queue("q").stuck)


def test_when_all_is_well_it_is_like_any_dead_letter(world: World, client: Client) -> None:
    source(client)
    dlx(client, "dead")
    refuse(client, b"1")
    (letter,) = drain(client, "dead")
    assert (letter.body, letter.deaths) == (b"1", [("q", "rejected", 1)])
    assert kept(world) == 0
    assert world.folded()["q"] == []


def test_kept_until_there_is_an_exchange_and_a_queue(world: World, client: Client) -> None:
    source(client)
    refuse(client, b"1", b"2")
    world.wait(10_000)
    assert kept(world) == 2
    dlx(client)
    world.wait(10_000)
    assert kept(world) == 2
    dlx(client, "dead")
    world.wait(1000)
    assert left(client) == [b"1", b"2"]
    assert kept(world) == 0
    assert world.folded()["q"] == []


def test_what_is_kept_is_not_delivered_again(world: World, client: Client) -> None:
    source(client)
    refuse(client, b"1")
    assert get(client, "q") is None
    assert client.declare("q", passive=True).message_count == 0


@pytest.mark.parametrize("crash", [False, True])
def test_it_is_still_a_dead_letter_after_a_restart(world: World, client: Client, crash: bool) -> None:
    source(client)
    refuse(client, b"1")
    world = world.restart(crash=crash)
    client = reopen(world)
    assert get(client, "q") is None
    dlx(client, "dead")
    world.wait(1000)
    assert [letter.deaths for letter in drain(client, "dead")] == [[("q", "rejected", 1)]]


def test_a_queue_that_refuses_gets_it_when_it_has_room(world: World, client: Client) -> None:
    source(client)
    dlx(client, "dead", **{"x-max-length": 1, "x-overflow": "reject-publish"})
    refuse(client, b"1", b"2")
    assert kept(world) == 1
    assert left(client) == [b"1"]
    world.wait(1000)
    assert left(client) == [b"2"]


def test_queues_that_have_it_do_not_get_it_again(world: World, client: Client) -> None:
    source(client)
    dlx(client, "dead", **{"x-max-length": 0, "x-overflow": "reject-publish"})
    dlx(client, "other")
    refuse(client, b"1")
    world.wait(10_000)
    assert (left(client, "other"), left(client), kept(world)) == ([b"1"], [], 1)
    client.method(1, C.Queue.Delete, queue="dead")
    world.wait(1000)
    assert (left(client, "other"), kept(world)) == ([], 0)


@pytest.mark.parametrize("reason", ["expired", "delivery_limit"])
def test_other_deaths(world: World, client: Client, reason: str) -> None:
    source(client, **{"x-delivery-limit": 0})
    client.publish("", "q", b"1", expiration="10" if reason == "expired" else None)
    if reason == "delivery_limit":
        get(client, "q")
        client.method(1, C.Basic.Reject, delivery_tag=1, requeue=True)
    world.wait(5000)
    assert kept(world) == 1
    dlx(client, "dead")
    world.wait(1000)
    assert [letter.deaths for letter in drain(client, "dead")] == [[("q", reason, 1)]]


def test_what_is_kept_counts_against_the_length(world: World, client: Client) -> None:
    source(client, **{"x-max-length": 1})
    refuse(client, b"1")
    client.method(1, C.Confirm.Select)
    assert confirmed(client.publish("", "q", b"2"), 1) == ([], [1])
    dlx(client, "dead")
    world.wait(1000)
    assert confirmed(client.publish("", "q", b"3"), 2) == ([2], [])


def test_and_against_the_octets(world: World, client: Client) -> None:
    source(client, **{"x-max-length-bytes": 10})
    refuse(client, b"12345678")
    client.method(1, C.Confirm.Select)
    assert confirmed(client.publish("", "q", b"123"), 1) == ([], [1])
    dlx(client, "dead")
    world.wait(1000)
    assert confirmed(client.publish("", "q", b"1234567890"), 2) == ([2], [])


@pytest.mark.parametrize("missing", ["x-overflow", "x-dead-letter-strategy"])
def test_without_either_argument_nothing_is_kept(world: World, client: Client, missing: str) -> None:
    table = {"x-overflow": "drop-head"} if missing == "x-overflow" else {"x-dead-letter-strategy": "at-most-once"}
    source(client, **table)
    refuse(client, b"1")
    assert kept(world) == 0
    assert world.folded()["q"] == []


def test_a_purge_takes_what_is_kept(world: World, client: Client) -> None:
    source(client)
    refuse(client, b"1")
    client.method(1, C.Queue.Purge, queue="q")
    assert world.folded()["q"] == []
    dlx(client, "dead")
    world.wait(1000)
    assert left(client) == []


def test_so_does_deletion(world: World, client: Client) -> None:
    source(client)
    refuse(client, b"1")
    client.method(1, C.Queue.Delete, queue="q")
    dlx(client, "dead")
    world.wait(5000)
    assert left(client) == []


def test_the_log_is_told_once(world: World, client: Client, caplog: pytest.LogCaptureFixture) -> None:
    source(client)
    refuse(client, b"1", b"2")
    world.wait(5000)
    told = [record.getMessage() for record in caplog.records if "stay there" in record.getMessage()]
    assert told == ["dead letters of queue 'q' in vhost '/' stay there: no queue takes them from exchange 'dlx'"]
