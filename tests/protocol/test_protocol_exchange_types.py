"""The exchange types beyond the specification's four as a client meets them: declared, bound, used, restarted."""

from __future__ import annotations

import random
from collections import Counter
from typing import Any

import pytest
from pamqp import commands

from amqpd.core.exchanges.direct import Direct
from amqpd.core.message import PERSISTENT
from amqpd.wire.tables import Field, Table, longstr
from tests.support.world import Client, World

C = commands


@pytest.fixture
def client(world: World) -> Client:
    """A client with channel 1 open."""
    return connected(world)


def connected(world: World) -> Client:
    client = world.connect()
    client.open()
    return client


def declare(client: Client, kind: str, name: str = "x", **values: Any) -> Any:
    return client.method(1, C.Exchange.Declare, exchange=name, exchange_type=kind, **values)[0]


def bind(client: Client, queue: str, key: str = "", exchange: str = "x", **values: Any) -> Any:
    return client.method(1, C.Queue.Bind, queue=queue, exchange=exchange, routing_key=key, **values)[0]


def take(client: Client, queue: str) -> list[tuple[str, bytes]]:
    """All ready messages of the queue: routing key and body."""
    found = []
    while True:
        answer, *content = client.method(1, C.Basic.Get, queue=queue, no_ack=True)
        if isinstance(answer, C.Basic.GetEmpty):
            return found
        assert not answer.redelivered
        found.append((answer.routing_key, b"".join(part for part in content if isinstance(part, bytes))))


def bodies(client: Client, queue: str) -> list[bytes]:
    return [body for _, body in take(client, queue)]


def refused(close: Any) -> tuple[int, str]:
    assert isinstance(close, C.Channel.Close)
    return close.reply_code, close.reply_text


# ------------------------------------------------------------------------------------------------ choosing


def hashing(client: Client, **arguments: Field) -> None:
    declare(client, "x-consistent-hash", arguments=arguments, durable=True)
    for name, weight in [("a", "1"), ("b", "1"), ("c", "2")]:
        client.declare(name, durable=True)
        bind(client, name, weight)


def where(client: Client, count: int = 100, **properties: Any) -> dict[int, str]:
    """Where messages with the keys 0, 1, ... go; each goes to one queue."""
    for number in range(count):
        named = {name: value % number for name, value in properties.items()}
        client.publish("x", str(number), b"%d" % number, delivery_mode=2, **named)
    found = {int(body): name for name in "abc" for body in bodies(client, name)}
    assert len(found) == count
    return found


def test_a_key_stays_with_its_queue_also_over_a_restart(world: World) -> None:
    client = connected(world)
    hashing(client)
    first = where(client)
    assert set(first.values()) == set("abc")
    assert where(client) == first
    client.lose()
    world.journal.close(clean=True)
    assert where(connected(World(world.engine, world.catalog))) == first


def test_a_plan_is_kept_where_the_key_decides(client: Client) -> None:
    hashing(client)
    for _ in range(3):
        client.publish("x", "7")
    (plan,) = client.session.plans.known.values()
    assert plan.targets is not None
    assert len(plan.targets) == 1


def test_a_property_decides(client: Client) -> None:
    hashing(client, **{"hash-property": longstr("correlation_id")})
    assert set(where(client, correlation_id="c%d").values()) == set("abc")
    assert len(set(where(client).values())) == 1


def test_copies_do_not_multiply_a_message(client: Client) -> None:
    hashing(client)
    for number in range(20):
        client.publish("x", "k", b"%d" % number, headers={"CC": [str(number)], "BCC": ["other"]})
    assert sorted(len(take(client, name)) for name in "abc") == [0, 0, 20]


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"hash-property": longstr("foo")}, "Unsupported property: foo"),
        (
            {"hash-property": longstr("message_id"), "hash-header": longstr("h")},
            "hash-header and hash-property are mutually exclusive",
        ),
        (
            {"hash-property": longstr("foo"), "alternate-exchange": Field("I", 5)},
            "invalid type 'signedint' for arg 'alternate-exchange' in exchange 'x' in vhost '/'",
        ),
    ],
)
def test_a_declaration_that_makes_no_sense(client: Client, arguments: Table, text: str) -> None:
    close = declare(client, "x-consistent-hash", arguments=arguments)
    assert refused(close) == (406, f"PRECONDITION_FAILED - {text}")
    client.method(1, C.Channel.CloseOk)
    client.open()
    assert isinstance(declare(client, "x-consistent-hash"), C.Exchange.DeclareOk)


