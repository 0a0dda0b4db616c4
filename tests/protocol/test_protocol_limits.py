"""Length limits: what is dropped or refused, what publishers hear, and what dead-letters (semantics 3.2, 3.3)."""

from __future__ import annotations

from typing import Any

import pytest
from pamqp import commands

from tests.support.received import bodies, confirmed, drain, get
from tests.support.world import Client, World

C = commands

REFUSING = pytest.mark.parametrize("overflow", ["reject-publish", "reject-publish-dlx"])


@pytest.fixture
def client(world: World) -> Client:
    """A client with channel 1 open and a queue `dead`."""
    client = world.connect()
    client.open()
    client.declare("dead")
    return client


def limited(client: Client, name: str = "q", durable: bool = False, dead_letters: bool = False, **limits: Any) -> None:
    """A queue whose limits are named without x- and with underscores."""
    arguments = {f"x-{key.replace('_', '-')}": value for key, value in limits.items()}
    if dead_letters:
        arguments |= {"x-dead-letter-exchange": "", "x-dead-letter-routing-key": "dead"}
    client.declare(name, durable=durable, arguments=arguments)


def fill(client: Client, count: int, start: int = 0, **properties: Any) -> list[Any]:
    """Publish numbers, all in one read; what came back."""
    numbers = range(start, start + count)
    client.send(b"".join(client.publish_bytes(1, "", "q", b"%d" % number, **properties) for number in numbers))
    return client.frames()


def left(client: Client, queue: str = "q") -> list[bytes]:
    return [message.body for message in drain(client, queue)]


# -------------------------------------------------------------------------------------------------- drop-head


@pytest.mark.parametrize("overflow", [{}, {"overflow": "drop-head"}])
@pytest.mark.parametrize("at_once", [True, False])
def test_the_oldest_make_room(world: World, client: Client, overflow: dict[str, str], at_once: bool) -> None:
    limited(client, dead_letters=True, max_length=3, **overflow)
    if at_once:
        fill(client, 7)
    else:
        for number in range(7):
            client.publish("", "q", b"%d" % number)
    assert client.declare("q", passive=True).message_count == 3
    assert left(client) == [b"4", b"5", b"6"]
    letters = drain(client, "dead")
    assert [(letter.body, letter.deaths) for letter in letters] == [
        (b"%d" % number, [("q", "maxlen", 1)]) for number in range(4)
    ]


def test_bytes_are_those_of_the_bodies(client: Client) -> None:
    limited(client, max_length_bytes=350)
    for number in range(6):
        client.publish("", "q", b"%d" % number * 100, headers={"padding": "x" * 1000})
    assert left(client) == [b"%d" % number * 100 for number in (3, 4, 5)]


def test_a_body_that_fits_exactly(client: Client) -> None:
    limited(client, max_length_bytes=10)
    client.publish("", "q", b"x" * 10)
    client.publish("", "q", b"")
    assert left(client) == [b"x" * 10, b""]


def test_a_body_larger_than_the_limit_takes_everything_with_it(client: Client) -> None:
    limited(client, dead_letters=True, max_length_bytes=350)
    for number in range(3):
        client.publish("", "q", b"%d" % number * 100)
    client.publish("", "q", b"x" * 351)
    assert left(client) == []
    assert [len(letter) for letter in left(client, "dead")] == [100, 100, 100, 351]


def test_no_bytes_at_all_leave_room_for_empty_bodies(client: Client) -> None:
    limited(client, max_length_bytes=0)
    fill(client, 1)
    client.publish("", "q", b"")
    assert left(client) == [b""]


@pytest.mark.parametrize(
    ("sizes", "kept"),
    [
        ([1, 1, 1, 1, 1], [1, 1, 1]),
        ([60, 30, 30, 30], [30, 30, 30]),
        ([60, 60], [60]),
        ([10, 90, 1, 1], [90, 1, 1]),
        ([50, 50, 0], [50, 50, 0]),
    ],
)
def test_both_limits_hold(client: Client, sizes: list[int], kept: list[int]) -> None:
    limited(client, max_length=3, max_length_bytes=100)
    for size in sizes:
        client.publish("", "q", b"x" * size)
    assert [len(body) for body in left(client)] == kept


