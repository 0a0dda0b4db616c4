"""Consuming: prefetch, round robin, priorities, settling, requeue, cancel, exclusive and auto-delete (semantics 3)."""

from __future__ import annotations

from typing import Any

import pytest
from pamqp import commands

from tests.support.world import Client, World

C = commands


@pytest.fixture
def client(world: World) -> Client:
    """A client with channel 1 open and a queue `q`."""
    client = world.connect()
    client.open()
    client.declare("q")
    return client


def deliveries(frames: list[Any]) -> list[tuple[str, int, bool, bytes]]:
    """(consumer tag, delivery tag, redelivered, body) of each delivery."""
    found = []
    for at, item in enumerate(frames):
        if isinstance(item, C.Basic.Deliver):
            found.append((item.consumer_tag, item.delivery_tag, item.redelivered, frames[at + 2]))
    return found


def fill(client: Client, count: int, queue: str = "q") -> None:
    for number in range(count):
        client.publish("", queue, b"%d" % number)


def test_prefetch_holds_back_and_an_ack_lets_go_on(world: World, client: Client) -> None:
    fill(client, 5)
    client.method(1, C.Basic.Qos, prefetch_count=2)
    frames = client.consume("q")
    assert isinstance(frames[0], C.Basic.ConsumeOk)
    assert [body for *_, body in deliveries(frames)] == [b"0", b"1"]
    assert [body for *_, body in deliveries(client.method(1, C.Basic.Ack, delivery_tag=2))] == [b"2"]
    assert len(deliveries(client.method(1, C.Basic.Ack, delivery_tag=3, multiple=True))) == 2
    assert world.queue("q").unacked == 2


def test_a_global_prefetch_is_shared(client: Client) -> None:
    fill(client, 5)
    client.method(1, C.Basic.Qos, prefetch_count=3, global_=True)
    found = deliveries(client.consume("q", "a") + client.consume("q", "b"))
    assert len(found) == 3
    assert len(deliveries(client.method(1, C.Basic.Ack, delivery_tag=0, multiple=True))) == 2
    assert client.method(1, C.Basic.Qos, prefetch_count=0, global_=True)


def test_a_prefetch_is_for_later_consumers(client: Client) -> None:
    """RabbitMQ's reading of basic.qos without global."""
    fill(client, 5)
    client.method(1, C.Basic.Qos, prefetch_count=1)
    client.consume("q")
    assert not deliveries(client.method(1, C.Basic.Qos, prefetch_count=3))


def test_a_prefetch_for_the_consumers_that_are_there(world: World, client: Client) -> None:
    """With qos.update_existing_consumers: more at once, fewer as soon as enough is settled, 0 for no limit."""
    world.settings.qos_update_existing_consumers = True
    fill(client, 20)
    client.method(1, C.Basic.Qos, prefetch_count=1)
    assert len(deliveries(client.consume("q"))) == 1
    assert len(deliveries(client.method(1, C.Basic.Qos, prefetch_count=4))) == 3
    assert not deliveries(client.method(1, C.Basic.Qos, prefetch_count=2))
    assert not deliveries(client.method(1, C.Basic.Ack, delivery_tag=2, multiple=True))
    assert len(deliveries(client.method(1, C.Basic.Ack, delivery_tag=3))) == 1
    assert len(deliveries(client.method(1, C.Basic.Qos, prefetch_count=0))) == 15


def test_without_ack_nothing_is_held_back(world: World, client: Client) -> None:
    fill(client, 5)
    client.method(1, C.Basic.Qos, prefetch_count=1)
    assert len(deliveries(client.consume("q", no_ack=True))) == 5
    assert world.queue("q").unacked == 0


def test_round_robin_among_equals(client: Client) -> None:
    for tag in ("a", "b", "c"):
        client.consume("q", tag)
    tags = []
    for number in range(6):
        tags += [tag for tag, *_ in deliveries(client.publish("", "q", b"%d" % number))]
    assert tags == ["a", "b", "c"] * 2


def test_the_higher_priority_first_while_it_has_room(client: Client) -> None:
    client.method(1, C.Basic.Qos, prefetch_count=2)
    client.consume("q", "low", arguments={"x-priority": -1})
    client.consume("q", "high", arguments={"x-priority": 5})
    client.send(b"".join(client.publish_bytes(1, "", "q", b"%d" % number) for number in range(4)))
    assert [tag for tag, *_ in deliveries(client.frames())] == ["high", "high", "low", "low"]


def test_requeued_messages_come_back_in_their_old_place(client: Client) -> None:
    fill(client, 4)
    client.method(1, C.Basic.Qos, prefetch_count=3)
    client.consume("q")
    client.method(1, C.Basic.Cancel, consumer_tag="c")
    client.method(1, C.Basic.Nack, delivery_tag=2, requeue=True)
    client.method(1, C.Basic.Reject, delivery_tag=1, requeue=True)
    client.method(1, C.Basic.Reject, delivery_tag=3, requeue=False)
    client.method(1, C.Basic.Qos, prefetch_count=0)
    found = deliveries(client.consume("q"))
    assert [(body, redelivered) for _, _, redelivered, body in found] == [(b"0", True), (b"1", True), (b"3", False)]


def test_a_lost_connection_gives_everything_back_in_order(world: World, client: Client) -> None:
    fill(client, 4)
    lost = world.connect()
    lost.open()
    lost.consume("q")
    lost.lose()
    found = deliveries(client.consume("q"))
    assert [(body, redelivered) for _, _, redelivered, body in found] == [(b"%d" % n, True) for n in range(4)]


