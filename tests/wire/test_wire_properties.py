"""Properties as raw bytes: facts, headers, routing copies, expiration, rewriting, JSON; pamqp as second opinion."""

from __future__ import annotations

import datetime
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pamqp import commands
from pamqp.header import ContentHeader

from amqpd.errors import FrameError, PreconditionFailed
from amqpd.wire import properties
from amqpd.wire.properties import (
    DIRECT_REPLY_TO,
    EXPIRATION_MAX,
    Facts,
    PropertyError,
    copies,
    encode,
    expiration,
    facts,
    headers,
    rewrite,
    to_json,
)
from amqpd.wire.tables import Field, Table, TableError, encode_table, long, longstr
from amqpd.wire.tables import to_json as table_to_json

TEXT = st.text("ab.-ä€ C", max_size=10)
HEADERS = st.dictionaries(
    TEXT | st.sampled_from(["CC", "BCC"]),
    TEXT | st.integers(-(2**63), 2**63 - 1) | st.lists(TEXT, max_size=2) | st.sampled_from(["\x02CC", "\x03BCC"]),
    max_size=4,
)
STRINGS = ["content_type", "content_encoding", "correlation_id", "message_id", "type", "app_id", "cluster_id"]
SHOWN = st.fixed_dictionaries(
    {},
    optional={name: TEXT for name in [*STRINGS, "expiration", "user_id"]}
    | {
        "headers": HEADERS,
        "delivery_mode": st.integers(0, 255),
        "priority": st.integers(0, 255),
        "reply_to": TEXT | st.just(DIRECT_REPLY_TO.decode()),
        "timestamp": st.integers(0, 2**64 - 1),
    },
)

CELERY: dict[str, Any] = {
    "content_type": "application/json",
    "content_encoding": "utf-8",
    "headers": {"lang": "py", "task": "proj.add", "retries": 0, "timelimit": [None, None], "argsrepr": "(2, 2)"},
    "delivery_mode": 2,
    "priority": 0,
    "correlation_id": "2f9e3c5e-7a1b-4c8e-9b0a-1234567890ab",
    "reply_to": "9a1b2c3d-7a1b-4c8e-9b0a-1234567890ab",
}


def with_headers(table: Table) -> bytes:
    return b"\x20\x00" + encode_table(table)


# --- facts


def test_the_facts_about_a_celery_message() -> None:
    expected = Facts(
        persistent=True, plain=True, priority=0, expiration=None, user_id=None, reply_to=None, has_headers=True
    )
    assert facts(encode(CELERY)) == expected


def test_no_properties_at_all() -> None:
    assert facts(b"\0\0") == Facts(False, True, 0, None, None, None, False)


@given(SHOWN)
def test_the_facts_are_what_is_in_there(shown: dict[str, Any]) -> None:
    found = facts(encode(shown))
    table = shown.get("headers", {})
    text = {name: shown[name].encode() if name in shown else None for name in ("expiration", "user_id", "reply_to")}
    direct = text["reply_to"] if text["reply_to"] == DIRECT_REPLY_TO else None
    odd = [text["expiration"], text["user_id"], direct] != [None] * 3 or "CC" in table or "BCC" in table
    assert found == Facts(
        persistent=shown.get("delivery_mode") == 2,
        plain=not odd,
        priority=shown.get("priority", 0),
        expiration=text["expiration"],
        user_id=text["user_id"],
        reply_to=direct,
        has_headers="headers" in shown,
    )


@given(SHOWN)
def test_what_is_cut_short_or_too_long_is_undecodable(shown: dict[str, Any]) -> None:
    props = encode(shown)
    for bad in [props[:size] for size in range(len(props))] + [props + b"\0"]:
        for look in (facts, headers, to_json, rewrite):
            with pytest.raises(FrameError) as caught:
                look(bad)
            numbers = ",".join(str(octet) for octet in bad)
            assert caught.value.explanation == f"cannot decode <<{numbers}>>"[: len(caught.value.explanation)]
            assert caught.value.method == (60, 40)


