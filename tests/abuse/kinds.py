"""The kinds of abuse: how each spoils a conversation, how often it is tried, and what may come of it.

A kind is a function from a random source and a number to a Conversation. `expected` names the only outcomes allowed
(see `talk.Outcome.label`); without it anything sane is: a normal end, a closing method with a reply code of the
catalogue, or a closed socket.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum

from tests.abuse.wire import (
    BODY,
    FRAME_MAX,
    HEADER,
    HEARTBEAT,
    METHOD,
    PROTOCOL_HEADER,
    array,
    basic_ack,
    basic_consume,
    basic_get,
    body_frame,
    channel_close,
    channel_open,
    connection_close,
    connection_open,
    content_header,
    frame,
    handshake,
    long,
    longlong,
    longstr,
    method,
    octet,
    opened,
    publish,
    publish_method,
    queue_declare,
    short,
    shortstr,
    start_ok,
    table,
    tune_ok,
    well_formed,
)


class Ending(Enum):
    """What the client does when everything is sent."""

    POLITE = "read; when the broker is quiet, close our half and read on"
    WAIT = "read, and never close first"
    EOF = "close our half at once"
    RESET = "reset the connection"


@dataclass
class Conversation:
    """What to send, in which pieces, and what may come of it."""

    chunks: list[bytes]
    expected: frozenset[str] | None = None
    ending: Ending = Ending.POLITE
    dribble: bool = False


Maker = Callable[[random.Random, int], Conversation]
KINDS: dict[str, tuple[float, Maker]] = {}


def kind(weight: float) -> Callable[[Maker], Maker]:
    """Enter a maker in the table under its name."""

    def register(maker: Maker) -> Maker:
        KINDS[maker.__name__] = (weight, maker)
        return maker

    return register


def conversation(seed: int, number: int, only: str = "") -> tuple[str, Conversation]:
    """Conversation `number` of a run, the same whenever it is asked for."""
    chance = random.Random(f"{seed}:{number}")
    names = list(KINDS)
    name = only or chance.choices(names, [weight for weight, _ in KINDS.values()])[0]
    return name, KINDS[name][1](chance, number)


def _loose(chance: random.Random, data: bytes) -> Conversation:
    """Mutated bytes: any sane outcome, sent in one piece or a few, ended in one of several ways."""
    chunks = [data]
    if chance.random() < 0.2:
        cuts = sorted(chance.randrange(len(data) + 1) for _ in range(chance.randint(1, 6)))
        chunks = [data[start:end] for start, end in zip([0, *cuts], [*cuts, len(data)], strict=True)]
    ending = chance.choices((Ending.POLITE, Ending.EOF, Ending.RESET), (80, 12, 8))[0]
    return Conversation(chunks, None, ending)


def _strict(parts: list[bytes], *outcomes: str) -> Conversation:
    """An offence with a specified answer; a polite close after it, which the broker must not need."""
    return Conversation([b"".join([*parts, connection_close()])], frozenset(outcomes))


# Controls: unusual but legal; every one must end normally.


@kind(4)
def control(chance: random.Random, number: int) -> Conversation:
    return Conversation([well_formed(chance, number).joined()], frozenset({"normal"}))


@kind(1.5)
def control_byte_by_byte(chance: random.Random, number: int) -> Conversation:
    data = well_formed(chance, number, largest=20).joined()
    return Conversation([data], frozenset({"normal"}), dribble=True)


@kind(1.5)
def control_odd_cuts(chance: random.Random, number: int) -> Conversation:
    data = well_formed(chance, number).joined()
    cuts = sorted(chance.randrange(len(data) + 1) for _ in range(20))
    pieces = [data[start:end] for start, end in zip([0, *cuts], [*cuts, len(data)], strict=True)]
    return Conversation(pieces, frozenset({"normal"}), dribble=False)


@kind(2)
def control_interleaved_channels(chance: random.Random, number: int) -> Conversation:
    """Contents of several channels, frame by frame between each other, with heartbeats among them: legal."""
    name = b"abuse.%d" % number
    lanes = [
        publish(channel, b"", name, chance.randbytes(chance.choice((0, 30, 5000))), step=chance.choice((7, 500)))
        for channel in (1, 2, 3)
    ]
    mixed = []
    while any(lanes):
        lane = chance.choice([lane for lane in lanes if lane])
        mixed.append(lane.pop(0))
        if chance.random() < 0.1:
            mixed.append(frame(HEARTBEAT, 0, b""))
    parts = [*opened(1, name), channel_open(2), channel_open(3), *mixed]
    parts += [basic_get(1, name), basic_ack(1, 1), basic_consume(1, name, b"c", 2)]
    return _strict(parts, "normal")


# Blind mutations.


@kind(14)
def bit_flips(chance: random.Random, number: int) -> Conversation:
    script = well_formed(chance, number)
    for _ in range(chance.choice((1, 1, 2, 8))):
        index = script.pick(chance)
        spoiled = bytearray(script.frames[index])
        spoiled[chance.randrange(len(spoiled))] ^= 1 << chance.randrange(8)
        script.frames[index] = bytes(spoiled)
    return _loose(chance, script.joined())


@kind(6)
def noise_inside(chance: random.Random, number: int) -> Conversation:
    script = well_formed(chance, number)
    index = script.pick(chance)
    spoiled = bytearray(script.frames[index])
    start = chance.randrange(len(spoiled))
    length = chance.randint(1, 12)
    spoiled[start : start + length] = chance.randbytes(length)
    script.frames[index] = bytes(spoiled)
    return _loose(chance, script.joined())


@kind(8)
def truncated(chance: random.Random, number: int) -> Conversation:
    script = well_formed(chance, number)
    index = script.pick(chance)
    data = b"".join(script.frames[:index]) + script.frames[index][: chance.randrange(len(script.frames[index]))]
    return _loose(chance, data)


@kind(4)
def bytes_missing_or_doubled(chance: random.Random, number: int) -> Conversation:
    script = well_formed(chance, number)
    index = script.pick(chance)
    part = script.frames[index]
    start = chance.randrange(len(part))
    end = min(len(part), start + chance.randint(1, 9))
    script.frames[index] = part[:start] + part[end:] if chance.random() < 0.5 else part[:end] + part[start:]
    return _loose(chance, script.joined())


@kind(6)
def frames_shuffled(chance: random.Random, number: int) -> Conversation:
    script = well_formed(chance, number)
    for _ in range(chance.randint(1, 3)):
        one, other = script.pick(chance), script.pick(chance)
        way = chance.randrange(3)
        if way == 0:
            script.frames[one], script.frames[other] = script.frames[other], script.frames[one]
        elif way == 1:
            script.frames.insert(other, script.frames[one])
        elif len(script.frames) > script.handshake_length + 2:
            del script.frames[one]
            script.handshake_length = min(script.handshake_length, len(script.frames) - 1)
    return _loose(chance, script.joined())


@kind(5)
def wrong_channels(chance: random.Random, number: int) -> Conversation:
    script = well_formed(chance, number)
    for _ in range(chance.randint(1, 3)):
        index = max(1, script.pick(chance))
        spoiled = bytearray(script.frames[index])
        spoiled[1:3] = short(chance.choice((0, 1, 2, 3, 4, 2047, 2048, 32767, 65535)))
        script.frames[index] = bytes(spoiled)
    return _loose(chance, script.joined())


@kind(5)
def wrong_frame_sizes(chance: random.Random, number: int) -> Conversation:
    script = well_formed(chance, number)
    index = max(1, script.pick(chance))
    part = script.frames[index]
    real = len(part) - 8
    size = chance.choice((0, 1, real - 1, real + 1, real + 8, FRAME_MAX - 8, FRAME_MAX, 2**24, 2**31, 2**32 - 1))
    script.frames[index] = part[:3] + long(max(0, size)) + part[7:]
    return _loose(chance, script.joined())


@kind(4)
def garbage(chance: random.Random, number: int) -> Conversation:
    return _loose(chance, chance.randbytes(chance.choice((1, 7, 8, 9, 100, 5000))))


@kind(3)
def garbage_after_handshake(chance: random.Random, number: int) -> Conversation:
    start = chance.randint(1, 6)
    return _loose(chance, b"".join(opened(1, b"q")[:start]) + chance.randbytes(chance.choice((1, 8, 100, 5000))))


@kind(4)
def random_methods(chance: random.Random, number: int) -> Conversation:
    """Well-framed methods, known or not, with random arguments."""
    parts = opened(1, b"abuse.%d" % number)
    for _ in range(chance.randint(1, 5)):
        class_id = chance.choice((0, 10, 20, 30, 40, 50, 60, 70, 85, 90, 110, 65535))
        method_id = chance.choice((0, 10, 11, 20, 21, 30, 31, 40, 41, 50, 51, 60, 70, 80, 90, 100, 110, 120, 65535))
        parts.append(method(chance.choice((0, 1, 1, 1)), class_id, method_id, chance.randbytes(chance.randrange(40))))
    return _loose(chance, b"".join([*parts, connection_close()]))


# Lengths that lie.

LENGTHS = (2**7, 2**8 - 1, 2**15, 2**16, 2**24, 2**31 - 1, 2**31, 2**32 - 1)


@kind(3)
def lying_shortstr(chance: random.Random, number: int) -> Conversation:
    lie = octet(chance.randint(60, 255)) + b"abuse"
    bad = chance.choice(
        (
            method(1, 50, 10, short(0), lie, octet(4), b"\0\0\0\0"),
            method(1, 60, 40, short(0), shortstr(b""), lie, octet(0)),
            method(1, 60, 40, short(0), lie),
            method(1, 60, 20, short(0), shortstr(b"q"), lie, octet(0), b"\0\0\0\0"),
            method(1, 40, 10, short(0), shortstr(b"x"), lie, octet(0), b"\0\0\0\0"),
        )
    )
    return _strict([*opened(), bad], "conn 501", "conn 502")


@kind(4)
def lying_tables(chance: random.Random, number: int) -> Conversation:
    lie = long(chance.choice(LENGTHS))
    inside = chance.choice(
        (
            lie,
            lie + shortstr(b"k") + b"I" + long(1),
            longstr(shortstr(b"k") + b"S" + lie + b"abc"),
            longstr(shortstr(b"k") + b"F" + lie + b"abc"),
            longstr(shortstr(b"k") + b"A" + lie + b"abc"),
            longstr(shortstr(b"k") + b"x" + lie + b"abc"),
            longstr(octet(255) + b"k"),
            longstr(shortstr(b"k")),
            longstr(shortstr(b"k") + b"D\x02"),
            longstr(shortstr(b"k") + b"l\x00"),
        )
    )
    return _strict([*opened(), queue_declare(1, b"abuse.%d" % number, 4, inside)], "conn 501", "conn 502")


@kind(3)
def lying_properties(chance: random.Random, number: int) -> Conversation:
    """Content headers whose properties cannot be decoded: some brokers look only when they must."""
    name = b"abuse.%d" % number
    lie = long(chance.choice(LENGTHS))
    properties = chance.choice(
        (
            b"",
            b"\x80",
            b"\x80\x00" + octet(255) + b"abc",
            b"\x20\x00" + lie,
            b"\x20\x00" + longstr(shortstr(b"k") + b"S" + lie),
            b"\x20\x00" + longstr(shortstr(b"k") + b"?" + long(0)),
            b"\xff\xff\xff\xff\xff\xff",
            b"\x00\x01\x00\x01\x00\x01",
            b"\x00\x02",
            b"\x10\x00",
            b"\x00\x40\x00\x00",
            b"\0\0" + chance.randbytes(20),
            chance.randbytes(chance.randint(2, 40)),
        )
    )
    parts = [*opened(1, name), *publish(1, b"", name, b"hello", properties), basic_get(1, name, True)]
    return _loose(chance, b"".join([*parts, connection_close()]))


@kind(2)
def giant_body_size(chance: random.Random, number: int) -> Conversation:
    size = chance.choice((2**29 + 1, 2**31, 2**32, 2**63 - 1, 2**63, 2**64 - 1))
    name = b"abuse.%d" % number
    parts = [*opened(1, name), publish_method(1, b"", name), content_header(1, size), body_frame(1, b"x" * 100)]
    return _strict(parts, "conn 501", "chan 406, normal")


@kind(2)
def abandoned_body(chance: random.Random, number: int) -> Conversation:
    """A large body announced, a part of it sent, and then silence, an end of stream or a reset."""
    name = b"abuse.%d" % number
    parts = [*opened(1, name), publish_method(1, b"", name), content_header(1, 10_000_000)]
    parts += [body_frame(1, bytes(chance.randint(1, 60_000))) for _ in range(chance.randint(1, 6))]
    return _loose(chance, b"".join(parts))


@kind(0.7)
def many_unfinished_contents(chance: random.Random, number: int) -> Conversation:
    name = b"abuse.%d" % number
    parts = opened(1, name)
    for channel in range(2, 100):
        parts += [channel_open(channel), publish_method(channel, b"", name), content_header(channel, 50_000)]
        parts += [body_frame(channel, bytes(1000))] * chance.randint(0, 1)
    return _loose(chance, b"".join(parts))


@kind(2)
def frame_too_large(chance: random.Random, number: int) -> Conversation:
    frame_max = chance.choice((8192, 20_000, FRAME_MAX))
    size = chance.choice((frame_max + 1, frame_max + 4096, 2**24, 2**31, 2**32 - 1))
    part = octet(chance.choice((METHOD, HEADER, BODY))) + short(1) + long(size) + bytes(200)
    return Conversation([b"".join([*handshake(frame_max), channel_open(1), part])], frozenset({"conn 501"}))


@kind(1)
def real_frame_too_large(chance: random.Random, number: int) -> Conversation:
    name = b"abuse.%d" % number
    parts = [*handshake(8192), channel_open(1), queue_declare(1, name)]
    return _strict([*parts, *publish(1, b"", name, bytes(30_000), step=20_000)], "conn 501")


# Order and state.


@kind(2)
def wrong_frame_end(chance: random.Random, number: int) -> Conversation:
    name = b"abuse.%d" % number
    message = publish(1, b"", name, b"hello")
    index = chance.randrange(len(message))
    message[index] = message[index][:-1] + octet(chance.choice((0, 0xCD, 0xCF, 1)))
    return _strict([*opened(1, name), *message], "conn 501")


@kind(2)
def unknown_frame_type(chance: random.Random, number: int) -> Conversation:
    spoiled = frame(chance.choice((0, 4, 5, 6, 7, 9, 65, 200, 255)), chance.choice((0, 1)), b"hello")
    return _strict([*opened(), spoiled], "conn 501")


@kind(1.5)
def heartbeat_on_a_channel(chance: random.Random, number: int) -> Conversation:
    return _strict([*opened(), frame(HEARTBEAT, chance.choice((1, 2, 65535)), b"")], "conn 501", "conn 505")


@kind(1.5)
def heartbeat_with_payload(chance: random.Random, number: int) -> Conversation:
    return _strict([*opened(), frame(HEARTBEAT, 0, bytes(chance.choice((1, 100))))], "conn 501")


@kind(2.5)
def method_inside_content(chance: random.Random, number: int) -> Conversation:
    """A method where the header or the body should come."""
    name = b"abuse.%d" % number
    begun = [publish_method(1, b"", name), content_header(1, 10), body_frame(1, b"12345")]
    parts = [*opened(1, name), *begun[: chance.randint(1, 3)]]
    offence = chance.choice((publish_method(1, b"", name), basic_get(1, name), channel_close(1), basic_ack(1, 1)))
    return _strict([*parts, offence], "conn 505")


@kind(2.5)
def content_out_of_place(chance: random.Random, number: int) -> Conversation:
    """A header or body without a method, two headers, a body before the header."""
    name = b"abuse.%d" % number
    start = publish_method(1, b"", name)
    offence = chance.choice(
        (
            [content_header(1, 5)],
            [body_frame(1, b"hello")],
            [start, body_frame(1, b"hello")],
            [start, content_header(1, 5), content_header(1, 5)],
            [start, content_header(1, 0), body_frame(1, b"x")],
            [start, content_header(1, 5), body_frame(1, b"hello"), body_frame(1, b"hello")],
        )
    )
    return _strict([*opened(1, name), *offence], "conn 505")


@kind(1.5)
def body_overrun(chance: random.Random, number: int) -> Conversation:
    name = b"abuse.%d" % number
    parts = [publish_method(1, b"", name), content_header(1, 8), body_frame(1, b"12345")]
    return _strict([*opened(1, name), *parts, body_frame(1, bytes(chance.choice((4, 4000))))], "conn 501")


@kind(1)
def wrong_class_in_header(chance: random.Random, number: int) -> Conversation:
    name = b"abuse.%d" % number
    spoiled = content_header(1, 5, class_id=chance.choice((0, 10, 50, 65535)))
    return _strict([*opened(1, name), publish_method(1, b"", name), spoiled, body_frame(1, b"hello")], "conn 505")


@kind(2)
def content_on_channel_zero(chance: random.Random, number: int) -> Conversation:
    offence = chance.choice(
        (publish(0, b"", b"q", b"hello"), [content_header(0, 5)], [body_frame(0, b"x")], [queue_declare(0, b"q")])
    )
    return _strict([*opened(), *offence], "conn 501", "conn 503", "conn 504", "conn 505")


@kind(2)
def channel_not_open(chance: random.Random, number: int) -> Conversation:
    channel = chance.choice((2, 100, 2047))
    offence = chance.choice(
        (
            [queue_declare(channel, b"q")],
            publish(channel, b"", b"q", b"hello"),
            [basic_ack(channel, 1)],
            [method(channel, 85, 10, octet(0))],
        )
    )
    return _strict([*opened(), *offence], "conn 504")


@kind(1)
def channel_beyond_the_limit(chance: random.Random, number: int) -> Conversation:
    """More channels than were agreed, or one with a higher number (which RabbitMQ lets pass)."""
    parts = [*handshake()[:2], tune_ok(5), connection_open()]
    if chance.random() < 0.5:
        return _strict([*parts, channel_open(chance.choice((6, 100, 65535)))], "normal", "conn 504", "conn 530")
    return _strict([*parts, *(channel_open(channel) for channel in range(1, 7))], "conn 504", "conn 530")


@kind(2)
def state_errors(chance: random.Random, number: int) -> Conversation:
    """Methods of the broker's side, or again what is done once."""
    offence, *codes = chance.choice(
        (
            (channel_open(1), 504),
            (start_ok(), 503, 504, 505),
            (tune_ok(), 503, 504, 505),
            (connection_open(), 503, 504, 505, 530),
            (method(0, 10, 10, b"\0\x09", b"\0\0\0\0", longstr(b"PLAIN"), longstr(b"en_US")), 503, 504, 505),
            (method(1, 50, 11, shortstr(b"q"), long(0), long(0)), 503, 504, 505),
            (method(1, 60, 72, shortstr(b"")), 503, 504, 505),
            (method(1, 20, 11, longstr(b"")), 503, 504, 505),
        )
    )
    return _strict([*opened(), offence], *(f"conn {code}" for code in codes))


