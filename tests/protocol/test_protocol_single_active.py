"""Single active consumer: one gets everything, the next takes over, and who that is (semantics 3.2, 3.6)."""

from __future__ import annotations

from typing import Any

import pytest
from pamqp import commands

from tests.support.received import bodies, get, messages
from tests.support.world import Client, World

C = commands


@pytest.fixture
def client(world: World) -> Client:
    """A client with channels 1 to 3 open and a queue `q` with a single active consumer."""
    client = world.connect()
    for number in (1, 2, 3):
        client.open(number)
    client.declare("q", durable=True, arguments={"x-single-active-consumer": True})
    return client


def another(world: World) -> Client:
    client = world.connect()
    client.open()
    return client


def send(client: Client, *numbers: int) -> list[Any]:
    """Publish numbers; what came back on the connection."""
    return [item for number in numbers for item in client.publish("", "q", b"%d" % number)]


def seen(frames: list[Any]) -> list[tuple[str, bytes]]:
    """(consumer tag, body) of each delivery."""
    return [(message.method.consumer_tag, message.body) for message in messages(frames)]


def leave(client: Client, how: str, tag: str, number: int = 1) -> list[Any]:
    """The consumer goes, in one of the three ways there are; what came back."""
    if how == "cancel":
        return client.method(number, C.Basic.Cancel, consumer_tag=tag)
    if how == "channel":
        return client.method(number, C.Channel.Close, reply_code=200, reply_text="", class_id=0, method_id=0)
    client.lose()
    return []


def test_only_the_first_gets_anything(client: Client) -> None:
    client.consume("q", "first")
    client.consume("q", "second", number=2)
    assert seen(send(client, 1, 2, 3)) == [("first", b"1"), ("first", b"2"), ("first", b"3")]


def test_nobody_helps_out_while_the_prefetch_is_full(client: Client) -> None:
    client.method(1, C.Basic.Qos, prefetch_count=1)
    client.consume("q", "first")
    client.consume("q", "second", number=2)
    client.consume("q", "third", number=3, no_ack=True)
    assert seen(send(client, 1, 2)) == [("first", b"1")]
    assert seen(client.method(1, C.Basic.Ack, delivery_tag=1)) == [("first", b"2")]


def test_it_is_given_what_waited(client: Client) -> None:
    send(client, 1, 2)
    assert seen(client.consume("q", "first")) == [("first", b"1"), ("first", b"2")]
    assert seen(client.consume("q", "second", number=2)) == []


@pytest.mark.parametrize("how", ["cancel", "channel", "connection"])
def test_the_next_takes_over_in_the_order_they_came(world: World, client: Client, how: str) -> None:
    others = [another(world) for _ in range(4)]
    for number, other in enumerate(others):
        assert isinstance(other.consume("q", f"c{number}", no_ack=True)[0], C.Basic.ConsumeOk)
    heard = []
    for number, other in enumerate(others):
        send(client, number)
        heard.append([seen(each.frames()) for each in others[number:]])
        leave(other, how, f"c{number}")
    assert heard == [[[(f"c{number}", b"%d" % number)], *[[]] * (3 - number)] for number in range(4)]
    send(client, 9)
    assert world.queue("q").ready == 1


@pytest.mark.parametrize("how", ["cancel", "channel", "connection"])
def test_who_leaves_the_line_is_not_asked(world: World, client: Client, how: str) -> None:
    first, second, third = (another(world) for _ in range(3))
    for tag, each in (("first", first), ("second", second), ("third", third)):
        each.consume("q", tag)
    leave(second, how, "second")
    leave(first, how, "first")
    send(client, 1)
    assert (seen(third.frames()), messages(second.frames())) == ([("third", b"1")], [])


def test_consumers_of_one_channel_are_two(client: Client) -> None:
    client.consume("q", "first")
    client.consume("q", "second")
    assert seen(send(client, 1)) == [("first", b"1")]
    client.method(1, C.Basic.Cancel, consumer_tag="first")
    assert seen(send(client, 2)) == [("second", b"2")]


def test_who_comes_back_stands_at_the_end(client: Client) -> None:
    client.consume("q", "first")
    client.consume("q", "second", number=2)
    client.consume("q", "third", number=3)
    client.method(1, C.Basic.Cancel, consumer_tag="first")
    client.consume("q", "first")
    client.method(2, C.Basic.Cancel, consumer_tag="second")
    assert seen(send(client, 1)) == [("third", b"1")]


