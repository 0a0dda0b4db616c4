"""Field tables: every type there and back, what RabbitMQ's parser takes and refuses, equality, identity, JSON."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pamqp import decode as pamqp_decode
from pamqp import encode as pamqp_encode

from amqpd.wire.tables import (
    MAX_DEPTH,
    TYPE_NAMES,
    Field,
    Table,
    TableError,
    boolean,
    canonical,
    decode_table,
    encode_table,
    equal,
    from_json,
    json_text,
    long,
    longstr,
    skip_table,
    subtable,
    to_json,
    type_name,
)


def integers(bits: int, signed: bool) -> st.SearchStrategy[int]:
    return st.integers(-(1 << bits - 1), (1 << bits - 1) - 1) if signed else st.integers(0, (1 << bits) - 1)


def field(kind: str, values: st.SearchStrategy[Any]) -> st.SearchStrategy[Field]:
    return values.map(lambda value: Field(kind, value))


TEXT = st.text("kx.-#ä€\U0001f600\0", max_size=12)
OCTETS = st.binary(max_size=12)
KEYS = OCTETS.map(lambda octets: octets.decode("utf-8", "surrogateescape"))
FINITE = {"allow_nan": False, "allow_infinity": False}

# The types that pamqp reads as we do; it writes every float as one of 32 bits.
SHARED = st.one_of(
    field("t", st.booleans()),
    field("b", integers(8, True)),
    field("B", integers(8, False)),
    field("s", integers(16, True)),
    field("u", integers(16, False)),
    field("I", integers(32, True)),
    field("i", integers(32, False)),
    field("l", integers(64, True)),
    field("f", st.floats(width=32, **FINITE)),
    field("d", st.floats(**FINITE)),
    TEXT.map(longstr),
    field("V", st.none()),
    field("x", OCTETS),
)
SCALARS = SHARED | OCTETS.map(longstr) | field("T", integers(64, False))
SCALARS |= field("D", st.tuples(integers(8, False), integers(32, False)))


def tables_of(scalars: st.SearchStrategy[Field], keys: st.SearchStrategy[str]) -> st.SearchStrategy[Table]:
    def nest(inner: st.SearchStrategy[Field]) -> st.SearchStrategy[Field]:
        return field("A", st.lists(inner, max_size=3)) | field("F", st.dictionaries(keys, inner, max_size=3))

    return st.dictionaries(keys, st.recursive(scalars, nest, max_leaves=8), max_size=5)


TABLES = tables_of(SCALARS, KEYS)


def one(kind: bytes, value: bytes, key: bytes = b"k") -> bytes:
    """A table of one field, written by hand."""
    body = bytes((len(key),)) + key + kind + value
    return len(body).to_bytes(4, "big") + body


def plain(value: Any) -> Any:
    """A field as pamqp's decoder gives it."""
    if isinstance(value, Field):
        return plain(value.value)
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    return [plain(item) for item in value] if isinstance(value, list) else value


def nested(kind: str, levels: int) -> bytes:
    """A table in a table (or array in an array) `levels` deep."""
    body = b""
    for _ in range(levels - 1):
        head = b"\x01k" if kind == "F" else b""
        body = head + kind.encode() + len(body).to_bytes(4, "big") + body
    if kind == "A":
        body = b"\x01k" + body
    return len(body).to_bytes(4, "big") + body


# --- there and back


@given(TABLES, st.binary(max_size=3), st.binary(max_size=3))
def test_what_is_encoded_is_decoded_type_for_type(table: Table, before: bytes, after: bytes) -> None:
    encoded = encode_table(table)
    decoded, end = decode_table(before + encoded + after, len(before))
    assert decoded == table
    assert list(decoded) == list(table)
    assert end == len(before) + len(encoded) == skip_table(before + encoded + after, len(before))
    assert encode_table(decoded) == encoded


@given(tables_of(SHARED, TEXT))
def test_pamqp_reads_what_we_write(table: Table) -> None:
    encoded = encode_table(table)
    assert pamqp_decode.field_table(encoded) == (len(encoded), plain(table))


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | integers(64, True) | st.floats(width=32, **FINITE) | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(TEXT, JSON_VALUES, max_size=5))
def test_we_read_what_pamqp_writes(mapping: dict[str, Any]) -> None:
    encoded = pamqp_encode.field_table(mapping)
    assert plain(decode_table(encoded)[0]) == mapping


@given(st.binary(max_size=60))
def test_any_bytes_are_a_table_or_a_table_error(data: bytes) -> None:
    for candidate in (data, len(data).to_bytes(4, "big") + data):
        try:
            table, end = decode_table(candidate)
        except TableError:
            continue
        assert end <= len(candidate)
        json.dumps(to_json(table)).encode("utf-8")
        assert decode_table(encode_table(table))[0] == table


