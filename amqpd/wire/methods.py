"""The general road for methods: any method frame's payload to a method object, and any method object to a frame.

pamqp gives the catalogue: which methods exist, their ids, their arguments' names, types and defaults. The bytes are
read and written here, as RabbitMQ's generated rabbit_framing does it, for pamqp's own coding differs from it:

- pamqp does not know access.request (30.10 and 30.11), which old clients send: `Access` below;
- its constructors refuse names longer than 127 octets or with unusual characters, and values that it holds to be
  obsolete; on the wire a name has up to 255 octets of any kind, and refusing one is the broker's business. So objects
  are made without their constructor (`build`);
- its decoder neither notices strings that are cut short nor octets left over, and lets IndexError, UnicodeDecodeError
  and OverflowError out. Here both are `cannot decode`, and nothing but an AmqpError ever leaves `decode`;
- it reads a delivery tag (longlong) as signed and refuses to write one of 2^63 and more; it is unsigned;
- its tables lose the types, turn timestamps into datetime (failing for large ones) and accept the type octet 0.
  Tables here are wire.tables.Table, in both directions;
- a long string is str or bytes, depending on what is in it. Here every string is str: octets that are not UTF-8 survive
  as lone surrogates, and `octets` gives back what was sent (a SASL response).

Short strings have to be UTF-8, except in the methods that carry content (publish, return, deliver, get-ok), which
RabbitMQ leaves unchecked. Bad ones are 501 `Malformed UTF-8 in shortstr`, naming no method. Arguments of the wrong
length are 501 `cannot decode <<...>>` with the arguments' octets. We say the same of a malformed table, where
RabbitMQ's reader crashes; and to a method that does not exist, where it crashes as well, we answer 503
`unimplemented method`.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from struct import Struct
from struct import error as StructError
from typing import Any, ClassVar, Final, NamedTuple, TypeVar

from pamqp import base, commands

from amqpd.errors import CommandInvalid, FrameError
from amqpd.wire import framing
from amqpd.wire.tables import decode_table, encode_table

__all__ = ["Access", "build", "commands", "decode", "encode", "ids", "ids_of", "name", "octets"]

M = TypeVar("M", bound=base.Frame)


class Access:
    """The class of AMQP 0-8 that asked for tickets; RabbitMQ still answers it."""

    class Request(base.Frame):
        # In the order of the wire.
        __slots__: ClassVar[list[str]] = ["realm", "exclusive", "passive", "active", "write", "read"]  # noqa: RUF023
        frame_id: ClassVar[int] = 10
        index: ClassVar[int] = 0x001E000A
        name: ClassVar[str] = "Access.Request"
        synchronous: ClassVar[bool] = True
        valid_responses: ClassVar[list[str]] = ["Access.RequestOk"]

        _realm = "shortstr"
        _exclusive = "bit"
        _passive = "bit"
        _active = "bit"
        _write = "bit"
        _read = "bit"

        def __init__(
            self,
            realm: str = "/data",
            exclusive: bool = False,
            passive: bool = True,
            active: bool = True,
            write: bool = True,
            read: bool = True,
        ) -> None:
            self.realm = realm
            self.exclusive = exclusive
            self.passive = passive
            self.active = active
            self.write = write
            self.read = read

    class RequestOk(base.Frame):
        __slots__: ClassVar[list[str]] = ["ticket"]
        frame_id: ClassVar[int] = 11
        index: ClassVar[int] = 0x001E000B
        name: ClassVar[str] = "Access.RequestOk"

        _ticket = "short"

        def __init__(self, ticket: int = 1) -> None:
            self.ticket = ticket


# --- the types of arguments: (data, offset) -> (value, next offset), and value -> octets


def octets(text: str) -> bytes:
    """The octets that a decoded string came from."""
    return text.encode("utf-8", "surrogateescape")


def _read_shortstr(data: bytes, offset: int) -> tuple[str, int]:
    start = offset + 1
    stop = start + data[offset]
    if stop > len(data):
        raise ValueError("string cut short")
    return data[start:stop].decode("utf-8", "surrogateescape"), stop


def _read_longstr(data: bytes, offset: int) -> tuple[str, int]:
    start = offset + 4
    stop = start + _LONG.unpack_from(data, offset)[0]
    if stop > len(data):
        raise ValueError("string cut short")
    return data[start:stop].decode("utf-8", "surrogateescape"), stop


def _write_shortstr(text: str) -> bytes:
    encoded = octets(text)
    if len(encoded) > 255:
        raise ValueError("short string longer than 255 octets")
    return bytes((len(encoded),)) + encoded


def _write_longstr(text: str) -> bytes:
    encoded = octets(text)
    return _LONG.pack(len(encoded)) + encoded


def _number_reader(struct: Struct) -> Callable[[bytes, int], tuple[int, int]]:
    unpack, size = struct.unpack_from, struct.size

    def read(data: bytes, offset: int) -> tuple[int, int]:
        return unpack(data, offset)[0], offset + size

    return read


_LONG: Final = Struct(">I")
_NUMBERS: Final = {"octet": Struct(">B"), "short": Struct(">H"), "long": _LONG, "longlong": Struct(">Q")}

_READERS: Final[dict[str, Callable[[bytes, int], tuple[Any, int]]]] = {
    "shortstr": _read_shortstr,
    "longstr": _read_longstr,
    "table": decode_table,
    **{kind: _number_reader(struct) for kind, struct in _NUMBERS.items()},
}

_WRITERS: Final[dict[str, Callable[[Any], bytes]]] = {
    "shortstr": _write_shortstr,
    "longstr": _write_longstr,
    "table": encode_table,
    **{kind: struct.pack for kind, struct in _NUMBERS.items()},
}

_EMPTY: Final[dict[str, Any]] = {"shortstr": "", "longstr": "", "bit": False}

# --- the layout of every method, compiled once from pamqp's catalogue

_CONTENT_BEARING: Final = frozenset(
    {commands.Basic.Publish, commands.Basic.Return, commands.Basic.Deliver, commands.Basic.GetOk}
)


class Step(NamedTuple):
    """One argument, or up to eight bits that share an octet (then without reader and writer)."""

    read: Callable[[bytes, int], tuple[Any, int]] | None
    write: Callable[[Any], bytes] | None
    names: list[str]


class Layout(NamedTuple):
    kind: type[base.Frame]
    steps: list[Step]
    checked: list[str]
    """Short strings that have to be UTF-8."""
    defaults: dict[str, Any]
    """What `build` sets; a table is absent here, as each object needs its own."""
    tables: list[str]


def _layout(kind: type[base.Frame]) -> Layout:
    layout = Layout(kind, [], [], {}, [])
    parameters = inspect.signature(kind.__init__).parameters
    for argument in kind.attributes():
        domain = kind.amqp_type(argument)
        if domain == "table":
            layout.tables.append(argument)
        else:
            default = parameters[argument].default
            layout.defaults[argument] = _EMPTY.get(domain, 0) if default is None else default
        if domain == "shortstr" and kind not in _CONTENT_BEARING:
            layout.checked.append(argument)
        steps = layout.steps
        if domain != "bit":
            steps.append(Step(_READERS[domain], _WRITERS[domain], [argument]))
        elif steps and steps[-1].read is None and len(steps[-1].names) < 8:
            steps[-1].names.append(argument)
        else:
            steps.append(Step(None, None, [argument]))
    return layout


_CATALOGUE: Final[dict[int, type[base.Frame]]] = {
    **commands.INDEX_MAPPING,
    Access.Request.index: Access.Request,
    Access.RequestOk.index: Access.RequestOk,
}

_LAYOUTS: Final = {index: _layout(kind) for index, kind in _CATALOGUE.items()}

# --- decoding and encoding


def decode(payload: bytes | memoryview) -> base.Frame:
    """The method in a method frame's payload; FrameError or CommandInvalid where there is none."""
    data = bytes(payload)
    if len(data) < 4:
        raise framing.unknown_kind(framing.METHOD, data)
    layout = _LAYOUTS.get(int.from_bytes(data[:4], "big"))
    if layout is None:
        raise CommandInvalid("unimplemented method", ids_of(data))
    method = layout.kind.__new__(layout.kind)
    offset = 4
    try:
        for read, _, names in layout.steps:
            if read is not None:
                value, offset = read(data, offset)
                setattr(method, names[0], value)
                continue
            bits = data[offset]
            offset += 1
            for position, bit in enumerate(names):
                setattr(method, bit, bits >> position & 1 == 1)
    except (ValueError, IndexError, StructError):
        raise _undecodable(data) from None
    if offset != len(data):
        raise _undecodable(data)
    for argument in layout.checked:
        text: str = getattr(method, argument)
        if not text.isascii() and any("\ud800" <= letter <= "\udfff" for letter in text):
            raise FrameError("Malformed UTF-8 in shortstr")
    return method


