"""Consumers that keep deliveries too long: off by default, then cancelled or, on request, closed (semantics 3.6)."""

from __future__ import annotations

from typing import Any

import pytest
from pamqp import commands

from tests.support.received import bodies, drain, get, messages
from tests.support.world import Client, World

C = commands

TIMEOUT = 1000
LATEST = 1200
"""A fifth later, at most."""


@pytest.fixture
def client(world: World) -> Client:
    client = world.connect()
    client.open()
    return client


def declare(client: Client, timeout: int | None = TIMEOUT, name: str = "q", **arguments: Any) -> None:
    table = dict(arguments) if timeout is None else {"x-consumer-timeout": timeout, **arguments}
    assert isinstance(client.declare(name, durable=True, arguments=table), C.Queue.DeclareOk)


def cancelled(frames: list[Any]) -> list[str]:
    return [frame.consumer_tag for frame in frames if isinstance(frame, C.Basic.Cancel)]


def end(world: World, client: Client, most: int = 600_000) -> tuple[int, list[Any]]:
    """Until the client is told something: how long that took, and what it is told."""
    for passed in range(0, most, 10):
        frames = client.frames()
        if frames:
            return passed, frames
        world.wait(10)
    return most, []


def test_there_is_no_timeout_unless_somebody_says_so(world: World, client: Client) -> None:
    declare(client, None)
    client.publish("", "q")
    client.consume("q")
    world.wait(86_400_000)
    assert client.frames() == []
    assert world.queue("q").unacked == 1


def test_the_consumer_is_cancelled_and_the_channel_goes_on(world: World, client: Client) -> None:
    declare(client)
    client.publish("", "q", b"1")
    client.publish("", "q", b"2")
    assert bodies(client.consume("q")) == [b"1", b"2"]
    passed, frames = end(world, client)
    assert TIMEOUT <= passed <= LATEST
    assert cancelled(frames) == ["c"]
    assert (world.queue("q").ready, world.queue("q").unacked) == (2, 0)
    assert [(message.body, message.method.redelivered) for message in drain(client, "q")] == [
        (b"1", True),
        (b"2", True),
    ]


def test_an_ack_that_comes_too_late_does_nothing(world: World, client: Client) -> None:
    declare(client)
    client.publish("", "q", b"1")
    client.publish("", "q", b"2")
    client.consume("q")
    end(world, client)
    for method, values in (
        (C.Basic.Ack, {"delivery_tag": 1}),
        (C.Basic.Reject, {"delivery_tag": 2, "requeue": False}),
    ):
        assert client.method(1, method, **values) == []
    assert [message.body for message in drain(client, "q")] == [b"1", b"2"]
    (close,) = client.method(1, C.Basic.Ack, delivery_tag=1)
    assert close.reply_text == "PRECONDITION_FAILED - unknown delivery tag 1"


def test_who_acks_in_time_stays(world: World, client: Client) -> None:
    declare(client)
    client.consume("q")
    for tag in range(1, 11):
        client.publish("", "q")
        world.wait(900)
        assert client.method(1, C.Basic.Ack, delivery_tag=tag) == []
    world.wait(10_000)
    assert client.frames() == []


def test_one_that_is_kept_is_enough(world: World, client: Client) -> None:
    declare(client)
    client.consume("q")
    client.publish("", "q", b"kept")
    told = []
    for tag in range(2, 12):
        client.publish("", "q", b"acked")
        told += client.method(1, C.Basic.Ack, delivery_tag=tag)
        world.wait(110)
        told += client.frames()
        if told:
            break
    assert cancelled(told) == ["c"]


def test_other_consumers_of_the_channel_stay(world: World, client: Client) -> None:
    declare(client)
    declare(client, None, "other")
    client.publish("", "other", b"theirs")
    client.publish("", "q", b"ours")
    client.consume("other", "slow but free")
    client.consume("q", "c")
    _, frames = end(world, client)
    assert cancelled(frames) == ["c"]
    assert world.queue("other").unacked == 1
    assert client.method(1, C.Basic.Ack, delivery_tag=1) == []
    assert (world.queue("other").unacked, world.queue("q").ready) == (0, 1)