@given(TABLES)
def test_a_table_cut_short_is_an_error(table: Table) -> None:
    encoded = encode_table(table)
    for size in range(len(encoded)):
        with pytest.raises(TableError):
            decode_table(encoded[:size])


@given(TABLES)
def test_a_value_may_not_reach_out_of_its_table(table: Table) -> None:
    """The length says less than what the fields need, although the bytes are there."""
    encoded = encode_table(table)
    for size in range(len(encoded) - 4):
        try:
            _, end = decode_table(size.to_bytes(4, "big") + encoded[4:])
        except TableError:
            continue
        assert end == size + 4


# --- what RabbitMQ's parser takes, where pamqp or the specification says otherwise


def test_the_types_are_those_of_rabbitmq_and_no_others() -> None:
    room = bytes(12)
    taken = set()
    for octet in range(256):
        for size in (0, 1, 2, 4, 5, 8):
            try:
                decode_table(one(bytes((octet,)), room[:size]))
            except TableError:
                continue
            taken.add(chr(octet))
    assert taken == set(TYPE_NAMES) | {"L"}


def test_both_letters_of_the_long_are_signed_and_leave_as_the_small_one() -> None:
    for letter in (b"l", b"L"):
        table, _ = decode_table(one(letter, b"\xff" * 8))
        assert table == {"k": Field("l", -1)}
    assert encode_table(table) == one(b"l", b"\xff" * 8)


def test_a_decimal_is_a_scale_and_an_unsigned_number() -> None:
    assert decode_table(one(b"D", b"\x02\xff\xff\xff\xff"))[0]["k"].value == (2, 0xFFFFFFFF)


def test_any_octet_but_zero_is_true() -> None:
    assert decode_table(one(b"t", b"\x07"))[0]["k"].value is True
    assert decode_table(one(b"t", b"\x00"))[0]["k"].value is False


def test_a_timestamp_is_any_unsigned_number_of_seconds() -> None:
    """pamqp makes a datetime of it and fails for this one."""
    assert decode_table(one(b"T", b"\xff" * 8))[0]["k"].value == 2**64 - 1


def test_the_type_octet_zero_is_unknown() -> None:
    """pamqp takes it for a void."""
    with pytest.raises(TableError, match="unknown type octet 0"):
        decode_table(one(b"\x00", b""))


@pytest.mark.parametrize("value", [b"\x7f\xf0" + bytes(6), b"\xff\xf0" + bytes(6), b"\x7f\xf8" + bytes(6)])
def test_only_finite_floats_are_floats(value: bytes) -> None:
    with pytest.raises(TableError):
        decode_table(one(b"d", value))


def test_of_two_fields_with_one_key_the_first_counts() -> None:
    body = b"\x01kb\x01" + b"\x01kb\x02"
    assert decode_table(len(body).to_bytes(4, "big") + body)[0] == {"k": Field("b", 1)}


def test_long_strings_are_text_where_they_can_be_and_octets_where_not() -> None:
    assert decode_table(one(b"S", b"\x00\x00\x00\x02\xc3\xa4"))[0] == {"k": Field("S", "ä")}
    assert decode_table(one(b"S", b"\x00\x00\x00\x01\xff"))[0] == {"k": Field("S", b"\xff")}
    assert longstr("\udcff") == Field("S", b"\xff")
    assert longstr("ä".encode()) == Field("S", "ä")


def test_keys_that_are_no_text_survive() -> None:
    data = one(b"V", b"", key=b"\xff\xc3\xa4")
    table, _ = decode_table(data)
    assert list(table) == ["\udcffä"]
    assert encode_table(table) == data


# --- limits


@pytest.mark.parametrize("kind", ["F", "A"])
def test_nesting_has_a_limit(kind: str) -> None:
    table, _ = decode_table(nested(kind, MAX_DEPTH))
    assert encode_table(table) == nested(kind, MAX_DEPTH)
    assert equal(subtable(table), subtable(decode_table(nested(kind, MAX_DEPTH))[0]))
    assert from_json(to_json(table)) == table
    for levels in (MAX_DEPTH + 1, 20_000):
        with pytest.raises(TableError, match="nested"):
            decode_table(nested(kind, levels))
    with pytest.raises(TableError, match="nested"):
        encode_table({"k": Field(kind, table if kind == "F" else [table["k"]])})


@pytest.mark.parametrize(
    "bad",
    [
        Field("b", 128),
        Field("I", 2**31),
        Field("l", 2**63),
        Field("T", -1),
        Field("D", (256, 1)),
        Field("f", 1e300),
        Field("?", 1),
    ],
)
def test_a_value_that_does_not_fit_its_type_is_an_error(bad: Field) -> None:
    with pytest.raises(TableError):
        encode_table({"k": bad})


