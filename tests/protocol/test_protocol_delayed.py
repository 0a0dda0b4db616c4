"""Delayed messages: x-delay at an x-delayed-message exchange, x-deliver-at at any (semantics 2; the plugin's rules)."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pamqp import commands

from amqpd.core.delayed import SLICE
from amqpd.storage.memory import MemoryEngine
from tests.support.received import bodies, confirmed, drain, get, messages
from tests.support.world import WALL, Client, World

C = commands

DIRECT = {"x-delayed-type": "direct"}
NO_TYPE = "Invalid argument, 'x-delayed-type' must be an existing exchange type"


def connected(world: World) -> Client:
    client = world.connect()
    client.open()
    return client


def declare(client: Client, arguments: dict[str, Any] | None = None, name: str = "x", **values: Any) -> Any:
    values.setdefault("durable", True)
    arguments = DIRECT if arguments is None else arguments
    kind = values.pop("kind", "x-delayed-message")
    return client.method(1, C.Exchange.Declare, exchange=name, exchange_type=kind, arguments=arguments, **values)[0]


def bound(client: Client, queue: str = "q", key: str = "k", exchange: str = "x", **values: Any) -> None:
    client.declare(queue, durable=True)
    client.method(1, C.Queue.Bind, queue=queue, exchange=exchange, routing_key=key, **values)


def delayed(client: Client, milliseconds: Any, body: bytes = b"m", key: str = "k", **properties: Any) -> list[Any]:
    headers = {"x-delay": milliseconds, **properties.pop("headers", {})}
    return client.publish("x", key, body, headers=headers, delivery_mode=2, **properties)


def waiting(world: World, exchange: str = "x") -> int:
    delays = world.broker.vhosts["/"].delays.get(exchange)
    return 0 if delays is None else len(delays)


@pytest.fixture
def client(world: World) -> Client:
    """A client with channel 1 open, and queue `q` bound to the delayed exchange `x` with the key `k`."""
    client = connected(world)
    declare(client)
    bound(client)
    return client


# ------------------------------------------------------------------------------------------------------ when


@pytest.mark.parametrize("milliseconds", [1, 10, 999, 1000, 61_000, 3_600_000, (1 << 31) + 5])
def test_a_message_comes_to_the_millisecond(world: World, client: Client, milliseconds: int) -> None:
    client.consume("q", no_ack=True)
    world.wait(7)
    delayed(client, milliseconds)
    world.wait(milliseconds - 1)
    assert client.frames() == []
    assert waiting(world) == 1
    world.wait(1)
    (message,) = messages(client.frames())
    assert (message.body, message.headers, message.method.exchange) == (b"m", {"x-delay": -milliseconds}, "x")
    assert not message.method.redelivered
    assert waiting(world) == 0


@pytest.mark.parametrize(
    ("value", "wait"),
    [
        ("250", 250),
        (250.9, 250),
        (0, 0),
        (-5, 0),
        (1 << 32, 0),
        ((1 << 32) - 1, (1 << 32) - 1),
        ("soon", 0),
        ("1_000", 0),
        ("", 0),
        (True, 0),
        (None, 0),
        ([1000], 0),
        ({"a": 1000}, 0),
        (Decimal("1000"), 0),
        (datetime.fromtimestamp(1000, UTC), 0),
    ],
)
def test_what_counts_as_a_delay(world: World, client: Client, value: Any, wait: int) -> None:
    delayed(client, value)
    assert waiting(world) == (wait > 0)
    assert [due for due, *_ in world.broker.vhosts["/"].delays["x"]] == [WALL + wait] * (wait > 0)
    assert len(drain(client, "q")) == (wait == 0)


def test_without_the_header_the_exchange_is_its_inner_type(world: World, client: Client) -> None:
    client.publish("x", "k", b"now")
    client.publish("x", "other", b"nowhere")
    assert [message.body for message in drain(client, "q")] == [b"now"]


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(1, 5000), min_size=1, max_size=40))
def test_messages_come_in_the_order_in_which_they_are_due(delays: list[int]) -> None:
    world = World()
    client = connected(world)
    declare(client)
    bound(client)
    client.consume("q", no_ack=True)
    for number, milliseconds in enumerate(delays):
        delayed(client, milliseconds, b"%d" % number)
    arrived: list[tuple[int, int]] = []
    for _ in range(5001):
        arrived += [(world.now, int(body)) for body in bodies(client.frames())]
        world.wait(1)
    assert arrived == sorted((milliseconds, number) for number, milliseconds in enumerate(delays))


def test_more_than_a_slice_falls_due_at_once(world: World, client: Client) -> None:
    count = 3 * SLICE + 1
    for number in range(count):
        delayed(client, 1000, b"%d" % number)
    world.wait(1000)
    assert [int(message.body) for message in drain(client, "q")] == list(range(count))
    assert world.delayed() == []


def test_a_clock_that_is_set_is_noticed(world: World, client: Client) -> None:
    client.publish("", "q", b"m", headers={"x-deliver-at": WALL + 3_600_000})
    world.turn.wall += 3_600_000
    world.wait(60_000)
    assert [message.body for message in drain(client, "q")] == [b"m"]


# ------------------------------------------------------------------------------------------------- deliver at


@pytest.mark.parametrize("exchange", ["", "amq.direct", "x"])
@pytest.mark.parametrize(
    "value", [WALL + 5000, str(WALL + 5000), datetime.fromtimestamp(WALL // 1000 + 5, UTC)], ids=str
)
def test_a_time_can_be_named_at_any_exchange(world: World, client: Client, exchange: str, value: Any) -> None:
    bound(client, key="q", exchange="amq.direct")
    bound(client, key="q", exchange="x")
    # Twice: the second time there is a plan, and the lane might take it.
    client.publish(exchange, "q", b"now")
    client.publish(exchange, "q", b"now")
    assert len(drain(client, "q")) == 2
    client.publish(exchange, "q", headers={"x-deliver-at": value}, delivery_mode=2)
    world.wait(4999)
    assert drain(client, "q") == []
    assert waiting(world, exchange) == 1
    world.wait(1)
    (message,) = drain(client, "q")
    assert message.headers["x-deliver-at"] == value
    assert message.method.exchange == exchange


@pytest.mark.parametrize("value", [WALL, WALL - 1, 0, -1, "tomorrow", True, datetime.fromtimestamp(WALL // 1000, UTC)])
def test_a_time_that_is_none_or_past_delays_nothing(client: Client, value: Any) -> None:
    client.publish("", "q", headers={"x-deliver-at": value})
    assert len(drain(client, "q")) == 1


def test_of_both_the_later_counts(world: World, client: Client) -> None:
    delayed(client, 1000, b"time", headers={"x-deliver-at": WALL + 3000})
    delayed(client, 2000, b"delay", headers={"x-deliver-at": WALL + 500})
    world.wait(2000)
    assert [message.body for message in drain(client, "q")] == [b"delay"]
    world.wait(1000)
    assert [message.body for message in drain(client, "q")] == [b"time"]


def test_a_delay_counts_only_where_it_is_the_exchange_s_affair(world: World, client: Client) -> None:
    client.publish("", "q", b"at", headers={"x-deliver-at": WALL + 1000, "x-delay": 5000})
    delayed(client, -7, b"again", headers={"x-deliver-at": WALL + 1000})
    world.wait(1000)
    assert sorted((m.body, m.headers["x-delay"]) for m in drain(client, "q")) == [(b"again", -7), (b"at", 5000)]


def test_a_topic_that_the_user_may_not_write_to_is_refused_at_once(world: World, client: Client) -> None:
    world.rights.refused.add(("topic write", "secret"))
    headers = {"x-deliver-at": WALL + 5000, "CC": ["secret"]}
    (closed,) = client.publish("amq.topic", "open", headers=headers)
    assert closed.reply_code == 403


# ------------------------------------------------------------------------------------------------------ where


@pytest.mark.parametrize(
    ("inner", "key", "headers", "expected"),
    [
        ("fanout", "any", {}, {"a", "b"}),
        ("topic", "k.1", {}, {"a"}),
        ("headers", "", {"color": "red"}, {"a", "b"}),
        ("direct", "k.*", {}, {"a"}),
        ("x-recent-history", "", {}, {"a", "b"}),
        ("x-random", "", {}, None),
    ],
)
def test_the_inner_type_routes(
    world: World, inner: str, key: str, headers: dict[str, Any], expected: set[str] | None
) -> None:
    client = connected(world)
    declare(client, {"x-delayed-type": inner})
    for queue, pattern in (("a", "k.*"), ("b", "l")):
        bound(client, queue, pattern, arguments={"x-match": "all", "color": "red"})
    delayed(client, 500, key=key, headers=headers)
    world.wait(500)
    found = {name for name in "ab" if drain(client, name)}
    assert found == expected if expected is not None else len(found) == 1


def test_it_is_routed_by_the_bindings_of_the_moment(world: World, client: Client) -> None:
    delayed(client, 1000)
    client.method(1, C.Queue.Unbind, queue="q", exchange="x", routing_key="k")
    bound(client, "later")
    world.wait(1000)
    assert (drain(client, "q"), len(drain(client, "later"))) == ([], 1)


def test_a_fan_out_is_one_message_that_all_have(world: World, client: Client) -> None:
    bound(client, "r")
    delayed(client, 1000)
    world.wait(1000)
    found = world.folded()
    assert found["q"] == found["r"] != []
    assert world.delayed() == []
    assert (len(drain(client, "q")), len(drain(client, "r"))) == (1, 1)


def test_a_message_without_a_place_goes_to_the_alternate_exchange_of_that_moment(world: World) -> None:
    client = connected(world)
    declare(client, {**DIRECT, "alternate-exchange": "amq.fanout"})
    bound(client, "other", exchange="amq.fanout")
    delayed(client, 1000)
    assert drain(client, "other") == []
    world.wait(1000)
    assert len(drain(client, "other")) == 1


def test_mandatory_is_answered_when_it_is_published(world: World, client: Client) -> None:
    client.method(1, C.Confirm.Select)
    frames = delayed(client, 1000, key="nowhere", mandatory=True)
    assert messages(frames) == []
    assert confirmed(frames, 1) == ([1], [])
    world.wait(1000)
    assert client.frames() == []
    assert (waiting(world), world.delayed()) == (0, [])


def test_all_keys_count_and_bcc_is_not_shown(world: World, client: Client) -> None:
    for name in ("cc", "bcc"):
        bound(client, name, name)
    delayed(client, 1000, headers={"CC": ["cc"], "BCC": ["bcc"]})
    client.publish("", "q", b"at", headers={"x-deliver-at": WALL + 1000, "CC": ["cc"], "BCC": ["bcc"]})
    world.wait(1000)
    for name in ("q", "cc", "bcc"):
        first, second = drain(client, name)
        assert first.headers == {"x-delay": -1000, "CC": ["cc"]}
        assert second.headers == {"x-deliver-at": WALL + 1000, "CC": ["cc"]}


def test_through_another_exchange_each_delays_for_itself(world: World, client: Client) -> None:
    bound(client, "at once", "", "amq.fanout")
    client.method(1, C.Exchange.Bind, source="amq.fanout", destination="x", routing_key="")
    bound(client, "blind", "bcc")
    client.publish("amq.fanout", "k", headers={"x-delay": 1000, "BCC": ["bcc"]}, delivery_mode=2)
    assert drain(client, "at once")[0].headers == {"x-delay": 1000}
    assert drain(client, "q") == []
    world.wait(1000)
    assert drain(client, "blind")[0].headers == {"x-delay": -1000}
    (message,) = drain(client, "q")
    assert (message.headers, message.method.exchange) == ({"x-delay": -1000}, "amq.fanout")


def test_it_is_not_delayed_again_by_the_next_exchange(world: World, client: Client) -> None:
    declare(client, name="second")
    client.method(1, C.Exchange.Bind, source="x", destination="second", routing_key="k")
    bound(client, "end", "k", "second")
    delayed(client, 1000)
    world.wait(1000)
    assert len(drain(client, "end")) == 1


def test_a_queue_with_the_same_deadline_keeps_its_own_record(world: World, client: Client) -> None:
    """Both journal records of one publish have the same id and deadline; the delayed one has an address as well."""
    client.declare("mortal", durable=True, arguments={"x-message-ttl": 1000})
    client.method(1, C.Queue.Bind, queue="mortal", exchange="amq.fanout", routing_key="")
    client.method(1, C.Exchange.Bind, source="amq.fanout", destination="x", routing_key="")
    client.publish("amq.fanout", "k", headers={"x-delay": 1000}, delivery_mode=2)
    world = world.restart(down=10)
    client = connected(world)
    (message,) = drain(client, "mortal")
    assert (message.method.exchange, message.method.routing_key) == ("amq.fanout", "k")
    world.wait(1000)
    assert len(drain(client, "q")) == 1


def test_dead_letters_can_be_delayed(world: World, client: Client) -> None:
    client.declare("dying", arguments={"x-dead-letter-exchange": "x", "x-dead-letter-routing-key": "k"})
    client.publish("", "dying", headers={"x-delay": 1000})
    message = get(client, "dying")
    assert message is not None
    client.method(1, C.Basic.Reject, delivery_tag=message.method.delivery_tag, requeue=False)
    assert drain(client, "q") == []
    world.wait(1000)
    (message,) = drain(client, "q")
    assert message.deaths == [("dying", "rejected", 1)]
    assert message.headers["x-delay"] == -1000


def test_an_expiration_counts_from_when_it_is_due(world: World, client: Client) -> None:
    delayed(client, 1000, expiration="500")
    world.wait(1499)
    assert client.declare("q", passive=True).message_count == 1
    world.wait(1)
    assert client.declare("q", passive=True).message_count == 0


def test_a_large_body_arrives_whole(world: World, client: Client) -> None:
    body = bytes(range(256)) * 400
    delayed(client, 1000, body)
    world = world.restart(crash=True)
    client = connected(world)
    world.wait(1000)
    assert [message.body for message in drain(client, "q")] == [body]


# ---------------------------------------------------------------------------------------------- durability


@pytest.mark.parametrize("crash", [True, False])
def test_it_survives(world: World, client: Client, crash: bool) -> None:
    delayed(client, 10_000, b"later")
    delayed(client, 5000, b"meanwhile")
    delayed(client, 60_000, b"last")
    client.publish("", "q", b"at", headers={"x-deliver-at": WALL + 10_000}, delivery_mode=2)
    client.publish("x", "k", b"transient", headers={"x-delay": 10_000})
    assert len(world.delayed()) == 4
    world.wait(4000)
    world = world.restart(crash=crash, down=2000)
    client = connected(world)
    found = [(world.now, body) for body in bodies(client.consume("q", no_ack=True))]
    for _ in range(100):
        world.wait(1000)
        found += [(world.now, body) for body in bodies(client.frames())]
    # The new clock began at 6000 of the old one. Between exchanges there is no order within a millisecond.
    assert sorted(found) == [(0, b"meanwhile"), (4000, b"at"), (4000, b"later"), (54_000, b"last")]
    assert world.delayed() == []


def test_what_has_fallen_due_does_not_come_back(world: World, client: Client) -> None:
    delayed(client, 1000)
    world.wait(1000)
    world = world.restart(crash=True).restart()
    assert (waiting(world), len(drain(connected(world), "q"))) == (0, 1)


@pytest.mark.parametrize("committed", [True, False])
def test_falling_due_is_one_group(committed: bool) -> None:
    """A crash finds the message delayed or in its queue, never both, never neither."""
    engine = MemoryEngine(at_once=False)
    world = World(engine)
    client = connected(world)
    declare(client)
    bound(client)
    delayed(client, 1000)
    engine.commit()
    world.wait(1000)
    if committed:
        engine.commit()
    found = world.delayed(), world.folded()["q"]
    assert list(map(len, found)) == ([0, 1] if committed else [1, 0])


def test_a_confirm_waits_for_the_commit() -> None:
    engine = MemoryEngine(at_once=False)
    world = World(engine)
    client = connected(world)
    declare(client)
    client.method(1, C.Confirm.Select)
    frames = delayed(client, 1000)
    assert confirmed(frames, 1) == ([], [])
    engine.commit()
    world.run()
    assert confirmed(client.frames(), 1) == ([1], [])
    frames = client.publish("x", "k", headers={"x-delay": 1000})
    assert confirmed(frames, 2) == ([2], [])


def test_in_a_transaction_the_delay_counts_from_the_commit(world: World, client: Client) -> None:
    client.method(1, C.Tx.Select)
    delayed(client, 1000)
    assert waiting(world) == 0
    world.wait(600)
    client.method(1, C.Tx.Commit)
    world.wait(999)
    assert waiting(world) == 1
    world.wait(1)
    assert client.declare("q", passive=True).message_count == 1


def test_an_exchange_that_is_not_durable_keeps_nothing(world: World) -> None:
    client = connected(world)
    declare(client, durable=False)
    delayed(client, 1000)
    assert (waiting(world), world.delayed()) == (1, [])
    world = world.restart(crash=True)
    assert waiting(world) == 0


# ------------------------------------------------------------------------------------------------- going away


def test_an_exchange_that_is_deleted_drops_its_messages(world: World, client: Client) -> None:
    delayed(client, 1000)
    client.publish("", "q", b"stays", headers={"x-deliver-at": WALL + 1000}, delivery_mode=2)
    client.method(1, C.Exchange.Delete, exchange="x")
    assert len(world.delayed()) == 1
    declare(client)
    bound(client)
    world.wait(1000)
    assert [message.body for message in drain(client, "q")] == [b"stays"]


def test_a_start_drops_what_belongs_to_no_exchange(world: World, client: Client) -> None:
    delayed(client, 1000)
    row = next(row for row in world.catalog.load().exchanges if row.name == "x")
    world.catalog.submit([(False, row)], lambda outcome: None)  # type: ignore[list-item]
    world = world.restart(crash=True)
    assert (waiting(world), world.delayed()) == (0, [])


def test_an_auto_delete_exchange_takes_its_messages_along(world: World) -> None:
    client = connected(world)
    declare(client, auto_delete=True)
    bound(client)
    delayed(client, 1000)
    client.method(1, C.Queue.Unbind, queue="q", exchange="x", routing_key="k")
    assert world.delayed() == []


def test_a_queue_that_is_purged_or_gone_has_no_delayed_messages(world: World, client: Client) -> None:
    delayed(client, 1000, b"kept")
    (purged,) = client.method(1, C.Queue.Purge, queue="q")
    assert purged.message_count == 0
    client.method(1, C.Queue.Delete, queue="q")
    bound(client)
    world.wait(1000)
    assert [message.body for message in drain(client, "q")] == [b"kept"]


# ------------------------------------------------------------------------------------------------- declaring


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({}, NO_TYPE),
        ({"x-delayed-type": 5}, NO_TYPE),
        ({"x-delayed-type": "x-delayed-message"}, NO_TYPE),
        ({"x-delayed-type": "foo"}, "unknown exchange type 'foo'"),
        ({"x-delayed-type": "x-recent-history", "x-recent-history-length": 0}, None),
    ],
)
def test_arguments_that_are_refused(world: World, arguments: dict[str, Any], text: str | None) -> None:
    closed = declare(connected(world), arguments)
    assert closed.reply_code == 406
    if text is not None:
        assert closed.reply_text == f"PRECONDITION_FAILED - {text}"


def test_another_inner_type_is_not_equivalent(world: World, client: Client) -> None:
    assert isinstance(declare(client), C.Exchange.DeclareOk)
    closed = declare(client, {"x-delayed-type": "topic"})
    assert closed.reply_code == 406
    assert closed.reply_text == (
        "PRECONDITION_FAILED - inequivalent arg 'x-delayed-type' for exchange 'x' in vhost '/': received 'topic' but "
        "current is 'direct'"
    )


def test_bindings_are_checked_by_the_inner_type(world: World) -> None:
    client = connected(world)
    declare(client, {"x-delayed-type": "x-consistent-hash"})
    client.declare("q")
    (closed,) = client.method(1, C.Queue.Bind, queue="q", exchange="x", routing_key="heavy")
    assert closed.reply_code == 406