@pytest.mark.parametrize("mode", [1, 2])
def test_a_dropped_publish_is_acked(client: Client, mode: int) -> None:
    limited(client, durable=True, max_length=2)
    client.method(1, C.Confirm.Select)
    assert confirmed(fill(client, 5, delivery_mode=mode), 5) == ([1, 2, 3, 4, 5], [])


def test_a_queue_for_nothing(world: World, client: Client) -> None:
    limited(client, dead_letters=True, max_length=0)
    fill(client, 3)
    assert world.queue("q").ready == 0
    assert left(client, "dead") == [b"0", b"1", b"2"]


def test_what_was_taken_does_not_count(world: World, client: Client) -> None:
    limited(client, max_length=3)
    fill(client, 3)
    for _ in range(3):
        get(client, "q")
    fill(client, 3, start=3)
    assert (world.queue("q").ready, world.queue("q").unacked) == (3, 3)
    assert left(client) == [b"3", b"4", b"5"]


@pytest.mark.parametrize("how", ["nack", "channel", "connection"])
def test_what_comes_back_above_the_limit_drops_the_head(world: World, client: Client, how: str) -> None:
    limited(client, dead_letters=True, max_length=3)
    fill(client, 3)
    holder = world.connect()
    holder.open()
    get(holder, "q")
    get(holder, "q")
    fill(client, 1, start=3)
    if how == "nack":
        holder.method(1, C.Basic.Nack, delivery_tag=2, multiple=True, requeue=True)
    elif how == "channel":
        holder.method(1, C.Channel.Close, reply_code=200, reply_text="", class_id=0, method_id=0)
    else:
        holder.lose()
    assert left(client, "dead") == [b"0"]
    assert [(item.body, item.method.redelivered) for item in drain(client, "q")] == [
        (b"1", True),
        (b"2", False),
        (b"3", False),
    ]


def test_the_head_is_dropped_also_where_a_later_message_comes_back(client: Client) -> None:
    limited(client, dead_letters=True, max_length=2)
    fill(client, 2)
    get(client, "q")
    get(client, "q")
    client.method(1, C.Basic.Nack, delivery_tag=1, requeue=True)
    fill(client, 1, start=2)
    client.method(1, C.Basic.Nack, delivery_tag=2, requeue=True)
    assert left(client, "dead") == [b"0"]
    assert left(client) == [b"1", b"2"]


# --------------------------------------------------------------------------------------------- reject-publish


@REFUSING
def test_publishers_are_told_what_was_refused(client: Client, overflow: str) -> None:
    limited(client, dead_letters=True, max_length=2, overflow=overflow)
    client.method(1, C.Confirm.Select)
    assert confirmed(fill(client, 5), 5) == ([1, 2], [3, 4, 5])
    letters = drain(client, "dead")
    expected = [b"2", b"3", b"4"] if overflow == "reject-publish-dlx" else []
    assert [letter.body for letter in letters] == expected
    assert all(letter.deaths == [("q", "maxlen", 1)] for letter in letters)
    assert get(client, "q", no_ack=True) is not None
    # One place is free again.
    frames = fill(client, 2, start=5)
    assert {item.delivery_tag: type(item) for item in frames} == {6: C.Basic.Ack, 7: C.Basic.Nack}
    assert left(client) == [b"1", b"5"]


@REFUSING
def test_without_confirms_what_is_refused_is_lost_silently(client: Client, overflow: str) -> None:
    limited(client, max_length=2, overflow=overflow)
    assert fill(client, 5) == []
    assert left(client) == [b"0", b"1"]


def test_acks_and_nacks_take_turns(client: Client) -> None:
    limited(client, max_length_bytes=100, overflow="reject-publish")
    client.method(1, C.Confirm.Select)
    sizes = [60, 60, 30, 60, 10, 1]
    client.send(b"".join(client.publish_bytes(1, "", "q", b"x" * size) for size in sizes))
    assert confirmed(client.frames(), 6) == ([1, 3, 5], [2, 4, 6])
    assert [len(body) for body in left(client)] == [60, 30, 10]