@kind(2)
def unknown_methods(chance: random.Random, number: int) -> Conversation:
    class_id, method_id = chance.choice(((61, 10), (60, 41), (50, 99), (10, 99), (0, 0), (65535, 65535), (70, 10)))
    channel = 0 if class_id == 10 else chance.choice((0, 1))
    arguments = chance.randbytes(chance.randrange(20))
    return _strict(
        [*opened(), method(channel, class_id, method_id, arguments)], *(f"conn {n}" for n in (501, 503, 504))
    )


@kind(1.5)
def short_methods(chance: random.Random, number: int) -> Conversation:
    """Method frames too short for their ids or their arguments."""
    offence = chance.choice(
        (
            frame(METHOD, 1, b""),
            frame(METHOD, 1, b"\x00"),
            frame(METHOD, 1, b"\x00\x3c\x00"),
            method(1, 60, 80, b"\0\0\0"),
            method(1, 50, 10),
            method(1, 60, 40, b"\0\0"),
            frame(METHOD, 0, b"\x00\x0a"),
        )
    )
    return _strict([*opened(), offence], "conn 501", "conn 502", "conn 503")


@kind(1.5)
def short_headers(chance: random.Random, number: int) -> Conversation:
    name = b"abuse.%d" % number
    offence = frame(HEADER, 1, (short(60) + short(0) + longlong(5))[: chance.randrange(12)])
    return _strict([*opened(1, name), publish_method(1, b"", name), offence], "conn 501", "conn 502", "conn 505")


