"""Messages that expire: a queue's x-message-ttl and a message's expiration, to the millisecond (semantics 3.3)."""

from __future__ import annotations

from typing import Any

import pytest
from pamqp import commands

from tests.support.received import bodies, confirmed, drain, get, messages
from tests.support.world import Client, World

C = commands


@pytest.fixture
def client(world: World) -> Client:
    """A client with channel 1 open."""
    client = world.connect()
    client.open()
    return client


def reopen(world: World) -> Client:
    client = world.connect()
    client.open()
    return client


def count(client: Client, queue: str = "q") -> int:
    return client.declare(queue, passive=True).message_count


def with_ttl(client: Client, ttl: int, name: str = "q", **arguments: Any) -> None:
    durable = arguments.pop("durable", False)
    client.declare(name, durable=durable, arguments={"x-message-ttl": ttl, **arguments})


def with_dead_letters(client: Client, ttl: int | None = None, durable: bool = False) -> None:
    """Queue `q`, whose dead letters go to queue `dead`."""
    client.declare("dead", durable=durable)
    arguments: dict[str, Any] = {"x-dead-letter-exchange": "", "x-dead-letter-routing-key": "dead"}
    client.declare("q", durable=durable, arguments=arguments | ({} if ttl is None else {"x-message-ttl": ttl}))


# ------------------------------------------------------------------------------------------------------ when


@pytest.mark.parametrize(
    ("ttl", "expiration", "deadline"),
    [
        (1000, None, 1000),
        (None, "1000", 1000),
        (1000, "250", 250),
        (250, "1000", 250),
        (700, "700", 700),
        (1, "315360000000", 1),
        (315360000000, "1", 1),
    ],
)
def test_the_shorter_of_both_to_the_millisecond(
    world: World, client: Client, ttl: int | None, expiration: str | None, deadline: int
) -> None:
    client.declare("q", arguments={} if ttl is None else {"x-message-ttl": ttl})
    world.wait(333)
    client.publish("", "q", expiration=expiration)
    world.wait(deadline - 1)
    assert world.queue("q").ready == 1
    world.wait(1)
    assert world.queue("q").ready == 0
    assert get(client, "q") is None


def test_the_longest_of_both(world: World, client: Client) -> None:
    with_ttl(client, 315360000000)
    client.publish("", "q", expiration="315360000000")
    world.wait(315360000000 - 1)
    assert count(client) == 1
    world.wait(1)
    assert count(client) == 0


def test_each_message_has_its_own_deadline(world: World, client: Client) -> None:
    with_ttl(client, 1000)
    for number in range(3):
        client.publish("", "q", b"%d" % number)
        world.wait(100)
    seen = []
    world.wait(699)
    for _ in range(4):
        seen.append(world.queue("q").ready)
        world.wait(1)
        seen.append(world.queue("q").ready)
        world.wait(99)
    assert seen == [3, 2, 2, 1, 1, 0, 0, 0]


def test_every_queue_counts_for_itself(world: World, client: Client) -> None:
    for name, ttl in (("short", 100), ("long", 200), ("ever", None)):
        client.declare(name, arguments={} if ttl is None else {"x-message-ttl": ttl})
        client.method(1, C.Queue.Bind, queue=name, exchange="amq.fanout")
    client.publish("amq.fanout", "")
    seen = []
    for _ in range(3):
        seen.append([count(client, name) for name in ("short", "long", "ever")])
        world.wait(100)
    assert seen == [[1, 1, 1], [0, 1, 1], [0, 0, 1]]


def test_what_is_taken_in_time_keeps_its_expiration(world: World, client: Client) -> None:
    with_ttl(client, 1000)
    client.publish("", "q", expiration="500")
    world.wait(499)
    message = get(client, "q")
    assert message is not None
    assert (message.properties.expiration, message.headers) == ("500", {})