@REFUSING
def test_what_comes_back_is_never_refused(world: World, client: Client, overflow: str) -> None:
    limited(client, dead_letters=True, max_length=2, overflow=overflow)
    client.method(1, C.Confirm.Select)
    fill(client, 2)
    get(client, "q")
    get(client, "q")
    fill(client, 2, start=2)
    client.method(1, C.Basic.Nack, delivery_tag=0, multiple=True, requeue=True)
    assert world.queue("q").ready == 4
    assert isinstance(client.publish("", "q", b"4")[0], C.Basic.Nack)
    drain(client, "dead")
    assert left(client) == [b"0", b"1", b"2", b"3"]


@pytest.mark.parametrize("mandatory", [False, True])
@pytest.mark.parametrize("mode", [1, 2])
def test_one_of_two_queues_refuses(client: Client, mandatory: bool, mode: int) -> None:
    limited(client, "full", durable=True, max_length=1, overflow="reject-publish")
    client.declare("open", durable=True)
    for name in ("full", "open"):
        client.method(1, C.Queue.Bind, queue=name, exchange="amq.fanout")
    client.method(1, C.Confirm.Select)
    data = [client.publish_bytes(1, "amq.fanout", "", b"%d" % n, mandatory, delivery_mode=mode) for n in range(3)]
    client.send(b"".join(data))
    assert confirmed(client.frames(), 3) == ([1], [2, 3])
    assert left(client, "full") == [b"0"]
    assert left(client, "open") == [b"0", b"1", b"2"]


def test_a_refused_mandatory_publish_is_not_returned(client: Client) -> None:
    limited(client, max_length=0, overflow="reject-publish")
    client.method(1, C.Confirm.Select)
    client.send(client.publish_bytes(1, "", "q", b"x", mandatory=True))
    assert [type(item) for item in client.frames()] == [C.Basic.Nack]


@REFUSING
def test_a_transaction_with_a_refused_publish(world: World, client: Client, overflow: str) -> None:
    limited(client, max_length=2, overflow=overflow)
    client.method(1, C.Tx.Select)
    fill(client, 3)
    (close,) = client.method(1, C.Tx.Commit)
    assert isinstance(close, C.Channel.Close)
    assert (close.reply_code, close.reply_text) == (406, "PRECONDITION_FAILED - partial tx completion")
    assert (close.class_id, close.method_id) == (90, 20)
    client.method(1, C.Channel.CloseOk)
    client.open()
    assert left(client) == [b"0", b"1"]


def test_a_transaction_within_the_limits(client: Client) -> None:
    limited(client, max_length=2)
    limited(client, "strict", max_length=2, overflow="reject-publish")
    client.method(1, C.Tx.Select)
    fill(client, 3)
    for number in range(2):
        client.publish("", "strict", b"%d" % number)
    (answer,) = client.method(1, C.Tx.Commit)
    assert isinstance(answer, C.Tx.CommitOk)
    assert (left(client), left(client, "strict")) == ([b"1", b"2"], [b"0", b"1"])


# ------------------------------------------------------------------------------------------------- consumers


@pytest.mark.parametrize(
    ("limit", "overflow"),
    [(0, "drop-head"), (1, "drop-head"), (1, "reject-publish"), (1, "reject-publish-dlx")],
)
@pytest.mark.parametrize("no_ack", [True, False])
@pytest.mark.parametrize("mode", [1, 2])
def test_an_idle_consumer_gets_a_whole_read(client: Client, limit: int, overflow: str, no_ack: bool, mode: int) -> None:
    limited(client, durable=True, dead_letters=True, max_length=limit, overflow=overflow)
    client.method(1, C.Confirm.Select)
    client.consume("q", no_ack=no_ack)
    frames = fill(client, 100, delivery_mode=mode)
    assert bodies(frames) == [b"%d" % number for number in range(100)]
    assert confirmed(frames, 100) == (list(range(1, 101)), [])
    assert left(client, "dead") == []