@kind(3)
def soft_errors(chance: random.Random, number: int) -> Conversation:
    """Mistakes that close a channel, and the connection goes on."""
    offence, code = chance.choice(
        (
            ([queue_declare(1, b"abuse.missing", 1)], 404),
            ([basic_ack(1, 77)], 406),
            ([basic_ack(1, 2**64 - 1)], 406),
            ([basic_get(1, b"abuse.missing")], 404),
            ([basic_consume(1, b"abuse.missing", b"")], 404),
            (publish(1, b"abuse.missing", b"k", b"hello"), 404),
            ([queue_declare(1, b"amq.reserved")], 403),
            ([method(1, 90, 20)], 406),
            ([method(1, 85, 10, octet(0)), method(1, 90, 10)], 406),
            ([method(1, 40, 10, short(0), shortstr(b"x"), shortstr(b"no.such"), octet(0), b"\0\0\0\0")], None),
        )
    )
    labels = (f"chan {code}, normal",) if code else ("chan 406, normal", "conn 503")
    return _strict([*opened(), *offence], *labels)


@kind(1.5)
def not_implemented(chance: random.Random, number: int) -> Conversation:
    offence = chance.choice(
        (
            [method(1, 60, 10, long(10), short(0), octet(0))],
            [publish_method(1, b"", b"q", 2), content_header(1, 0)],
            [method(1, 20, 20, octet(0))],
            [method(1, 60, 110, octet(0))],
        )
    )
    return _strict([*opened(), *offence], "conn 540")


