"""Sockets of the load generator: senders that push prepared blocks, receivers that count replies of one length.

Timeouts are the kernel's (SO_RCVTIMEO, SO_SNDTIMEO): Python's own ask poll() before every call.
"""

from __future__ import annotations

import select
import socket
import struct
import time
from array import array
from collections.abc import Iterator, Sequence

from tests.bench import frames
from tests.bench.crew import FROM, Job, LoadError, Patience
from tests.support.rawclient import RawClient

__all__ = ["Replies", "Sender", "Stamps", "bare", "percentiles", "send_to_all"]

TICK = 0.05
"""Seconds after which a receiver that gets nothing looks at the board."""

BUFFER = 256 * 1024
END = 0xCE
CLOSING = (b"\x00\x0a\x00\x32", b"\x00\x14\x00\x28")
"""connection.close and channel.close, which are shorter than most replies."""


def bare(client: RawClient) -> socket.socket:
    """The client's socket, blocking, with the kernel's timeouts."""
    sock = client.socket
    sock.settimeout(None)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack("ll", 0, int(TICK * 1e6)))
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, struct.pack("ll", 20, 0))
    return sock


class Stamps:
    """Latencies out of the time stamps in replies."""

    def __init__(self, job: Job, length: int, size: int) -> None:
        self.board = job.board
        # The stamp is in the first body frame, and how far that is from the end is known.
        bodies = size + 8 * -(-size // (frames.FRAME_MAX - 8))
        at = length - bodies + 7
        self.layout = struct.Struct(f">{at}xq{length - at - 8}x")
        self.samples = array("q")

    def take(self, data: memoryview) -> None:
        """Complete replies, just read."""
        now, since = time.monotonic_ns(), self.board[FROM]
        if since:
            self.samples.extend([now - stamp for (stamp,) in self.layout.iter_unpack(data) if stamp >= since])


class Replies:
    """Counts replies of one length on one client's socket, which nobody else reads from now on.

    A reply that is not complete moves to the front of the buffer; so complete ones always begin there, and one octet
    of each can be looked at in a strided slice. That is how every reply's last frame end is checked, and how
    deliveries are told apart by channel. `tag_at` is where a delivery tag that counts from one is, if there is one.
    """

    def __init__(self, client: RawClient, length: int, stamps: Stamps | None = None, tag_at: int = 0) -> None:
        begun = client.take_buffered()
        self.sock = bare(client)
        self.length = length
        self.stamps = stamps
        self.tag_at = tag_at
        self.buffer = bytearray(max(BUFFER, 2 * length, 2 * len(begun)))
        self.view = memoryview(self.buffer)
        self.have = len(begun)
        self.view[: self.have] = begun
        self.complete = 0
        self.count = 0

    def read(self) -> int:
        """Read once; how many replies are complete now, at the front of the buffer until the next read."""
        have, length, buffer = self.have, self.length, self.buffer
        if self.complete:
            if have:
                self.view[:have] = self.view[self.complete : self.complete + have]
            self.complete = 0
        try:
            size = self.sock.recv_into(self.view[have:])
        except BlockingIOError:
            if bytes(buffer[7:11]) in CLOSING and have:
                raise self.error("the broker closes") from None
            return 0
        if not size:
            raise self.error("the broker closed the connection")
        have += size
        count = have // length
        self.have = have
        if not count:
            return 0
        end = count * length
        if buffer[length - 1 : end : length].count(END) != count:
            raise self.error(f"a reply is not {length} octets long")
        self.count += count
        if self.tag_at:
            at = end - length + self.tag_at
            tag = int.from_bytes(buffer[at : at + 8])
            if tag != self.count:
                raise self.error(f"delivery {self.count} has tag {tag}")
        if self.stamps is not None:
            self.stamps.take(self.view[:end])
        self.complete = end
        self.have = have - end
        return count

    def column(self, at: int) -> bytearray:
        """One octet of each reply of the last read."""
        return self.buffer[at : self.complete : self.length]

    def error(self, what: str) -> LoadError:
        """What is wrong, with what was received."""
        return LoadError(f"{what}: {bytes(self.buffer[: min(self.have, 300)])!r}")


class Sender:
    """One connection's outgoing blocks; what the socket does not take is kept for the next push."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.left = memoryview(b"")

    def push(self, block: bytes | bytearray | None) -> bool:
        """Send the rest of the last block, or begin this one; False when the socket takes no more."""
        if not self.left:
            if block is None:
                return True
            self.left = memoryview(block)
        try:
            sent = self.sock.send(self.left, socket.MSG_DONTWAIT)
        except BlockingIOError:
            return False
        self.left = self.left[sent:]
        return True


def send_to_all(senders: Sequence[Sender]) -> None:
    """Finish every block that was begun."""
    for sender in senders:
        if sender.left:
            sender.sock.sendall(sender.left)
            sender.left = memoryview(b"")


def readable(replies: Sequence[Replies]) -> Iterator[list[Replies]]:
    """Again and again those that have something to read; with one, blocking reads need no poll."""
    if len(replies) == 1:
        while True:
            yield list(replies)
    poll = select.epoll()
    by_number = {reply.sock.fileno(): reply for reply in replies}
    for number in by_number:
        poll.register(number, select.EPOLLIN)
    with poll:
        while True:
            yield [by_number[number] for number, _ in poll.poll(TICK)]


def poll_for_room(senders: Sequence[Sender], patience: Patience) -> None:
    """Wait until one of the sockets takes more."""
    poll = select.poll()
    for sender in senders:
        poll.register(sender.sock, select.POLLOUT)
    if poll.poll(TICK * 1000):
        patience.progress()
    patience.check("sending")


def percentiles(samples: array[int]) -> dict[str, float]:
    """Median, p99, p99.9 and the longest, in milliseconds, and how many they are of."""
    if not samples:
        return {}
    ordered = sorted(samples)
    last = len(ordered) - 1
    points = {"p50": 0.5, "p99": 0.99, "p99.9": 0.999, "max": 1.0}
    return {"samples": len(ordered), **{name: ordered[round(part * last)] / 1e6 for name, part in points.items()}}