def test_only_the_alternate_counts_when_a_type_is_declared_again(client: Client) -> None:
    """As in RabbitMQ: other arguments of an exchange that is there are not even looked at."""
    declare(client, "x-recent-history", arguments={"x-recent-history-length": 3})
    again = declare(client, "x-recent-history", arguments={"x-recent-history-length": 0})
    assert isinstance(again, C.Exchange.DeclareOk)


def test_a_binding_key_that_is_no_weight(client: Client) -> None:
    hashing(client)
    close = bind(client, "a", "heavy")
    assert refused(close) == (406, 'PRECONDITION_FAILED - The binding key must be an integer: <<"heavy">>')
    client.method(1, C.Channel.CloseOk)
    client.open()
    (answer,) = client.method(1, C.Queue.Unbind, queue="a", exchange="x", routing_key="heavy")
    assert isinstance(answer, C.Queue.UnbindOk)
    assert refused(bind(client, "a", "heavy", exchange="nowhere"))[0] == 404


@pytest.mark.parametrize("kind", ["x-random", "x-local-random"])
def test_random_picks_one_queue_per_message(world: World, client: Client, kind: str) -> None:
    declare(client, kind)
    type_ = world.broker.vhosts["/"].exchanges["x"].type
    type_.chance = random.Random(3)
    for name in "abc":
        client.declare(name)
        bind(client, name)
    counts = Counter(where(client, 300).values())
    assert all(70 < counts[name] < 130 for name in "abc")


def test_local_random_refuses_what_it_cannot_serve(client: Client) -> None:
    declare(client, "x-local-random")
    client.declare("q", durable=True, arguments={"x-queue-type": "quorum"})
    text = "PRECONDITION_FAILED - Queue type rabbit_quorum_queue not valid for this exchange type"
    assert refused(bind(client, "q")) == (406, text)
    client.method(1, C.Channel.CloseOk)
    client.open()
    client.declare("c")
    assert refused(bind(client, "c", "k")) == (406, "PRECONDITION_FAILED - Non empty binding 'k' key not permitted")


def test_modulus_stays_with_its_queue(client: Client) -> None:
    declare(client, "x-modulus-hash")
    for name in "abc":
        client.declare(name)
        bind(client, name, "any")
    first = where(client)
    assert set(first.values()) == set("abc")
    assert where(client) == first


# ------------------------------------------------------------------------------------------------- history


def remember(client: Client, length: int | None = 3, count: int = 5, **properties: Any) -> None:
    """An exchange with a history, and messages that went through it before anyone was bound."""
    arguments = {"x-recent-history-length": length} if length is not None else {}
    declare(client, "x-recent-history", arguments=arguments, durable=True)
    for number in range(count):
        client.publish("x", f"k{number}", b"%d" % number, **properties)


def test_a_new_binding_gets_the_last_messages(client: Client) -> None:
    remember(client)
    client.declare("q")
    bind(client, "q", "zz")
    assert take(client, "q") == [("k2", b"2"), ("k3", b"3"), ("k4", b"4")]
    bind(client, "q", "zz")
    assert take(client, "q") == [], "the same binding is not a new one"
    bind(client, "q", "other")
    assert bodies(client, "q") == [b"2", b"3", b"4"]
    client.publish("x", "k5", b"5")
    assert bodies(client, "q") == [b"5"], "it is a fanout: one message for both bindings"
    client.declare("late")
    bind(client, "late")
    assert bodies(client, "late") == [b"3", b"4", b"5"]


def test_twenty_messages_are_remembered_unless_the_length_says_otherwise(client: Client) -> None:
    remember(client, length=None, count=30)
    client.declare("q")
    bind(client, "q")
    assert bodies(client, "q") == [b"%d" % number for number in range(10, 30)]


@pytest.mark.parametrize(
    ("value", "printed"),
    [
        (Field("I", 0), "0"),
        (Field("l", -30), "-30"),
        (longstr("abc"), '<<"abc">>'),
        (Field("t", True), "true"),
        (Field("A", [longstr("a")]), '[{longstr,<<"a">>}]'),
    ],
)
def test_a_length_that_is_none(client: Client, value: Field, printed: str) -> None:
    close = declare(client, "x-recent-history", arguments={"x-recent-history-length": value})
    text = f"PRECONDITION_FAILED - Invalid argument {printed}, 'x-recent-history-length' must be a positive integer"
    assert refused(close) == (406, text)