def test_recover_redelivers(client: Client) -> None:
    fill(client, 2)
    client.consume("q")
    frames = client.method(1, C.Basic.Recover, requeue=True)
    assert isinstance(frames[0], C.Basic.RecoverOk)
    assert [(tag, redelivered) for _, tag, redelivered, _ in deliveries(frames)] == [(3, True), (4, True)]


def test_get_counts_what_is_left(client: Client) -> None:
    fill(client, 3)
    answer = client.method(1, C.Basic.Get, queue="q")[0]
    assert (answer.delivery_tag, answer.message_count) == (1, 2)
    answer = client.method(1, C.Basic.Get, queue="q", no_ack=True)[0]
    assert (answer.delivery_tag, answer.message_count) == (2, 1)


def test_purge_leaves_what_was_delivered(world: World, client: Client) -> None:
    fill(client, 3)
    client.method(1, C.Basic.Get, queue="q")
    (answer,) = client.method(1, C.Queue.Purge, queue="q")
    assert answer.message_count == 2
    assert (world.queue("q").ready, world.queue("q").unacked) == (0, 1)


def test_exclusive_consumers(world: World, client: Client) -> None:
    client.consume("q", "mine", exclusive=True)
    other = world.connect()
    other.open()
    (close,) = other.consume("q")
    assert close.reply_text == "ACCESS_REFUSED - queue 'q' in vhost '/' in exclusive use"
    client.method(1, C.Basic.Cancel, consumer_tag="mine")
    client.consume("q", "shared")
    other = world.connect()
    other.open()
    (close,) = other.consume("q", exclusive=True)
    assert close.reply_code == 403


def test_deleting_a_queue_cancels_its_consumers(world: World, client: Client) -> None:
    client.consume("q", "watch")
    fill(client, 1)
    client.frames()
    deaf = world.connect(capabilities=())
    deaf.open()
    deaf.consume("q", "deaf")
    other = world.connect()
    other.open()
    (answer,) = other.method(1, C.Queue.Delete, queue="q")
    assert isinstance(answer, C.Queue.DeleteOk)
    (cancel,) = client.frames()
    assert isinstance(cancel, C.Basic.Cancel)
    assert (cancel.consumer_tag, cancel.nowait) == ("watch", True)
    assert deaf.frames() == []
    # What had been delivered can still be acked, and the tag is free.
    assert client.method(1, C.Basic.Ack, delivery_tag=1) == []
    client.declare("q")
    assert isinstance(client.consume("q", "watch")[0], C.Basic.ConsumeOk)


def test_delete_only_if_unused_and_empty(client: Client) -> None:
    fill(client, 1)
    (close,) = client.method(1, C.Queue.Delete, queue="q", if_empty=True)
    assert close.reply_text == "PRECONDITION_FAILED - queue 'q' in vhost '/' not empty"
    client.method(1, C.Channel.CloseOk)
    client.open()
    client.consume("q")
    (close,) = client.method(1, C.Queue.Delete, queue="q", if_unused=True)
    assert close.reply_text == "PRECONDITION_FAILED - queue 'q' in vhost '/' in use"


def test_auto_delete_with_the_last_consumer(world: World, client: Client) -> None:
    client.declare("a", auto_delete=True)
    client.consume("a", "one")
    client.consume("a", "two")
    client.method(1, C.Basic.Cancel, consumer_tag="one")
    assert "a" in world.broker.vhosts["/"].queues
    client.method(1, C.Channel.Close, reply_code=200, reply_text="", class_id=0, method_id=0)
    assert "a" not in world.broker.vhosts["/"].queues


def test_an_auto_delete_exchange_goes_with_its_last_binding(world: World, client: Client) -> None:
    client.method(1, C.Exchange.Declare, exchange="x", exchange_type="fanout", auto_delete=True)
    client.method(1, C.Queue.Bind, queue="q", exchange="x")
    client.method(1, C.Queue.Delete, queue="q")
    assert "x" not in world.broker.vhosts["/"].exchanges


def test_a_client_that_does_not_read_gets_no_more(world: World, client: Client) -> None:
    reader = world.connect()
    reader.open()
    reader.consume("q", no_ack=True)
    reader.session.pause_writing()
    for _ in range(10):
        client.publish("", "q", b"x" * 1000)
    assert reader.frames() == []
    assert world.queue("q").ready == 10
    reader.session.resume_writing()
    world.run()
    assert len(deliveries(reader.frames())) == 10


def test_replies_that_are_not_read_stop_the_reading(world: World, client: Client) -> None:
    client.unread = 17 << 20
    client.session.pause_writing()
    client.method(1, C.Basic.Get, queue="q")
    assert not client.reading
    client.unread = 0
    client.session.resume_writing()
    assert client.reading


def test_server_named_queues_and_the_last_declared(client: Client) -> None:
    name = client.declare("").queue
    assert name.startswith("amq.gen-")
    client.publish("", name)
    assert client.method(1, C.Queue.Purge, queue="")[0].message_count == 1
    client.method(1, C.Queue.Bind, queue="", exchange="amq.direct", routing_key="")
    client.publish("amq.direct", name)
    assert client.method(1, C.Queue.Purge, queue="")[0].message_count == 1


def test_who_deletes_a_queue_it_consumes_from_hears_of_that_first(client: Client) -> None:
    client.consume("q")
    frames = client.method(1, C.Queue.Delete, queue="q")
    assert [type(item) for item in frames] == [C.Queue.DeleteOk, C.Basic.Cancel]
