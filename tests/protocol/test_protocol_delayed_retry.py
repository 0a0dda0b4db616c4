"""Delayed retry: quorum queues that hold back what was returned, longer with each failure (semantics 3.2)."""

from __future__ import annotations

from typing import Any

import pytest
from pamqp import commands

from tests.support.received import drain, get, messages
from tests.support.world import Client, World

C = commands


@pytest.fixture
def client(world: World) -> Client:
    client = world.connect()
    client.open()
    client.declare("dead", durable=True)
    return client


def declare(client: Client, which: str = "all", least: int | None = 1000, most: int | None = None, **more: Any) -> None:
    table: dict[str, Any] = {"x-queue-type": "quorum", "x-delayed-retry-type": which, **more}
    table |= {} if least is None else {"x-delayed-retry-min": least}
    table |= {} if most is None else {"x-delayed-retry-max": most}
    assert isinstance(client.declare("q", durable=True, arguments=table), C.Queue.DeclareOk)


def back(client: Client, how: type = C.Basic.Reject) -> None:
    """Take a message and give it back."""
    message = get(client, "q")
    assert message is not None
    client.method(1, how, delivery_tag=message.method.delivery_tag, requeue=True)


def waited(world: World, most: int = 60_000) -> int:
    """Until a message is ready: how long, to 100 ms."""
    for passed in range(0, most, 100):
        if world.queue("q").ready:
            return passed
        world.wait(100)
    raise AssertionError("nothing came back")


def test_longer_with_each_failure_up_to_the_maximum(world: World, client: Client) -> None:
    declare(client, least=1000, most=2500)
    client.publish("", "q")
    delays = []
    for _ in range(4):
        back(client)
        delays.append(waited(world))
    assert delays == [1000, 2000, 2500, 2500]


def test_exactly_when_it_is_due(world: World, client: Client) -> None:
    declare(client, least=1234)
    client.publish("", "q")
    back(client)
    world.wait(1233)
    assert get(client, "q") is None
    world.wait(1)
    message = get(client, "q")
    assert message is not None
    assert message.method.redelivered
    assert message.headers == {"x-acquired-count": 1, "x-delivery-count": 1}


def test_a_nack_is_delayed_by_the_minimum_each_time(world: World, client: Client) -> None:
    declare(client, least=1000, most=12_000)
    client.publish("", "q")
    delays = []
    for _ in range(3):
        back(client, C.Basic.Nack)
        delays.append(waited(world))
    assert delays == [1000, 1000, 1000]


@pytest.mark.parametrize(
    ("which", "reject", "nack"),
    [("all", 500, 500), ("failed", 500, 0), ("returned", 0, 500), ("disabled", 0, 0), ("bogus", 0, 0)],
)
def test_which_returns_are_delayed(world: World, client: Client, which: str, reject: int, nack: int) -> None:
    declare(client, which, least=500, most=500)
    client.publish("", "q")
    delays = []
    for how in (C.Basic.Reject, C.Basic.Nack):
        back(client, how)
        delays.append(waited(world))
    assert delays == [reject, nack]


def test_a_lost_consumer_is_a_failure(world: World, client: Client) -> None:
    declare(client, "failed", least=700)
    client.publish("", "q")
    holder = world.connect()
    holder.open()
    holder.consume("q")
    holder.lose()
    assert waited(world) == 700


def test_without_a_minimum_nothing_is_delayed(world: World, client: Client) -> None:
    declare(client, least=None)
    client.publish("", "q")
    back(client)
    assert waited(world) == 0


def test_a_consumer_gets_it_without_asking_again(world: World, client: Client) -> None:
    declare(client)
    client.publish("", "q", b"x")
    assert len(messages(client.consume("q"))) == 1
    assert client.method(1, C.Basic.Reject, delivery_tag=1, requeue=True) == []
    world.wait(999)
    assert client.frames() == []
    world.wait(1)
    assert [message.body for message in messages(client.frames())] == [b"x"]


def test_others_go_on_while_one_is_held(world: World, client: Client) -> None:
    declare(client)
    for body in (b"1", b"2", b"3"):
        client.publish("", "q", body)
    back(client)
    second = get(client, "q")
    assert second is not None and second.body == b"2"
    world.wait(1000)
    assert [message.body for message in drain(client, "q")] == [b"1", b"3"]


def test_the_limit_counts_failures_all_the_same(world: World, client: Client) -> None:
    arguments = {"x-delivery-limit": 1, "x-dead-letter-exchange": "", "x-dead-letter-routing-key": "dead"}
    declare(client, least=100, **arguments)
    client.publish("", "q")
    back(client)
    world.wait(100)
    back(client)
    assert [letter.deaths for letter in drain(client, "dead")] == [[("q", "delivery_limit", 1)]]
    world.wait(10_000)
    assert get(client, "q") is None


def test_a_policy_can_say_it(world: World, client: Client) -> None:
    client.declare("q", durable=True, arguments={"x-queue-type": "quorum"})
    definition = {"delayed-retry-type": "failed", "delayed-retry-min": 300}
    value = {"pattern": "q", "apply-to": "quorum_queues", "definition": definition, "priority": 0}
    vhost = world.broker.vhosts["/"]
    vhost.put_parameter("policy", "p", value)
    queue = world.queue("q")
    vhost.apply_policies(queue)
    client.publish("", "q")
    back(client)
    assert waited(world) == 300


def test_a_classic_queue_does_not_look(world: World, client: Client) -> None:
    client.declare("q", arguments={"x-delayed-retry-type": "all", "x-delayed-retry-min": 1000})
    client.publish("", "q")
    back(client)
    assert waited(world) == 0


def test_a_message_that_expires_while_it_is_held_is_not_delivered(world: World, client: Client) -> None:
    declare(client, **{"x-dead-letter-exchange": "", "x-dead-letter-routing-key": "dead"})
    client.publish("", "q", expiration="500")
    back(client)
    world.wait(1000)
    assert get(client, "q") is None
    assert [letter.deaths for letter in drain(client, "dead")] == [[("q", "expired", 1)]]


def test_a_deleted_queue_takes_what_it_holds_along(world: World, client: Client) -> None:
    declare(client)
    client.publish("", "q", delivery_mode=2)
    back(client)
    client.method(1, C.Queue.Delete, queue="q")
    declare(client)
    world.wait(2000)
    assert get(client, "q") is None


def test_a_queue_that_holds_messages_is_not_empty(client: Client) -> None:
    declare(client)
    client.publish("", "q")
    back(client)
    (close,) = client.method(1, C.Queue.Delete, queue="q", if_empty=True)
    assert close.reply_text == "PRECONDITION_FAILED - queue 'q' in vhost '/' not empty"


def test_a_restart_ends_all_delays(world: World, client: Client) -> None:
    declare(client, least=100_000)
    client.publish("", "q", b"1", delivery_mode=2)
    back(client)
    world = world.restart(crash=True)
    client = world.connect()
    client.open()
    message = get(client, "q")
    assert message is not None
    assert message.headers == {"x-acquired-count": 1, "x-delivery-count": 1}