def test_an_idle_consumer_gets_bodies_larger_than_the_limit(client: Client) -> None:
    limited(client, max_length_bytes=10)
    client.consume("q")
    client.send(b"".join(client.publish_bytes(1, "", "q", b"x" * 100) for _ in range(10)))
    assert bodies(client.frames()) == [b"x" * 100] * 10


def test_a_queue_that_takes_nothing_refuses_even_with_an_idle_consumer(client: Client) -> None:
    """RabbitMQ asks whether one more would be too long before it looks for a consumer."""
    limited(client, max_length=0, overflow="reject-publish")
    client.method(1, C.Confirm.Select)
    client.consume("q")
    frames = fill(client, 3)
    assert (bodies(frames), confirmed(frames, 3)) == ([], ([], [1, 2, 3]))


def test_a_consumer_takes_what_it_may_before_the_limit_is_looked_at(client: Client) -> None:
    limited(client, dead_letters=True, max_length=2)
    client.method(1, C.Basic.Qos, prefetch_count=3)
    client.consume("q")
    assert bodies(fill(client, 10)) == [b"0", b"1", b"2"]
    assert left(client, "dead") == [b"3", b"4", b"5", b"6", b"7"]
    assert bodies(client.method(1, C.Basic.Ack, delivery_tag=0, multiple=True)) == [b"8", b"9"]


def test_a_consumer_takes_what_it_may_before_a_publish_is_refused(client: Client) -> None:
    limited(client, max_length=2, overflow="reject-publish")
    client.method(1, C.Confirm.Select)
    client.method(1, C.Basic.Qos, prefetch_count=3)
    client.consume("q")
    frames = fill(client, 10)
    assert bodies(frames) == [b"0", b"1", b"2"]
    assert confirmed(frames, 10) == ([1, 2, 3, 4, 5], [6, 7, 8, 9, 10])


# --------------------------------------------------------------------------------------------------- restarts


@pytest.mark.parametrize("crash", [False, True])
@pytest.mark.parametrize("at_once", [True, False])
@pytest.mark.parametrize(
    ("overflow", "kept"),
    [("drop-head", [b"4", b"5"]), ("reject-publish", [b"0", b"1"]), ("reject-publish-dlx", [b"0", b"1"])],
)
def test_what_was_dropped_or_refused_never_comes_back(
    world: World, client: Client, overflow: str, kept: list[bytes], at_once: bool, crash: bool
) -> None:
    limited(client, durable=True, max_length=2, overflow=overflow)
    if at_once:
        fill(client, 6, delivery_mode=2)
    else:
        for number in range(6):
            client.publish("", "q", b"%d" % number, delivery_mode=2)
    world = world.restart(crash=crash)
    client = world.connect()
    client.open()
    assert left(client) == kept
    world = world.restart(crash=crash)
    assert world.queue("q").ready == 0


@pytest.mark.parametrize("crash", [False, True])
def test_the_limits_go_on_counting_after_a_start(world: World, client: Client, crash: bool) -> None:
    limited(client, durable=True, max_length=3, max_length_bytes=20)
    for number in range(3):
        client.publish("", "q", b"%d" % number * 5, delivery_mode=2)
    world = world.restart(crash=crash)
    client = world.connect()
    client.open()
    client.publish("", "q", b"3" * 11, delivery_mode=2)
    assert left(client) == [b"2" * 5, b"3" * 11]


@pytest.mark.parametrize("crash", [False, True])
def test_what_was_taken_comes_back_above_the_limit_after_a_start(world: World, client: Client, crash: bool) -> None:
    """The taken return in their place, and the limit drops the head as ever."""
    limited(client, durable=True, max_length=2)
    fill(client, 2, delivery_mode=2)
    get(client, "q")
    get(client, "q")
    fill(client, 2, start=2, delivery_mode=2)
    world = world.restart(crash=crash)
    client = world.connect()
    client.open()
    assert left(client) == [b"2", b"3"]