@pytest.mark.parametrize("late", [0, 1, 1000])
@pytest.mark.parametrize("how", ["get", "consume", "count", "purge", "delete", "if-empty"])
def test_nothing_is_seen_at_its_deadline_or_later(world: World, client: Client, how: str, late: int) -> None:
    """Even where the method comes before any timer: the clock of the read decides."""
    with_ttl(client, 1000)
    client.publish("", "q", b"1")
    client.publish("", "q", b"2", expiration="2000")
    world.now = 1000 + late
    if how == "get":
        assert get(client, "q") is None
    elif how == "consume":
        assert messages(client.consume("q")) == []
    elif how == "count":
        assert count(client) == 0
    elif how == "purge":
        assert client.method(1, C.Queue.Purge, queue="q")[0].message_count == 0
    else:
        (answer,) = client.method(1, C.Queue.Delete, queue="q", if_empty=how == "if-empty")
        assert isinstance(answer, C.Queue.DeleteOk)
        assert answer.message_count == 0


@pytest.mark.parametrize("how", ["get", "consume", "count", "purge"])
def test_everything_is_seen_a_millisecond_before(world: World, client: Client, how: str) -> None:
    with_ttl(client, 1000)
    client.publish("", "q", b"1")
    world.now = 999
    if how == "get":
        assert get(client, "q") is not None
    elif how == "consume":
        assert bodies(client.consume("q")) == [b"1"]
    elif how == "count":
        assert count(client) == 1
    else:
        assert client.method(1, C.Queue.Purge, queue="q")[0].message_count == 1


def test_a_get_counts_only_what_lives(world: World, client: Client) -> None:
    client.declare("q")
    client.publish("", "q", b"1")
    client.publish("", "q", b"2", expiration="100")
    client.publish("", "q", b"3")
    world.now = 100
    answer = client.method(1, C.Basic.Get, queue="q")[0]
    assert answer.message_count == 1


# ------------------------------------------------------------------------------------------------- the head


def test_expired_messages_wait_behind_the_head_and_count(world: World, client: Client) -> None:
    with_dead_letters(client)
    client.publish("", "q", b"long", expiration="5000")
    client.publish("", "q", b"short", expiration="1000")
    world.wait(4999)
    assert (count(client), count(client, "dead")) == (2, 0)
    world.wait(1)
    assert count(client) == 0
    assert [letter.body for letter in drain(client, "dead")] == [b"long", b"short"]


@pytest.mark.parametrize("how", ["get", "no-ack", "ack"])
def test_expired_messages_behind_the_head_are_never_delivered(world: World, client: Client, how: str) -> None:
    with_dead_letters(client)
    client.publish("", "q", b"1")
    for number in (2, 3):
        client.publish("", "q", b"%d" % number, expiration="100")
    client.publish("", "q", b"4")
    world.wait(500)
    if how == "get":
        taken = [get(client, "q"), get(client, "q"), get(client, "q")]
        assert [message and message.body for message in taken] == [b"1", b"4", None]
    else:
        client.method(1, C.Basic.Qos, prefetch_count=1)
        frames = client.consume("q", no_ack=how == "no-ack")
        if how == "ack":
            frames += client.method(1, C.Basic.Ack, delivery_tag=1)
        assert bodies(frames) == [b"1", b"4"]
    assert [letter.body for letter in drain(client, "dead")] == [b"2", b"3"]


def test_a_waiting_message_expires_once_it_is_the_head(world: World, client: Client) -> None:
    """No timer was set for it when it came: the one who leaves before it sees to that."""
    client.declare("q")
    client.publish("", "q", b"1")
    client.publish("", "q", b"2", expiration="1000")
    assert get(client, "q", no_ack=True) is not None
    world.wait(999)
    assert world.queue("q").ready == 1
    world.wait(1)
    assert world.queue("q").ready == 0


def test_a_full_prefetch_does_not_save_a_message(world: World, client: Client) -> None:
    with_ttl(client, 100)
    client.method(1, C.Basic.Qos, prefetch_count=1)
    client.consume("q")
    assert bodies(client.publish("", "q", b"1") + client.publish("", "q", b"2")) == [b"1"]
    world.wait(100)
    assert client.method(1, C.Basic.Ack, delivery_tag=1) == []
    assert world.queue("q").ready == 0


# ----------------------------------------------------------------------------------------------------- TTL 0


@pytest.mark.parametrize(("ttl", "expiration"), [(0, None), (None, "0"), (0, "1000"), (1000, "0")])
def test_at_once_or_never(world: World, client: Client, ttl: int | None, expiration: str | None) -> None:
    with_dead_letters(client, ttl)
    client.publish("", "q", b"never", expiration=expiration)
    assert (count(client), count(client, "dead")) == (0, 1)
    client.consume("q", no_ack=True)
    assert bodies(client.publish("", "q", b"at once", expiration=expiration)) == [b"at once"]
    assert [letter.body for letter in drain(client, "dead")] == [b"never"]


