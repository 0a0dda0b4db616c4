"""A message's properties, which stay the bytes that the publisher sent: looking into them, and changing one.

A content header's payload is class id (2 octets), weight (2), body size (8) and then what is called `props` here:

     0       2
    +-------+--------------------------------------------------------------+
    | flags | the properties whose flag is set, end to end, in this order  |
    +-------+--------------------------------------------------------------+
      8000 content_type      0800 priority  octet       0080 message_id           0008 app_id
      4000 content_encoding  0400 correlation_id        0040 timestamp  8 octets  0004 cluster_id
      2000 headers  table    0200 reply_to              0020 type
      1000 delivery_mode  o. 0100 expiration            0010 user_id              (short strings where no type is given)

The two lowest bits are ignored, also the one that announces more flags: RabbitMQ reads exactly one word. A short
string here need not be UTF-8. What does not end where its last property ends is 501 `cannot decode <<...>>` (RabbitMQ's
channel crashes on it, which the client sees as 541). The inside of the headers is not checked until someone asks for
them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from enum import Enum
from struct import Struct
from struct import error as StructError
from typing import Any, Final, NamedTuple

from amqpd.errors import FrameError, PreconditionFailed
from amqpd.wire.tables import (
    Field,
    Table,
    TableError,
    decode_table,
    encode_table,
    from_json,
    json_text,
    longstr,
    type_name,
)
from amqpd.wire.tables import to_json as table_to_json

__all__ = [
    "DIRECT_REPLY_TO",
    "EXPIRATION_MAX",
    "Facts",
    "Keep",
    "PropertyError",
    "copies",
    "encode",
    "expiration",
    "facts",
    "header_slot",
    "headers",
    "octets",
    "rewrite",
    "table",
    "to_json",
]

DIRECT_REPLY_TO: Final = b"amq.rabbitmq.reply-to"

EXPIRATION_MAX: Final = 315_360_000_000
"""Ten years in milliseconds: the longest expiration that RabbitMQ accepts."""

BASIC_PUBLISH: Final = (60, 40)

# Name, flag and type of each property, in the order of the wire; the names are those of RabbitMQ's HTTP API.
PROPERTIES: Final = (
    ("content_type", 0x8000, "shortstr"),
    ("content_encoding", 0x4000, "shortstr"),
    ("headers", 0x2000, "table"),
    ("delivery_mode", 0x1000, "octet"),
    ("priority", 0x0800, "octet"),
    ("correlation_id", 0x0400, "shortstr"),
    ("reply_to", 0x0200, "shortstr"),
    ("expiration", 0x0100, "shortstr"),
    ("message_id", 0x0080, "shortstr"),
    ("timestamp", 0x0040, "timestamp"),
    ("type", 0x0020, "shortstr"),
    ("user_id", 0x0010, "shortstr"),
    ("app_id", 0x0008, "shortstr"),
    ("cluster_id", 0x0004, "shortstr"),
)

_NUMBERS: Final = {"octet": Struct(">B"), "timestamp": Struct(">Q")}

_unpack_length: Final = Struct(">I").unpack_from

# --- what the publish path needs to know


class Facts(NamedTuple):
    """What the publish path needs to know of a message's properties."""

    persistent: bool
    plain: bool
    """Nothing of what follows needs a look: no expiration, user_id, direct reply-to, CC, BCC or x-deliver-at."""
    priority: int
    expiration: bytes | None
    user_id: bytes | None
    reply_to: bytes | None
    """Only where it is the direct reply-to pseudo queue."""
    has_headers: bool


# A publisher mostly repeats its properties, and then one look-up answers. Long ones differ each time (they hold ids)
# and cost more to hash than to walk.
_MEMO_SIZE: Final = 4096
_MEMO_LONGEST: Final = 128
_memo: dict[bytes, Facts] = {}

# Nearly every message is plain and of priority 0; these are made once. Index: has_headers * 2 + persistent.
_PLAIN: Final = tuple(
    Facts(persistent, True, 0, None, None, None, has_headers)
    for has_headers in (False, True)
    for persistent in (False, True)
)