# Values.


@kind(2)
def bad_utf8(chance: random.Random, number: int) -> Conversation:
    bad = chance.choice((b"\xff\xfe", b"\xc3(", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"\x80" * 40, b"\0\0", b"a\r\nb"))
    name = b"abuse.%d." % number + bad
    parts = [*opened(1, name), *publish(1, b"", name, b"hello"), basic_get(1, name, True)]
    parts += publish(1, b"amq.topic", bad, b"hello", b"\x80\x00" + shortstr(bad))
    parts += publish(1, b"", name, b"hello", b"\x20\x00" + table((bad, b"S", longstr(bad))))
    parts += [method(1, 50, 20, short(0), shortstr(name), shortstr(b"amq.topic"), shortstr(bad), octet(0), b"\0\0\0\0")]
    parts += [basic_consume(1, name, bad, 2), publish_method(1, bad, bad), content_header(1, 0)]
    return _loose(chance, b"".join([*parts, connection_close()]))


def _nested(chance: random.Random, depth: int) -> bytes:
    value = b""
    for _ in range(depth):
        value = shortstr(b"k") + b"F" + longstr(value)
    return longstr(value)


def _nested_arrays(depth: int) -> bytes:
    value = b"A" + longstr(b"")
    for _ in range(depth):
        value = b"A" + longstr(value)
    return longstr(shortstr(b"k") + value)


