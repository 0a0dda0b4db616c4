"""The message: one exact tuple of bytes and ints, shared by every queue it lies in.

Only atoms go in, so the garbage collector stops looking at a message after its first pass; with a million parked
messages that is the difference between a stall of 25 ms and one of over 100. Whatever changes while a message lives
(redelivered, counts, place on disk) is kept by the queue or the ledger, never here.

    id        order of acceptance on this node, ascending, never used again; its lowest bit says persistent;
              0 < id < 2**63
    routing   exchange and routing key as the basic.deliver fields that carry them: two shortstrs
    content   the publisher's header frame and body frames as they came: one bytes, or, when the content is larger than
              SLICE_MAX, a tuple of bytes, each one whole frame (it is never joined in the loop)
    origin    channel number | largest frame's total size in octets << 16: when the content can go out unchanged
    deadline  wall clock in milliseconds after which it is not delivered; 0: never
"""

from __future__ import annotations

from typing import TypeAlias

from amqpd.wire.outgoing import Content

__all__ = ["PERSISTENT", "SLICE_MAX", "Content", "Message", "props_of", "routing_key_of"]

Message: TypeAlias = tuple[int, bytes, Content, int, int]

SLICE_MAX = 65536

PERSISTENT = 1
"""The bit of a message's id that says delivery-mode 2."""

FRAME_HEAD = 7
HEADER_HEAD = 12
"""Octets of a content header before its properties: class, weight, body size."""


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