def facts(props: bytes) -> Facts:
    """The facts about these properties; FrameError where they can't be decoded."""
    if len(props) > _MEMO_LONGEST:
        return _walk(props)
    known = _memo.get(props)
    if known is not None:
        return known
    if len(_memo) >= _MEMO_SIZE:
        for old in list(_memo)[: _MEMO_SIZE // 2]:
            del _memo[old]
    found = _memo[props] = _walk(props)
    return found


def _walk(props: bytes) -> Facts:
    """Step over the properties by their lengths.

    Offsets only grow, so a length that leads out of the buffer shows at the latest in the last comparison.
    """
    mode = priority = 0
    suspected = False
    reply_to = expires = user_id = None
    try:
        flags = props[0] << 8 | props[1]
        offset = 2
        if flags & 0x8000:
            offset += 1 + props[offset]
        if flags & 0x4000:
            offset += 1 + props[offset]
        if flags & 0x2000:
            start = offset
            offset += 4 + _unpack_length(props, offset)[0]
            # One octet is found in a fifth of the time that two take; few properties hold a capital C at all, or a 12.
            suspected = (
                67 in props
                and (props.find(b"\x02CC", start, offset) >= 0 or props.find(b"\x03BCC", start, offset) >= 0)
            ) or (12 in props and props.find(b"\x0cx-deliver-at", start, offset) >= 0)
        if flags & 0x1000:
            mode = props[offset]
            offset += 1
        if flags & 0x0800:
            priority = props[offset]
            offset += 1
        if flags & 0x0400:
            offset += 1 + props[offset]
        if flags & 0x0200:
            start = offset + 1
            offset = start + props[offset]
            if props[start:offset] == DIRECT_REPLY_TO:
                reply_to = DIRECT_REPLY_TO
        if flags & 0x01FC:
            offset, expires, user_id = _walk_rare(props, flags, offset)
    except (IndexError, StructError):
        raise _undecodable(props) from None
    if offset != len(props):
        raise _undecodable(props)
    # The octets of the key may have been met inside a value: only now is the table worth decoding.
    plain = expires is None and user_id is None and reply_to is None and not (suspected and _told(props))
    if plain and priority == 0:
        return _PLAIN[(flags & 0x2000) >> 12 | (mode == 2)]
    return Facts(mode == 2, plain, priority, expires, user_id, reply_to, flags & 0x2000 != 0)


def _walk_rare(props: bytes, flags: int, offset: int) -> tuple[int, bytes | None, bytes | None]:
    """The properties from expiration on: the offset behind them, expiration and user_id."""
    expires = user_id = None
    if flags & 0x0100:
        start = offset + 1
        offset = start + props[offset]
        expires = props[start:offset]
    if flags & 0x0080:
        offset += 1 + props[offset]
    if flags & 0x0040:
        offset += 8
    if flags & 0x0020:
        offset += 1 + props[offset]
    if flags & 0x0010:
        start = offset + 1
        offset = start + props[offset]
        user_id = props[start:offset]
    if flags & 0x0008:
        offset += 1 + props[offset]
    if flags & 0x0004:
        offset += 1 + props[offset]
    return offset, expires, user_id


def _told(props: bytes) -> bool:
    """Do the headers say where the message is to go, or when?"""
    return not headers(props).keys().isdisjoint(("CC", "BCC", "x-deliver-at"))


def _undecodable(props: bytes) -> FrameError:
    # A reply text shows 255 octets; more numbers than that need not be written.
    numbers = ",".join(map(str, props[:256]))
    return FrameError(f"cannot decode <<{numbers}>>", BASIC_PUBLISH)


# --- single properties


def headers(props: bytes) -> Table:
    """The headers, decoded; empty where there are none."""
    span = _spans(props).get("headers")
    if span is None:
        return {}
    try:
        return decode_table(props, span[0])[0]
    except TableError:
        raise _undecodable(props) from None


def table(props: bytes) -> Table:
    """The properties but the headers as fields of a table: texts as long strings, numbers as integers."""
    found: Table = {}
    for name, (start, end) in _spans(props).items():
        if name == "headers":
            continue
        if name in ("delivery_mode", "priority", "timestamp"):
            number = int.from_bytes(props[start:end], "big")
            found[name] = Field("I" if number < 1 << 31 else "l", number)
        else:
            found[name] = longstr(props[start + 1 : end].decode("utf-8", "surrogateescape"))
    return found


def octets(props: bytes, name: str) -> bytes | None:
    """The octets of one property as they stand on the wire, a length before them included; None where it is not set."""
    span = _spans(props).get(name)
    return props[span[0] : span[1]] if span is not None else None


def _spans(props: bytes) -> dict[str, tuple[int, int]]:
    """Where each property that is there begins and ends, its length octets included."""
    spans: dict[str, tuple[int, int]] = {}
    try:
        flags = props[0] << 8 | props[1]
        offset = 2
        for name, flag, domain in PROPERTIES:
            if not flags & flag:
                continue
            start = offset
            if domain == "shortstr":
                offset += 1 + props[offset]
            elif domain == "table":
                offset += 4 + _unpack_length(props, offset)[0]
            else:
                offset += _NUMBERS[domain].size
            spans[name] = (start, offset)
    except (IndexError, StructError):
        raise _undecodable(props) from None
    if offset != len(props):
        raise _undecodable(props)
    return spans


def copies(table: Table) -> tuple[list[str], list[str]]:
    """The further routing keys in the headers: CC's and BCC's; what in the array is no long string is passed over."""
    return _routes(table, "CC"), _routes(table, "BCC")


def _routes(table: Table, key: str) -> list[str]:
    field = table.get(key)
    if field is None:
        return []
    if field.kind != "A":
        raise PreconditionFailed(f'invalid message: {{unacceptable_type_in_header,"{key}",{type_name(field)}}}')
    return [
        item.value if isinstance(item.value, str) else item.value.decode("utf-8", "surrogateescape")
        for item in field.value
        if item.kind == "S"
    ]


def expiration(text: bytes) -> int:
    """The milliseconds that a message's expiration says; PreconditionFailed in RabbitMQ's words where it says none."""
    number = re.match(rb"[+-]?[0-9]+", text)
    if number is None:
        reason = "no_integer"
    elif number.end() < len(text):
        reason = f"{{leftover_string,{_erlang_string(text[number.end() :])}}}"
    else:
        value = int(number[0])
        if 0 <= value <= EXPIRATION_MAX:
            return value
        reason = f"{{value_negative,{value}}}" if value < 0 else f"{{value_too_large,{value}}}"
    raise PreconditionFailed(f"invalid expiration '{text.decode('utf-8', 'replace')}': {reason}")


def _erlang_string(text: bytes) -> str:
    """A list of octets as Erlang prints it: quoted where it is text, else as numbers."""
    if all(32 <= octet < 127 for octet in text):
        return '"' + text.decode("ascii").replace("\\", "\\\\").replace('"', '\\"') + '"'
    return f"[{','.join(map(str, text))}]"


# --- changing a property


class Keep(Enum):
    """The value of an argument of `rewrite` that was not given: leave the property as it is."""

    KEEP = 0


KEEP: Final = Keep.KEEP


def rewrite(
    props: bytes,
    *,
    headers: Table | Keep | None = KEEP,
    reply_to: bytes | Keep | None = KEEP,
    expiration: bytes | Keep | None = KEEP,
) -> bytes:
    """The properties with these set, or removed where None; all else stays byte for byte."""
    changed: dict[str, bytes | None] = {}
    if not isinstance(headers, Keep):
        changed["headers"] = None if headers is None else encode_table(headers)
    if not isinstance(reply_to, Keep):
        changed["reply_to"] = None if reply_to is None else _shortstr("reply_to", reply_to)
    if not isinstance(expiration, Keep):
        changed["expiration"] = None if expiration is None else _shortstr("expiration", expiration)
    spans = _spans(props)
    flags = props[0] << 8 | props[1]
    parts = [b""]
    for name, flag, _ in PROPERTIES:
        if name not in changed:
            if name in spans:
                start, end = spans[name]
                parts.append(props[start:end])
            continue
        value = changed[name]
        if value is None:
            flags &= ~flag
        else:
            flags |= flag
            parts.append(value)
    parts[0] = flags.to_bytes(2, "big")
    return b"".join(parts)


def header_slot(props: bytes, name: str) -> tuple[bytes, bytes]:
    """The properties with a header of this name, of type long, in two pieces: its 8 octets go between them.

    Headers that cannot be decoded are left out: no client can read them.
    """
    try:
        others = {key: field for key, field in headers(props).items() if key != name}
    except FrameError:
        others = {}
    changed = rewrite(props, headers={**others, name: Field("l", 0)})
    end = _spans(changed)["headers"][1]
    return changed[: end - 8], changed[end:]


def _shortstr(name: str, octets: bytes) -> bytes:
    if len(octets) > 255:
        raise PropertyError(f"{name} is longer than 255 octets")
    return bytes((len(octets),)) + octets


# --- JSON


class PropertyError(ValueError):
    """The value is none that the property could have."""


def to_json(props: bytes) -> dict[str, Any]:
    """The properties as RabbitMQ's HTTP API shows them: only those that are set."""
    shown: dict[str, Any] = {}
    domains = {name: domain for name, _, domain in PROPERTIES}
    for name, (start, end) in _spans(props).items():
        domain = domains[name]
        if domain == "table":
            shown[name] = table_to_json(headers(props))
        elif domain == "shortstr":
            shown[name] = json_text(props[start + 1 : end])
        else:
            shown[name] = int.from_bytes(props[start:end], "big")
    return shown


def encode(mapping: Mapping[str, Any]) -> bytes:
    """Properties out of such a JSON object; names that are no property are passed over, as RabbitMQ does.

    Raises PropertyError (RabbitMQ's `{not_int,priority}` where the type is wrong), or TableError for the headers.
    """
    flags = 0
    parts = [b""]
    for name, flag, domain in PROPERTIES:
        if name not in mapping:
            continue
        flags |= flag
        parts.append(_encode_property(name, domain, mapping[name]))
    parts[0] = flags.to_bytes(2, "big")
    return b"".join(parts)


def _encode_property(name: str, domain: str, value: Any) -> bytes:
    if domain == "table":
        if not isinstance(value, Mapping):
            raise PropertyError(f"{{not_table,{name}}}")
        return encode_table(from_json(value))
    if domain == "shortstr":
        if not isinstance(value, str):
            raise PropertyError(f"{{not_string,{name}}}")
        try:
            return _shortstr(name, value.encode("utf-8"))
        except UnicodeEncodeError:
            raise PropertyError(f"{name} is no text") from None
    if not isinstance(value, int) or isinstance(value, bool):
        raise PropertyError(f"{{not_int,{name}}}")
    try:
        return _NUMBERS[domain].pack(value)
    except (StructError, ValueError):  # PyPy: ValueError
        raise PropertyError(f"{name} is out of range") from None