def test_a_closing_channel_takes_all_its_consumers_along(client: Client) -> None:
    client.consume("q", "a")
    client.consume("q", "b")
    client.consume("q", "c", number=2)
    client.method(1, C.Channel.Close, reply_code=200, reply_text="", class_id=0, method_id=0)
    client.open(1)
    assert seen(send(client, 1)) == [("c", b"1")]


@pytest.mark.parametrize("how", ["channel", "connection"])
def test_the_next_gets_what_the_old_one_held_first(world: World, client: Client, how: str) -> None:
    old, new = another(world), another(world)
    old.method(1, C.Basic.Qos, prefetch_count=2)
    old.consume("q", "old")
    new.consume("q", "new")
    send(client, 1, 2, 3)
    assert seen(old.frames()) == [("old", b"1"), ("old", b"2")]
    leave(old, how, "old")
    found = messages(new.frames())
    assert [(message.body, message.method.redelivered) for message in found] == [
        (b"1", True),
        (b"2", True),
        (b"3", False),
    ]


def test_who_cancels_keeps_what_it_holds(world: World, client: Client) -> None:
    old, new = another(world), another(world)
    old.method(1, C.Basic.Qos, prefetch_count=2)
    old.consume("q", "old")
    new.consume("q", "new")
    send(client, 1, 2, 3)
    old.frames()
    leave(old, "cancel", "old")
    assert seen(new.frames()) == [("new", b"3")]
    assert world.queue("q").unacked == 3
    old.method(1, C.Basic.Ack, delivery_tag=1)
    old.method(1, C.Basic.Reject, delivery_tag=2, requeue=True)
    (message,) = messages(new.frames())
    assert (message.body, message.method.redelivered) == (b"2", True)


def test_an_exclusive_consumer_is_refused(world: World, client: Client) -> None:
    (close,) = client.consume("q", exclusive=True)
    assert isinstance(close, C.Channel.Close)
    assert (close.reply_code, close.reply_text) == (403, "ACCESS_REFUSED - queue 'q' in vhost '/' in exclusive use")
    other = another(world)
    assert isinstance(other.consume("q")[0], C.Basic.ConsumeOk)


def test_the_highest_priority_takes_over(client: Client) -> None:
    client.consume("q", "first")
    for number, (tag, priority) in enumerate([("low", -1), ("plain", 0), ("high", 5), ("high too", 5)]):
        client.consume("q", tag, number=number % 2 + 2, arguments={"x-priority": priority})
    # Nobody is pushed aside.
    assert seen(send(client, 1)) == [("first", b"1")]
    found = []
    for number, tag in [(1, "first"), (2, "high"), (3, "high too"), (3, "plain")]:
        client.method(number, C.Basic.Cancel, consumer_tag=tag)
        found += seen(send(client, 2))
    assert [tag for tag, _ in found] == ["high", "high too", "plain", "low"]


def test_get_takes_from_the_queue_all_the_same(client: Client) -> None:
    client.method(1, C.Basic.Qos, prefetch_count=1)
    client.consume("q", "first")
    send(client, 1, 2)
    message = get(client, "q", number=2)
    assert message is not None
    assert message.body == b"2"


def test_no_get_from_a_quorum_queue_with_a_single_active_consumer(client: Client) -> None:
    client.declare("quorum", durable=True, arguments={"x-queue-type": "quorum", "x-single-active-consumer": True})
    (close,) = client.method(1, C.Basic.Get, queue="quorum")
    assert isinstance(close, C.Channel.Close)
    assert (close.reply_code, close.reply_text) == (
        405,
        "RESOURCE_LOCKED - cannot obtain access to locked queue 'quorum' in vhost '/'. basic.get operations are not "
        "supported by quorum queues with single active consumer",
    )


def test_all_is_well_after_a_restart(world: World, client: Client) -> None:
    client.consume("q", "first")
    client.publish("", "q", b"1", delivery_mode=2)
    world = world.restart(crash=True)
    first, second = another(world), another(world)
    assert bodies(first.consume("q", "first")) == [b"1"]
    assert bodies(second.consume("q", "second")) == []
    send(second, 2)
    assert (bodies(first.frames()), bodies(second.frames())) == ([b"2"], [])


def test_the_line_does_not_move_because_the_active_one_does_not_read(world: World, client: Client) -> None:
    """It does not: a slow consumer stays the active one."""
    slow, other = another(world), another(world)
    slow.consume("q", "slow", no_ack=True)
    other.consume("q", "other", no_ack=True)
    slow.session.pause_writing()
    send(client, 1)
    assert (bodies(slow.frames()), bodies(other.frames())) == ([], [])
    slow.session.resume_writing()
    world.run()
    assert bodies(slow.frames()) == [b"1"]