@kind(3)
def deep_tables(chance: random.Random, number: int) -> Conversation:
    name = b"abuse.%d" % number
    depth = chance.choice((100, 1000, 1000, 5000))
    deep = chance.choice((_nested(chance, depth), _nested_arrays(depth)))
    offence = chance.choice(
        (
            [queue_declare(1, name, 4, deep)],
            [*publish(1, b"", name, b"hello", b"\x20\x00" + deep), basic_get(1, name, True)],
            publish(1, b"amq.headers", name, b"hello", b"\x20\x00" + deep),
            [method(1, 50, 20, short(0), shortstr(name), shortstr(b"amq.headers"), shortstr(b""), octet(0), deep)],
            [method(1, 60, 20, short(0), shortstr(name), shortstr(b"c"), octet(2), deep)],
        )
    )
    if chance.random() < 0.1:
        return _loose(chance, b"".join([PROTOCOL_HEADER, start_ok(properties=deep[:7000]), *opened(1, name)[2:]]))
    return _loose(chance, b"".join([*opened(1, name), *offence, connection_close()]))


FIELD_TYPES = b"tbBsuIiLlfdDSATFVx\x00?~"


def _field(chance: random.Random, depth: int = 0) -> tuple[bytes, bytes]:
    """A field value of a random type, usually encoded as that type demands."""
    letter = octet(chance.choice(FIELD_TYPES))
    if letter == b"F" and depth < 4:
        return letter, table(*((chance.randbytes(3), *_field(chance, depth + 1)) for _ in range(chance.randrange(4))))
    if letter == b"A" and depth < 4:
        return letter, array(*(_field(chance, depth + 1) for _ in range(chance.randrange(4))))
    if letter in b"Sx":
        return letter, longstr(chance.randbytes(chance.randrange(9)))
    sizes = {b"t": 1, b"b": 1, b"B": 1, b"s": 2, b"u": 2, b"I": 4, b"i": 4, b"L": 8, b"l": 8, b"f": 4, b"d": 8}
    sizes |= {b"D": 5, b"T": 8}
    return letter, chance.randbytes(sizes.get(letter, 0))