def test_a_message_may_ask_not_to_be_remembered(client: Client) -> None:
    declare(client, "x-recent-history")
    client.declare("early")
    bind(client, "early")
    for body, value in [(b"x", 1), (b"y", True), (b"z", "true"), (b"w", False)]:
        client.publish("x", "k", body, headers={"x-recent-history-no-store": value})
    assert bodies(client, "early") == [b"x", b"y", b"z", b"w"]
    client.declare("q")
    bind(client, "q")
    assert bodies(client, "q") == [b"x", b"z", b"w"]


def test_a_history_is_no_place_to_go_to(client: Client) -> None:
    """A mandatory message that only the history saw comes back, and goes to the alternate exchange if there is one."""
    remember(client, count=0)
    client.method(1, C.Confirm.Select)
    returned, _, body, ack = client.publish("x", "k", b"lost", mandatory=True)
    assert (returned.reply_code, returned.reply_text, body) == (312, "NO_ROUTE", b"lost")
    assert isinstance(ack, C.Basic.Ack)
    declare(client, "fanout", "spare")
    client.declare("spare")
    bind(client, "spare", exchange="spare")
    declare(client, "x-recent-history", "y", arguments={"alternate-exchange": "spare"})
    (ack,) = client.publish("y", "k", b"spared", mandatory=True)
    assert isinstance(ack, C.Basic.Ack)
    assert bodies(client, "spare") == [b"spared"]
    client.declare("q")
    bind(client, "q")
    bind(client, "q", exchange="y")
    assert bodies(client, "q") == [b"lost", b"spared"]


def test_properties_are_remembered_as_they_went_out(client: Client) -> None:
    declare(client, "x-recent-history")
    client.publish("x", "k", b"b", headers={"CC": ["a"], "BCC": ["b"]}, correlation_id="c", expiration="60000")
    client.declare("q")
    bind(client, "q")
    _, head, _ = client.method(1, C.Basic.Get, queue="q")
    assert head.properties.headers == {"CC": ["a"]}
    assert (head.properties.correlation_id, head.properties.expiration) == ("c", "60000")


def test_a_large_message_is_remembered(client: Client) -> None:
    declare(client, "x-recent-history")
    body = bytes(100_000)
    client.publish("x", "k", body)
    client.declare("q")
    bind(client, "q")
    declare(client, "direct", "d")
    client.declare("behind")
    bind(client, "behind", "k", "d")
    client.method(1, C.Exchange.Bind, source="x", destination="d")
    assert bodies(client, "q") == [body]
    assert bodies(client, "behind") == [body]


def test_a_history_behind_another_exchange(client: Client) -> None:
    remember(client, count=0)
    declare(client, "topic", "t")
    client.method(1, C.Exchange.Bind, source="t", destination="x", routing_key="seen.#")
    client.publish("t", "seen.1", b"1")
    client.publish("t", "unseen", b"2")
    client.declare("q")
    bind(client, "q")
    assert take(client, "q") == [("seen.1", b"1")]


def test_an_exchange_that_is_bound_hands_the_history_on(client: Client) -> None:
    """In order, each message where its own keys lead; RabbitMQ hands it on backwards, and fails on one that leads
    nowhere."""
    declare(client, "x-recent-history")
    for number, copies in enumerate([[], [], ["k1"]]):
        client.publish("x", f"k{number}", b"%d" % number, headers={"CC": copies})
    declare(client, "direct", "d")
    client.declare("q")
    bind(client, "q", "k1", "d")
    client.method(1, C.Exchange.Bind, source="x", destination="d")
    assert bodies(client, "q") == [b"1", b"2"]


def test_a_history_that_is_bound_to_itself(client: Client) -> None:
    remember(client, length=2, count=2)
    client.declare("q")
    bind(client, "q")
    assert bodies(client, "q") == [b"0", b"1"]
    client.method(1, C.Exchange.Bind, source="x", destination="x")
    assert bodies(client, "q") == [b"0", b"1"]


