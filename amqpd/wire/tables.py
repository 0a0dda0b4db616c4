"""AMQP field tables as typed values: nothing that the wire said about a value's type is lost.

A table on the wire is a 4-byte length and then, end to end, `key (octet length + bytes) | type octet | value`. A value
becomes a `Field`: the type octet as a one-character string, and a Python value:

    t bool               b B s u I i l  int          f d  float            D  (scale, unscaled int)
    S str, or bytes      T int, seconds              x    bytes            V  None
      where not UTF-8    A list[Field]               F    Table

Keys are str; octets that are not UTF-8 survive by surrogateescape. Which octets are types, and how each is read, is
what RabbitMQ's rabbit_binary_parser does, not the specification: `l` and `L` are both signed 64 bits (and `L` leaves as
`l`), `s` is a signed short and not a short string, a decimal's value is unsigned, any octet but 0 is true, and neither
NaN nor an infinity is a float (so JSON can carry whatever a table holds). Where we differ from RabbitMQ:

- of two fields with one key the first stays, the one that RabbitMQ's look-up would find; the other is dropped;
- nesting ends at MAX_DEPTH levels, where RabbitMQ goes on until the frame ends: our stack is not growable;
- in JSON a decimal is its value (RabbitMQ prints scale and value with a point between them), and a key that is not
  UTF-8 is written as such a value is.

The order of keys is kept in a table and ignored by `equal` and `canonical`.
"""

from __future__ import annotations

import base64
import math
from collections.abc import Callable, Mapping
from struct import Struct
from struct import error as StructError
from typing import Any, Final, NamedTuple, TypeAlias

__all__ = [
    "MAX_DEPTH",
    "Field",
    "Table",
    "TableError",
    "boolean",
    "canonical",
    "decode_table",
    "encode_table",
    "equal",
    "from_json",
    "json_text",
    "long",
    "longstr",
    "skip_table",
    "subtable",
    "to_json",
    "type_name",
]

MAX_DEPTH: Final = 128


class Field(NamedTuple):
    """A value with the type octet it has on the wire."""

    kind: str
    value: Any


Table: TypeAlias = dict[str, Field]


class TableError(ValueError):
    """The bytes are no table, or the value can't be one."""


_LENGTH: Final = Struct(">I")
_unpack_length: Final = _LENGTH.unpack_from
_DECIMAL: Final = Struct(">BI")

TYPE_NAMES: Final[dict[str, str]] = {
    "t": "bool",
    "b": "byte",
    "B": "unsignedbyte",
    "s": "short",
    "u": "unsignedshort",
    "I": "signedint",
    "i": "unsignedint",
    "l": "long",
    "f": "float",
    "d": "double",
    "D": "decimal",
    "S": "longstr",
    "T": "timestamp",
    "F": "table",
    "A": "array",
    "V": "void",
    "x": "binary",
}

_NUMBERS: Final[dict[str, Struct]] = {
    "b": Struct(">b"),
    "B": Struct(">B"),
    "s": Struct(">h"),
    "u": Struct(">H"),
    "I": Struct(">i"),
    "i": Struct(">I"),
    "l": Struct(">q"),
    "T": Struct(">Q"),
    "f": Struct(">f"),
    "d": Struct(">d"),
}

# RabbitMQ compares arguments within these classes by value (rabbit_misc:type_class/1); any other type only with itself.
_CLASSES: Final[dict[str, str]] = dict.fromkeys("bBsuIilD", "int") | dict.fromkeys("fd", "float")

_LONGSTR: Final = ord("S")
_VOID_OCTET: Final = ord("V")
_VOID: Final = Field("V", None)

# By type octet: kind, unpack, size.
_FIXED: Final[dict[int, tuple[str, Callable[[bytes, int], tuple[Any, ...]], int]]] = {
    ord(kind): (kind, struct.unpack_from, struct.size) for kind, struct in _NUMBERS.items() if kind not in "fd"
} | {ord("L"): ("l", _NUMBERS["l"].unpack_from, 8)}


def longstr(text: str | bytes) -> Field:
    """A long string as the decoder would have given it: str where the octets are UTF-8, else bytes."""
    return Field("S", _text(text.encode("utf-8", "surrogateescape") if isinstance(text, str) else text))


def long(number: int) -> Field:
    return Field("l", number)


def boolean(value: bool) -> Field:
    return Field("t", value)


def subtable(table: Table) -> Field:
    return Field("F", table)


def type_name(field: Field) -> str:
    """What RabbitMQ calls the field's type in its error texts."""
    return TYPE_NAMES[field.kind]


# --- decoding


def decode_table(data: bytes, offset: int = 0) -> tuple[Table, int]:
    """The table at `offset` and the offset after it."""
    end = skip_table(data, offset)
    return _decode_fields(data, offset + 4, end, 1), end


