"""The lane in: a whole publish, or acks, recognised by their fixed bytes without making objects of them.

A lane function looks at the bytes and either says where everything lies or declines; it never decides. Whatever is odd
(split body, interleaved frame, wrong class, incomplete content, unusual size) is declined and takes the general road
frame by frame, where it gets its specified answer.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import lru_cache
from struct import Struct

__all__ = ["ACK", "ACK_FRAME", "PUBLISH", "acks", "alike", "content", "names", "unpack_ack"]

PUBLISH = b"\x00\x3c\x00\x28"
ACK = b"\x00\x3c\x00\x50"

ACK_FRAME = 21
"""Octets of basic.ack: frame head, ids, delivery tag, one octet of bits, frame end."""

ACKS_MAX = 1024
"""Acks that are looked at together."""

unpack_ack = Struct(">QBB").unpack_from
"""Delivery tag, bits and frame-end, from 11 octets behind the frame's start."""

unpack_acks = Struct(">11sQBB").iter_unpack

unpack_header = Struct(">BHIHHQ").unpack_from
unpack_body = Struct(">BHI").unpack_from


def names(arguments: bytes) -> tuple[str, str] | None:
    """Exchange and routing key of a publish with these arguments; None declines."""
    try:
        key_start = arguments[2] + 4
        key_end = key_start + arguments[key_start - 1]
        if key_end + 1 != len(arguments) or arguments[key_end] > 1:
            return None
        return arguments[3 : key_start - 1].decode(), arguments[key_start:key_end].decode()
    except (IndexError, UnicodeDecodeError):
        return None


def content(data: bytes, start: int, number: int, limit: int) -> tuple[int, int, int] | None:
    """Is a whole content at `start`, a header frame and one body frame, or none for an empty body?

    `number` is its channel, `limit` the largest payload that needs no closer look. Returns the end of the header frame,
    the end of the content and the body's size; None declines.
    """
    length = len(data)
    if length < start + 22:
        return None
    kind, channel, header_size, class_id, _, body_size = unpack_header(data, start)
    header_end = start + header_size + 8
    if kind != 2 or channel != number or class_id != 60 or not 14 <= header_size <= limit or length < header_end:
        return None
    if data[header_end - 1] != 0xCE:
        return None
    if body_size == 0:
        return header_end, header_end, 0
    content_end = header_end + body_size + 8
    if body_size > limit or length < content_end or data[content_end - 1] != 0xCE:
        return None
    if unpack_body(data, header_end) != (3, number, body_size):
        return None
    return header_end, content_end, body_size


@lru_cache(maxsize=1024)
def halves(first: int, second: int) -> Callable[[memoryview], Iterator[tuple[bytes, bytes]]]:
    return Struct(f"{first}s{second}s").iter_unpack


def alike(data: bytes, start: int, head: int, octets: int, most: int) -> Iterator[tuple[bytes, bytes]]:
    """What stands from `start` on in pieces of `octets`, at most so many, each parted behind `head` octets: publishes
    of one size, if they are what they seem to be."""
    count = min((len(data) - start) // octets, most)
    return halves(head, octets - head)(memoryview(data)[start : start + count * octets])


def acks(data: bytes, start: int, tag: int) -> tuple[int, int]:
    """The ack of one tag at `start` and those of the tags that follow it, as far as their frames lie end to end: the
    last tag, and where the next frame starts."""
    position = start + ACK_FRAME
    if not data.startswith(data[start : start + 11], position):
        return tag, position
    head = data[start : start + 11]
    count = min((len(data) - position) // ACK_FRAME, ACKS_MAX)
    for same, following, bits, end in unpack_acks(memoryview(data)[position : position + count * ACK_FRAME]):
        if same != head or following != tag + 1 or bits or end != 0xCE:
            break
        tag = following
        position += ACK_FRAME
    return tag, position
