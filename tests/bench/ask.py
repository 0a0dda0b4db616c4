"""The ask and fill scenarios: one connection that publishes and gets answers on the same socket, or none.

`confirm` and `return` keep `window` messages outstanding; `get` publishes one and fetches one in each round trip, so
that the queue stays as it is; `fill` publishes and gets nothing back. Queues that nobody reads are purged from time to
time, and purge-ok's count must be what was published: nothing was lost.
"""

from __future__ import annotations

import select
import socket
import struct
import time
from array import array
from collections import deque
from typing import Any, Protocol

from pamqp import commands

from tests.bench.crew import DONE, FROM, SENT, STOP, Job, LoadError, Patience
from tests.bench.flow import BLOCK_BYTES, Pace
from tests.bench.lines import Replies, bare, percentiles
from tests.bench.topology import Topology, connect, purge_request
from tests.support.rawclient import RawClient, pack_method

__all__ = ["ask", "fill"]

GET_AHEAD = 10
"""Messages that are in the queue before the first get."""

ACK, NACK = 80, 120


class Counter(Protocol):
    """Answers on a socket: `count` of them so far; `read` takes more and says how many."""

    count: int

    def read(self) -> int: ...


class Confirms:
    """Counts confirms: single and multiple acks of one channel, in any order."""

    FRAME = struct.Struct(">7xHHQBB")

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.buffer = bytearray(64 * 1024)
        self.view = memoryview(self.buffer)
        self.have = 0
        self.floor = 0
        """All tags up to this one are confirmed."""
        self.loose: set[int] = set()
        """Confirmed tags above it."""
        self.count = 0

    def read(self) -> int:
        """Read once."""
        try:
            size = self.sock.recv_into(self.view[self.have :])
        except BlockingIOError:
            return 0
        if not size:
            raise LoadError("the broker closed the connection")
        self.have += size
        end = self.have - self.have % self.FRAME.size
        floor, loose = self.floor, self.loose
        for kind, method, tag, multiple, mark in self.FRAME.iter_unpack(self.view[:end]):
            if (kind, method, mark) != (60, ACK, 0xCE):
                what = "a nack" if (kind, method) == (60, NACK) else "no confirm"
                raise LoadError(f"{what}: {bytes(self.buffer[: min(end, 300)])!r}")
            if multiple:
                floor = max(floor, tag)
            elif tag == floor + 1:
                floor = tag
            else:
                loose.add(tag)
        if loose:
            while floor + 1 in loose:
                floor += 1
            self.loose = {tag for tag in loose if tag > floor}
        self.floor = floor
        rest = self.have - end
        if rest:
            self.view[:rest] = self.view[end : self.have]
        self.have = rest
        before, self.count = self.count, floor + len(self.loose)
        return self.count - before