def skip_table(data: bytes, offset: int) -> int:
    """The offset after the table at `offset`, its inside unread."""
    return _span(data, offset, len(data))


def _span(data: bytes, offset: int, end: int) -> int:
    """Where the value ends whose 4-byte length stands at `offset`; it must lie inside `end`."""
    start = offset + 4
    if start > end:
        raise TableError("length cut short")
    stop: int = start + _unpack_length(data, offset)[0]
    if stop > end:
        raise TableError("value cut short")
    return stop


def _decode_fields(data: bytes, offset: int, end: int, depth: int) -> Table:
    if depth > MAX_DEPTH:
        raise TableError(f"nested deeper than {MAX_DEPTH} levels")
    table: Table = {}
    while offset < end:
        start = offset + 1
        stop = start + data[offset]
        if stop >= end:  # the type octet must follow
            raise TableError("key cut short")
        field, offset = _decode_value(data, stop, end, depth)
        table.setdefault(data[start:stop].decode("utf-8", "surrogateescape"), field)
    return table


def _decode_array(data: bytes, offset: int, end: int, depth: int) -> list[Field]:
    if depth > MAX_DEPTH:
        raise TableError(f"nested deeper than {MAX_DEPTH} levels")
    fields: list[Field] = []
    while offset < end:
        field, offset = _decode_value(data, offset, end, depth)
        fields.append(field)
    return fields


def _decode_value(data: bytes, offset: int, end: int, depth: int) -> tuple[Field, int]:
    """The field whose type octet stands at `offset` (inside `end`) and the offset after it."""
    octet = data[offset]
    offset += 1
    if octet == _LONGSTR:
        stop = _span(data, offset, end)
        return Field("S", _text(data[offset + 4 : stop])), stop
    fixed = _FIXED.get(octet)
    if fixed is not None:
        kind, unpack, size = fixed
        if offset + size > end:
            raise TableError("number cut short")
        return Field(kind, unpack(data, offset)[0]), offset + size
    if octet == _VOID_OCTET:
        return _VOID, offset
    kind = chr(octet)
    if kind not in "FAx":
        return _decode_rare(kind, data, offset, end)
    stop = _span(data, offset, end)
    if kind == "F":
        return Field(kind, _decode_fields(data, offset + 4, stop, depth + 1)), stop
    if kind == "A":
        return Field(kind, _decode_array(data, offset + 4, stop, depth + 1)), stop
    return Field(kind, data[offset + 4 : stop]), stop


def _decode_rare(kind: str, data: bytes, offset: int, end: int) -> tuple[Field, int]:
    """The types that need more than one look: bool, decimal, floats."""
    if kind == "t":
        if offset >= end:
            raise TableError("bool cut short")
        return Field(kind, data[offset] != 0), offset + 1
    struct = _DECIMAL if kind == "D" else _NUMBERS.get(kind)
    if struct is None:
        raise TableError(f"unknown type octet {ord(kind)}")
    stop = offset + struct.size
    if stop > end:
        raise TableError("number cut short")
    values = struct.unpack_from(data, offset)
    if kind == "D":
        return Field(kind, values), stop
    if not math.isfinite(values[0]):
        raise TableError("not a finite number")
    return Field(kind, values[0]), stop


def _text(octets: bytes) -> str | bytes:
    try:
        return octets.decode()
    except UnicodeDecodeError:
        return octets


# --- encoding


def encode_table(table: Table) -> bytes:
    """The table with its length; TableError where a value does not fit its type."""
    return _encode(table, ordered=False)


def canonical(table: Table) -> bytes:
    """The table's identity: equal bytes for equal keys, types and values, in whatever order the keys came."""
    return _encode(table, ordered=True)


def _encode(table: Table, ordered: bool) -> bytes:
    parts: list[bytes] = []
    try:
        _encode_fields(table, parts, ordered, 1)
    except (StructError, OverflowError, ValueError) as error:  # PyPy: ValueError
        raise TableError(str(error)) from error
    return b"".join(parts)


def _encode_fields(table: Table, parts: list[bytes], ordered: bool, depth: int) -> int:
    """Append the table, length first; the number of bytes appended."""
    if depth > MAX_DEPTH:
        raise TableError(f"nested deeper than {MAX_DEPTH} levels")
    place = len(parts)
    parts.append(b"")
    size = 0
    for key in sorted(table) if ordered else table:
        name = key.encode("utf-8", "surrogateescape")
        if len(name) > 255:
            raise TableError("key longer than 255 octets")
        parts.append(bytes((len(name),)) + name)
        size += 1 + len(name) + _encode_value(table[key], parts, ordered, depth)
    parts[place] = _LENGTH.pack(size)
    return size + 4