@kind(4)
def random_tables(chance: random.Random, number: int) -> Conversation:
    name = b"abuse.%d" % number
    known: tuple[bytes, ...] = (
        b"x-max-length",
        b"x-message-ttl",
        b"x-expires",
        b"x-max-priority",
        b"x-overflow",
        b"x-queue-type",
    )
    known += (b"x-dead-letter-exchange", b"x-dead-letter-routing-key", b"x-max-length-bytes", b"alternate-exchange")
    keys = [chance.choice((*known, b"k", b"\xff", b"x-match", b"CC", b"BCC")) for _ in range(chance.randint(1, 6))]
    values = table(*((key, *_field(chance)) for key in keys))
    offence = chance.choice(
        (
            [queue_declare(1, name, 4, values)],
            [*publish(1, b"", name, b"hello", b"\x20\x00" + values), basic_get(1, name)],
            [method(1, 50, 20, short(0), shortstr(name), shortstr(b"amq.headers"), shortstr(b""), octet(0), values)],
            [method(1, 60, 20, short(0), shortstr(name), shortstr(b"c"), octet(2), values)],
            [
                method(1, 40, 10, short(0), shortstr(name), shortstr(b"fanout"), octet(4), values),
                method(1, 40, 20, short(0), shortstr(name), octet(0)),
            ],
        )
    )
    queue = [] if offence[0][7:11] == b"\x00\x32\x00\x0a" else [queue_declare(1, name)]
    return _loose(chance, b"".join([*opened(1), *queue, *offence, connection_close()]))