class Asker:
    """The conversation of one cell."""

    def __init__(self, job: Job, client: RawClient, topology: Topology) -> None:
        cell = self.cell = job.cell
        self.job, self.sock = job, bare(client)
        self.queue = topology.queues[0]
        self.template = topology.templates(0)[0]
        self.get = pack_method(1, commands.Basic.Get(queue=self.queue, no_ack=True)) if cell.asks == "get" else b""
        self.counter: Counter | None = None
        if cell.asks == "confirm":
            self.counter = Confirms(self.sock)
        elif cell.asks:
            self.counter = Replies(client, topology.answer_length())
        self.sent = self.purged = 0
        self.parks = cell.kind == "fill" or cell.asks == "confirm"
        length = len(self.template.whole)
        most = max(1, cell.window // 4) if cell.window else cell.parked
        self.step = max(1, min(BLOCK_BYTES // length, most))
        self.samples = array("q")
        self.times: deque[tuple[int, int, int]] = deque()

    def transmit(self, count: int, stamp: bytes | None = None) -> None:
        """Send so many questions; their answers are timed when there is a stamp."""
        if stamp is not None:
            self.times.append((self.sent + count, count, int.from_bytes(stamp)))
        self.sock.sendall((self.template.whole + self.get) * count)
        self.sent += count
        self.job.board[SENT] = self.sent

    def listen(self) -> bool:
        """Read answers once; False when there are none."""
        counter = self.counter
        if counter is None or not counter.read():
            return False
        self.job.board[DONE] = counter.count
        if self.times:
            now, since = time.monotonic_ns(), self.job.board[FROM]
            while self.times and self.times[0][0] <= counter.count:
                _, count, stamp = self.times.popleft()
                if since and stamp >= since:
                    self.samples.extend([now - stamp] * count)
        return True

    def drain(self) -> None:
        """Wait for every answer."""
        patience = Patience()
        while self.counter is not None and self.counter.count < self.sent:
            if self.listen():
                patience.progress()
            patience.check(f"waiting for {self.sent} answers, of which {self.counter.count} have come")
        if self.counter is not None and self.counter.count != self.sent:
            raise LoadError(f"{self.sent} questions, {self.counter.count} answers")

    def purge(self) -> None:
        """Empty the queue and see that all was there."""
        self.drain()
        self.sock.sendall(purge_request(self.queue))
        found = int.from_bytes(self._method(b"\x00\x32\x00\x1f", 4))
        if found != self.sent - self.purged:
            raise LoadError(f"{self.sent - self.purged} messages were published, {found} are in the queue")
        self.purged = self.sent

    def _method(self, kind: bytes, size: int) -> bytes:
        """The arguments of a short method that is the only thing to come."""
        data, patience = b"", Patience()
        while len(data) < 7 + 4 + size + 1:
            try:
                piece = self.sock.recv(4096)
            except BlockingIOError:
                patience.check("waiting for purge-ok")
                continue
            if not piece:
                raise LoadError("the broker closed the connection")
            data += piece
            if len(data) >= 11 and data[7:11] != kind:
                raise LoadError(f"not purge-ok: {data[:300]!r}")
        return data[11 : 11 + size]

    def saturate(self) -> None:
        """As fast as it goes, `window` outstanding."""
        board, window, counter = self.job.board, self.cell.window, self.counter
        limit = self.cell.parked
        while not board[STOP]:
            if self.parks and self.sent - self.purged + self.step > limit:
                self.purge()
            if counter is None:
                self.transmit(self.step)
                board[DONE] = self.sent
            elif self.sent - counter.count + self.step <= window:
                self.transmit(self.step)
            else:
                self.hear_some()

    def hear_some(self) -> None:
        """Wait until something is answered."""
        patience = Patience()
        while not self.listen():
            patience.check(f"waiting for answers; {self.sent} questions")

    def rounds(self) -> None:
        """One question at a time, each timed."""
        board = self.job.board
        while not board[STOP]:
            self.transmit(1, time.monotonic_ns().to_bytes(8))
            self.hear_some()

    def paced(self, rate: float) -> None:
        """So many a second, each timed."""
        board, pace = self.job.board, Pace(rate)
        while not board[STOP]:
            if self.parks and self.sent - self.purged > self.cell.parked:
                self.purge()
            while (ahead := pace.ahead()) > 0:
                if select.select([self.sock], [], [], ahead)[0]:
                    self.listen()
            count, stamp = pace.take()
            if count:
                self.transmit(count, stamp)


def ask(job: Job) -> dict[str, Any]:
    """A cell with answers."""
    topology = Topology(job.cell)
    with connect(job.url, 20.0) as client:
        client.open_channel()
        if job.cell.asks == "confirm":
            client.confirm_select()
        if job.cell.asks == "get":
            for _ in range(GET_AHEAD):
                client.send(topology.templates(0)[0].whole)
            client.declare_queue(topology.queues[0], passive=True)
        asker = Asker(job, client, topology)
        job.ready()
        if job.cell.window == 1:
            asker.rounds()
        elif job.rate:
            asker.paced(job.rate)
        else:
            asker.saturate()
        asker.drain()
        if asker.parks:
            asker.purge()
    return {"sent": asker.sent, "received": asker.sent, "latency": percentiles(asker.samples)}


def fill(job: Job) -> dict[str, Any]:
    """Publishing and nothing else."""
    topology = Topology(job.cell)
    with connect(job.url, 20.0) as client:
        client.open_channel()
        asker = Asker(job, client, topology)
        job.ready()
        asker.saturate()
        asker.purge()
    return {"sent": asker.sent, "received": asker.sent, "latency": {}}