@given(st.binary(max_size=40), st.integers(0, 0xFFFF))
def test_any_bytes_have_facts_or_a_frame_error(data: bytes, flags: int) -> None:
    for props in (data, flags.to_bytes(2, "big") + data):
        try:
            found = facts(props)
            shown = to_json(props)
        except FrameError:
            continue
        assert found.has_headers == ("headers" in shown)
        assert rewrite(props) == props
        json.dumps(shown).encode("utf-8")


def test_the_octets_of_the_keys_inside_a_value_are_no_keys() -> None:
    decoy = with_headers({"a": longstr("\x02CC"), "b": longstr("\x03BCC"), "CCC": long(1)})
    assert facts(decoy).plain
    assert not facts(with_headers({"CC": Field("A", [])})).plain
    assert not facts(with_headers({"BCC": Field("A", [])})).plain


def test_the_lowest_bits_of_the_flags_are_ignored() -> None:
    """pamqp reads a second word of flags when the lowest is set; RabbitMQ does not."""
    assert facts(b"\x10\x03\x02").persistent
    assert to_json(b"\x10\x03\x02") == {"delivery_mode": 2}


def test_any_delivery_mode_but_two_is_transient() -> None:
    assert [facts(encode({"delivery_mode": mode})).persistent for mode in (0, 1, 2, 3)] == [False, False, True, False]


def test_strings_need_not_be_utf8() -> None:
    assert facts(b"\x80\x10\x01\xff\x01\xfe").user_id == b"\xfe"


def test_the_memo_is_bounded() -> None:
    for number in range(10_000):
        assert facts(encode({"priority": 3, "message_id": str(number)})).priority == 3
        assert len(properties._memo) <= 4096
    long_ones = len(properties._memo)
    facts(encode({"message_id": "x" * 200}))
    assert len(properties._memo) == long_ones


def test_malformed_headers_are_found_when_someone_asks() -> None:
    props = b"\x20\x00\x00\x00\x00\x03\x01k?"
    assert facts(props).plain
    with pytest.raises(FrameError, match="cannot decode"):
        headers(props)
    with pytest.raises(FrameError, match="cannot decode"):
        facts(b"\x20\x00\x00\x00\x00\x04\x02CC?")


# --- pamqp's opinion


def pamqp_values(shown: dict[str, Any]) -> dict[str, Any]:
    values = {"message_type" if name == "type" else name: value for name, value in shown.items()}
    if "timestamp" in values:
        values["timestamp"] = datetime.datetime.fromtimestamp(values["timestamp"], datetime.UTC)
    return values


AGREED = SHOWN.filter(lambda shown: "" not in shown.values() and shown.get("timestamp", 0) < 2**32)


@given(AGREED)
def test_pamqp_reads_what_we_write(shown: dict[str, Any]) -> None:
    header = ContentHeader()
    header.unmarshal(bytes(12) + encode(shown))
    assert {name: value for name, value in header.properties if value not in (None, "")} == pamqp_values(shown)


@given(AGREED)
def test_we_read_what_pamqp_writes(shown: dict[str, Any]) -> None:
    theirs = commands.Basic.Properties.__new__(commands.Basic.Properties)
    for name in theirs.attributes():
        setattr(theirs, name, None)
    for name, value in pamqp_values(shown).items():
        setattr(theirs, name, value)
    assert to_json(theirs.marshal()) == shown


# --- headers and further routing keys


@given(SHOWN)
def test_headers(shown: dict[str, Any]) -> None:
    assert table_to_json(headers(encode(shown))) == shown.get("headers", {})


def test_copies() -> None:
    table = {
        "CC": Field("A", [longstr("a"), long(1), longstr(b"\xff")]),
        "BCC": Field("A", [longstr("b")]),
    }
    assert copies(table) == (["a", "\udcff"], ["b"])
    assert copies({}) == ([], [])


@pytest.mark.parametrize(("key", "field", "kind"), [("CC", longstr("a"), "longstr"), ("BCC", long(1), "long")])
def test_copies_have_to_be_an_array(key: str, field: Field, kind: str) -> None:
    with pytest.raises(PreconditionFailed) as caught:
        copies({key: field})
    assert caught.value.explanation == f'invalid message: {{unacceptable_type_in_header,"{key}",{kind}}}'


# --- expiration


