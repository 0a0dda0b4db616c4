"""Frames: their heads, their kinds, and what is wrong with a bad one.

     0      1         3             7                  size+7 size+8
    +------+---------+-------------+------------------+-----------+
    | type | channel |    size     |     payload      | frame-end |
    +------+---------+-------------+------------------+-----------+
      octet   short       long         size octets      0xCE

Source: AMQP 0-9-1 section 2.3.5; error texts as rabbit_reader writes them.
"""

from __future__ import annotations

from struct import Struct

from amqpd.errors import FrameError, UnexpectedFrame

__all__ = [
    "BODY",
    "FRAME_END",
    "HEADER",
    "HEARTBEAT",
    "HEARTBEAT_FRAME",
    "METHOD",
    "OVERHEAD",
    "PROTOCOL_HEADER",
    "bad_end",
    "erlang_binary",
    "frame",
    "too_large",
    "unexpected",
    "unknown_kind",
    "unpack_head",
]

METHOD = 1
HEADER = 2
BODY = 3
HEARTBEAT = 8

FRAME_END = 0xCE
HEAD_SIZE = 7
OVERHEAD = 8
"""Octets of a frame that are not payload: the head and the frame-end."""

PROTOCOL_HEADER = b"AMQP\x00\x00\x09\x01"
HEARTBEAT_FRAME = b"\x08\x00\x00\x00\x00\x00\x00\xce"

HEAD = Struct(">BHI")
unpack_head = HEAD.unpack_from


def frame(kind: int, channel: int, payload: bytes) -> bytes:
    """A whole frame."""
    return b"%b%b\xce" % (HEAD.pack(kind, channel, len(payload)), payload)


def erlang_binary(data: bytes) -> str:
    """The way Erlang prints a binary: as text when all of it is printable, else as numbers."""
    if data and all(32 <= octet < 127 and octet not in b'"\\' for octet in data):
        return f'<<"{data.decode("ascii")}">>'
    return "<<" + ",".join(str(octet) for octet in data) + ">>"


def snippet(payload: bytes) -> str:
    if len(payload) <= 16:
        return f"all octets = {erlang_binary(payload)}"
    return f"first 16 octets = {erlang_binary(payload[:16])}"


def too_large(kind: int, size: int, limit: int) -> FrameError:
    """The announced payload is larger than frame_max allows."""
    return FrameError(f"type {kind}, all octets = <<>>: {{frame_too_large,{size},{limit}}}")


def bad_end(kind: int, payload: bytes, octet: int) -> FrameError:
    """The frame does not end in 0xCE."""
    return FrameError(f"type {kind}, {snippet(payload)}: {{invalid_frame_end_marker,{octet}}}")


def unknown_kind(kind: int, payload: bytes) -> FrameError:
    """No such frame type, or a heartbeat that carries something."""
    return FrameError(f"type {kind}, {snippet(payload)}: unknown_frame")


def unexpected(kind: int, payload: bytes) -> UnexpectedFrame:
    """A frame that may not come on this channel or now."""
    return UnexpectedFrame(f"type {kind}, {snippet(payload)}")