def _encode_array(fields: list[Field], parts: list[bytes], ordered: bool, depth: int) -> int:
    if depth > MAX_DEPTH:
        raise TableError(f"nested deeper than {MAX_DEPTH} levels")
    place = len(parts)
    parts.append(b"")
    size = 0
    for field in fields:
        size += _encode_value(field, parts, ordered, depth)
    parts[place] = _LENGTH.pack(size)
    return size + 4


def _encode_value(field: Field, parts: list[bytes], ordered: bool, depth: int) -> int:
    kind, value = field
    if kind not in TYPE_NAMES:
        raise TableError(f"unknown type {kind!r}")
    parts.append(kind.encode("ascii"))
    if kind == "F":
        return 1 + _encode_fields(value, parts, ordered, depth + 1)
    if kind == "A":
        return 1 + _encode_array(value, parts, ordered, depth + 1)
    if kind in "Sx":
        octets = value.encode("utf-8", "surrogateescape") if isinstance(value, str) else value
        encoded = _LENGTH.pack(len(octets)) + octets
    elif kind == "t":
        encoded = b"\x01" if value else b"\x00"
    elif kind == "V":
        encoded = b""
    elif kind == "D":
        encoded = _DECIMAL.pack(*value)
    else:
        encoded = _NUMBERS[kind].pack(value)
    parts.append(encoded)
    return 1 + len(encoded)


# --- comparing


def equal(a: Field | None, b: Field | None) -> bool:
    """Whether two arguments say the same, as RabbitMQ asks on redeclaration.

    Integers of any width compare by value, and so do the two floats; every other type equals only itself (a long string
    is no binary, a timestamp no integer). Inside tables and arrays the types must be the same as well.
    """
    if a is None or b is None:
        return a is b
    return _CLASSES.get(a.kind, a.kind) == _CLASSES.get(b.kind, b.kind) and bool(a.value == b.value)


# --- JSON


def to_json(table: Table) -> dict[str, Any]:
    """The table as plain JSON values: types fall away, octets that are no text are shown as base64."""
    return {json_text(key.encode("utf-8", "surrogateescape")): _json_value(field) for key, field in table.items()}


def _json_value(field: Field) -> Any:
    kind, value = field
    if kind == "F":
        return to_json(value)
    if kind == "A":
        return [_json_value(item) for item in value]
    if kind in "Sx":
        return json_text(value.encode("utf-8", "surrogateescape") if isinstance(value, str) else value)
    if kind == "D":
        scale, number = value
        return number / 10**scale
    return value


def json_text(octets: bytes) -> str:
    """The text, or RabbitMQ's stand-in for octets that are none (rabbit_misc:utf8_safe/1, lines of 76)."""
    try:
        return octets.decode("utf-8")
    except UnicodeDecodeError:
        encoded = base64.b64encode(octets).decode("ascii")
        lines = [encoded[start : start + 76] for start in range(0, len(encoded), 76)]
        return "Not UTF-8, base64 is: " + "\n".join(lines)


def from_json(mapping: Mapping[str, Any]) -> Table:
    """A table out of JSON: integers become `l`, other numbers `d`; TableError for what no table can hold.

    RabbitMQ refuses null here; a void is what it sends when it means null, so that is what we make of one.
    """
    return _from_mapping(mapping, 1)


def _from_mapping(mapping: Mapping[str, Any], depth: int) -> Table:
    if depth > MAX_DEPTH:
        raise TableError(f"nested deeper than {MAX_DEPTH} levels")
    table: Table = {}
    for key, value in mapping.items():
        if len(_checked_text(key).encode("utf-8")) > 255:
            raise TableError("key longer than 255 octets")
        table[key] = _from_value(value, depth)
    return table


def _from_value(value: Any, depth: int) -> Field:
    if isinstance(value, str):
        return Field("S", _checked_text(value))
    if isinstance(value, bool):
        return Field("t", value)
    if isinstance(value, int):
        if not -(2**63) <= value < 2**63:
            raise TableError("integer does not fit 64 bits")
        return Field("l", value)
    if isinstance(value, float):
        if not math.isfinite(value):
            raise TableError("not a finite number")
        return Field("d", value)
    if value is None:
        return Field("V", None)
    if isinstance(value, Mapping):
        return Field("F", _from_mapping(value, depth + 1))
    if isinstance(value, list):
        if depth >= MAX_DEPTH:
            raise TableError(f"nested deeper than {MAX_DEPTH} levels")
        return Field("A", [_from_value(item, depth + 1) for item in value])
    raise TableError(f"no table holds a {type(value).__name__}")


def _checked_text(text: str) -> str:
    """The text itself; JSON's lone surrogates have no octets to be sent as."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise TableError("text with a lone surrogate") from error
    return text