def test_a_transaction_is_remembered_when_it_commits(client: Client) -> None:
    declare(client, "x-recent-history")
    client.method(1, C.Tx.Select)
    client.publish("x", "k", b"dropped")
    client.method(1, C.Tx.Rollback)
    client.publish("x", "k", b"kept")
    client.declare("q")
    client.method(1, C.Tx.Commit)
    bind(client, "q")
    assert bodies(client, "q") == [b"kept"]


def test_a_consumer_gets_the_history(client: Client) -> None:
    remember(client)
    client.declare("q")
    client.consume("q", no_ack=True)
    frames = client.method(1, C.Queue.Bind, queue="q", exchange="x")
    assert [frame for frame in frames if isinstance(frame, bytes)] == [b"2", b"3", b"4"]


@pytest.mark.parametrize("durable", [True, False])
def test_the_history_lies_in_a_durable_queue_for_good(world: World, durable: bool) -> None:
    """Persistent messages that were replayed into it survive, also where exchange and binding do not."""
    client = connected(world)
    declare(client, "x-recent-history", durable=durable)
    for number, mode in [(1, 2), (2, 1), (3, 2)]:
        client.publish("x", "k", b"%d" % number, delivery_mode=mode)
    client.declare("q", durable=True)
    bind(client, "q")
    queue = world.queue("q")
    assert len(queue.window) == 3
    assert world.folded()["q"] == [message[0] for message in queue.window if message[0] & PERSISTENT]
    client.lose()
    world.journal.close(clean=True)
    client = connected(World(world.engine, world.catalog))
    assert bodies(client, "q") == [b"1", b"3"]


def test_a_durable_exchange_begins_a_new_history_at_a_start(world: World) -> None:
    client = connected(world)
    remember(client)
    client.declare("q", durable=True)
    bind(client, "q")
    client.lose()
    world.journal.close(clean=True)
    client = connected(World(world.engine, world.catalog))
    assert bodies(client, "q") == [], "a binding that comes back is not a new one"
    client.publish("x", "k", b"new")
    client.declare("late")
    bind(client, "late")
    assert bodies(client, "q") == bodies(client, "late") == [b"new"]


# ------------------------------------------------------------------------------------------- types that are added


class Picky(Direct):
    """A direct exchange under another name."""

    name = "x-picky"


def test_a_type_that_is_added_is_like_ours() -> None:
    world = World(exchange_types={"x-picky": Picky})
    client = connected(world)
    assert isinstance(declare(client, "x-picky"), C.Exchange.DeclareOk)
    client.declare("q")
    bind(client, "q", "k")
    client.publish("x", "k", b"1")
    client.publish("x", "l", b"2")
    assert bodies(client, "q") == [b"1"]


def test_an_exchange_whose_type_is_gone_waits_for_it() -> None:
    """It keeps its bindings and refuses messages, whichever way they come; deleting it is allowed."""
    world = World(exchange_types={"x-picky": Picky})
    client = connected(world)
    declare(client, "x-picky", durable=True)
    client.declare("q", durable=True)
    bind(client, "q", "k")
    without = World(world.engine, world.catalog)
    client = connected(without)
    text = (
        "PRECONDITION_FAILED - Cannot route message through exchange 'x' in vhost '/': exchange type x-picky not found"
    )
    assert refused(client.publish("x", "k")[0]) == (406, text)
    client.method(1, C.Channel.CloseOk)
    client.open()
    assert isinstance(declare(client, "x-picky", passive=True), C.Exchange.DeclareOk)
    assert refused(declare(client, "x-picky")) == (406, "PRECONDITION_FAILED - unknown exchange type 'x-picky'")
    client.method(1, C.Channel.CloseOk)
    client.open()
    remember_into = declare(client, "x-recent-history", "h")
    assert isinstance(remember_into, C.Exchange.DeclareOk)
    client.publish("h", "k", b"1")
    bound = client.method(1, C.Exchange.Bind, source="h", destination="x")
    assert isinstance(bound[0], C.Exchange.BindOk), "what cannot be handed on is not the binding's fault"
    again = World(world.engine, world.catalog, {"x-picky": Picky})
    client = connected(again)
    client.publish("x", "k", b"back")
    assert bodies(client, "q") == [b"back"]
    (answer,) = connected(World(world.engine, world.catalog)).method(1, C.Exchange.Delete, exchange="x")
    assert isinstance(answer, C.Exchange.DeleteOk)
