"""Publishing: routing, mandatory and returns, confirms, CC and BCC, direct reply-to, transactions."""

from __future__ import annotations

from typing import Any

import pytest
from pamqp import commands

from amqpd.storage.memory import MemoryEngine
from tests.support.world import Client, World

C = commands


@pytest.fixture
def client(world: World) -> Client:
    """A client with channel 1 open."""
    client = world.connect()
    client.open()
    return client


def bodies(frames: list[Any]) -> list[bytes]:
    return [item for item in frames if isinstance(item, bytes)]


def get(client: Client, queue: str, **values: Any) -> list[Any]:
    return client.method(1, C.Basic.Get, queue=queue, **values)


def test_properties_and_body_come_out_as_they_went_in(client: Client) -> None:
    client.declare("q")
    headers = {"text": "ü", "number": 5, "table": {"deep": [1, True, None]}}
    client.publish("", "q", b"body", headers=headers, content_type="a/b", message_id="m", timestamp=None, priority=3)
    answer, head, body = get(client, "q")
    assert isinstance(answer, C.Basic.GetOk)
    assert (answer.exchange, answer.routing_key, answer.redelivered, answer.message_count) == ("", "q", False, 0)
    assert (head.properties.headers, head.properties.content_type, head.properties.priority) == (headers, "a/b", 3)
    assert body == b"body"


def test_an_empty_body_and_one_of_many_frames(world: World) -> None:
    client = world.connect(frame_max=4096)
    client.open()
    client.declare("q")
    client.publish("", "q", b"")
    answer, head = get(client, "q")
    assert isinstance(answer, C.Basic.GetOk)
    assert head.body_size == 0
    big = world.connect()
    big.open()
    content = bytes(range(256)) * 400
    data = big.publish_bytes(1, "", "q", content)
    for start in range(0, len(data), 1000):
        big.send(data[start : start + 1000])
    answer, head, *parts = get(client, "q")
    assert isinstance(answer, C.Basic.GetOk)
    assert head.body_size == len(content)
    assert max(map(len, parts)) == 4096 - 8
    assert b"".join(parts) == content


def test_mandatory_and_unroutable_is_returned_then_confirmed(client: Client) -> None:
    client.method(1, C.Confirm.Select)
    back, head, body, ack = client.publish("", "nowhere", b"lost", mandatory=True, message_id="m1")
    assert isinstance(back, C.Basic.Return)
    assert (back.reply_code, back.reply_text, back.exchange, back.routing_key) == (312, "NO_ROUTE", "", "nowhere")
    assert (head.properties.message_id, body) == ("m1", b"lost")
    assert isinstance(ack, C.Basic.Ack)
    assert ack.delivery_tag == 1


def test_not_mandatory_and_unroutable_is_dropped_and_confirmed(client: Client) -> None:
    client.method(1, C.Confirm.Select)
    (ack,) = client.publish("amq.direct", "nowhere")
    assert isinstance(ack, C.Basic.Ack)


def test_confirms_of_a_turn_are_one_ack(client: Client) -> None:
    client.declare("q")
    client.method(1, C.Confirm.Select)
    client.send(b"".join(client.publish_bytes(1, "", "q", b"x") for _ in range(50)))
    (ack,) = client.frames()
    assert (ack.delivery_tag, ack.multiple) == (50, True)


def test_a_durable_confirm_waits_for_its_commit() -> None:
    engine = MemoryEngine(at_once=False)
    world = World(engine=engine)
    client = world.connect()
    client.open()
    client.declare("q", durable=True)
    client.method(1, C.Confirm.Select)
    assert client.publish("", "q", b"1", delivery_mode=2) == []
    assert client.publish("", "q", b"2", delivery_mode=2) == []
    # A transient one behind them does not overtake, for an ack of several must not cross an open one.
    assert client.publish("", "q", b"3") == []
    engine.commit()
    world.run()
    (ack,) = client.frames()
    assert (ack.delivery_tag, ack.multiple) == (1, False)
    engine.commit()
    world.run()
    (ack,) = client.frames()
    assert (ack.delivery_tag, ack.multiple) == (3, True)


def test_nothing_is_confirmed_after_the_channel_is_closed() -> None:
    engine = MemoryEngine(at_once=False)
    world = World(engine=engine)
    client = world.connect()
    client.open()
    client.declare("q", durable=True)
    client.method(1, C.Confirm.Select)
    client.publish("", "q", delivery_mode=2)
    (answer,) = client.method(1, C.Channel.Close, reply_code=200, reply_text="", class_id=0, method_id=0)
    assert isinstance(answer, C.Channel.CloseOk)
    engine.commit()
    world.run()
    assert client.frames() == []


def test_a_failed_disk_confirms_nothing() -> None:
    engine = MemoryEngine(at_once=False)
    world = World(engine=engine)
    client = world.connect()
    client.open()
    client.declare("q", durable=True)
    client.method(1, C.Confirm.Select)
    client.publish("", "q", delivery_mode=2)
    engine.fail(OSError("disk full"))
    world.run()
    assert client.frames() == []
    assert [str(error) for error in world.failures] == ["disk full"]


def test_cc_and_bcc_route_and_only_bcc_is_hidden(client: Client) -> None:
    for name in ("a", "b", "c"):
        client.declare(name)
    client.publish("", "a", headers={"CC": ["b", "a"], "BCC": ["c"], "kept": 1})
    for name in ("a", "b", "c"):
        _, head, _ = get(client, name)
        assert head.properties.headers == {"CC": ["b", "a"], "kept": 1}
        assert isinstance(get(client, name)[0], C.Basic.GetEmpty)


