"""The table of x-arguments: every error text, as RabbitMQ gives it, and what passes."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from amqpd.core.arguments import (
    QUEUE_ARGUMENTS,
    check_exchange,
    check_exchange_equivalent,
    check_queue,
    check_queue_equivalent,
    consumer_priority,
    exchange_resource,
    printed,
    queue_resource,
    queue_type,
)
from amqpd.errors import PreconditionFailed
from amqpd.wire.tables import Field, Table

Q = "queue 'q' in vhost '/'"
X = "exchange 'x' in vhost '/'"
TEN_YEARS = 315_360_000_000

KINDS = {int: "l", str: "S", bytes: "x", bool: "t", type(None): "V", float: "d", tuple: "D"}


def field(value: Any) -> Field:
    return value if isinstance(value, Field) else Field(KINDS[type(value)], value)


def table(values: dict[str, Any]) -> Table:
    """A table by names without their `x-`."""
    return {f"x-{name}": field(value) for name, value in values.items()}


def refusal(
    values: dict[str, Any],
    *,
    name: str = "q",
    durable: bool = True,
    exclusive: bool = False,
    auto_delete: bool = False,
) -> str:
    """What is wrong with declaring this queue; nothing: an empty text."""
    try:
        check_queue(name, "/", table(values), durable=durable, exclusive=exclusive, auto_delete=auto_delete)
    except PreconditionFailed as error:
        return error.explanation
    return ""


# ------------------------------------------------------------------------------------------------- one value


@pytest.mark.parametrize(
    ("name", "value", "wrong"),
    [
        ("max-length", "x", '"expected integer, got longstr"'),
        ("max-length", True, '"expected integer, got bool"'),
        ("max-length", None, '"expected integer, got void"'),
        ("max-length", 1.5, '"expected integer, got double"'),
        ("max-length", Field("A", []), '"expected integer, got array"'),
        ("max-length", Field("T", 5), '"expected integer, got timestamp"'),
        ("max-length", -1, "{value_negative,-1}"),
        ("max-length-bytes", -1, "{value_negative,-1}"),
        ("message-ttl", -1, "{value_negative,-1}"),
        ("message-ttl", TEN_YEARS + 1, "{value_too_large,315360000001}"),
        ("message-ttl", "a", '"expected integer, got longstr"'),
        ("expires", 0, "{value_zero,0}"),
        ("expires", -5, "{value_negative,-5}"),
        ("expires", TEN_YEARS + 1, "{value_too_large,315360000001}"),
        ("max-priority", 256, "{max_value_exceeded,256}"),
        ("max-priority", -1, "{value_negative,-1}"),
        ("overflow", "x", "invalid_overflow"),
        ("overflow", Field("I", 1), "{unacceptable_type,signedint}"),
        ("dead-letter-routing-key", "a", "routing_key_but_no_dlx_defined"),
        ("dead-letter-routing-key", 1, "{unacceptable_type,long}"),
        ("queue-mode", "x", "\"unsupported queue mode 'x'\""),
        ("queue-mode", "{0}", "\"unsupported queue mode '{0}'\""),
        ("queue-mode", 1, "{unacceptable_type,long}"),
        ("queue-version", 3, "\"unsupported queue version '3'\""),
        ("queue-version", -1, "{value_negative,-1}"),
        ("single-active-consumer", "a", "{unacceptable_type,longstr}"),
        ("single-active-consumer", Field("I", 1), "{unacceptable_type,signedint}"),
        ("queue-type", "foo", "\"unsupported queue type 'foo'\""),
        ("queue-type", Field("S", b"\xff"), "\"unsupported queue type '\ufffd'\""),
        ("queue-type", Field("I", 5), "{unacceptable_type,signedint}"),
        ("queue-master-locator", 1, "{unacceptable_type,long}"),
        ("queue-leader-locator", "x", "invalid_queue_locator_arg"),
    ],
)
def test_a_value_that_a_classic_queue_refuses(name: str, value: Any, wrong: str) -> None:
    assert refusal({name: value}) == f"invalid arg 'x-{name}' for {Q}: {wrong}"


@pytest.mark.parametrize(
    ("kind", "name", "value", "wrong"),
    [
        ("quorum", "dead-letter-strategy", "x", "invalid_dlx_strategy"),
        ("quorum", "dead-letter-strategy", 1, "{unacceptable_type,long}"),
        ("quorum", "quorum-initial-group-size", 0, "{value_zero,0}"),
        ("quorum", "delivery-limit", "a", '"expected integer, got longstr"'),
        ("quorum", "max-in-memory-length", -1, "{value_negative,-1}"),
        ("quorum", "max-in-memory-bytes", -1, "{value_negative,-1}"),
        ("stream", "initial-cluster-size", 0, "{value_zero,0}"),
        ("stream", "max-age", "x", "invalid_max_age"),
        ("stream", "max-age", "", "invalid_max_age"),
        ("stream", "max-age", "0D", "invalid_max_age"),
        ("stream", "max-age", "1y", "invalid_max_age"),
        ("stream", "max-age", "1D2", "invalid_max_age"),
        ("stream", "max-age", "\u0661D", "invalid_max_age"),
        ("stream", "max-age", 4, "{unacceptable_type,long}"),
        ("stream", "stream-max-segment-size-bytes", -1, "{value_negative,-1}"),
        ("stream", "stream-filter-size-bytes", "a", '"expected integer, got longstr"'),
    ],
)
def test_a_value_that_another_type_refuses(kind: str, name: str, value: Any, wrong: str) -> None:
    assert refusal({"queue-type": kind, name: value}) == f"invalid arg 'x-{name}' for {Q}: {wrong}"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ({"stream-max-segment-size-bytes": 3_000_000_001}, "Exceeded max value for x-stream-max-segment-size-bytes"),
        ({"stream-filter-size-bytes": 15}, "Invalid value for x-stream-filter-size-bytes"),
        ({"stream-filter-size-bytes": 256}, "Invalid value for x-stream-filter-size-bytes"),
    ],
)
def test_limits_of_streams_are_named_without_the_queue(value: dict[str, Any], text: str) -> None:
    assert refusal({"queue-type": "stream", **value}) == text
    assert refusal({"queue-type": "stream", **value}, durable=False) == f"invalid property 'non-durable' for {Q}"


@pytest.mark.parametrize("value", [Field("I", 1), True, None, b"x"])
def test_a_dead_letter_exchange_is_a_string(value: Any) -> None:
    kind = {"I": "signedint", "t": "bool", "V": "void", "x": "binary"}[field(value).kind]
    expected = f"invalid type '{kind}' for arg 'x-dead-letter-exchange' in {Q}"
    assert refusal({"dead-letter-exchange": value, "max-length": -1}) == expected


@pytest.mark.parametrize(
    "values",
    [
        {},
        {"foo": Field("A", [Field("F", {})]), "x-foo": None},
        {"message-ttl": 0, "max-length": 0, "max-length-bytes": 0, "max-priority": 0},
        {"message-ttl": TEN_YEARS, "expires": TEN_YEARS, "max-priority": 255},
        {"expires": 1, "single-active-consumer": True},
        {"dead-letter-exchange": "", "dead-letter-routing-key": ""},
        {"overflow": "drop-head", "queue-mode": "lazy", "queue-version": 2},
        {"overflow": "reject-publish-dlx", "queue-mode": "default", "queue-version": 1},
        {"queue-master-locator": "min-masters", "queue-leader-locator": "balanced"},
        {"queue-type": "classic"},
        {"queue-type": "quorum", "delivery-limit": -1, "overflow": "reject-publish"},
        {"queue-type": "quorum", "dead-letter-exchange": "x", "dead-letter-strategy": "at-least-once"},
        {"queue-type": "quorum", "quorum-initial-group-size": 3, "max-in-memory-length": 0},
        {"queue-type": "stream", "max-age": "1Y", "max-length-bytes": 5, "initial-cluster-size": 1},
        {"queue-type": "stream", "stream-max-segment-size-bytes": 3_000_000_000, "stream-filter-size-bytes": 16},
        {"consumer-timeout": "on a classic queue RabbitMQ does not look at it"},
    ],
)
def test_what_passes(values: dict[str, Any]) -> None:
    assert refusal(values) == ""


@pytest.mark.parametrize("kind", "bBsuIil")
def test_integers_of_every_width_are_integers(kind: str) -> None:
    assert refusal({"max-length": Field(kind, 5)}) == ""


# --------------------------------------------------------------------------------------------- types of queue


@pytest.mark.parametrize("kind", ["classic", "quorum", "stream"])
def test_an_argument_of_another_type_is_refused(kind: str) -> None:
    foreign = {name for name, rule in QUEUE_ARGUMENTS.items() if kind not in rule.types}
    assert foreign
    for name in foreign:
        arguments = {"queue-type": kind, name.removeprefix("x-"): "whatever its value"}
        if name == "x-dead-letter-exchange":
            arguments["dead-letter-exchange"] = ""
        assert refusal(arguments) == f"invalid arg '{name}' for {Q} of queue type rabbit_{kind}_queue"


def test_which_error_comes_first() -> None:
    stream = {"queue-type": "stream"}
    assert refusal(stream | {"max-length": 1, "message-ttl": "z", "max-age": 1}) == (
        f"invalid arg 'x-max-age' for {Q}: {{unacceptable_type,long}}"
    )
    assert refusal(stream | {"message-ttl": 1, "max-length": 1}).startswith("invalid arg 'x-message-ttl'")
    assert refusal(stream | {"max-length": 1, "message-ttl": 1}).startswith("invalid arg 'x-max-length'")
    assert refusal({"max-length": -1, "expires": 0}).startswith("invalid arg 'x-expires'")
    assert refusal({"expires": 0, "queue-type": "foo"}).startswith("invalid arg 'x-queue-type'")


@pytest.mark.parametrize("kind", ["quorum", "stream"])
@pytest.mark.parametrize(
    ("flags", "named"),
    [
        ({"durable": False}, "non-durable"),
        ({"exclusive": True}, "exclusive-owner"),
        ({"auto_delete": True}, "auto-delete"),
        ({"durable": False, "exclusive": True}, "exclusive-owner"),
        ({"durable": False, "exclusive": True, "auto_delete": True}, "auto-delete"),
        ({"durable": False, "auto_delete": True}, "auto-delete"),
    ],
)
def test_properties_that_only_classic_queues_have(kind: str, flags: dict[str, bool], named: str) -> None:
    assert refusal({"queue-type": kind}, **flags) == f"invalid property '{named}' for {Q}"
    assert refusal({}, **flags) == ""
    with_bad_value = refusal({"queue-type": kind, "max-length-bytes": -1}, **flags)
    assert with_bad_value == f"invalid arg 'x-max-length-bytes' for {Q}: {{value_negative,-1}}"


@pytest.mark.parametrize("kind", ["quorum", "stream"])
def test_only_classic_queues_are_named_by_the_server(kind: str) -> None:
    expected = f"Cannot declare a server-named queue for type rabbit_{kind}_queue"
    assert refusal({"queue-type": kind}, name="") == expected
    assert refusal({}, name="") == ""


def test_queue_type() -> None:
    assert queue_type({}) == "classic"
    assert queue_type(table({"queue-type": "stream"})) == "stream"


# ----------------------------------------------------------------------------------------- equivalent queues


def difference(
    current: dict[str, Any], received: dict[str, Any], *, durable: bool = True, auto_delete: bool = False
) -> str:
    arguments = table(current)
    queue: Any = SimpleNamespace(
        name="q", vhost="/", durable=True, auto_delete=False, arguments=arguments, kind=queue_type(arguments)
    )
    try:
        check_queue_equivalent(queue, durable=durable, auto_delete=auto_delete, arguments=table(received))
    except PreconditionFailed as error:
        return error.explanation.removeprefix("inequivalent arg ")
    return ""


@pytest.mark.parametrize(
    ("current", "received", "text"),
    [
        (
            {"message-ttl": 1000},
            {},
            f"'x-message-ttl' for {Q}: received none but current is the value '1000' of type 'long'",
        ),
        (
            {},
            {"message-ttl": Field("I", 1000)},
            f"'x-message-ttl' for {Q}: received the value '1000' of type 'signedint' but current is none",
        ),
        (
            {"message-ttl": 1000},
            {"message-ttl": Field("I", 2000)},
            f"'x-message-ttl' for {Q}: received '2000' but current is '1000'",
        ),
        (
            {"max-length": 5},
            {"max-length": True},
            f"'x-max-length' for {Q}: received 'true' but current is '5'",
        ),
        (
            {"max-priority": 1},
            {"max-priority": True},
            f"'x-max-priority' for {Q}: received 'true' but current is '1'",
        ),
        (
            {"max-length": 5},
            {"max-length": 5.0},
            f"'x-max-length' for {Q}: received '5.0' but current is '5'",
        ),
        (
            {"single-active-consumer": True},
            {},
            f"'x-single-active-consumer' for {Q}: received none but current is the value 'true' of type 'bool'",
        ),
        (
            {"dead-letter-exchange": "a"},
            {"dead-letter-exchange": "b"},
            f"'x-dead-letter-exchange' for {Q}: received 'b' but current is 'a'",
        ),
        (
            {},
            {"overflow": None},
            f"'x-overflow' for {Q}: received the value 'undefined' of type 'void' but current is none",
        ),
        (
            {},
            {"overflow": (2, 123)},
            f"'x-overflow' for {Q}: received the value '{{2,123}}' of type 'decimal' but current is none",
        ),
        (
            {},
            {"overflow": Field("x", b"ab")},
            f"'x-overflow' for {Q}: received the value 'ab' of type 'binary' but current is none",
        ),
        (
            {},
            {"queue-type": "quorum"},
            f"'x-queue-type' for {Q}: received the value 'quorum' of type 'longstr' but current is none",
        ),
        (
            {"queue-type": "classic"},
            {"queue-type": "quorum"},
            f"'x-queue-type' for {Q}: received 'quorum' but current is 'classic'",
        ),
        (
            {"queue-type": "quorum"},
            {},
            f"'x-queue-type' for {Q}: received none but current is the value 'quorum' of type 'longstr'",
        ),
        (
            {"message-ttl": 5, "queue-type": "classic"},
            {"message-ttl": 6, "queue-type": "quorum"},
            f"'x-message-ttl' for {Q}: received '6' but current is '5'",
        ),
        (
            {"message-ttl": 5, "expires": 6},
            {"message-ttl": 6, "expires": 7},
            f"'x-expires' for {Q}: received '7' but current is '6'",
        ),
        (
            {"queue-mode": "lazy"},
            {},
            f"'x-queue-mode' for {Q}: received none but current is the value 'lazy' of type 'longstr'",
        ),
    ],
)
def test_an_argument_that_differs(current: dict[str, Any], received: dict[str, Any], text: str) -> None:
    assert difference(current, received) == text


def test_properties_that_differ_come_before_arguments() -> None:
    assert difference({}, {"expires": 1}, durable=False, auto_delete=True) == (
        f"'durable' for {Q}: received 'false' but current is 'true'"
    )
    assert difference({}, {"expires": 1}, auto_delete=True) == (
        f"'auto_delete' for {Q}: received 'true' but current is 'false'"
    )


@pytest.mark.parametrize(
    ("current", "received"),
    [
        ({}, {}),
        ({"queue-type": "classic"}, {}),
        ({}, {"queue-type": "classic"}),
        ({"message-ttl": 1000}, {"message-ttl": Field("I", 1000)}),
        ({"message-ttl": Field("b", 5)}, {"message-ttl": Field("u", 5)}),
        ({}, {"foo": 3}),
        ({"foo": 4}, {"foo": 3}),
        ({}, {"delivery-limit": 3}),
        ({"queue-type": "quorum"}, {"queue-type": "quorum", "max-priority": 3}),
        ({}, {"consumer-timeout": 3}),
        ({"dead-letter-exchange": "a"}, {"dead-letter-exchange": b"a"}),
        ({"message-ttl": 5}, {"message-ttl": Field("T", 5)}),
    ],
)
def test_what_is_equivalent(current: dict[str, Any], received: dict[str, Any]) -> None:
    assert difference(current, received) == ""


@pytest.mark.parametrize("name", [name for name, rule in QUEUE_ARGUMENTS.items() if "quorum" in rule.types])
def test_all_that_a_type_knows_is_compared(name: str) -> None:
    short = name.removeprefix("x-")
    text = difference({"queue-type": "quorum"}, {"queue-type": "quorum", short: Field("A", [])})
    assert text.startswith(f"'{name}' for {Q}: received ")


# ------------------------------------------------------------------------------------------------- exchanges


def exchange_difference(current: Table, **received: Any) -> str:
    exchange: Any = SimpleNamespace(
        name="x", vhost="/", kind="direct", durable=True, auto_delete=False, internal=False, arguments=current
    )
    same = {"kind": "direct", "durable": True, "auto_delete": False, "internal": False, "arguments": current}
    try:
        check_exchange_equivalent(exchange, **same | received)
    except PreconditionFailed as error:
        return error.explanation.removeprefix("inequivalent arg ")
    return ""


AE = {"alternate-exchange": Field("S", "a")}


@pytest.mark.parametrize(
    ("current", "received", "text"),
    [
        ({}, {"kind": "fanout"}, f"'type' for {X}: received 'fanout' but current is 'direct'"),
        ({}, {"durable": False}, f"'durable' for {X}: received 'false' but current is 'true'"),
        ({}, {"auto_delete": True}, f"'auto_delete' for {X}: received 'true' but current is 'false'"),
        ({}, {"internal": True}, f"'internal' for {X}: received 'true' but current is 'false'"),
        (
            AE,
            {"arguments": {}},
            f"'alternate-exchange' for {X}: received none but current is the value 'a' of type 'longstr'",
        ),
        (
            {},
            {"arguments": AE},
            f"'alternate-exchange' for {X}: received the value 'a' of type 'longstr' but current is none",
        ),
        (
            AE,
            {"arguments": {"alternate-exchange": Field("S", "b")}},
            f"'alternate-exchange' for {X}: received 'b' but current is 'a'",
        ),
        (
            {},
            {"arguments": {"alternate-exchange": Field("I", 4)}},
            f"'alternate-exchange' for {X}: received the value '4' of type 'signedint' but current is none",
        ),
        (AE, {}, ""),
        ({}, {"arguments": {"foo": Field("I", 1)}}, ""),
    ],
)
def test_exchanges_that_differ(current: Table, received: dict[str, Any], text: str) -> None:
    assert exchange_difference(current, **received) == text


def test_an_alternate_exchange_is_a_string() -> None:
    check_exchange("x", "/", {"alternate-exchange": Field("S", ""), "foo": Field("I", 1)})
    with pytest.raises(PreconditionFailed) as raised:
        check_exchange("x", "/", {"alternate-exchange": Field("I", 4)})
    assert raised.value.explanation == f"invalid type 'signedint' for arg 'alternate-exchange' in {X}"


# --------------------------------------------------------------------------------------- consumers and texts


def test_consumer_priority() -> None:
    assert consumer_priority({}, Q) == 0
    assert consumer_priority({"x-priority": Field("I", -5)}, Q) == -5
    with pytest.raises(PreconditionFailed) as raised:
        consumer_priority({"x-priority": Field("S", "5")}, Q)
    assert raised.value.explanation == f"invalid arg 'x-priority' for {Q}: \"expected integer, got longstr\""


@pytest.mark.parametrize(
    ("value", "term"),
    [
        (Field("I", -5), "-5"),
        (Field("d", 1.5), "1.5"),
        (Field("t", False), "false"),
        (Field("V", None), "undefined"),
        (Field("D", (2, 123)), "{2,123}"),
        (Field("S", "ab"), '<<"ab">>'),
        (Field("x", b"\xff\xfe"), "<<255,254>>"),
        (
            Field("A", [Field("I", 1), Field("S", "a"), Field("F", {"b": Field("V", None), "c": Field("t", True)})]),
            '[{signedint,1},{longstr,<<"a">>},{table,[{<<"b">>,void,undefined},{<<"c">>,bool,true}]}]',
        ),
        (Field("A", []), "[]"),
    ],
)
def test_values_as_erlang_terms(value: Field, term: str) -> None:
    assert printed(value) == term


def test_resources() -> None:
    assert queue_resource("q", "/") == Q
    assert exchange_resource("x", "/") == X
