"""Bytes for conversations: frames packed by hand, so that any field can be given any value.

With them the well-formed script that the mutations start from.
"""

from __future__ import annotations

import random
import struct
from dataclasses import dataclass, field

PROTOCOL_HEADER = b"AMQP\x00\x00\x09\x01"
METHOD, HEADER, BODY, HEARTBEAT = 1, 2, 3, 8
FRAME_MAX = 131072
END = b"\xce"


def octet(value: int) -> bytes:
    return struct.pack(">B", value & 0xFF)


def short(value: int) -> bytes:
    return struct.pack(">H", value & 0xFFFF)


def long(value: int) -> bytes:
    return struct.pack(">I", value & 0xFFFF_FFFF)


def longlong(value: int) -> bytes:
    return struct.pack(">Q", value & 0xFFFF_FFFF_FFFF_FFFF)


def shortstr(value: bytes) -> bytes:
    return octet(len(value)) + value


def longstr(value: bytes) -> bytes:
    return long(len(value)) + value


def table(*entries: tuple[bytes, bytes, bytes]) -> bytes:
    """A field table of (key, type, encoded value)."""
    return longstr(b"".join(shortstr(key) + kind + value for key, kind, value in entries))


def array(*values: tuple[bytes, bytes]) -> bytes:
    """A field array of (type, encoded value)."""
    return longstr(b"".join(kind + value for kind, value in values))


def frame(kind: int, channel: int, payload: bytes) -> bytes:
    return octet(kind) + short(channel) + long(len(payload)) + payload + END


def method(channel: int, class_id: int, method_id: int, *fields: bytes) -> bytes:
    return frame(METHOD, channel, short(class_id) + short(method_id) + b"".join(fields))


def start_ok(
    mechanism: bytes = b"PLAIN", response: bytes = b"\0guest\0guest", properties: bytes | None = None
) -> bytes:
    if properties is None:
        flags = (b"authentication_failure_close", b"publisher_confirms", b"basic.nack", b"consumer_cancel_notify")
        properties = table((b"capabilities", b"F", table(*((flag, b"t", b"\x01") for flag in flags))))
    return method(0, 10, 11, properties, shortstr(mechanism), longstr(response), shortstr(b"en_US"))


def tune_ok(channel_max: int = 2047, frame_max: int = FRAME_MAX, heartbeat: int = 0) -> bytes:
    return method(0, 10, 31, short(channel_max), long(frame_max), short(heartbeat))


def connection_open(vhost: bytes = b"/") -> bytes:
    return method(0, 10, 40, shortstr(vhost), shortstr(b""), octet(0))


def connection_close() -> bytes:
    return method(0, 10, 50, short(200), shortstr(b"bye"), short(0), short(0))


CONNECTION_CLOSE_OK = method(0, 10, 51)


def channel_open(channel: int) -> bytes:
    return method(channel, 20, 10, shortstr(b""))


def channel_close(channel: int) -> bytes:
    return method(channel, 20, 40, short(200), shortstr(b"bye"), short(0), short(0))


def queue_declare(channel: int, name: bytes, flags: int = 0b00100, arguments: bytes = b"\0\0\0\0") -> bytes:
    """Flags: passive 1, durable 2, exclusive 4, auto-delete 8, nowait 16."""
    return method(channel, 50, 10, short(0), shortstr(name), octet(flags), arguments)


def publish_method(channel: int, exchange: bytes, routing_key: bytes, flags: int = 0) -> bytes:
    """Flags: mandatory 1, immediate 2."""
    return method(channel, 60, 40, short(0), shortstr(exchange), shortstr(routing_key), octet(flags))


def content_header(channel: int, size: int, properties: bytes = b"\0\0", class_id: int = 60) -> bytes:
    return frame(HEADER, channel, short(class_id) + short(0) + longlong(size) + properties)


def body_frame(channel: int, body: bytes) -> bytes:
    return frame(BODY, channel, body)


def publish(
    channel: int, exchange: bytes, routing_key: bytes, body: bytes, properties: bytes = b"\0\0", *, step: int = 4000
) -> list[bytes]:
    """The frames of a message."""
    bodies = [body_frame(channel, body[start : start + step]) for start in range(0, len(body), step)]
    return [publish_method(channel, exchange, routing_key), content_header(channel, len(body), properties), *bodies]


def basic_get(channel: int, queue: bytes, no_ack: bool = False) -> bytes:
    return method(channel, 60, 70, short(0), shortstr(queue), octet(no_ack))


def basic_ack(channel: int, tag: int, multiple: bool = False) -> bytes:
    return method(channel, 60, 80, longlong(tag), octet(multiple))


def basic_consume(channel: int, queue: bytes, tag: bytes, flags: int = 0) -> bytes:
    """Flags: no-local 1, no-ack 2, exclusive 4, nowait 8."""
    return method(channel, 60, 20, short(0), shortstr(queue), shortstr(tag), octet(flags), b"\0\0\0\0")


