"""Quorum-typed queues count returns: x-delivery-count, the delivery limit and what happens beyond (semantics 3.5).

A reject and a lost consumer are failures, which count; a nack is a return, which does not.
"""

from __future__ import annotations

from struct import pack
from typing import Any

import pytest
from pamqp import commands

from tests.support.received import Received, bodies, drain, get, messages, peek
from tests.support.world import Client, World

C = commands


@pytest.fixture
def client(world: World) -> Client:
    """A client with channel 1 open and a queue `dead`."""
    client = world.connect()
    client.open()
    client.declare("dead", durable=True)
    return client


def reopen(world: World) -> Client:
    client = world.connect()
    client.open()
    return client


def quorum(client: Client, limit: int | None = None, **arguments: Any) -> None:
    table = {"x-queue-type": "quorum", "x-dead-letter-exchange": "", "x-dead-letter-routing-key": "dead", **arguments}
    answer = client.declare("q", durable=True, arguments=table | ({} if limit is None else {"x-delivery-limit": limit}))
    assert isinstance(answer, C.Queue.DeclareOk)


def counted(message: Received) -> tuple[bool, int | None]:
    return message.method.redelivered, message.headers.get("x-delivery-count")


def returned(client: Client, frames: list[Any], most: int = 100) -> list[tuple[bool, int | None]]:
    """Give each delivery back until none comes any more; (redelivered, count) of all."""
    found = []
    while (got := messages(frames)) and len(found) < most:
        found += [counted(message) for message in got]
        frames = []
        for message in got:
            frames += client.method(1, C.Basic.Reject, delivery_tag=message.method.delivery_tag, requeue=True)
    return found


def taken(client: Client, times: int) -> list[tuple[bool, int | None]]:
    """Get and give back so many times."""
    found = []
    for _ in range(times):
        message = get(client, "q")
        assert message is not None
        found.append(counted(message))
        client.method(1, C.Basic.Reject, delivery_tag=message.method.delivery_tag, requeue=True)
    return found


def counts(returns: int) -> list[tuple[bool, int | None]]:
    """The first delivery, and so many more."""
    return [(False, None), *((True, number) for number in range(1, returns + 1))]


def test_twenty_returns_and_no_more(world: World, client: Client) -> None:
    quorum(client)
    client.publish("", "q", b"poison")
    assert returned(client, client.consume("q")) == counts(20)
    assert (world.queue("q").ready, world.queue("q").unacked) == (0, 0)
    (letter,) = drain(client, "dead")
    assert (letter.body, letter.deaths) == (b"poison", [("q", "delivery_limit", 1)])


@pytest.mark.parametrize("limit", [0, 1, 3, 30])
def test_a_limit_of_its_own(client: Client, limit: int) -> None:
    quorum(client, limit)
    client.publish("", "q")
    assert returned(client, client.consume("q")) == counts(limit)
    assert [letter.deaths for letter in drain(client, "dead")] == [[("q", "delivery_limit", 1)]]


def test_no_limit(world: World, client: Client) -> None:
    quorum(client, -1)
    client.publish("", "q")
    assert returned(client, client.consume("q"), most=60) == counts(59)
    assert world.queue("q").unacked == 1
    assert drain(client, "dead") == []


def test_gets_count_too(client: Client) -> None:
    quorum(client, 2)
    client.publish("", "q")
    assert taken(client, 3) == counts(2)
    assert get(client, "q") is None
    assert len(drain(client, "dead")) == 1


def test_the_count_is_a_long_beside_the_messages_own_headers(client: Client) -> None:
    quorum(client)
    client.publish("", "q", b"x", headers={"own": "kept"}, correlation_id="c", priority=3)
    taken(client, 1)
    message = get(client, "q")
    assert message is not None
    assert message.headers == {"own": "kept", "x-acquired-count": 1, "x-delivery-count": 1}
    assert (message.properties.correlation_id, message.properties.priority) == ("c", 3)
    client.method(1, C.Basic.Reject, delivery_tag=message.method.delivery_tag, requeue=True)
    assert b"\x10x-delivery-countl" + pack(">q", 2) in peek(client, "q")


