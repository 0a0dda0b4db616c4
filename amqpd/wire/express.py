"""The lane in: a whole publish, or an ack, recognised by its fixed bytes without making an object of it.

A lane function looks at the bytes and either says where everything lies or declines; it never decides. Whatever is odd
(split body, interleaved frame, wrong class, incomplete content, unusual size) is declined and takes the general road
frame by frame, where it gets its specified answer.
"""

from __future__ import annotations

from struct import Struct

__all__ = ["ACK", "ACK_SIZE", "PUBLISH", "publish", "unpack_ack"]

PUBLISH = b"\x00\x3c\x00\x28"
ACK = b"\x00\x3c\x00\x50"

ACK_SIZE = 13
"""Payload of basic.ack: ids, delivery tag, one octet of bits."""

unpack_ack = Struct(">QBB").unpack_from
"""Delivery tag, bits and frame-end, from 11 octets behind the frame's start."""

unpack_frames = Struct(">BBHIHHQ").unpack_from
unpack_body = Struct(">BBHI").unpack_from


def publish(data: bytes, start: int, size: int, number: int, limit: int) -> tuple[int, int, int] | None:
    """Is a whole publish at `start`: method (`size` octets of payload), header and one body frame, or no body?

    `number` is its channel, `limit` the largest body that needs no closer look. Returns the end of the method frame,
    the end of the header frame and the end of the content; None declines.
    """
    method_end = start + size + 8
    length = len(data)
    if length < method_end + 21:
        return None
    end, kind, channel, header_size, class_id, _, body_size = unpack_frames(data, method_end - 1)
    header_end = method_end + header_size + 8
    if end != 0xCE or kind != 2 or channel != number or class_id != 60 or header_size < 14 or length < header_end:
        return None
    if body_size == 0:
        return (method_end, header_end, header_end) if data[header_end - 1] == 0xCE and header_size <= limit else None
    content_end = header_end + body_size + 8
    if body_size > limit or header_size > limit or length < content_end or data[content_end - 1] != 0xCE:
        return None
    end, kind, channel, size = unpack_body(data, header_end - 1)
    if end != 0xCE or kind != 3 or channel != number or size != body_size:
        return None
    return method_end, header_end, content_end