def test_direct_reply_to(world: World, client: Client) -> None:
    client.declare("requests")
    client.consume("amq.rabbitmq.reply-to", "replies", no_ack=True)
    client.publish("", "requests", b"question", reply_to="amq.rabbitmq.reply-to", correlation_id="7")
    server = world.connect()
    server.open()
    _, head, body = get(server, "requests", no_ack=True)
    reply_to = head.properties.reply_to
    assert reply_to.startswith("amq.rabbitmq.reply-to.")
    assert body == b"question"
    assert server.declare(reply_to, passive=True).consumer_count == 1
    assert server.publish("", reply_to, b"answer", mandatory=True, correlation_id="7") == []
    deliver, head, body = client.frames()
    assert (deliver.consumer_tag, head.properties.correlation_id, body) == ("replies", "7", b"answer")
    (close,) = client.consume("amq.rabbitmq.reply-to", "more", no_ack=True)
    assert close.reply_text == "PRECONDITION_FAILED - reply consumer already set"
    assert server.declare(reply_to, passive=True).reply_code == 404


class TestTransactions:
    """Class tx."""

    def test_publishes_wait_for_the_commit(self, world: World, client: Client) -> None:
        client.declare("q", durable=True)
        client.method(1, C.Tx.Select)
        client.publish("", "q", b"1", delivery_mode=2)
        assert world.queue("q").ready == 0
        (answer,) = client.method(1, C.Tx.Commit)
        assert isinstance(answer, C.Tx.CommitOk)
        assert world.queue("q").ready == 1
        assert len(world.folded()["q"]) == 1

    def test_errors_come_at_once(self, client: Client) -> None:
        client.method(1, C.Tx.Select)
        (close,) = client.publish("nope", "q")
        assert close.reply_code == 404

    def test_rollback_drops_publishes_and_gives_acks_back(self, world: World, client: Client) -> None:
        client.declare("q")
        client.publish("", "q", b"1")
        client.method(1, C.Tx.Select)
        get(client, "q")
        client.method(1, C.Basic.Ack, delivery_tag=1)
        client.publish("", "q", b"2")
        client.method(1, C.Tx.Rollback)
        assert world.queue("q").ready == 0
        assert world.queue("q").unacked == 1
        client.method(1, C.Basic.Ack, delivery_tag=1)
        client.method(1, C.Tx.Commit)
        assert world.queue("q").unacked == 0

    def test_commit_ok_waits_for_the_disk_and_so_does_what_follows(self) -> None:
        engine = MemoryEngine(at_once=False)
        world = World(engine=engine)
        client = world.connect()
        client.open()
        client.declare("q", durable=True)
        client.method(1, C.Tx.Select)
        client.publish("", "q", b"1", delivery_mode=2)
        assert client.method(1, C.Tx.Commit) == []
        assert client.method(1, C.Queue.Declare, queue="p") == []
        engine.commit()
        world.run()
        assert [type(item) for item in client.frames()] == [C.Tx.CommitOk, C.Queue.DeclareOk]

    def test_an_empty_commit(self, client: Client) -> None:
        client.method(1, C.Tx.Select)
        (answer,) = client.method(1, C.Tx.Commit)
        assert isinstance(answer, C.Tx.CommitOk)

    def test_not_together_with_confirms(self, world: World, client: Client) -> None:
        client.method(1, C.Confirm.Select)
        (close,) = client.method(1, C.Tx.Select)
        assert close.reply_text == "PRECONDITION_FAILED - cannot switch from confirm to tx mode"
        other = world.connect()
        other.open()
        other.method(1, C.Tx.Select)
        (close,) = other.method(1, C.Confirm.Select)
        assert close.reply_text == "PRECONDITION_FAILED - cannot switch from tx to confirm mode"


def test_a_changed_binding_counts_for_the_next_publish(world: World, client: Client) -> None:
    client.declare("q")
    client.method(1, C.Exchange.Declare, exchange="x", exchange_type="topic")
    client.method(1, C.Exchange.Declare, exchange="y", exchange_type="fanout")
    client.method(1, C.Exchange.Bind, source="x", destination="y", routing_key="a.#")
    for expected, bind in ((0, None), (1, C.Queue.Bind), (1, C.Queue.Unbind), (2, C.Queue.Bind)):
        if bind is not None:
            client.method(1, bind, queue="q", exchange="y")
        client.publish("x", "a.b")
        assert world.queue("q").ready == expected


def test_a_queue_made_again_takes_messages(world: World, client: Client) -> None:
    for _ in range(2):
        client.declare("q")
        client.publish("", "q")
        client.publish("", "q")
        assert world.queue("q").ready == 2
        (answer,) = client.method(1, C.Queue.Delete, queue="q")
        assert answer.message_count == 2
        client.publish("", "q")


def test_headers_exchange_asks_each_message(world: World, client: Client) -> None:
    client.declare("q")
    client.method(1, C.Queue.Bind, queue="q", exchange="amq.headers", arguments={"x-match": "any", "a": 1, "b": "two"})
    client.publish("amq.headers", "", headers={"a": 1})
    client.publish("amq.headers", "", headers={"a": 2})
    client.publish("amq.headers", "", headers={"b": "two"})
    client.publish("amq.headers", "")
    assert world.queue("q").ready == 2


def test_alternate_exchange(world: World, client: Client) -> None:
    client.declare("rest")
    client.method(1, C.Exchange.Declare, exchange="ae", exchange_type="fanout")
    client.method(1, C.Queue.Bind, queue="rest", exchange="ae")
    client.method(1, C.Exchange.Declare, exchange="x", exchange_type="direct", arguments={"alternate-exchange": "ae"})
    assert client.publish("x", "k", mandatory=True) == []
    assert world.queue("rest").ready == 1