def _undecodable(data: bytes) -> FrameError:
    # A reply text shows 255 octets; more numbers than that need not be written.
    numbers = ",".join(map(str, data[4:260]))
    return FrameError(f"cannot decode <<{numbers}>>", ids_of(data))


def encode(channel: int, method: base.Frame) -> bytes:
    """The method as a whole frame. ValueError, or struct's error, where a value does not fit its argument."""
    parts = [_LONG.pack(method.index)]
    for _, write, names in _LAYOUTS[method.index].steps:
        if write is not None:
            parts.append(write(getattr(method, names[0])))
            continue
        bits = 0
        for position, bit in enumerate(names):
            if getattr(method, bit):
                bits |= 1 << position
        parts.append(bytes((bits,)))
    return framing.frame(framing.METHOD, channel, b"".join(parts))


def build(kind: type[M], **values: Any) -> M:
    """A method object made without its constructor; what is not given has its default, or is empty."""
    layout = _LAYOUTS[kind.index]
    method = kind.__new__(kind)
    for argument, value in layout.defaults.items():
        setattr(method, argument, value)
    for argument in layout.tables:
        setattr(method, argument, {})
    for argument, value in values.items():
        if argument not in method:  # pamqp's classes would take any attribute
            raise TypeError(f"{kind.name} has no argument {argument!r}")
        setattr(method, argument, value)
    return method


# --- names


def ids(method: base.Frame | type[base.Frame]) -> tuple[int, int]:
    """(class id, method id)."""
    return method.index >> 16, method.index & 0xFFFF


def ids_of(payload: bytes | memoryview) -> tuple[int, int]:
    """(class id, method id) of a method frame's payload, known or not; (0, 0) where it is too short to tell."""
    if len(payload) < 4:
        return 0, 0
    return int.from_bytes(payload[:2], "big"), int.from_bytes(payload[2:4], "big")


def _erlang_name(kind: type[base.Frame]) -> str:
    class_name, method_name = kind.name.split(".")
    words = "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in method_name)
    return f"{class_name.lower()}.{words[1:]}"


_NAMES: Final = {ids(kind): _erlang_name(kind) for kind in _CATALOGUE.values()} | {(0, 0): "none"}


def name(pair: tuple[int, int]) -> str:
    """The method's name as RabbitMQ logs it: `queue.declare`, `queue.declare_ok`; `none` for (0, 0)."""
    return _NAMES.get(pair) or f"{pair[0]}.{pair[1]}"
