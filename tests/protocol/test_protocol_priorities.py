"""Priority queues: x-max-priority, the order it makes, and what it does not change (semantics 3.2, 3.5)."""

from __future__ import annotations

from typing import Any

import pytest
from pamqp import commands

from tests.support.received import bodies, drain, get, messages
from tests.support.world import Client, World

C = commands


@pytest.fixture
def client(world: World) -> Client:
    """A client with channel 1 open and a queue `q` of priorities 0 to 10."""
    client = world.connect()
    client.open()
    ranked(client)
    return client


def ranked(client: Client, name: str = "q", top: int = 10, durable: bool = True, **arguments: Any) -> None:
    table = {f"x-{key.replace('_', '-')}": value for key, value in arguments.items()}
    client.declare(name, durable=durable, arguments={"x-max-priority": top, **table})


def publish(client: Client, *priorities: int | None, queue: str = "q", **properties: Any) -> None:
    """A message for each priority; its body says which it is, and the number of the publish."""
    for number, priority in enumerate(priorities):
        body = b"%d" % number if priority is None else b"%d/%d" % (number, priority)
        client.publish("", queue, body, priority=priority, **properties)


def left(client: Client, queue: str = "q") -> list[bytes]:
    return [message.body for message in drain(client, queue)]


def test_the_highest_first_and_equals_in_order(client: Client) -> None:
    publish(client, 1, 5, 0, 5, 10, 1)
    assert left(client) == [b"4/10", b"1/5", b"3/5", b"0/1", b"5/1", b"2/0"]


def test_a_consumer_gets_them_in_order(client: Client) -> None:
    publish(client, 1, 5, 0, 5, 10, 1)
    assert bodies(client.consume("q", no_ack=True)) == [b"4/10", b"1/5", b"3/5", b"0/1", b"5/1", b"2/0"]


def test_none_is_zero(client: Client) -> None:
    publish(client, None, 0, 1, None, 0)
    assert left(client) == [b"2/1", b"0", b"1/0", b"3", b"4/0"]


def test_what_is_above_counts_as_the_top_and_says_what_it_was(client: Client) -> None:
    publish(client, 10, 255, 11, 9, 10)
    found = drain(client, "q")
    assert [message.body for message in found] == [b"0/10", b"1/255", b"2/11", b"4/10", b"3/9"]
    assert [message.properties.priority for message in found] == [10, 255, 11, 10, 9]


def test_the_widest_range(client: Client) -> None:
    ranked(client, "wide", top=255)
    publish(client, *range(256), queue="wide")
    assert left(client, "wide") == [b"%d/%d" % (number, number) for number in reversed(range(256))]


def test_no_range_at_all(client: Client) -> None:
    ranked(client, "flat", top=0)
    publish(client, 0, 9, None, 5, queue="flat")
    assert left(client, "flat") == [b"0/0", b"1/9", b"2", b"3/5"]


def test_a_plain_queue_does_not_look_at_priorities(client: Client) -> None:
    client.declare("plain")
    publish(client, 0, 9, 5, queue="plain")
    assert left(client, "plain") == [b"0/0", b"1/9", b"2/5"]


def test_with_a_prefetch_the_next_is_always_the_highest(client: Client) -> None:
    client.method(1, C.Basic.Qos, prefetch_count=1)
    assert bodies(client.consume("q")) == []
    client.publish("", "q", b"low", priority=0)
    publish(client, 3, 7)
    got = []
    for tag in range(1, 5):
        if tag == 2:
            client.publish("", "q", b"high", priority=9)
        got += bodies(client.method(1, C.Basic.Ack, delivery_tag=tag))
    assert got == [b"1/7", b"high", b"0/3"]


def test_counts_are_of_all_priorities(world: World, client: Client) -> None:
    publish(client, 1, 5, 0)
    assert client.declare("q", passive=True).message_count == 3
    answer = client.method(1, C.Basic.Get, queue="q")[0]
    assert answer.message_count == 2
    assert client.method(1, C.Queue.Purge, queue="q")[0].message_count == 2
    assert (world.queue("q").ready, world.queue("q").unacked) == (0, 1)


# -------------------------------------------------------------------------------------------------- returned


def test_what_comes_back_has_its_old_place(client: Client) -> None:
    publish(client, 1, 5, 5, 5, 1)
    for _ in range(4):
        get(client, "q")
    # Taken: 1/5, 2/5, 3/5, 0/1. Back come the second and the last.
    for tag in (4, 2):
        client.method(1, C.Basic.Reject, delivery_tag=tag, requeue=True)
    publish(client, 5, 6, 1)
    assert [(message.body, message.method.redelivered) for message in drain(client, "q")] == [
        (b"1/6", False),
        (b"2/5", True),
        (b"0/5", False),
        (b"0/1", True),
        (b"4/1", False),
        (b"2/1", False),
    ]


@pytest.mark.parametrize("how", ["nack", "channel", "connection"])
def test_all_that_one_held_comes_back_in_place(world: World, client: Client, how: str) -> None:
    publish(client, 1, 5, 0, 5, 10, 1)
    holder = world.connect()
    holder.open()
    holder.method(1, C.Basic.Qos, prefetch_count=4)
    assert bodies(holder.consume("q")) == [b"4/10", b"1/5", b"3/5", b"0/1"]
    holder.method(1, C.Basic.Cancel, consumer_tag="c")
    if how == "nack":
        holder.method(1, C.Basic.Nack, delivery_tag=0, multiple=True, requeue=True)
    elif how == "channel":
        holder.method(1, C.Channel.Close, reply_code=200, reply_text="", class_id=0, method_id=0)
    else:
        holder.lose()
    assert [(message.body, message.method.redelivered) for message in drain(client, "q")] == [
        (b"4/10", True),
        (b"1/5", True),
        (b"3/5", True),
        (b"0/1", True),
        (b"5/1", False),
        (b"2/0", False),
    ]


