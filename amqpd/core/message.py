"""The message: one exact tuple of bytes and ints, shared by every queue it lies in.

Only atoms go in, so the garbage collector stops looking at a message after its first pass; with a million parked
messages that is the difference between a stall of 25 ms and one of over 100. Whatever changes while a message lives
(redelivered, counts, place on disk) is kept by the queue or the ledger, never here.

    id        order of acceptance on this node, ascending, never used again; its lowest bit says persistent;
              0 < id < 2**63
    routing   exchange and routing key as the basic.deliver fields that carry them: two shortstrs
    content   the publisher's header frame and body frames as they came: one bytes, or, when the content is larger than
              SLICE_MAX, a tuple of bytes, each one whole frame (it is never joined in the loop)
    origin    channel number | largest frame's total size in octets << 16 | REKEYED | BLIND: when the content can go out
              unchanged. Channel number 0, on which no client can publish: the broker wrote the header's history of
              deaths (see core/deadletter); who changes a client's header for another reason keeps its channel number
    deadline  wall clock in milliseconds from which on it is not delivered; 0: never
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TypeAlias

from amqpd.wire import properties
from amqpd.wire.framing import HEADER, frame
from amqpd.wire.outgoing import Content

__all__ = [
    "BLIND",
    "PERSISTENT",
    "REKEYED",
    "SLICE_MAX",
    "Content",
    "Message",
    "exchange_of",
    "has_priority",
    "props_of",
    "routing_key_of",
    "with_props",
    "without_blind_copies",
]

Message: TypeAlias = tuple[int, bytes, Content, int, int]

SLICE_MAX = 65536

PERSISTENT = 1
"""The bit of a message's id that says delivery-mode 2."""

REKEYED = 1 << 56
"""The bit of a message's origin that says that its routing key took the place of all keys it was published with: the CC
header is still there, but no longer routes."""

BLIND = 1 << 57
"""The bit of a message's origin that says that its headers have a BCC, whose keys route its dead letters and are to be
seen by nobody. It makes the origin larger than any frame_max: such a content never goes out unchanged."""

LARGEST_MASK = (1 << 40) - 1

FRAME_HEAD = 7
HEADER_HEAD = 12
"""Octets of a content header before its properties: class, weight, body size."""


def exchange_of(message: Message) -> str:
    """The exchange that the message was published to."""
    routing = message[1]
    return routing[1 : routing[0] + 1].decode("utf-8", "surrogateescape")


def routing_key_of(message: Message) -> str:
    """The routing key that the message was published with."""
    routing = message[1]
    return routing[routing[0] + 2 :].decode("utf-8", "surrogateescape")


def props_of(message: Message) -> bytes:
    """The message's properties (see wire/properties)."""
    content = message[2]
    header = content if isinstance(content, bytes) else content[0]
    size = int.from_bytes(header[3:FRAME_HEAD], "big")
    return header[FRAME_HEAD + HEADER_HEAD : FRAME_HEAD + size]


def has_priority(message: Message) -> bool:
    """Is there a priority among its properties? (See the drawing in wire/properties.)"""
    content = message[2]
    header = content if isinstance(content, bytes) else content[0]
    return header[FRAME_HEAD + HEADER_HEAD] & 0x08 != 0


def with_props(message: Message, props: bytes, number: int) -> tuple[Content, int]:
    """The message's content with other properties, and its origin when that header came on channel `number`.

    A body in frames of its own is shared, not copied. The origin's largest frame may be one of before.
    """
    _, _, content, origin, _ = message
    first = content if isinstance(content, bytes) else content[0]
    payload_end = FRAME_HEAD + int.from_bytes(first[3:FRAME_HEAD], "big")
    header = frame(HEADER, number, first[FRAME_HEAD : FRAME_HEAD + HEADER_HEAD] + props)
    largest = max(origin >> 16 & LARGEST_MASK, len(header))
    changed: Content
    if not isinstance(content, bytes):
        changed = (header, *content[1:])
    elif len(header) + len(content) - payload_end - 1 <= SLICE_MAX:
        changed = header + content[payload_end + 1 :]
    else:
        changed = (header, *frames_in(content, payload_end + 1))
    return changed, number | largest << 16 | origin & (REKEYED | BLIND)


def without_blind_copies(content: Content, origin: int) -> Content:
    """The content as it is sent, of a message that has BLIND."""
    message = 0, b"", content, origin, 0
    props = props_of(message)
    kept = {name: field for name, field in properties.headers(props).items() if name != "BCC"}
    return with_props(message, properties.rewrite(props, headers=kept), 0)[0]


def frames_in(content: bytes, start: int) -> Iterator[bytes]:
    """The frames of a content in one piece, from the one at `start` on."""
    while start < len(content):
        end = start + FRAME_HEAD + int.from_bytes(content[start + 3 : start + FRAME_HEAD], "big") + 1
        yield content[start:end]
        start = end
