"""Exact bytes: what the load generator sends, prepared beforehand, and how long everything is that it gets back.

A load generator that parses frames costs as much as a broker. This one needs not: consumer tag, exchange, routing key,
properties and body of a cell have fixed lengths, so that every reply has one too, and counting replies is dividing by
it. Bodies begin with eight octets for a time stamp. Layouts: AMQP 0-9-1 specification, sections 2.3.5 and 4.2.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

from pamqp import commands, header

from tests.support.rawclient import pack_publish

__all__ = ["FRAME_MAX", "Acks", "Template", "ack_multiple", "content_length", "delivery_length", "get_ok_length"]

FRAME_MAX = 131072
"""The largest frame; what brokers propose unless they are told otherwise."""

OVERHEAD = 8
"""Octets of a frame around its payload."""

STAMP = 8
"""Octets at the beginning of a body that hold a time stamp."""

ACK = struct.Struct(">BHIHHQBB")
ACK_SIZE = ACK.size
TAG_AT = 11
"""Where the delivery tag begins in an ack."""


def content_length(size: int, properties: int) -> int:
    """Octets of a content header frame with `properties` octets of flags and values, and of the body frames."""
    frames = -(-size // (FRAME_MAX - OVERHEAD))
    return OVERHEAD + 12 + properties + size + OVERHEAD * frames


def delivery_length(tag: str, exchange: str, key: str, size: int, properties: int) -> int:
    """Octets of a basic.deliver with its content."""
    method = 4 + 1 + len(tag) + 8 + 1 + 1 + len(exchange) + 1 + len(key)
    return OVERHEAD + method + content_length(size, properties)


def get_ok_length(exchange: str, key: str, size: int, properties: int) -> int:
    """Octets of a basic.get-ok with its content."""
    method = 4 + 8 + 1 + 1 + len(exchange) + 1 + len(key) + 4
    return OVERHEAD + method + content_length(size, properties)


def return_length(exchange: str, key: str, size: int, properties: int, text: str = "NO_ROUTE") -> int:
    """Octets of a basic.return with its content."""
    method = 4 + 2 + 1 + len(text) + 1 + len(exchange) + 1 + len(key)
    return OVERHEAD + method + content_length(size, properties)


def properties_length(properties: commands.Basic.Properties) -> int:
    """Octets of property flags and values."""
    return len(header.ContentHeader(0, 0, properties).marshal()) - 12


class Template:
    """One publish with a hole for the time stamp; bodies shorter than a stamp have none."""

    def __init__(
        self,
        channel: int,
        exchange: str,
        key: str,
        size: int,
        properties: commands.Basic.Properties | None = None,
        *,
        mandatory: bool = False,
    ) -> None:
        body = b"x" * size
        whole = pack_publish(channel, exchange, key, body, properties, mandatory=mandatory, frame_max=FRAME_MAX)
        # The body's end is the frame's; what comes before the body has the same length whatever its size.
        without = pack_publish(channel, exchange, key, b"", properties, mandatory=mandatory, frame_max=FRAME_MAX)
        at = len(without) + 7
        self.whole = whole
        self.before, self.after = whole[:at], whole[at + STAMP :]
        self.key_at = whole.index(key.encode(), 7 + 4 + 2 + 1 + len(exchange))
        """Where the routing key begins."""

    def stamped(self, stamp: bytes) -> bytes:
        """The publish with this time stamp."""
        return self.before + stamp + self.after


def ack_multiple(channel: int, tag: int) -> bytes:
    """A basic.ack of all deliveries up to `tag`."""
    return ACK.pack(1, channel, 13, 60, 80, tag, 1, 0xCE)


class Acks:
    """Acks of consecutive delivery tags, one frame each, cut out of a prepared row.

    The row holds the tags of one value of the upper 48 bits; when these change, six octets in every frame do, which a
    strided assignment does at once.
    """

    SPAN = 1 << 16

    def __init__(self, channel: int) -> None:
        self.row = bytearray(b"".join(ACK.pack(1, channel, 13, 60, 80, tag, 0, 0xCE) for tag in range(self.SPAN)))
        self.view = memoryview(self.row)
        self.upper = 0

    def of(self, first: int, last: int) -> Iterator[memoryview]:
        """Acks of the tags from `first` to `last`, in pieces that must be sent before the next is asked for."""
        while first <= last:
            upper, low = divmod(first, self.SPAN)
            if upper != self.upper:
                for at, octet in enumerate(upper.to_bytes(6), TAG_AT):
                    self.row[at::ACK_SIZE] = bytes([octet]) * self.SPAN
                self.upper = upper
            count = min(last - first + 1, self.SPAN - low)
            yield self.view[low * ACK_SIZE : (low + count) * ACK_SIZE]
            first += count