# -------------------------------------------------------------------------------------------------- restarts


@pytest.mark.parametrize("crash", [False, True])
def test_the_order_outlives_a_restart(world: World, client: Client, crash: bool) -> None:
    publish(client, 1, 5, 0, 255, None, 10, 1, delivery_mode=2)
    publish(client, 7, delivery_mode=1)
    for _ in range(4):
        get(client, "q")
    client.method(1, C.Basic.Ack, delivery_tag=2)
    world = world.restart(crash=crash)
    client = world.connect()
    client.open()
    publish(client, 5, 0, delivery_mode=2)
    # Taken had been 3/255, 5/10, 0/7, 1/5; the second was acked and the third is not persistent.
    taken = [(b"3/255", True), (b"1/5", True)]
    untouched = [(b"0/1", crash), (b"6/1", crash), (b"2/0", crash), (b"4", crash)]
    assert [(message.body, message.method.redelivered) for message in drain(client, "q")] == [
        *taken,
        (b"0/5", False),
        *untouched,
        (b"1/0", False),
    ]


# --------------------------------------------------------------------------------- with what else queues do


def test_a_limit_drops_the_head_which_is_the_highest(client: Client) -> None:
    """What RabbitMQ's documentation warns of."""
    client.declare("dead")
    ranked(client, "short", max_length=2, dead_letter_exchange="", dead_letter_routing_key="dead")
    publish(client, 5, 1, 3, 0, queue="short")
    assert left(client, "dead") == [b"0/5", b"2/3"]
    assert left(client, "short") == [b"1/1", b"3/0"]


def test_the_head_is_also_where_messages_expire(world: World, client: Client) -> None:
    publish(client, 1, expiration="100")
    publish(client, 5, expiration="500")
    world.wait(499)
    assert world.queue("q").ready == 2
    world.wait(1)
    assert world.queue("q").ready == 0


def test_a_low_one_that_expired_behind_a_high_one_is_not_delivered(world: World, client: Client) -> None:
    publish(client, 1, expiration="100")
    publish(client, 5)
    world.wait(100)
    assert left(client) == [b"0/5"]


def test_a_higher_one_stands_before_one_that_waits_to_expire(world: World, client: Client) -> None:
    """The timer of the old head finds a new one there, and the old one expires when that leaves."""
    publish(client, 1, expiration="100")
    world.wait(50)
    publish(client, 5)
    world.wait(100)
    assert world.queue("q").ready == 2
    assert left(client) == [b"0/5"]


def test_dead_letters_have_the_priority_of_their_message(client: Client) -> None:
    client.declare("source", arguments={"x-dead-letter-exchange": "", "x-dead-letter-routing-key": "q"})
    publish(client, 1, 9, 5, queue="source")
    client.consume("source")
    client.method(1, C.Basic.Nack, delivery_tag=0, multiple=True, requeue=False)
    letters = drain(client, "q")
    assert [letter.body for letter in letters] == [b"1/9", b"2/5", b"0/1"]
    assert [letter.properties.priority for letter in letters] == [9, 5, 1]


def urgent(client: Client) -> None:
    client.declare("quorum", durable=True, arguments={"x-queue-type": "quorum"})


def test_a_quorum_queue_puts_the_urgent_first(client: Client) -> None:
    """Whatever its levels are, 9 is above 0."""
    urgent(client)
    publish(client, 0, 9, queue="quorum")
    message = messages(client.method(1, C.Basic.Get, queue="quorum", no_ack=True))[0]
    assert message.body == b"1/9"


def test_a_quorum_queue_has_32_levels_and_none_is_4(client: Client) -> None:
    urgent(client)
    publish(client, 3, 0, None, 4, 5, 31, 255, 30, queue="quorum")
    assert left(client, "quorum") == [b"5/31", b"6/255", b"7/30", b"4/5", b"2", b"3/4", b"0/3", b"1/0"]


def test_what_comes_back_to_a_quorum_queue_goes_before_the_urgent(client: Client) -> None:
    urgent(client)
    publish(client, 1, 2, 3, queue="quorum")
    for _ in range(3):
        get(client, "quorum")
    # Back come those of priority 1, 3 and 2.
    for tag in (3, 1, 2):
        client.method(1, C.Basic.Nack, delivery_tag=tag, requeue=True)
    publish(client, 31, queue="quorum")
    assert left(client, "quorum") == [b"0/1", b"2/3", b"1/2", b"0/31"]


@pytest.mark.parametrize("crash", [False, True])
def test_the_priorities_of_a_quorum_queue_outlive_a_restart(world: World, client: Client, crash: bool) -> None:
    urgent(client)
    publish(client, 1, 7, None, 31, queue="quorum", delivery_mode=2)
    get(client, "quorum")
    client.method(1, C.Basic.Nack, delivery_tag=1, requeue=True)
    get(client, "quorum")
    world = world.restart(crash=crash)
    client = world.connect()
    client.open()
    publish(client, 20, queue="quorum")
    assert left(client, "quorum") == [b"3/31", b"0/20", b"1/7", b"2", b"0/1"]