def test_a_count_from_a_client_is_not_believed(client: Client) -> None:
    quorum(client, 2)
    client.publish("", "q", headers={"x-delivery-count": 50})
    assert [count for _, count in taken(client, 3)][1:] == [1, 2]
    assert get(client, "q") is None


def test_without_a_dead_letter_exchange_it_is_dropped(world: World, client: Client) -> None:
    client.declare("q", durable=True, arguments={"x-queue-type": "quorum", "x-delivery-limit": 1})
    client.publish("", "q", delivery_mode=2)
    assert returned(client, client.consume("q")) == counts(1)
    assert (world.queue("q").ready, world.queue("q").unacked) == (0, 0)
    assert world.folded().get("q", []) == []


def test_each_message_has_its_own_count(client: Client) -> None:
    quorum(client, 1)
    client.publish("", "q", b"1")
    client.publish("", "q", b"2")
    first = get(client, "q")
    assert first is not None
    client.method(1, C.Basic.Reject, delivery_tag=1, requeue=True)
    found = [get(client, "q"), get(client, "q")]
    assert [message and (message.body, *counted(message)) for message in found] == [
        (b"1", True, 1),
        (b"2", False, None),
    ]
    client.method(1, C.Basic.Reject, delivery_tag=2, requeue=True)
    client.method(1, C.Basic.Reject, delivery_tag=3, requeue=True)
    assert [letter.body for letter in drain(client, "dead")] == [b"1"]
    assert [(message.body, *counted(message)) for message in drain(client, "q")] == [(b"2", True, 1)]


def test_a_returned_message_comes_before_those_that_wait(client: Client) -> None:
    quorum(client)
    for number in range(3):
        client.publish("", "q", b"%d" % number)
    taken(client, 1)
    assert [message.body for message in drain(client, "q")] == [b"0", b"1", b"2"]


def test_a_lost_connection_counts(world: World, client: Client) -> None:
    quorum(client, 2)
    client.publish("", "q")
    found = []
    for _ in range(3):
        holder = reopen(world)
        found += [counted(message) for message in messages(holder.consume("q"))]
        holder.lose()
    assert found == counts(2)
    assert get(client, "q") is None
    assert len(drain(client, "dead")) == 1


def test_an_ack_at_the_last_moment(world: World, client: Client) -> None:
    quorum(client, 2)
    client.publish("", "q")
    taken(client, 2)
    message = get(client, "q")
    assert message is not None
    client.method(1, C.Basic.Ack, delivery_tag=message.method.delivery_tag)
    assert (world.queue("q").unacked, drain(client, "dead")) == (0, [])


def test_a_reject_for_good_is_a_rejection_at_any_count(client: Client) -> None:
    quorum(client, 2)
    client.publish("", "q")
    taken(client, 2)
    message = get(client, "q")
    assert message is not None
    client.method(1, C.Basic.Reject, delivery_tag=message.method.delivery_tag, requeue=False)
    assert [letter.deaths for letter in drain(client, "dead")] == [[("q", "rejected", 1)]]


def test_counts_outlive_a_clean_restart(world: World, client: Client) -> None:
    quorum(client, 5)
    client.publish("", "q", b"1", delivery_mode=2)
    found = taken(client, 2)
    world = world.restart()
    client = reopen(world)
    found += taken(client, 2)
    world = world.restart()
    client = reopen(world)
    found += returned(client, client.consume("q"))
    assert found == counts(5)
    assert len(drain(client, "dead")) == 1


def test_after_a_crash_the_count_is_that_of_the_last_return(world: World, client: Client) -> None:
    quorum(client, 5)
    client.publish("", "q", b"1", delivery_mode=2)
    taken(client, 2)
    get(client, "q")
    world = world.restart(crash=True)
    message = get(reopen(world), "q")
    assert message is not None
    assert counted(message) == (True, 2)


