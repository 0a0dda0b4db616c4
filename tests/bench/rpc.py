"""The rpc scenario: clients with one request outstanding each, over direct reply-to, and one server.

The server reads the reply address out of every request, as it must: the broker chose it. What the clients get has one
length per client, which the first reply shows; from then on they count octets.
"""

from __future__ import annotations

import select
import struct
import time
from array import array
from contextlib import ExitStack
from typing import Any

from pamqp import commands

from tests.bench import frames
from tests.bench.crew import DONE, FINAL, FROM, SENT, STOP, Job, LoadError, Patience, own_cpu
from tests.bench.lines import TICK, bare, percentiles
from tests.bench.topology import Topology, connect
from tests.support.rawclient import Content, RawClient

__all__ = ["call", "serve"]

REPLY_TO = "amq.rabbitmq.reply-to"
REPLY_TO_FLAGS = 0x0200
"""Property flags of a content header that has reply_to and nothing else."""


class Caller:
    """One client."""

    def __init__(self, client: RawClient, request: bytes) -> None:
        self.client = client
        self.request = request
        self.length = 0
        self.have = 0
        self.asked_at = 0

    def first(self, server_tag: str) -> None:
        """A round trip in which every frame is read: from it the length of a reply is known."""
        self.client.send(self.request)
        reply = self.client.next_event(20.0)
        if not isinstance(reply, Content) or reply.consumer_tag.decode() != server_tag:
            raise LoadError(f"not a reply: {reply}")
        key = reply.routing_key.decode()
        properties = len(reply.header) - 12
        self.length = frames.delivery_length(server_tag, "", key, len(reply.body), properties)
        self.sock = bare(self.client)

    def ask(self) -> None:
        """Send the request."""
        self.asked_at = time.monotonic_ns()
        self.sock.sendall(self.request)

    def listen(self, buffer: bytearray) -> int:
        """Read; nanoseconds since the request when the reply is complete, else 0."""
        try:
            size = self.sock.recv_into(buffer)
        except BlockingIOError:
            return 0
        if not size:
            raise LoadError("the broker closed the connection")
        self.have += size
        if self.have < self.length:
            return 0
        if self.have > self.length or buffer[size - 1] != 0xCE:
            raise LoadError(f"{self.have} octets instead of a reply of {self.length}: {bytes(buffer[:300])!r}")
        self.have = 0
        return time.monotonic_ns() - self.asked_at


def call(job: Job) -> dict[str, Any]:
    """The clients."""
    cell, board = job.cell, job.board
    properties = commands.Basic.Properties(reply_to=REPLY_TO)
    request = frames.Template(1, "", Topology(cell).queues[0], cell.size, properties).whole
    samples = array("q")
    with ExitStack() as stack:
        callers = []
        for _ in range(cell.producers):
            client = stack.enter_context(connect(job.url, 20.0))
            client.open_channel()
            client.consume(REPLY_TO, "r", no_ack=True)
            callers.append(Caller(client, request))
        # The server answers before it is told to go, and counts these too.
        for caller in callers:
            caller.first("r")
        job.ready()
        done = _trips(job, callers, samples)
    board[FINAL] = done + len(callers)
    return {"sent": done, "received": done, "latency": percentiles(samples)}


def _trips(job: Job, callers: list[Caller], samples: array[int]) -> int:
    """Round trips until told to stop, and the last replies."""
    board, patience, buffer = job.board, Patience(), bytearray(64 * 1024)
    by_number = {caller.sock.fileno(): caller for caller in callers}
    done = 0
    with select.epoll() as poll:
        for number, caller in by_number.items():
            poll.register(number, select.EPOLLIN)
            caller.ask()
        open_requests = len(callers)
        while open_requests:
            # With one client the blocking read is all there is to wait for.
            ready = list(by_number) if len(callers) == 1 else [number for number, _ in poll.poll(TICK)]
            since = board[FROM]
            for number in ready:
                caller = by_number[number]
                took = caller.listen(buffer)
                if not took:
                    continue
                done += 1
                if since and caller.asked_at >= since:
                    samples.append(took)
                if board[STOP]:
                    open_requests -= 1
                else:
                    caller.ask()
                patience.progress()
            board[SENT] = board[DONE] = done
            patience.check("waiting for replies")
    return done


def serve(job: Job) -> dict[str, Any]:
    """The server: answers until all clients have stopped. The reply's body is the request's."""
    cell, board = job.cell, job.board
    topology = Topology(cell)
    answered, data = 0, b""
    with connect(job.url, 20.0) as client:
        client.open_channel()
        client.consume(topology.queues[0], topology.tag(0), no_ack=True)
        sock = bare(client)
        # The clients learn the length of a reply before the start.
        job.announce()
        job.began = own_cpu()
        while board[FINAL] < 0 or answered < board[FINAL]:
            try:
                piece = sock.recv(256 * 1024)
            except BlockingIOError:
                continue
            if not piece:
                raise LoadError("the broker closed the connection")
            data, replies = take_requests(data + piece, cell.size)
            if replies:
                sock.sendall(b"".join(replies))
                answered += len(replies)
    if data:
        raise LoadError(f"octets behind the last request: {data[:300]!r}")
    job.await_go()
    return {"received": answered}


def take_requests(data: bytes, size: int) -> tuple[bytes, list[bytes]]:
    """Cut complete requests off: what is left, and the replies to them."""
    replies = []
    at, end = 0, len(data)
    while end - at > 7:
        method = int.from_bytes(data[at + 3 : at + 7])
        head_at = at + method + 8
        if end - head_at < 7:
            break
        head = int.from_bytes(data[head_at + 3 : head_at + 7])
        after = head_at + head + 8 + size + 8
        if end < after:
            break
        flags = int.from_bytes(data[head_at + 19 : head_at + 21])
        if data[at + 7 : at + 11] != b"\x00\x3c\x00\x3c" or flags != REPLY_TO_FLAGS or data[after - 1] != 0xCE:
            raise LoadError(f"not a request: {data[at : at + 300]!r}")
        key_at = head_at + 21
        replies.append(reply(data[key_at : key_at + 1 + data[key_at]], size))
        at = after
    return data[at:], replies


def reply(key: bytes, size: int) -> bytes:
    """A publish to the default exchange; the key comes with its length."""
    method = b"\x00\x3c\x00\x28\x00\x00\x00" + key + b"\x00"
    return b"\x01\x00\x01" + len(method).to_bytes(4) + method + b"\xce" + contents(size)


_CONTENTS: dict[int, bytes] = {}


def contents(size: int) -> bytes:
    """Content header and body of a reply."""
    found = _CONTENTS.get(size)
    if found is None:
        found = (
            struct.pack(">BHIHHQHB", 2, 1, 14, 60, 0, size, 0, 0xCE)
            + struct.pack(">BHI", 3, 1, size)
            + b"x" * size
            + b"\xce"
        )
        _CONTENTS[size] = found
    return found
