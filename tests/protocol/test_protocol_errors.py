"""Everything a client can do wrong: the reply code, its scope, its text (semantics 1.1 to 1.4)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from pamqp import commands

from amqpd.wire import framing, methods
from amqpd.wire.tables import Field
from tests.support.world import Client, World

C = commands

Q = "queue 'q' in vhost '/'"
LOCKED = (
    f"cannot obtain exclusive access to locked {Q}. It could be originally declared on another connection or the "
    "exclusive property value does not match that of the original declaration."
)


@pytest.fixture
def client(world: World) -> Client:
    """A client with channel 1 open."""
    client = world.connect()
    client.open()
    return client


SOFT: list[tuple[str, Callable[[Client], list[Any]], int, str]] = [
    ("publish to no exchange", lambda c: c.publish("nope", "k"), 404, "NOT_FOUND - no exchange 'nope' in vhost '/'"),
    (
        "passive declare of no queue",
        lambda c: [c.declare("q", passive=True)],
        404,
        f"NOT_FOUND - no {Q}",
    ),
    (
        "passive declare of no exchange",
        lambda c: c.method(1, C.Exchange.Declare, exchange="x", passive=True),
        404,
        "NOT_FOUND - no exchange 'x' in vhost '/'",
    ),
    ("consume from no queue", lambda c: c.consume("q"), 404, f"NOT_FOUND - no {Q}"),
    ("get from no queue", lambda c: c.method(1, C.Basic.Get, queue="q"), 404, f"NOT_FOUND - no {Q}"),
    ("purge no queue", lambda c: c.method(1, C.Queue.Purge, queue="q"), 404, f"NOT_FOUND - no {Q}"),
    (
        "the queue last declared, before any",
        lambda c: c.method(1, C.Basic.Get, queue=""),
        404,
        "NOT_FOUND - no previously declared queue",
    ),
    (
        "bind no queue",
        lambda c: c.method(1, C.Queue.Bind, queue="q", exchange="amq.direct"),
        404,
        f"NOT_FOUND - no {Q}",
    ),
    (
        "declare the default exchange",
        lambda c: c.method(1, C.Exchange.Declare, exchange="", exchange_type="direct"),
        403,
        "ACCESS_REFUSED - operation not permitted on the default exchange",
    ),
    (
        "a reserved queue name",
        lambda c: [c.declare("amq.q")],
        403,
        "ACCESS_REFUSED - queue name 'amq.q' contains reserved prefix 'amq.*'",
    ),
    (
        "a reserved exchange name",
        lambda c: c.method(1, C.Exchange.Declare, exchange="amq.x", exchange_type="direct"),
        403,
        "ACCESS_REFUSED - exchange name 'amq.x' contains reserved prefix 'amq.*'",
    ),
    (
        "delete a system exchange",
        lambda c: c.method(1, C.Exchange.Delete, exchange="amq.direct"),
        403,
        "ACCESS_REFUSED - deletion of system exchange 'amq.direct' in vhost '/' not allowed",
    ),
    (
        "publish to an internal exchange",
        lambda c: c.publish("amq.rabbitmq.trace", "k"),
        403,
        "ACCESS_REFUSED - cannot publish to internal exchange 'amq.rabbitmq.trace' in vhost '/'",
    ),
    (
        "an unknown exchange type",
        lambda c: c.method(1, C.Exchange.Declare, exchange="x", exchange_type="x-foo"),
        406,
        "PRECONDITION_FAILED - unknown exchange type 'x-foo'",
    ),
    (
        "an unknown queue type",
        lambda c: [c.declare("q", arguments={"x-queue-type": "foo"})],
        406,
        f"PRECONDITION_FAILED - invalid arg 'x-queue-type' for {Q}: \"unsupported queue type 'foo'\"",
    ),
    (
        "a negative length",
        lambda c: [c.declare("q", arguments={"x-max-length": -1})],
        406,
        f"PRECONDITION_FAILED - invalid arg 'x-max-length' for {Q}: {{value_negative,-1}}",
    ),
    (
        "an exclusive quorum queue",
        lambda c: [c.declare("q", durable=True, exclusive=True, arguments={"x-queue-type": "quorum"})],
        406,
        f"PRECONDITION_FAILED - invalid property 'exclusive-owner' for {Q}",
    ),
    (
        "an unknown delivery tag",
        lambda c: c.method(1, C.Basic.Ack, delivery_tag=7),
        406,
        "PRECONDITION_FAILED - unknown delivery tag 7",
    ),
    (
        "tag 0 alone",
        lambda c: c.method(1, C.Basic.Ack, delivery_tag=0),
        406,
        "PRECONDITION_FAILED - unknown delivery tag 0",
    ),
    (
        "a commit without a transaction",
        lambda c: c.method(1, C.Tx.Commit),
        406,
        "PRECONDITION_FAILED - channel is not transactional",
    ),
    (
        "a bad expiration",
        lambda c: c.publish("", "q", expiration="abc"),
        406,
        "PRECONDITION_FAILED - invalid expiration 'abc': no_integer",
    ),
    (
        "someone else's user-id",
        lambda c: c.publish("", "q", user_id="other"),
        406,
        "PRECONDITION_FAILED - user_id property set to 'other' but authenticated user was 'guest'",
    ),
    (
        "a CC that is no array",
        lambda c: c.publish("", "q", headers={"CC": "a"}),
        406,
        'PRECONDITION_FAILED - invalid message: {unacceptable_type_in_header,"CC",longstr}',
    ),
    (
        "direct reply-to without a consumer",
        lambda c: c.publish("", "q", reply_to="amq.rabbitmq.reply-to"),
        406,
        "PRECONDITION_FAILED - fast reply consumer does not exist",
    ),
    (
        "a direct reply-to consumer that acks",
        lambda c: c.consume("amq.rabbitmq.reply-to"),
        406,
        "PRECONDITION_FAILED - reply consumer cannot acknowledge",
    ),
]


@pytest.mark.parametrize(("do", "code", "text"), [case[1:] for case in SOFT], ids=[case[0] for case in SOFT])
def test_a_soft_error_closes_the_channel(client: Client, do: Callable[[Client], Any], code: int, text: str) -> None:
    (close,) = do(client)
    assert isinstance(close, C.Channel.Close)
    assert (close.reply_code, close.reply_text) == (code, text)
    # The number is free again after close-ok, and the connection lives.
    client.method(1, C.Channel.CloseOk)
    client.open(1)


HARD: list[tuple[str, Callable[[Client], list[Any]], int, str]] = [
    ("a second channel.open", lambda c: c.method(1, C.Channel.Open), 504, "CHANNEL_ERROR - second 'channel.open' seen"),
    ("a channel not opened", lambda c: c.method(9, C.Tx.Select), 504, "CHANNEL_ERROR - expected 'channel.open'"),
    (
        "immediate",
        lambda c: (
            c.send(
                methods.encode(1, methods.build(C.Basic.Publish, routing_key="q", immediate=True))
                + framing.frame(2, 1, b"\x00\x3c" + bytes(12))
            ),
            c.frames(),
        )[1],
        540,
        "NOT_IMPLEMENTED - immediate=true",
    ),
    (
        "a prefetch size",
        lambda c: c.method(1, C.Basic.Qos, prefetch_size=5),
        540,
        "NOT_IMPLEMENTED - prefetch_size!=0 (5)",
    ),
    ("no more deliveries", lambda c: c.method(1, C.Channel.Flow, active=False), 540, "NOT_IMPLEMENTED - active=false"),
    ("recover to self", lambda c: c.method(1, C.Basic.Recover, requeue=False), 540, "NOT_IMPLEMENTED - requeue=false"),
    (
        "a header without a publish",
        lambda c: (c.send(framing.frame(2, 1, b"\x00\x3c" + bytes(12))), c.frames())[1],
        505,
        "UNEXPECTED_FRAME - expected method frame, got non method frame instead",
    ),
    (
        "a method where a header is due",
        lambda c: c.method(1, C.Basic.Publish, routing_key="q") or c.method(1, C.Tx.Select),
        505,
        "UNEXPECTED_FRAME - expected content header for class 60, got non content header frame instead",
    ),
    (
        "a header of another class",
        lambda c: (
            c.method(1, C.Basic.Publish, routing_key="q"),
            c.send(framing.frame(2, 1, b"\x00\x32" + bytes(12))),
            c.frames(),
        )[2],
        505,
        "UNEXPECTED_FRAME - expected content header for class 60, got one for class 50 instead",
    ),
    (
        "a body that is too long",
        lambda c: (
            c.method(1, C.Basic.Publish, routing_key="q"),
            c.send(framing.frame(2, 1, b"\x00\x3c\x00\x00" + (3).to_bytes(8, "big") + b"\x00\x00")),
            c.send(framing.frame(3, 1, b"four")),
            c.frames(),
        )[3],
        501,
        "FRAME_ERROR - content body frame exceeds remaining content size",
    ),
    (
        "a body announced too large",
        lambda c: (
            c.method(1, C.Basic.Publish, routing_key="q"),
            c.send(framing.frame(2, 1, b"\x00\x3c\x00\x00" + (1 << 40).to_bytes(8, "big") + b"\x00\x00")),
            c.frames(),
        )[2],
        501,
        f"FRAME_ERROR - content body size {1 << 40} exceeds maximum allowed size 536870912",
    ),
    (
        "a bad frame end",
        lambda c: (c.send(b"\x01\x00\x01\x00\x00\x00\x04abcd\x00"), c.frames())[1],
        501,
        'FRAME_ERROR - type 1, all octets = <<"abcd">>: {invalid_frame_end_marker,0}',
    ),
    (
        "a frame too large",
        lambda c: (c.send(b"\x01\x00\x01\x7f\x00\x00\x00"), c.frames())[1],
        501,
        "FRAME_ERROR - type 1, all octets = <<>>: {frame_too_large,2130706432,131064}",
    ),
    (
        "an unknown frame type",
        lambda c: (c.send(framing.frame(7, 1, b"x")), c.frames())[1],
        501,
        'FRAME_ERROR - type 7, all octets = <<"x">>: unknown_frame',
    ),
    (
        "a heartbeat on a channel",
        lambda c: (c.send(framing.frame(8, 1, b"")), c.frames())[1],
        505,
        "UNEXPECTED_FRAME - type 8, all octets = <<>>",
    ),
]


@pytest.mark.parametrize(("do", "code", "text"), [case[1:] for case in HARD], ids=[case[0] for case in HARD])
def test_a_hard_error_closes_the_connection(client: Client, do: Callable[[Client], Any], code: int, text: str) -> None:
    (close,) = do(client)
    assert isinstance(close, C.Connection.Close)
    assert (close.reply_code, close.reply_text) == (code, text)
    assert not client.world.broker.connections


def test_frames_after_a_channel_error_are_dropped_until_close_ok(client: Client) -> None:
    client.publish("nope", "k")
    assert client.method(1, C.Queue.Declare, queue="q") == []
    assert client.publish("", "q") == []
    client.method(1, C.Channel.CloseOk)
    client.open(1)


def test_closes_that_cross(client: Client) -> None:
    client.publish("nope", "k")
    (answer,) = client.method(1, C.Channel.Close, reply_code=200, reply_text="", class_id=0, method_id=0)
    assert isinstance(answer, C.Channel.CloseOk)
    assert client.method(1, C.Channel.CloseOk) == []
    client.open(1)


def test_a_consumer_tag_twice_is_not_allowed(client: Client) -> None:
    client.declare("q")
    client.consume("q", "t")
    (close,) = client.consume("q", "t")
    assert (close.reply_code, close.reply_text) == (530, "NOT_ALLOWED - attempt to reuse consumer tag 't'")


def test_exclusive_queues_are_locked_for_others(world: World, client: Client) -> None:
    client.declare("q", exclusive=True)
    for attempt in (
        lambda other: [other.declare("q", exclusive=True)],
        lambda other: [other.declare("q", passive=True)],
        lambda other: other.consume("q"),
        lambda other: other.method(1, C.Basic.Get, queue="q"),
        lambda other: other.method(1, C.Queue.Purge, queue="q"),
        lambda other: other.method(1, C.Queue.Delete, queue="q"),
        lambda other: other.method(1, C.Queue.Bind, queue="q", exchange="amq.direct"),
    ):
        other = world.connect()
        other.open()
        (close,) = attempt(other)
        assert (close.reply_code, close.reply_text) == (405, f"RESOURCE_LOCKED - {LOCKED}")


def test_redeclaring_with_other_properties(client: Client) -> None:
    client.declare("q", durable=True, arguments={"x-message-ttl": 1000})
    close = client.declare("q", durable=False, arguments={"x-message-ttl": 1000})
    assert close.reply_text == (
        f"PRECONDITION_FAILED - inequivalent arg 'durable' for {Q}: received 'false' but current is 'true'"
    )
    client.method(1, C.Channel.CloseOk)
    client.open()
    close = client.declare("q", durable=True)
    assert close.reply_text == (
        f"PRECONDITION_FAILED - inequivalent arg 'x-message-ttl' for {Q}: received none but current is the value "
        "'1000' of type 'long'"
    )
    client.method(1, C.Channel.CloseOk)
    client.open()
    # Unknown arguments are not compared.
    answer = client.declare("q", durable=True, arguments={"x-message-ttl": 1000, "x-own": "thing"})
    assert isinstance(answer, C.Queue.DeclareOk)


def test_a_message_over_the_limit_is_refused_after_its_body(world: World, client: Client) -> None:
    world.settings.max_message_size = 100
    world2 = world.connect()
    world2.open()
    (close,) = world2.publish("", "q", b"x" * 101)
    assert close.reply_text == ("PRECONDITION_FAILED - message size 101 is larger than configured max size 100")


def test_permissions_are_asked(world: World, client: Client) -> None:
    world.rights.refused |= {("configure", "q"), ("write", "amq.default"), ("read", "r")}
    close = client.declare("q")
    assert close.reply_text == f"ACCESS_REFUSED - configure access to {Q} refused for user 'guest'"
    client.method(1, C.Channel.CloseOk)
    client.open()
    (close,) = client.publish("", "r")
    assert close.reply_text == (
        "ACCESS_REFUSED - write access to exchange 'amq.default' in vhost '/' refused for user 'guest'"
    )
    client.method(1, C.Channel.CloseOk)
    client.open()
    client.declare("r")
    (close,) = client.consume("r")
    assert close.reply_text == "ACCESS_REFUSED - read access to queue 'r' in vhost '/' refused for user 'guest'"


def test_revoked_permissions_count_at_once(world: World, client: Client) -> None:
    client.declare("q")
    assert client.publish("", "q") == []
    world.rights.refused.add(("write", "amq.default"))
    world.broker.access_changed("guest", "/")
    (close,) = client.publish("", "q")
    assert close.reply_code == 403


def test_an_alternate_exchange_whose_name_is_no_text(client: Client) -> None:
    (close,) = client.method(
        1,
        C.Exchange.Declare,
        exchange="x",
        exchange_type="fanout",
        arguments={"alternate-exchange": Field("S", b"\xff")},
    )
    assert close.reply_code == 406
    assert "is not UTF-8" in close.reply_text


def test_no_more_channels_than_agreed(world: World) -> None:
    client = world.connect(channel_max=1)
    client.open(1)
    (close,) = client.method(2, C.Channel.Open)
    assert close.reply_text == (
        "NOT_ALLOWED - number of channels opened (1) has reached the negotiated channel_max (1)"
    )


def test_what_quorum_queues_and_streams_refuse(world: World) -> None:
    def fresh() -> Client:
        client = world.connect()
        client.open()
        return client

    fresh().declare("s", durable=True, arguments={"x-queue-type": "stream"})
    fresh().declare("k", durable=True, arguments={"x-queue-type": "quorum"})
    stream = "queue 's' in vhost '/'"
    (close,) = fresh().method(1, C.Basic.Get, queue="s")
    assert close.reply_text == f"NOT_IMPLEMENTED - basic.get not supported by stream queues {stream}"
    (close,) = fresh().method(1, C.Queue.Purge, queue="s")
    assert close.reply_text == f"NOT_IMPLEMENTED - queue.purge not supported by stream queues {stream}"
    (close,) = fresh().consume("s")
    assert close.reply_text == f"PRECONDITION_FAILED - consumer prefetch count is not set for stream {stream}"
    (close,) = fresh().method(1, C.Queue.Delete, queue="k", if_unused=True)
    assert close.reply_code == 540
    client = fresh()
    client.method(1, C.Basic.Qos, prefetch_count=1, global_=True)
    (close,) = client.consume("k")
    assert close.reply_text == "NOT_IMPLEMENTED - queue 'k' in vhost '/' does not support global qos"