def test_the_letter_of_a_crashed_broker_is_there_once(world: World, client: Client) -> None:
    quorum(client, 1)
    client.publish("", "q", b"1", delivery_mode=2)
    taken(client, 2)
    world = world.restart(crash=True)
    client = reopen(world)
    assert get(client, "q") is None
    assert [letter.body for letter in drain(client, "dead")] == [b"1"]


def test_classic_queues_do_not_count(client: Client) -> None:
    client.declare("q", durable=True)
    client.publish("", "q", b"x", headers={"own": "kept"})
    assert returned(client, client.consume("q"), most=50) == [(False, None), *[(True, None)] * 49]


def test_several_consumers_share_the_count(world: World, client: Client) -> None:
    quorum(client, 3)
    other = reopen(world)
    other.method(1, C.Basic.Qos, prefetch_count=1)
    client.method(1, C.Basic.Qos, prefetch_count=1)
    client.consume("q", "one")
    other.consume("q", "two")
    client.send(client.publish_bytes(1, "", "q", b"x"))
    seen = []
    for _ in range(10):
        for each in (client, other):
            for message in messages(each.frames()):
                seen.append(counted(message))
                each.send(reject(message.method.delivery_tag))
    assert seen == counts(3)
    assert bodies(client.method(1, C.Basic.Get, queue="dead")) == [b"x"]


def test_nacks_are_no_failures(client: Client) -> None:
    """They are counted in x-acquired-count, and x-delivery-count is not there before the first failure."""
    quorum(client, 1)
    client.publish("", "q", b"x")
    seen: list[dict[str, Any]] = []
    for _ in range(30):
        message = get(client, "q")
        assert message is not None
        seen.append(message.headers)
        client.method(1, C.Basic.Nack, delivery_tag=0, multiple=True, requeue=True)
    assert seen == [{}, *({"x-acquired-count": number} for number in range(1, 30))]
    taken(client, 1)
    message = get(client, "q")
    assert message is not None
    assert message.headers == {"x-acquired-count": 31, "x-delivery-count": 1}
    client.method(1, C.Basic.Reject, delivery_tag=message.method.delivery_tag, requeue=True)
    assert [letter.deaths for letter in drain(client, "dead")] == [[("q", "delivery_limit", 1)]]


def test_recover_is_no_failure(client: Client) -> None:
    quorum(client, 0)
    client.publish("", "q", b"x")
    get(client, "q")
    client.method(1, C.Basic.Recover, requeue=True)
    message = get(client, "q")
    assert message is not None
    assert message.headers == {"x-acquired-count": 1}


@pytest.mark.parametrize(("how", "count"), [(C.Basic.Reject, 1), (C.Basic.Nack, None)])
def test_in_a_transaction_it_is_the_same(client: Client, how: type, count: int | None) -> None:
    quorum(client)
    client.method(1, C.Tx.Select)
    client.publish("", "q")
    client.method(1, C.Tx.Commit)
    get(client, "q")
    client.method(1, how, delivery_tag=1, requeue=True)
    client.method(1, C.Tx.Commit)
    message = get(client, "q")
    assert message is not None
    assert counted(message) == (True, count)


def test_both_counts_outlive_a_restart(world: World, client: Client) -> None:
    quorum(client, 5)
    client.publish("", "q", b"1", delivery_mode=2)
    taken(client, 2)
    get(client, "q")
    client.method(1, C.Basic.Nack, delivery_tag=0, multiple=True, requeue=True)
    world = world.restart(crash=True)
    message = get(reopen(world), "q")
    assert message is not None
    assert message.headers == {"x-acquired-count": 3, "x-delivery-count": 2}


def reject(tag: int) -> bytes:
    """basic.reject with requeue on channel 1, as bytes: what comes back is read later."""
    return b"\x01\x00\x01\x00\x00\x00\x0d" + pack(">HHQB", 60, 90, tag, 1) + b"\xce"