def test_expirations() -> None:
    for text, milliseconds in [(b"0", 0), (b"+5", 5), (b"007", 7), (b"-0", 0), (b"315360000000", EXPIRATION_MAX)]:
        assert expiration(text) == milliseconds


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (b"abc", "no_integer"),
        (b"", "no_integer"),
        (b" 5", "no_integer"),
        (b"-1", "{value_negative,-1}"),
        (b"315360000001", "{value_too_large,315360000001}"),
        (b"9" * 255, f"{{value_too_large,{'9' * 255}}}"),
        (b"5x", '{leftover_string,"x"}'),
        (b"5.0", '{leftover_string,".0"}'),
        (b'5"\\', '{leftover_string,"\\"\\\\"}'),
        (b"-1-2", '{leftover_string,"-2"}'),
        (b"5\xff", "{leftover_string,[255]}"),
    ],
)
def test_what_is_no_expiration(text: bytes, reason: str) -> None:
    with pytest.raises(PreconditionFailed) as caught:
        expiration(text)
    assert caught.value.explanation == f"invalid expiration '{text.decode('utf-8', 'replace')}': {reason}"


@given(st.binary(max_size=255))
def test_any_expiration_is_a_number_or_refused(text: bytes) -> None:
    try:
        assert 0 <= expiration(text) <= EXPIRATION_MAX
    except PreconditionFailed as error:
        assert error.reply_text.startswith("PRECONDITION_FAILED - invalid expiration '")


# --- rewriting


@given(SHOWN, HEADERS, TEXT, TEXT)
def test_rewriting_changes_what_is_named_and_nothing_else(
    shown: dict[str, Any], table: dict[str, Any], reply_to: str, expires: str
) -> None:
    props = encode(shown)
    typed = headers(encode({"headers": table}))
    new: dict[str, Any] = {"headers": table, "reply_to": reply_to, "expiration": expires}
    raw: dict[str, Any] = {"headers": typed, "reply_to": reply_to.encode(), "expiration": expires.encode()}
    assert rewrite(props) == props
    for name in new:
        assert rewrite(props, **{name: raw[name]}) == encode(shown | {name: new[name]})
        assert rewrite(props, **{name: None}) == encode({key: shown[key] for key in shown if key != name})
    assert rewrite(props, **raw) == encode(shown | new)


def test_rewriting_leaves_alone_what_it_could_not_make_itself() -> None:
    """Octets that are no text, a malformed table, the ignored bits."""
    props = b"\xa2\x03" + b"\x01\xff" + b"\0\0\0\x03\x01k?" + b"\x01r"
    assert rewrite(props, reply_to=b"s") == props[:-1] + b"s"
    assert rewrite(props, headers=None) == b"\x82\x03\x01\xff\x01r"
    with pytest.raises(PropertyError):
        rewrite(props, reply_to=b"r" * 256)


# --- JSON


@given(SHOWN)
def test_json_there_and_back(shown: dict[str, Any]) -> None:
    assert to_json(encode(shown)) == shown


def test_octets_that_are_no_text_are_shown_as_base64() -> None:
    assert to_json(b"\x80\x00\x01\xff") == {"content_type": "Not UTF-8, base64 is: /w=="}


def test_names_that_are_no_property_are_passed_over() -> None:
    assert encode({"priority": 1, "colour": "red"}) == encode({"priority": 1})


@pytest.mark.parametrize(
    ("mapping", "text"),
    [
        ({"priority": "1"}, "{not_int,priority}"),
        ({"delivery_mode": True}, "{not_int,delivery_mode}"),
        ({"timestamp": 1.5}, "{not_int,timestamp}"),
        ({"content_type": 1}, "{not_string,content_type}"),
        ({"message_id": None}, "{not_string,message_id}"),
        ({"headers": []}, "{not_table,headers}"),
        ({"priority": 256}, "priority is out of range"),
        ({"timestamp": -1}, "timestamp is out of range"),
        ({"app_id": "ä" * 128}, "app_id is longer than 255 octets"),
        ({"app_id": "\ud800"}, "app_id is no text"),
    ],
)
def test_json_that_makes_no_properties(mapping: dict[str, Any], text: str) -> None:
    with pytest.raises(PropertyError) as caught:
        encode(mapping)
    assert str(caught.value) == text


def test_json_that_makes_no_headers() -> None:
    with pytest.raises(TableError):
        encode({"headers": {"n": 2**63}})
