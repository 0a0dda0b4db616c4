"""What a dead letter tells of its deaths, byte by byte, and when a death ends a circle (semantics 3.4)."""

from __future__ import annotations

from struct import pack
from typing import Any

import pytest
from pamqp import commands

from tests.support.received import Received, drain, get, messages, peek
from tests.support.world import WALL, Client, World

C = commands


@pytest.fixture
def client(world: World) -> Client:
    """A client with channel 1 open and a queue `dead`."""
    client = world.connect()
    client.open()
    client.declare("dead")
    return client


def source(client: Client, name: str, key: str | None, dlx: str = "", **arguments: Any) -> None:
    """A queue whose dead letters go to the queue `key`; its other arguments without x- and with underscores."""
    table = {f"x-{word.replace('_', '-')}": value for word, value in arguments.items()}
    table |= {"x-dead-letter-exchange": dlx} | ({} if key is None else {"x-dead-letter-routing-key": key})
    client.declare(name, arguments=table)


def refuse(client: Client, queue: str) -> Received:
    """Take a message and reject it; what it was."""
    message = get(client, queue)
    assert message is not None
    client.method(1, C.Basic.Reject, delivery_tag=message.method.delivery_tag, requeue=False)
    return message


def one(client: Client, queue: str = "dead") -> Received:
    (message,) = drain(client, queue)
    return message


def marks(message: Received) -> list[str]:
    """x-first-death-* and x-last-death-*: reason, queue, exchange of each."""
    return [
        message.headers[f"x-{which}-death-{what}"]
        for which in ("first", "last")
        for what in ("reason", "queue", "exchange")
    ]


# ------------------------------------------------------------------------------------------------ the bytes


def short(text: str) -> bytes:
    return pack(">B", len(text)) + text.encode()


def long(text: str) -> bytes:
    return b"S" + pack(">I", len(text)) + text.encode()


def array(*items: bytes) -> bytes:
    return b"A" + pack(">I", sum(map(len, items))) + b"".join(items)


def death(
    count: int, reason: str, queue: str, time: int, exchange: str, keys: list[str], expiration: str | None = None
) -> bytes:
    """An entry of x-death as RabbitMQ writes it: the fields in its order, with its types."""
    fields = b"" if expiration is None else short("original-expiration") + long(expiration)
    fields += short("count") + b"l" + pack(">q", count)
    fields += short("reason") + long(reason)
    fields += short("queue") + long(queue)
    fields += short("time") + b"T" + pack(">Q", time)
    fields += short("exchange") + long(exchange)
    fields += short("routing-keys") + array(*map(long, keys))
    return b"F" + pack(">I", len(fields)) + fields