def test_the_next_consumer_gets_it(world: World, client: Client) -> None:
    declare(client, **{"x-single-active-consumer": True})
    client.publish("", "q", b"x")
    client.consume("q")
    other = world.connect()
    other.open()
    assert bodies(other.consume("q", "next")) == []
    end(world, client)
    assert [(message.body, message.method.redelivered) for message in messages(other.frames())] == [(b"x", True)]


def test_it_is_no_failure(world: World, client: Client) -> None:
    declare(client, **{"x-queue-type": "quorum", "x-delivery-limit": 0})
    client.publish("", "q")
    client.consume("q")
    end(world, client)
    message = get(client, "q")
    assert message is not None
    assert message.headers == {"x-acquired-count": 1}


def test_consumers_without_ack_have_no_deliveries_to_keep(world: World, client: Client) -> None:
    declare(client)
    client.publish("", "q")
    client.consume("q", no_ack=True)
    assert end(world, client, 20_000)[1] == []


def test_the_setting_holds_for_queues_that_say_nothing(world: World, client: Client) -> None:
    world.settings.consumer_timeout = 3000
    declare(client, None)
    client.publish("", "q")
    client.consume("q")
    assert 3000 <= end(world, client)[0] <= 3600


def test_the_queue_counts_more_than_the_setting_and_the_consumer_more_than_both(world: World, client: Client) -> None:
    world.settings.consumer_timeout = 100
    declare(client, 5000)
    client.publish("", "q")
    client.publish("", "q")
    client.method(1, C.Basic.Qos, prefetch_count=1)
    client.consume("q", "queue's")
    client.consume("q", "own", arguments={"x-consumer-timeout": 20_000})
    passed, frames = end(world, client)
    assert cancelled(frames) == ["queue's"]
    assert 5000 <= passed <= 6000
    passed, frames = end(world, client)
    assert cancelled(frames) == ["own"]
    assert passed + 6000 >= 20_000


def test_a_policy_reaches_consumers_that_are_there(world: World, client: Client) -> None:
    declare(client, None)
    client.publish("", "q")
    client.consume("q")
    world.wait(5000)
    vhost = world.broker.vhosts["/"]
    value = {"pattern": "q", "apply-to": "queues", "definition": {"consumer-timeout": 2000}, "priority": 0}
    vhost.put_parameter("policy", "p", value)
    vhost.apply_policies(world.queue("q"))
    assert 2000 <= end(world, client)[0] <= 2400


def test_on_request_the_channel_is_closed(world: World, client: Client) -> None:
    world.settings.consumer_timeout_closes = True
    declare(client)
    client.publish("", "q")
    client.consume("q")
    _, frames = end(world, client)
    (close,) = frames
    assert isinstance(close, C.Channel.Close)
    assert (close.reply_code, close.class_id, close.method_id) == (406, 0, 0)
    assert close.reply_text == (
        "PRECONDITION_FAILED - delivery acknowledgement on channel 1 timed out. Timeout value used: 1000 ms. This "
        "timeout value can be configured, see consumers doc guide to learn more"
    )
    assert (world.queue("q").ready, world.queue("q").unacked) == (1, 0)


def test_a_client_that_would_not_understand_keeps_everything(world: World, caplog: pytest.LogCaptureFixture) -> None:
    client = world.connect(capabilities=())
    client.open()
    declare(client)
    client.publish("", "q")
    client.consume("q")
    assert end(world, client, 5000)[1] == []
    assert world.queue("q").unacked == 1
    told = [record.getMessage() for record in caplog.records if "has timed out" in record.getMessage()]
    assert len(told) == 1
    assert told[0].startswith("Consumer 'c' on channel 1 and queue 'q' in vhost '/' has timed out waiting for a")


def test_what_is_taken_back_in_a_transaction_stays_taken_back(world: World, client: Client) -> None:
    declare(client)
    client.publish("", "q", b"1")
    client.consume("q")
    end(world, client)
    client.method(1, C.Tx.Select)
    client.method(1, C.Basic.Ack, delivery_tag=1)
    assert isinstance(client.method(1, C.Tx.Commit)[0], C.Tx.CommitOk)
    assert world.queue("q").ready == 1


def test_a_client_that_leaves_afterwards_gives_nothing_back_twice(world: World, client: Client) -> None:
    declare(client)
    client.publish("", "q", b"1")
    client.consume("q")
    end(world, client)
    client.lose()
    assert world.queue("q").ready == 1