@kind(1.5)
def arguments_not_utf8(chance: random.Random, number: int) -> Conversation:
    """Arguments that are names, options or patterns, as bytes that are no text."""
    name = b"abuse.%d" % number
    value = longstr(chance.choice((b"\xff\xfe", b"\xf0A", b"\xc3(", b"\0", b"")))
    key, letter = chance.choice(NAMING), chance.choice((b"S", b"S", b"x"))
    values = table((key, letter, value), (b"x-dead-letter-exchange", b"S", longstr(b"")))
    values = chance.choice((values, table((key, letter, value))))
    offence = chance.choice(
        (
            [queue_declare(1, name, 4, values)],
            [method(1, 40, 10, short(0), shortstr(name), shortstr(b"fanout"), octet(4), values)],
            [queue_declare(1, name), method(1, 60, 20, short(0), shortstr(name), shortstr(b"c"), octet(2), values)],
            [queue_declare(1, name), *publish(1, b"", name, b"hello", b"\x20\x00" + values), basic_get(1, name)],
        )
    )
    gone = method(1, 40, 20, short(0), shortstr(name), octet(0))
    return _loose(chance, b"".join([*opened(1), *offence, gone, connection_close()]))


NAMING = (
    b"x-dead-letter-exchange",
    b"x-dead-letter-routing-key",
    b"x-overflow",
    b"x-queue-type",
    b"x-queue-mode",
    b"x-queue-master-locator",
    b"x-dead-letter-strategy",
    b"x-single-active-consumer",
    b"x-match",
    b"x-priority",
    b"x-stream-offset",
    b"alternate-exchange",
    b"CC",
    b"x-delayed-type",
    b"hash-header",
)


@kind(1.5)
def publish_properties(chance: random.Random, number: int) -> Conversation:
    """Properties the broker looks at, with values it must refuse or survive."""
    name = b"abuse.%d" % number
    properties = chance.choice(
        (
            b"\x01\x00" + shortstr(chance.choice((b"abc", b"-1", b"", b"1e3", b"9" * 60, b"5x", b"\xff", b" 5"))),
            b"\x00\x10" + shortstr(b"somebody-else"),
            b"\x20\x00" + table((b"CC", b"S", longstr(b"not an array"))),
            b"\x20\x00" + table((b"BCC", b"A", array((b"I", long(1))))),
            b"\x02\x00" + shortstr(b"amq.rabbitmq.reply-to"),
            b"\x10\x00" + octet(chance.choice((0, 3, 255))),
            b"\x08\x00" + octet(255),
        )
    )
    parts = [*opened(1, name), *publish(1, b"", name, b"hello", properties), basic_get(1, name)]
    return _loose(chance, b"".join([*parts, connection_close()]))


# Before and during login.

HEADERS = (
    b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(range(256)) * 2,
    b"AMQP\x00\x01\x00\x00",
    b"AMQP\x03\x01\x00\x00",
    b"AMQP\x02\x01\x00\x00",
    b"AMQP\x01\x01\x00\x0a",
    b"AMQP\x01\x01\x08\x00",
    b"AMQP\x00\x00\x08\x00",
    b"AMQP\x00\x00\x09\x02",
    b"AMQP\xff\xff\xff\xff",
    b"amqp\x00\x00\x09\x01",
    b"SSH-2.0-OpenSSH_9.2\r\n",
    b"\x10\x10\x00\x04MQTT\x04\x02\x00\x3c\x00\x04abcd",
    b"CONNECT\naccept-version:1.2\nhost:/\n\n\x00",
    b"PROXY TCP4 127.0.0.1 127.0.0.1 1 2\r\n" + PROTOCOL_HEADER,
    b"\r\n\r\n\x00\r\nQUIT\n\x21\x11\x00\x0c" + bytes(12),
    b"AMQP",
    b"A",
)


