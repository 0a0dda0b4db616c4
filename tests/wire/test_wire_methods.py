"""Methods: all of 0-9-1 there and back, beside pamqp's own coding, and what is done with bytes that are none."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pamqp import base

from amqpd.errors import AmqpError, CommandInvalid, FrameError
from amqpd.wire.methods import Access, build, commands, decode, encode, ids, ids_of, name, octets
from amqpd.wire.tables import Field, long, longstr

METHODS: list[type[base.Frame]] = [*commands.INDEX_MAPPING.values(), Access.Request, Access.RequestOk]
CONTENT_BEARING = [commands.Basic.Publish, commands.Basic.Return, commands.Basic.Deliver, commands.Basic.GetOk]

TEXT = st.text("q.-#ä€\0", max_size=8)
TABLES = st.dictionaries(TEXT, TEXT.map(longstr) | st.integers(-(2**63), 2**63 - 1).map(long), max_size=3)
DOMAINS: dict[str, st.SearchStrategy[Any]] = {
    "octet": st.integers(0, 0xFF),
    "short": st.integers(0, 0xFFFF),
    "long": st.integers(0, 0xFFFFFFFF),
    "longlong": st.integers(0, 2**64 - 1),
    "shortstr": TEXT,
    "longstr": TEXT,
    "bit": st.booleans(),
    "table": TABLES,
}
# The values that pamqp reads and writes as we do.
SHARED = DOMAINS | {"longlong": st.integers(0, 2**63 - 1), "table": st.just({})}


def methods(domains: dict[str, st.SearchStrategy[Any]]) -> st.SearchStrategy[base.Frame]:
    def values(kind: type[base.Frame]) -> st.SearchStrategy[base.Frame]:
        fields = {argument: domains[kind.amqp_type(argument)] for argument in kind.attributes()}
        return st.fixed_dictionaries(fields).map(lambda given: build(kind, **given))

    return st.sampled_from(METHODS).flatmap(values)


def payload(method: base.Frame) -> bytes:
    return encode(0, method)[7:-1]


def head(kind: type[base.Frame]) -> bytes:
    return kind.index.to_bytes(4, "big")


# --- there and back


@pytest.mark.parametrize("kind", METHODS, ids=lambda kind: kind.name)
def test_every_method_there_and_back(kind: type[base.Frame]) -> None:
    method = build(kind)
    decoded = decode(payload(method))
    assert type(decoded) is kind
    assert dict(decoded) == dict(method)


@given(methods(DOMAINS), st.integers(0, 0xFFFF))
def test_any_values_there_and_back(method: base.Frame, channel: int) -> None:
    frame = encode(channel, method)
    assert frame[:7] == b"\x01" + channel.to_bytes(2, "big") + (len(frame) - 8).to_bytes(4, "big")
    assert frame[-1] == 0xCE
    for given_payload in (frame[7:-1], memoryview(frame)[7:-1]):
        decoded = decode(given_payload)
        assert type(decoded) is type(method)
        assert dict(decoded) == dict(method)


@given(methods(SHARED))
def test_pamqp_agrees_both_ways(method: base.Frame) -> None:
    kind = type(method)
    ours = payload(method)[4:]
    decoded = kind.__new__(kind)
    decoded.unmarshal(ours)
    assert dict(decoded) == dict(method)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(kind, "validate", lambda self: None)  # it judges names, which is not the question here
        assert method.marshal() == ours


# --- what pamqp does otherwise


def test_the_methods_are_rabbitmqs() -> None:
    assert len(METHODS) == 66
    known = {ids(kind) for kind in METHODS}
    for pair in [(10, 60), (10, 61), (10, 70), (10, 71), (30, 10), (40, 51), (60, 100), (60, 120), (85, 10)]:
        assert pair in known


def test_access_request_is_known() -> None:
    request = decode(head(Access.Request) + b"\x05/data\x1e")
    assert isinstance(request, Access.Request)
    assert dict(request) == {
        "realm": "/data",
        "exclusive": False,
        "passive": True,
        "active": True,
        "write": True,
        "read": True,
    }
    assert dict(Access.Request()) == dict(request)
    assert encode(1, Access.RequestOk())[7:-1] == head(Access.RequestOk) + b"\x00\x01"


def test_names_are_not_judged() -> None:
    """pamqp's constructor refuses each of these."""
    for queue in ("q" * 255, "with space/and!", "\x00", ""):
        declared = decode(payload(build(commands.Queue.Declare, queue=queue)))
        assert isinstance(declared, commands.Queue.Declare)
        assert declared.queue == queue
    assert isinstance(decode(payload(build(commands.Queue.Declare, ticket=7))), commands.Queue.Declare)


def test_a_delivery_tag_is_unsigned() -> None:
    ack = decode(head(commands.Basic.Ack) + b"\xff" * 8 + b"\x01")
    assert isinstance(ack, commands.Basic.Ack)
    assert ack.delivery_tag == 2**64 - 1
    assert payload(ack) == head(commands.Basic.Ack) + b"\xff" * 8 + b"\x01"


def test_bits_share_an_octet_and_the_rest_of_it_is_ignored() -> None:
    nack = decode(head(commands.Basic.Nack) + bytes(8) + b"\xfe")
    assert isinstance(nack, commands.Basic.Nack)
    assert (nack.multiple, nack.requeue) == (False, True)
    assert payload(build(commands.Basic.Nack, multiple=True, requeue=True))[-1] == 3


def test_tables_keep_their_types() -> None:
    arguments = {"x-max-length": Field("I", 5), "t": Field("T", 2**63)}
    declared: Any = decode(payload(build(commands.Queue.Declare, arguments=arguments)))
    assert declared.arguments == arguments