def test_an_entry_has_rabbitmqs_fields_types_and_order(world: World, client: Client) -> None:
    source(client, "q", "dead")
    client.method(1, C.Queue.Bind, queue="q", exchange="amq.topic", routing_key="a.#")
    client.publish("amq.topic", "a.b")
    world.wait(12_345)
    refuse(client, "q")
    data = peek(client, "dead")
    entry = death(1, "rejected", "q", (WALL + 12_345) // 1000, "amq.topic", ["a.b"])
    assert short("x-death") + array(entry) in data
    for which in ("first", "last"):
        for what, text in (("reason", "rejected"), ("queue", "q"), ("exchange", "amq.topic")):
            assert short(f"x-{which}-death-{what}") + long(text) in data


def test_an_entry_of_a_message_that_had_an_expiration(world: World, client: Client) -> None:
    source(client, "q", "dead")
    client.publish("", "q", expiration="5000")
    world.wait(5000)
    data = peek(client, "dead")
    entry = death(1, "expired", "q", (WALL + 5000) // 1000, "", ["q"], expiration="5000")
    assert short("x-death") + array(entry) in data


def test_two_entries_the_latest_first(world: World, client: Client) -> None:
    source(client, "q", "r", message_ttl=2000)
    source(client, "r", "dead", message_ttl=3000)
    client.publish("", "q")
    world.wait(5000)
    first = death(1, "expired", "q", (WALL + 2000) // 1000, "", ["q"])
    second = death(1, "expired", "r", (WALL + 5000) // 1000, "", ["r"])
    assert short("x-death") + array(second, first) in peek(client, "dead")


# ----------------------------------------------------------------------------------------------- the history


def test_repeats_are_counted_and_move_to_the_front(world: World, client: Client) -> None:
    """The usual retry: rejected, a pause, once more; and the time stays that of the first."""
    source(client, "work", "pause")
    source(client, "pause", "work", message_ttl=5000)
    client.publish("", "work", b"x", headers={"own": "kept"})
    for turn in range(4):
        message = refuse(client, "work")
        if turn:
            assert message.deaths == [("pause", "expired", turn), ("work", "rejected", turn)]
            times = [int(entry["time"].timestamp()) for entry in message.headers["x-death"]]
            assert times == [(WALL + 5000) // 1000, WALL // 1000]
            assert marks(message) == ["rejected", "work", "", "expired", "pause", ""]
            assert message.headers["own"] == "kept"
        world.wait(5000)


def test_two_reasons_of_one_queue_are_two_entries(world: World, client: Client) -> None:
    source(client, "q", "back", message_ttl=1000)
    source(client, "back", "q")
    client.publish("", "q")
    refuse(client, "q")
    refuse(client, "back")
    world.wait(1000)
    assert one(client, "back").deaths == [("q", "expired", 1), ("back", "rejected", 1), ("q", "rejected", 1)]


def test_the_first_death_is_set_once_and_the_last_follows(world: World, client: Client) -> None:
    client.method(1, C.Exchange.Declare, exchange="one", exchange_type="fanout")
    client.method(1, C.Exchange.Declare, exchange="two", exchange_type="fanout")
    source(client, "a", None, dlx="one", message_ttl=10)
    source(client, "b", None, dlx="two")
    client.method(1, C.Queue.Bind, queue="a", exchange="amq.fanout")
    client.method(1, C.Queue.Bind, queue="b", exchange="one")
    client.method(1, C.Queue.Bind, queue="dead", exchange="two")
    client.publish("amq.fanout", "key")
    world.wait(10)
    assert marks(refuse(client, "b")) == ["expired", "a", "amq.fanout", "expired", "a", "amq.fanout"]
    letter = one(client)
    assert marks(letter) == ["expired", "a", "amq.fanout", "rejected", "b", "one"]
    assert [(entry["exchange"], entry["routing-keys"]) for entry in letter.headers["x-death"]] == [
        ("one", ["key"]),
        ("amq.fanout", ["key"]),
    ]


def test_the_history_outlives_a_restart(world: World, client: Client) -> None:
    durable = {"durable": True}
    client.declare("work", arguments={"x-dead-letter-exchange": "", "x-dead-letter-routing-key": "pause"}, **durable)
    arguments = {"x-dead-letter-exchange": "", "x-dead-letter-routing-key": "work", "x-message-ttl": 1000}
    client.declare("pause", arguments=arguments, **durable)
    client.publish("", "work", delivery_mode=2)
    for turn in range(4):
        message = refuse(client, "work")
        assert message.deaths == ([("pause", "expired", turn), ("work", "rejected", turn)] if turn else [])
        world = world.restart(crash=turn % 2 == 0, down=500)
        world.wait(500)
        client = world.connect()
        client.open()


def test_a_history_of_its_own_for_each_copy(client: Client) -> None:
    for name in ("a", "b"):
        source(client, name, "dead")
        client.method(1, C.Queue.Bind, queue=name, exchange="amq.fanout")
    client.publish("amq.fanout", "")
    refuse(client, "b")
    refuse(client, "a")
    assert [letter.deaths for letter in drain(client, "dead")] == [[("b", "rejected", 1)], [("a", "rejected", 1)]]


# ------------------------------------------------------------------------------------------- the properties


@pytest.mark.parametrize("reason", ["expired", "rejected", "maxlen"])
def test_the_expiration_goes_whatever_the_reason(world: World, client: Client, reason: str) -> None:
    """It would end the message a second time."""
    source(client, "q", "dead", max_length=1)
    client.publish("", "q", b"1", expiration="100")
    if reason == "expired":
        world.wait(100)
    elif reason == "rejected":
        refuse(client, "q")
    else:
        client.publish("", "q", b"2")
    world.wait(10_000)
    letter = one(client)
    assert letter.properties.expiration is None
    assert letter.headers["x-death"][0]["original-expiration"] == "100"


def test_the_expiration_is_told_by_its_own_death_only(world: World, client: Client) -> None:
    source(client, "q", "r", message_ttl=50)
    source(client, "r", "dead", message_ttl=50)
    client.publish("", "q", expiration="70")
    world.wait(100)
    assert [entry.get("original-expiration") for entry in one(client).headers["x-death"]] == [None, "70"]


def test_the_time_of_a_queue_is_no_expiration(world: World, client: Client) -> None:
    source(client, "q", "dead", message_ttl=50)
    client.publish("", "q")
    world.wait(50)
    assert "original-expiration" not in one(client).headers["x-death"][0]


def test_everything_else_is_as_it_was(client: Client) -> None:
    source(client, "q", "dead")
    properties = {
        "content_type": "text/plain",
        "content_encoding": "utf-8",
        "delivery_mode": 2,
        "priority": 7,
        "correlation_id": "correlation",
        "reply_to": "reply",
        "message_id": "message",
        "message_type": "type",
        "user_id": "guest",
        "app_id": "app",
    }
    headers = {"text": "x", "number": 5, "yes": True, "table": {"a": 1}, "list": [1, "two"]}
    client.publish("", "q", b"body", headers=headers, **properties)
    refuse(client, "q")
    letter = one(client)
    assert {name: getattr(letter.properties, name) for name in properties} == properties
    assert {name: letter.headers[name] for name in headers} == headers


def test_the_types_of_headers_stay(client: Client) -> None:
    """What pamqp would write otherwise: a short, a signed byte, a float, a decimal, an unset value."""
    fields = short("s") + b"s" + pack(">h", -5) + short("b") + b"b" + pack(">b", -1) + short("f") + b"f"
    fields += pack(">f", 1.5) + short("D") + b"D" + pack(">BI", 2, 314) + short("V") + b"V"
    source(client, "q", "dead")
    data = client.publish_bytes(1, "", "q", b"x", headers={"placeholder": "x"})
    # The header frame again, with these fields.
    start = data.index(b"\x02\x00\x01")
    payload = pack(">HHQH", 60, 0, 1, 1 << 13) + pack(">I", len(fields)) + fields
    head = b"\x02" + pack(">HI", 1, len(payload)) + payload + b"\xce"
    client.send(data[:start] + head + b"\x03\x00\x01\x00\x00\x00\x01x\xce")
    refuse(client, "q")
    answer = peek(client, "dead")
    for field in (
        b"\x01s" + b"s" + pack(">h", -5),
        b"\x01b" + b"b\xff",
        b"\x01D" + b"D" + pack(">BI", 2, 314),
        b"\x01VV",
    ):
        assert field in answer
    assert b"\x01ff" + pack(">f", 1.5) in answer


# ------------------------------------------------------------------------------------------------ CC and BCC


def test_copies_are_followed_by_all_their_keys(client: Client) -> None:
    """Without a key of the queue's own, every key that the message had counts. The BCC keys are told to nobody."""
    client.method(1, C.Exchange.Declare, exchange="dlx", exchange_type="direct")
    for name in ("k", "cc", "bcc", "other"):
        client.declare(f"to.{name}")
        client.method(1, C.Queue.Bind, queue=f"to.{name}", exchange="dlx", routing_key=name)
    source(client, "q", None, dlx="dlx")
    client.method(1, C.Queue.Bind, queue="q", exchange="amq.direct", routing_key="k")
    client.publish("amq.direct", "k", headers={"CC": ["cc"], "BCC": ["bcc"]})
    refuse(client, "q")
    letters = {name: drain(client, f"to.{name}") for name in ("k", "cc", "bcc", "other")}
    assert {name: len(found) for name, found in letters.items()} == {"k": 1, "cc": 1, "bcc": 1, "other": 0}
    for name in ("k", "cc", "bcc"):
        (letter,) = letters[name]
        assert letter.headers["x-death"][0]["routing-keys"] == ["k", "cc"]
        assert letter.headers["CC"] == ["cc"]
        assert "BCC" not in letter.headers
        assert letter.method.routing_key == "k"


def test_copies_end_where_the_queue_has_a_key(client: Client) -> None:
    """And at the second death the key it was dead-lettered with is the only one."""
    client.method(1, C.Exchange.Declare, exchange="dlx", exchange_type="direct")
    client.declare("to.cc")
    client.method(1, C.Queue.Bind, queue="to.cc", exchange="dlx", routing_key="cc")
    source(client, "q", "r", dlx="dlx")
    source(client, "r", None, dlx="dlx")
    client.method(1, C.Queue.Bind, queue="r", exchange="dlx", routing_key="r")
    client.publish("", "q", headers={"CC": ["cc"]})
    refuse(client, "q")
    message = get(client, "r")
    assert message is not None
    assert message.headers["x-death"][0]["routing-keys"] == ["q", "cc"]
    client.method(1, C.Queue.Bind, queue="dead", exchange="dlx", routing_key="r")
    client.method(1, C.Basic.Reject, delivery_tag=message.method.delivery_tag, requeue=False)
    assert drain(client, "to.cc") == []
    assert [entry["routing-keys"] for entry in one(client).headers["x-death"]] == [["r"], ["q", "cc"]]


# ------------------------------------------------------------------------------------------ what clients send


FORGED: dict[str, Any] = {
    "x-death": [{"queue": "dead", "reason": "expired", "count": 7}, {"queue": "q", "reason": "rejected", "count": 5}],
    "x-first-death-queue": "elsewhere",
    "x-last-death-reason": "boredom",
}


def test_a_history_from_a_client_is_only_a_header(client: Client) -> None:
    client.declare("plain")
    client.publish("", "plain", headers=FORGED)
    assert one(client, "plain").headers == FORGED


def test_a_history_from_a_client_is_overwritten_by_the_first_death(client: Client) -> None:
    """It neither counts nor makes a circle."""
    source(client, "q", "dead", message_ttl=0)
    client.publish("", "q", headers=FORGED)
    letter = one(client)
    assert letter.deaths == [("q", "expired", 1)]
    assert marks(letter) == ["expired", "q", "", "expired", "q", ""]


def test_a_history_published_again_begins_anew(client: Client) -> None:
    source(client, "q", "dead")
    client.publish("", "q")
    refuse(client, "q")
    letter = one(client)
    client.publish("", "q", headers={"x-death": letter.headers["x-death"]})
    refuse(client, "q")
    assert one(client).deaths == [("q", "rejected", 1)]


def test_a_history_of_the_wrong_type(client: Client) -> None:
    source(client, "q", "dead")
    for value in ("text", 5, [], {"a": 1}, ["x"], [{"queue": 1}]):
        client.publish("", "q", headers={"x-death": value})
        refuse(client, "q")
        assert one(client).deaths == [("q", "rejected", 1)]


# -------------------------------------------------------------------------------------------------- circles


def everywhere(world: World) -> dict[str, int]:
    return {name: queue.ready for name, queue in world.broker.vhosts["/"].queues.items() if queue.ready}


def test_an_automatic_circle_ends(world: World, client: Client) -> None:
    source(client, "a", "b", message_ttl=10)
    source(client, "b", "c", message_ttl=10)
    source(client, "c", "a", message_ttl=10)
    client.publish("", "a")
    world.wait(29)
    assert everywhere(world) == {"c": 1}
    world.wait(1)
    assert everywhere(world) == {}


@pytest.mark.parametrize("how", ["expired", "maxlen"])
def test_a_queue_that_is_its_own_target(world: World, client: Client, how: str) -> None:
    source(client, "q", None, **({"message_ttl": 10} if how == "expired" else {"max_length": 1}))
    client.publish("", "q", b"1")
    client.publish("", "q", b"2")
    world.wait(100)
    assert everywhere(world) == ({} if how == "expired" else {"q": 1})


def test_who_rejects_may_go_round_forever(client: Client) -> None:
    source(client, "q", "q")
    client.publish("", "q")
    for turn in range(30):
        assert refuse(client, "q").deaths == ([("q", "rejected", turn)] if turn else [])


def test_a_circle_with_a_reject_anywhere_since(world: World, client: Client) -> None:
    """a expires to b, b is rejected to c, c expires to a: a client had its hand in it."""
    source(client, "a", "b", message_ttl=10)
    source(client, "b", "c")
    source(client, "c", "a", message_ttl=10)
    client.publish("", "a")
    for _ in range(3):
        world.wait(10)
        refuse(client, "b")
        world.wait(10)
        assert everywhere(world) == {"a": 1}


def test_a_reject_before_the_circle_does_not_help(world: World, client: Client) -> None:
    source(client, "start", "a")
    source(client, "a", "b", message_ttl=10)
    source(client, "b", "a", message_ttl=10)
    client.publish("", "start")
    refuse(client, "start")
    world.wait(19)
    assert everywhere(world) == {"b": 1}
    world.wait(1)
    assert everywhere(world) == {}


def test_the_last_death_is_looked_at_for_the_reason_of_the_letter(world: World, client: Client) -> None:
    """Rejected now: no circle, whatever came before."""
    source(client, "a", "b", message_ttl=10)
    source(client, "b", "a")
    client.publish("", "a", b"x")
    world.wait(10)
    refuse(client, "b")
    assert everywhere(world) == {"a": 1}


def test_other_targets_get_what_a_circle_does_not(world: World, client: Client) -> None:
    client.method(1, C.Exchange.Declare, exchange="dlx", exchange_type="fanout")
    source(client, "q", None, dlx="dlx", message_ttl=10)
    for name in ("q", "dead"):
        client.method(1, C.Queue.Bind, queue=name, exchange="dlx")
    client.publish("", "q")
    world.wait(10)
    assert everywhere(world) == {"dead": 1}


def test_a_circle_is_broken_after_a_restart_too(world: World, client: Client) -> None:
    for name, following in (("a", "b"), ("b", "a")):
        arguments = {"x-dead-letter-exchange": "", "x-dead-letter-routing-key": following, "x-message-ttl": 10}
        client.declare(name, durable=True, arguments=arguments)
    client.publish("", "a", delivery_mode=2)
    world.wait(10)
    assert everywhere(world) == {"b": 1}
    world = world.restart(crash=True)
    world.wait(10)
    assert everywhere(world) == {}
    assert world.folded() == {} or not any(world.folded().values())


def test_a_consumer_sees_the_history_as_a_get_does(client: Client) -> None:
    source(client, "q", "dead")
    client.publish("", "q")
    refuse(client, "q")
    (letter,) = messages(client.consume("dead"))
    assert letter.deaths == [("q", "rejected", 1)]
    (again,) = messages(client.method(1, C.Basic.Recover, requeue=True))
    assert (again.deaths, again.method.redelivered) == (letter.deaths, True)


def test_blind_copies_route_a_second_death_too_and_outlive_a_restart(world: World, client: Client) -> None:
    client.method(1, C.Exchange.Declare, exchange="dlx", exchange_type="direct", durable=True)
    for name in ("q", "r"):
        client.declare(name, durable=True, arguments={"x-dead-letter-exchange": "dlx"})
    client.method(1, C.Queue.Bind, queue="r", exchange="dlx", routing_key="blind")
    client.publish("", "q", headers={"BCC": ["blind"], "own": 1}, delivery_mode=2)
    refuse(client, "q")
    world = world.restart(crash=True)
    client = world.connect()
    client.open()
    message = get(client, "r")
    assert message is not None
    assert message.headers["x-death"][0]["routing-keys"] == ["q"]
    assert (message.headers["own"], "BCC" in message.headers) == (1, False)
    client.method(1, C.Basic.Reject, delivery_tag=message.method.delivery_tag, requeue=False)
    again = get(client, "r")
    assert again is not None
    assert [entry["count"] for entry in again.headers["x-death"]] == [1, 1]


@pytest.mark.parametrize("how", ["get", "consume", "return", "redelivery"])
@pytest.mark.parametrize("number", [1, 2])
def test_nobody_sees_a_blind_copy(world: World, client: Client, how: str, number: int) -> None:
    client.open(2)
    client.declare("q", durable=True, arguments={"x-queue-type": "quorum"})
    headers = {"BCC": ["nobody"], "kept": "k"}
    if how == "return":
        client.send(client.publish_bytes(1, "", "missing", b"x" * number, mandatory=True, headers=headers))
        found = messages(client.frames())
    else:
        client.publish("", "q", b"x", headers=headers)
        if how == "redelivery":
            client.method(1, C.Basic.Get, queue="q")
            client.method(1, C.Basic.Nack, delivery_tag=1, requeue=True)
        if how == "get":
            found = messages(client.method(number, C.Basic.Get, queue="q"))
        else:
            found = messages(client.consume("q", number=number))
    (message,) = found
    assert {name: value for name, value in message.headers.items() if name != "x-acquired-count"} == {"kept": "k"}