def test_at_once_and_no_dead_letters(world: World, client: Client) -> None:
    with_ttl(client, 0)
    client.publish("", "q")
    assert world.queue("q").ready == 0
    assert get(client, "q") is None


def test_a_whole_read_is_delivered_at_once(client: Client) -> None:
    with_ttl(client, 0)
    client.consume("q")
    numbers = [b"%d" % number for number in range(100)]
    client.send(b"".join(client.publish_bytes(1, "", "q", number) for number in numbers))
    assert bodies(client.frames()) == numbers


def test_at_once_only_as_far_as_the_prefetch_goes(world: World, client: Client) -> None:
    with_dead_letters(client, 0)
    client.method(1, C.Basic.Qos, prefetch_count=2)
    client.consume("q")
    client.send(b"".join(client.publish_bytes(1, "", "q", b"%d" % number) for number in range(5)))
    assert bodies(client.frames()) == [b"0", b"1"]
    assert [letter.body for letter in drain(client, "dead")] == [b"2", b"3", b"4"]
    assert bodies(client.method(1, C.Basic.Ack, delivery_tag=2, multiple=True)) == []


@pytest.mark.parametrize("mode", [1, 2])
def test_a_publish_that_expires_at_once_is_acked(client: Client, mode: int) -> None:
    with_ttl(client, 0, durable=True)
    client.method(1, C.Confirm.Select)
    client.send(b"".join(client.publish_bytes(1, "", "q", b"x", delivery_mode=mode) for _ in range(3)))
    assert confirmed(client.frames(), 3) == ([1, 2, 3], [])


def test_a_message_given_back_to_a_queue_without_time_expires(world: World, client: Client) -> None:
    with_dead_letters(client, 0)
    client.consume("q")
    client.publish("", "q", b"1")
    client.method(1, C.Basic.Cancel, consumer_tag="c")
    client.method(1, C.Basic.Reject, delivery_tag=1, requeue=True)
    assert world.queue("q").ready == 0
    assert [letter.deaths for letter in drain(client, "dead")] == [[("q", "expired", 1)]]


# ------------------------------------------------------------------------------------------ taken and returned


def test_a_message_that_was_taken_does_not_expire(world: World, client: Client) -> None:
    with_dead_letters(client, 100)
    client.publish("", "q")
    get(client, "q")
    world.wait(10_000)
    assert world.queue("q").unacked == 1
    assert client.method(1, C.Basic.Ack, delivery_tag=1) == []
    assert (world.queue("q").unacked, count(client, "dead")) == (0, 0)


def test_a_returned_message_keeps_its_deadline(world: World, client: Client) -> None:
    with_ttl(client, 1000)
    client.publish("", "q")
    world.wait(400)
    get(client, "q")
    world.wait(300)
    client.method(1, C.Basic.Nack, delivery_tag=1, requeue=True)
    world.wait(299)
    assert world.queue("q").ready == 1
    world.wait(1)
    assert world.queue("q").ready == 0


@pytest.mark.parametrize("late", [0, 5000])
@pytest.mark.parametrize("how", ["reject", "nack", "recover", "channel", "connection"])
def test_what_expired_in_a_consumers_hands_is_not_delivered_again(
    world: World, client: Client, how: str, late: int
) -> None:
    with_dead_letters(client, 1000)
    holder = reopen(world)
    client.publish("", "q", b"1")
    client.publish("", "q", b"2")
    assert bodies(holder.consume("q")) == [b"1", b"2"]
    world.wait(1000 + late)
    if how == "reject":
        back = [holder.method(1, C.Basic.Reject, delivery_tag=tag, requeue=True) for tag in (1, 2)]
    elif how == "nack":
        back = [holder.method(1, C.Basic.Nack, delivery_tag=0, multiple=True, requeue=True)]
    elif how == "recover":
        back = [holder.method(1, C.Basic.Recover, requeue=True)]
    elif how == "channel":
        back = [holder.method(1, C.Channel.Close, reply_code=200, reply_text="", class_id=0, method_id=0)]
    else:
        holder.lose()
        back = []
    assert [messages(frames) for frames in back] == [[]] * len(back)
    assert (world.queue("q").ready, world.queue("q").unacked) == (0, 0)
    assert messages(client.consume("q")) == []
    letters = drain(client, "dead")
    assert [(letter.body, letter.deaths) for letter in letters] == [
        (b"1", [("q", "expired", 1)]),
        (b"2", [("q", "expired", 1)]),
    ]