@kind(4)
def other_protocols(chance: random.Random, number: int) -> Conversation:
    conversation = _loose(chance, chance.choice(HEADERS))
    if chance.random() < 0.3:
        conversation.chunks.append(b"".join(opened(1, b"q")[1:]))
    return conversation


@kind(0.8)
def bad_logins(chance: random.Random, number: int) -> Conversation:
    good = start_ok()
    bad = chance.choice(
        (
            start_ok(response=b"\0guest\0wrong"),
            start_ok(response=b"\0nobody\0x"),
            start_ok(response=b"no separators"),
            start_ok(response=b""),
            start_ok(response=b"\0\xff\xfe\0\xff"),
            start_ok(response=b"\0" * 200),
            start_ok(mechanism=b"CRAM-MD5"),
            start_ok(mechanism=b""),
            start_ok(mechanism=b"AMQPLAIN", response=b"\x05LOGINS" + longstr(b"guest")),
            start_ok(mechanism=b"AMQPLAIN", response=b"\xff\xff\xff"),
            start_ok(mechanism=b"EXTERNAL", response=b""),
            start_ok(properties=table((b"capabilities", b"S", longstr(b"not a table")))),
            start_ok(properties=table((b"capabilities", b"F", table((b"basic.nack", b"S", longstr(b"yes")))))),
            good[:-1] + b"\x00",
            method(0, 10, 21, longstr(b"x")),
            queue_declare(1, b"q"),
            channel_open(1),
            connection_close(),
        )
    )
    parts = [PROTOCOL_HEADER, bad, *handshake()[2:], channel_open(1), connection_close()]
    return _loose(chance, b"".join(parts))


@kind(1.5)
def bad_tuning(chance: random.Random, number: int) -> Conversation:
    tuned = tune_ok(
        chance.choice((0, 1, 2047, 2048, 65535)),
        chance.choice((0, 1, 7, 8, 4095, 4096, 8191, 8192, FRAME_MAX, FRAME_MAX + 1, 2**31, 2**32 - 1)),
        chance.choice((0, 1, 60, 65535)),
    )
    vhost = chance.choice((b"/", b"", b"no such", b"\xff", b"/" * 255))
    parts = [PROTOCOL_HEADER, start_ok(), tuned, connection_open(vhost), channel_open(1), connection_close()]
    return _loose(chance, b"".join(parts))


@kind(0.8)
def oversized_before_login(chance: random.Random, number: int) -> Conversation:
    properties = table((b"product", b"S", longstr(bytes(chance.choice((9000, 120_000))))))
    return _loose(chance, b"".join([PROTOCOL_HEADER, start_ok(properties=properties), *handshake()[2:]]))


# Time.


@kind(1)
def silent(chance: random.Random, number: int) -> Conversation:
    """A client that stops speaking before it has logged in: the broker must end it."""
    data = b"".join(handshake()[:3])
    sent = chance.choice((0, 0, 4, 8, 8, 20, len(data) - 1, len(data)))
    return Conversation([data[:sent]], None, Ending.WAIT)


@kind(0.5)
def silent_after_login(chance: random.Random, number: int) -> Conversation:
    """A client that promised heartbeats and sends none, perhaps in the middle of a frame."""
    name = b"abuse.%d" % number
    parts = [*handshake(heartbeat=1), channel_open(1), queue_declare(1, name), *publish(1, b"", name, b"hello")]
    data = b"".join(parts)
    return Conversation([data[: len(data) - chance.choice((0, 3, 8))]], None, Ending.WAIT)


@kind(1)
def unanswered_close(chance: random.Random, number: int) -> Conversation:
    """The broker closes the connection; the client drops it without a word."""
    parts = [*opened(1, b"abuse.%d" % number), frame(chance.choice((0, 9)), 0, b"")]
    return Conversation([b"".join(parts)], None, chance.choice((Ending.RESET, Ending.EOF)))


@kind(1)
def reset_under_load(chance: random.Random, number: int) -> Conversation:
    """A consumer of its own large messages that never reads and then resets the connection."""
    name = b"abuse.%d" % number
    parts = [*opened(1, name), basic_consume(1, name, b"c", chance.choice((0, 2)))]
    parts += publish(1, b"", name, bytes(20_000), step=100_000) * chance.randint(1, 12)
    return Conversation([b"".join(parts)], None, Ending.RESET)
