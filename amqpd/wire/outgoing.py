"""The lane out: the frames that are sent per message, built from bytes without a method object.

A delivery is a method frame and the message's content. The content goes out as it came in when the consumer's channel
has the publisher's number and its frames fit; else the 7-octet frame heads are made anew, and bodies are split or left
as frame_max asks.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from struct import Struct
from typing import TypeAlias

__all__ = ["ack", "content_for", "deliver_packer", "get_empty", "get_ok", "nack", "returned", "shortstr"]

Content: TypeAlias = bytes | tuple[bytes, ...]
"""Header frame and body frames: end to end, or one bytes each (see core/message)."""

HEAD = Struct(">BHI")
pack_head = HEAD.pack
pack_settle = Struct(">BHIIQBB").pack

BASIC_DELIVER = b"\x00\x3c\x00\x3c"
BASIC_GET_OK = b"\x00\x3c\x00\x47"
BASIC_GET_EMPTY = b"\x00\x3c\x00\x48\x00"
BASIC_RETURN = b"\x00\x3c\x00\x32"
BASIC_ACK = 0x003C0050
BASIC_NACK = 0x003C0078


def shortstr(text: str) -> bytes:
    """A short string of at most 255 octets with its length octet."""
    data = text.encode("utf-8", "surrogateescape")
    return bytes((len(data),)) + data


Packer: TypeAlias = Callable[[bytes, int, bytes], bytes]

FramesOf: TypeAlias = Callable[[bytes, bool], tuple[Packer, bytes, bytes]]


@lru_cache(maxsize=1024)
def packer(head: int, tail: int) -> Packer:
    """Puts a delivery tag between so many octets and so many."""
    return Struct(f">{head}sQ{tail}s").pack


def deliver_packer(number: int, consumer_tag: str) -> FramesOf:
    """basic.deliver for one consumer: (routing, redelivered) -> pack, head, tail; a frame is `pack(head, tag, tail)`.

    So all that a run of messages has in common is put together once.
    """
    prefix = BASIC_DELIVER + shortstr(consumer_tag)
    fixed = len(prefix) + 9

    def frames_of(routing: bytes, redelivered: bool) -> tuple[Packer, bytes, bytes]:
        head = pack_head(1, number, fixed + len(routing)) + prefix
        tail = b"%c%b\xce" % (redelivered, routing)
        return packer(len(head), len(tail)), head, tail

    return frames_of


def get_ok(number: int, tag: int, redelivered: bool, routing: bytes, ready: int) -> bytes:
    """basic.get-ok; `ready` is the number of messages left."""
    payload = BASIC_GET_OK + Struct(">QB").pack(tag, redelivered) + routing + ready.to_bytes(4, "big")
    return pack_head(1, number, len(payload)) + payload + b"\xce"


def get_empty(number: int) -> bytes:
    """basic.get-empty."""
    return pack_head(1, number, len(BASIC_GET_EMPTY)) + BASIC_GET_EMPTY + b"\xce"


def returned(number: int, code: int, text: str, routing: bytes) -> bytes:
    """basic.return."""
    payload = BASIC_RETURN + code.to_bytes(2, "big") + shortstr(text) + routing
    return pack_head(1, number, len(payload)) + payload + b"\xce"


def ack(number: int, tag: int, multiple: bool) -> bytes:
    """basic.ack to a publisher."""
    return pack_settle(1, number, 13, BASIC_ACK, tag, multiple, 0xCE)


def nack(number: int, tag: int) -> bytes:
    """basic.nack of one tag to a publisher."""
    return pack_settle(1, number, 13, BASIC_NACK, tag, 0, 0xCE)


def content_for(content: Content, number: int, frame_max: int) -> list[bytes]:
    """The content's frames for another channel number or a smaller frame_max (0: no limit)."""
    limit = frame_max - 8 if frame_max else 0xFFFFFFFF
    if isinstance(content, bytes):
        renumbered = with_number(content, number, limit)
        if renumbered is not None:
            return [renumbered]
    frames = [content] if isinstance(content, bytes) else content
    pieces: list[bytes] = []
    for chunk in frames:
        start = 0
        while start < len(chunk):
            kind, _, size = HEAD.unpack_from(chunk, start)
            begin, end = start + 7, start + 7 + size
            while end - begin > limit and kind == 3:
                pieces += (pack_head(3, number, limit), chunk[begin : begin + limit], b"\xce")
                begin += limit
            pieces += (pack_head(kind, number, end - begin), chunk[begin : end + 1])
            start = end + 1
    return pieces


def with_number(content: bytes, number: int, limit: int) -> bytes | None:
    """The content for another channel number, if it is a header frame and a body frame that fits, or a header only."""
    channel = number.to_bytes(2, "big")
    header_end = int.from_bytes(content[3:7], "big") + 8
    if header_end == len(content):
        return b"".join((b"\x02", channel, content[3:]))
    size = int.from_bytes(content[header_end + 3 : header_end + 7], "big")
    if header_end + size + 8 != len(content) or size > limit:
        return None
    return b"".join((b"\x02", channel, content[3:header_end], b"\x03", channel, content[header_end + 3 :]))