def test_an_expired_message_comes_back_behind_one_that_lives(world: World, client: Client) -> None:
    client.declare("q")
    client.publish("", "q", b"1")
    client.publish("", "q", b"2", expiration="100")
    for _ in range(2):
        get(client, "q")
    world.wait(500)
    client.method(1, C.Basic.Nack, delivery_tag=0, multiple=True, requeue=True)
    assert [message.body for message in drain(client, "q")] == [b"1"]


# ---------------------------------------------------------------------------------------------------- restarts


@pytest.mark.parametrize("crash", [False, True])
@pytest.mark.parametrize("by", ["queue", "message"])
def test_deadlines_outlive_a_restart(world: World, client: Client, crash: bool, by: str) -> None:
    """Also where the time of the machine's clock begins anew."""
    client.declare("q", durable=True, arguments={"x-message-ttl": 10_000} if by == "queue" else {})
    client.publish("", "q", delivery_mode=2, expiration=None if by == "queue" else "10000")
    world.wait(4000)
    world = world.restart(crash=crash, down=3000)
    world.wait(2999)
    assert world.queue("q").ready == 1
    world.wait(1)
    assert world.queue("q").ready == 0
    assert world.folded().get("q", []) == []


@pytest.mark.parametrize("crash", [False, True])
def test_what_expired_while_the_broker_was_down(world: World, client: Client, crash: bool) -> None:
    with_dead_letters(client, 1000, durable=True)
    client.publish("", "q", b"1", delivery_mode=2)
    client.publish("", "q", b"2", delivery_mode=2)
    world = world.restart(crash=crash, down=1000)
    client = reopen(world)
    assert get(client, "q") is None
    assert [(letter.body, letter.deaths) for letter in drain(client, "dead")] == [
        (b"1", [("q", "expired", 1)]),
        (b"2", [("q", "expired", 1)]),
    ]
    world = world.restart(crash=crash)
    client = reopen(world)
    assert (count(client), count(client, "dead")) == (0, 0)


@pytest.mark.parametrize("crash", [False, True])
def test_a_returned_message_keeps_its_deadline_over_a_restart(world: World, client: Client, crash: bool) -> None:
    with_ttl(client, 1000, durable=True)
    client.publish("", "q", delivery_mode=2)
    get(client, "q")
    world.wait(300)
    client.method(1, C.Basic.Reject, delivery_tag=1, requeue=True)
    world.wait(300)
    world = world.restart(crash=crash)
    world.wait(399)
    message = world.queue("q").ready
    world.wait(1)
    assert (message, world.queue("q").ready) == (1, 0)


def test_what_expired_stays_away(world: World, client: Client) -> None:
    with_ttl(client, 100, durable=True)
    for number in range(3):
        client.publish("", "q", b"%d" % number, delivery_mode=2)
    world.wait(100)
    client.publish("", "q", b"3", delivery_mode=2)
    world = world.restart(crash=True)
    assert [message.body for message in drain(reopen(world), "q")] == [b"3"]


# ------------------------------------------------------------------------------------------------- refused


@pytest.mark.parametrize(
    ("value", "why"),
    [
        ("-1", "{value_negative,-1}"),
        ("315360000001", "{value_too_large,315360000001}"),
        ("99999999999999999999999", "{value_too_large,99999999999999999999999}"),
        ("10s", '{leftover_string,"s"}'),
        ("1.5", '{leftover_string,".5"}'),
        ("ten", "no_integer"),
        (" 10", "no_integer"),
    ],
)
def test_an_expiration_that_is_none(world: World, client: Client, value: str, why: str) -> None:
    client.declare("q")
    (close,) = client.publish("", "q", expiration=value)
    assert isinstance(close, C.Channel.Close)
    assert (close.reply_code, close.reply_text) == (406, f"PRECONDITION_FAILED - invalid expiration '{value}': {why}")
    assert (close.class_id, close.method_id) == (60, 40)
    assert world.queue("q").ready == 0