def test_a_key_has_at_most_255_octets() -> None:
    assert decode_table(encode_table({"ä" * 127: long(1)}))[0] == {"ä" * 127: long(1)}
    for make in (encode_table, canonical):
        with pytest.raises(TableError, match="255"):
            make({"ä" * 128: long(1)})
    with pytest.raises(TableError, match="255"):
        from_json({"ä" * 128: 1})


# --- names, equality, identity


def test_types_have_rabbitmqs_names() -> None:
    assert type_name(longstr("x")) == "longstr"
    assert type_name(Field("I", 1)) == "signedint"
    assert type_name(long(1)) == "long"


def test_integers_compare_by_value_whatever_their_width() -> None:
    same = [Field(kind, 7) for kind in "bBsuIil"]
    assert all(equal(a, b) for a in same for b in same)
    assert not equal(Field("b", 7), Field("l", 8))
    assert equal(Field("f", 0.5), Field("d", 0.5))


@pytest.mark.parametrize(
    ("a", "b"),
    [
        (long(1), boolean(True)),
        (long(1), Field("T", 1)),
        (long(1), Field("d", 1.0)),
        (longstr(b"\xff"), Field("x", b"\xff")),
        (Field("A", [long(1)]), Field("A", [Field("I", 1)])),
        (subtable({"a": long(1)}), subtable({"a": Field("I", 1)})),
        (long(1), None),
    ],
)
def test_other_types_equal_only_themselves(a: Field, b: Field | None) -> None:
    assert not equal(a, b)
    assert not equal(b, a)


def test_nothing_equals_nothing() -> None:
    assert equal(None, None)
    assert equal(subtable({"a": long(1), "b": long(2)}), subtable({"b": long(2), "a": long(1)}))


def reordered(value: Any) -> Any:
    """The same with the keys of all tables turned round."""
    if isinstance(value, Field):
        return Field(value.kind, reordered(value.value))
    if isinstance(value, dict):
        return {key: reordered(value[key]) for key in reversed(value)}
    return [reordered(item) for item in value] if isinstance(value, list) else value


@given(TABLES)
def test_identity_does_not_depend_on_the_order_of_keys(table: Table) -> None:
    assert canonical(reordered(table)) == canonical(table)
    assert decode_table(canonical(table))[0] == table


@given(tables_of(SCALARS, st.sampled_from("ab")), tables_of(SCALARS, st.sampled_from("ab")))
def test_different_tables_have_different_identities(a: Table, b: Table) -> None:
    assert a == b or canonical(a) != canonical(b)


# --- JSON


@given(st.dictionaries(TEXT, JSON_VALUES, max_size=5))
def test_json_there_and_back(mapping: dict[str, Any]) -> None:
    table = from_json(mapping)
    assert to_json(table) == mapping
    assert decode_table(encode_table(table))[0] == table


def test_json_values_get_rabbitmqs_types() -> None:
    table = from_json({"i": 1, "b": True, "s": "x", "f": 1.5, "n": None, "l": [1], "d": {"a": "b"}})
    assert table == {
        "i": Field("l", 1),
        "b": Field("t", True),
        "s": Field("S", "x"),
        "f": Field("d", 1.5),
        "n": Field("V", None),
        "l": Field("A", [Field("l", 1)]),
        "d": Field("F", {"a": Field("S", "b")}),
    }


@pytest.mark.parametrize("value", [2**63, -(2**63) - 1, float("nan"), float("inf"), "\ud800", {"\udcff": 1}, object()])
def test_json_that_no_table_can_hold(value: Any) -> None:
    with pytest.raises(TableError):
        from_json({"k": value})


@pytest.mark.parametrize("wrap", [lambda inner: {"k": inner}, lambda inner: [inner]])
def test_deep_json_is_refused(wrap: Any) -> None:
    value: Any = 1
    for _ in range(MAX_DEPTH + 1):
        value = wrap(value)
    with pytest.raises(TableError, match="nested"):
        from_json({"k": value})


def test_octets_that_are_no_text_are_shown_as_base64() -> None:
    assert to_json({"k": Field("x", b"\xff"), "\udcff": long(1)}) == {
        "k": "Not UTF-8, base64 is: /w==",
        "Not UTF-8, base64 is: /w==": 1,
    }
    lines = json_text(b"\xff" * 100).removeprefix("Not UTF-8, base64 is: ").split("\n")
    assert [len(line) for line in lines] == [76, 60]


def test_other_types_in_json() -> None:
    table = {"D": Field("D", (2, 314)), "T": Field("T", 5), "x": Field("x", b"ok"), "S": Field("S", "\udcff")}
    assert to_json(table) == {"D": 3.14, "T": 5, "x": "ok", "S": "Not UTF-8, base64 is: /w=="}