def test_each_object_has_its_own_table() -> None:
    one: Any = build(commands.Queue.Declare)
    other: Any = build(commands.Queue.Declare)
    assert one.arguments == {}
    assert one.arguments is not other.arguments


def test_long_strings_are_text_that_gives_back_its_octets() -> None:
    response = b"\0user\0p\xe4ss\xff"
    start_ok: Any = decode(payload(build(commands.Connection.StartOk, response=response.decode("utf-8", "replace"))))
    assert isinstance(start_ok.response, str)
    raw = head(commands.Connection.SecureOk) + len(response).to_bytes(4, "big") + response
    secure_ok: Any = decode(raw)
    assert octets(secure_ok.response) == response
    assert payload(secure_ok) == raw


def test_update_secret_is_known() -> None:
    method: Any = decode(head(commands.Connection.UpdateSecret) + b"\x00\x00\x00\x03abc\x01r")
    assert (method.new_secret, method.reason) == ("abc", "r")


def test_build_has_the_defaults_of_the_specification() -> None:
    start = build(commands.Connection.Start, mechanisms="PLAIN AMQPLAIN")
    assert (start.version_major, start.version_minor, start.locales) == (0, 9, "en_US")
    assert start.mechanisms == "PLAIN AMQPLAIN"
    with pytest.raises(TypeError, match="no argument 'tag'"):
        build(commands.Basic.Ack, tag=1)


# --- what is no method


def test_unknown_methods() -> None:
    for pair in [(60, 200), (99, 1), (40, 41), (0, 0)]:
        with pytest.raises(CommandInvalid) as caught:
            decode(pair[0].to_bytes(2, "big") + pair[1].to_bytes(2, "big") + b"rest")
        assert caught.value.reply_text == "COMMAND_INVALID - unimplemented method"
        assert caught.value.method == pair


def test_a_payload_too_short_for_its_ids() -> None:
    with pytest.raises(FrameError) as caught:
        decode(b"\x00\x3c\x00")
    assert caught.value.reply_text == "FRAME_ERROR - type 1, all octets = <<0,60,0>>: unknown_frame"


@given(methods(DOMAINS))
def test_arguments_cut_short_or_too_long(method: base.Frame) -> None:
    whole = payload(method)
    for bad in [whole[:size] for size in range(4, len(whole))] + [whole + b"\0"]:
        with pytest.raises(FrameError) as caught:
            decode(bad)
        numbers = ",".join(str(octet) for octet in bad[4:])
        assert caught.value.explanation == f"cannot decode <<{numbers}>>"
        assert caught.value.method == ids(method)


def test_the_text_of_a_long_payload_stays_short() -> None:
    with pytest.raises(FrameError) as caught:
        decode(head(commands.Basic.Cancel) + b"\xff" * 100_000)
    assert len(caught.value.explanation) < 2000
    assert len(caught.value.reply_text) == 255


@pytest.mark.parametrize("table", [b"\x01k?", b"\x01k\x00", b"\x09k", b"\x01kS\x00\x00\x00\x09"])
def test_a_malformed_table_is_undecodable(table: bytes) -> None:
    bad = head(commands.Queue.Unbind) + bytes(5) + len(table).to_bytes(4, "big") + table
    with pytest.raises(FrameError, match="cannot decode"):
        decode(bad)


def test_short_strings_have_to_be_utf8() -> None:
    bad = head(commands.Queue.Bind) + b"\0\0" + b"\x01q" + b"\x01x" + b"\x01\xff" + b"\0" + bytes(4)
    with pytest.raises(FrameError) as caught:
        decode(bad)
    assert caught.value.reply_text == "FRAME_ERROR - Malformed UTF-8 in shortstr"
    assert caught.value.method is None
    with pytest.raises(FrameError, match="cannot decode"):
        decode(bad[:-1])


@pytest.mark.parametrize("kind", CONTENT_BEARING, ids=lambda kind: kind.name)
def test_methods_with_content_may_carry_other_octets(kind: type[base.Frame]) -> None:
    method = build(kind, routing_key="\udcff")
    assert b"\x01\xff" in payload(method)
    decoded: Any = decode(payload(method))
    assert decoded.routing_key == "\udcff"


def test_a_short_string_has_at_most_255_octets() -> None:
    with pytest.raises(ValueError, match="255"):
        encode(0, build(commands.Basic.Cancel, consumer_tag="ä" * 128))


def judge(data: bytes) -> None:
    """Whatever the bytes are: a method that means them, or an AmqpError."""
    try:
        method = decode(data)
    except AmqpError as error:
        assert len(error.reply_text.encode()) <= 255
    else:
        assert dict(decode(payload(method))) == dict(method)


@given(st.sampled_from(METHODS), st.binary(max_size=40))
def test_any_arguments_are_a_method_or_an_error(kind: type[base.Frame], arguments: bytes) -> None:
    judge(arguments)
    judge(head(kind) + arguments)


@given(methods(DOMAINS), st.data())
def test_a_flipped_octet_is_a_method_or_an_error(method: base.Frame, data: st.DataObject) -> None:
    whole = bytearray(payload(method))
    whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    judge(bytes(whole))


# --- names


def test_names_and_ids() -> None:
    assert name((50, 10)) == "queue.declare"
    assert name((60, 100)) == "basic.recover_async"
    assert name((40, 51)) == "exchange.unbind_ok"
    assert name((30, 10)) == "access.request"
    assert name((0, 0)) == "none"
    assert name((99, 1)) == "99.1"
    assert ids(commands.Basic.Publish) == ids(build(commands.Basic.Publish)) == (60, 40)
    assert ids_of(head(commands.Basic.Publish) + b"rest") == (60, 40)
    assert ids_of(b"\0\x3c\0") == (0, 0)