def handshake(frame_max: int = FRAME_MAX, heartbeat: int = 0) -> list[bytes]:
    """Protocol header, start-ok, tune-ok, open: all at once, without waiting for the broker's side."""
    return [PROTOCOL_HEADER, start_ok(), tune_ok(2047, frame_max, heartbeat), connection_open()]


PROPERTIES = (
    b"\0\0",
    b"\x10\x00\x02",
    b"\x90\x00" + shortstr(b"text/plain") + b"\x02",
    b"\x20\x00" + table((b"key", b"S", longstr(b"value")), (b"n", b"I", long(7)), (b"void", b"V", b"")),
    b"\x06\x80" + shortstr(b"correlation") + shortstr(b"reply.here") + shortstr(b"message-1"),
    b"\x08\x00\x05",
)


@dataclass
class Script:
    """A conversation as a list of frames, the handshake first."""

    frames: list[bytes] = field(default_factory=handshake)
    handshake_length: int = 4

    def joined(self) -> bytes:
        return b"".join(self.frames)

    def pick(self, chance: random.Random) -> int:
        """The index of a frame, seldom one of the handshake."""
        if chance.random() < 0.12:
            return chance.randrange(self.handshake_length)
        return chance.randrange(self.handshake_length, len(self.frames))


def _body(chance: random.Random, largest: int) -> bytes:
    return chance.randbytes(min(largest, chance.choice((0, 1, 16, 16, 200, 1000, 9000))))


def _basic(chance: random.Random, channel: int, name: bytes, largest: int) -> list[bytes]:
    count = chance.randint(1, 4)
    frames = [queue_declare(channel, name), method(channel, 60, 10, long(0), short(10), octet(0))]
    for _ in range(count):
        frames += publish(channel, b"", name, _body(chance, largest), chance.choice(PROPERTIES))
    frames += [basic_get(channel, name), basic_ack(channel, 1)]
    frames += [basic_consume(channel, name, b"c", chance.choice((0, 2)))]
    frames += [basic_ack(channel, 0, True), method(channel, 60, 30, shortstr(b"c"), octet(0))]
    return frames


def _tx(chance: random.Random, channel: int, name: bytes, largest: int) -> list[bytes]:
    """Nothing may follow a commit before its answer has come: it is the last."""
    select, commit, rollback = (method(channel, 90, number) for number in (10, 20, 30))
    frames = [
        queue_declare(channel, name),
        *publish(channel, b"", name, _body(chance, largest), chance.choice(PROPERTIES)),
    ]
    frames += [select, *publish(channel, b"", name, _body(chance, largest)), rollback]
    frames += publish(channel, b"", name, _body(chance, largest), chance.choice(PROPERTIES))
    frames += [basic_get(channel, name), basic_ack(channel, 1), commit]
    return frames


def _confirm(chance: random.Random, channel: int, name: bytes, largest: int) -> list[bytes]:
    frames = [queue_declare(channel, name), method(channel, 85, 10, octet(0))]
    for _ in range(chance.randint(1, 5)):
        frames += publish(
            channel, chance.choice((b"", b"amq.fanout")), name, _body(chance, largest), chance.choice(PROPERTIES)
        )
    return frames


def _topology(chance: random.Random, channel: int, name: bytes, largest: int) -> list[bytes]:
    kind = chance.choice((b"direct", b"fanout", b"topic", b"headers"))
    arguments = table((b"x-match", b"S", longstr(b"any")), (b"key", b"S", longstr(b"value")))
    binding = (short(0), shortstr(name), shortstr(name), shortstr(b"a.#"))
    frames = [
        method(channel, 40, 10, short(0), shortstr(name), shortstr(kind), octet(0b100), b"\0\0\0\0"),
        queue_declare(channel, name, 0b00100, table((b"x-max-length", b"I", long(10)))),
        method(channel, 50, 20, *binding, octet(0), arguments),
        *publish(channel, name, b"a.b", _body(chance, largest), chance.choice(PROPERTIES)),
        method(channel, 50, 50, *binding, arguments),
        method(channel, 50, 30, short(0), shortstr(name), octet(0)),
        method(channel, 40, 20, short(0), shortstr(name), octet(0)),
        method(channel, 50, 40, short(0), shortstr(name), octet(0)),
    ]
    return frames


def opened(channel: int = 1, queue: bytes = b"") -> list[bytes]:
    """A handshake, an open channel and perhaps an exclusive queue."""
    return [*handshake(), channel_open(channel), *([queue_declare(channel, queue)] if queue else [])]


def well_formed(chance: random.Random, number: int, largest: int = 9000) -> Script:
    """A conversation that every broker completes: some of the things clients do, on one to three channels."""
    script = Script()
    for channel in range(1, chance.randint(1, 3) + 1):
        part = chance.choice((_basic, _tx, _confirm, _topology))
        script.frames.append(channel_open(channel))
        script.frames += part(chance, channel, b"abuse.%d.%d" % (number, channel), largest)
        if part is not _tx and chance.random() < 0.5:
            script.frames.append(channel_close(channel))
    script.frames.append(connection_close())
    return script
