"""The flow scenario: producers to consumers.

The sender keeps a backlog in the broker that is large enough for it never to idle and small enough not to be a test of
parked messages. In a paced run it sends every millisecond what is due, each message with the time at which it was due
(when the sender is late) or was made (when it was not), so that a broker that stops is charged for the whole stop.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

from tests.bench import frames
from tests.bench.cells import Cell
from tests.bench.crew import DONE, FINAL, SENT, STOP, Job, LoadError, Patience
from tests.bench.lines import Replies, Sender, Stamps, bare, percentiles, poll_for_room, readable, send_to_all
from tests.bench.topology import Topology, connect

__all__ = ["Pace", "receive", "send"]

BLOCK_BYTES = 128 * 1024
NAP = 0.0005
"""Seconds between looks at the board while the backlog is full."""


class Pace:
    """How many messages are due, and what time they carry."""

    def __init__(self, rate: float) -> None:
        self.rate = rate
        self.tick = max(0.001, 1 / rate)
        self.due_at = time.monotonic() + self.tick
        self.owed = 0.0

    def ahead(self) -> float:
        """Seconds until messages are due."""
        return self.due_at - time.monotonic()

    def take(self) -> tuple[int, bytes]:
        """What is due now: how many messages, and their time stamp in nanoseconds of the monotonic clock."""
        now, due = time.monotonic_ns(), int(self.due_at * 1e9)
        # Waking up a little late is the sender's fault, a whole tick is the broker's, which did not read.
        stamp = due if now - due > self.tick * 1e9 else now
        self.due_at += self.tick
        self.owed += self.rate * self.tick
        count = int(self.owed)
        self.owed -= count
        return count, stamp.to_bytes(8)


class UniqueKeys:
    """Blocks in which every message has a routing key that was never used: sixteen hexadecimal digits.

    The lower four count within the block; the upper ones are set by strided assignment for each block.
    """

    LOWER = 4

    def __init__(self, template: frames.Template, count: int) -> None:
        self.count, self.at, self.length = count, template.key_at, len(template.whole)
        self.block = bytearray(template.whole * count)
        self.number = 0
        for number in range(count):
            at = number * self.length + self.at + 16 - self.LOWER
            self.block[at : at + self.LOWER] = b"%04x" % number

    def __call__(self) -> bytes:
        self.number += 1
        for place, digit in enumerate(b"%012x" % self.number, self.at):
            self.block[place :: self.length] = bytes([digit]) * self.count
        return bytes(self.block)


def block_of(cell: Cell, templates: list[frames.Template]) -> tuple[int, Callable[[], bytes]]:
    """How many messages a block has, and what makes the next block."""
    length = len(templates[0].whole)
    most = max(1, cell.backlog // cell.copies // cell.producers // 4)
    count = max(len(templates), min(BLOCK_BYTES // length, most), 1)
    if not cell.keys:
        unique = UniqueKeys(templates[0], count)
        return count, unique
    block = b"".join(templates[number % len(templates)].whole for number in range(count))
    return count, lambda: block


def send(job: Job) -> dict[str, Any]:
    """The producers."""
    cell, board = job.cell, job.board
    topology = Topology(cell)
    with ExitStack() as stack:
        senders, templates = [], []
        for number in range(cell.producers):
            client = stack.enter_context(connect(job.url, 20.0))
            for channel in range(cell.channels):
                client.open_channel(1 + channel)
            senders.append(Sender(bare(client)))
            templates.append(topology.templates(number))
        blocks = [block_of(cell, each) for each in templates] if not job.rate else []
        job.ready()
        sent = _paced(job, senders, templates) if job.rate else _saturate(job, senders, blocks)
        board[SENT] = sent
        board[FINAL] = sent * cell.copies
        # The connections stay until all has arrived.
        patience, seen = Patience(), -1
        while board[DONE] < board[FINAL]:
            if board[DONE] != seen:
                seen = board[DONE]
                patience.progress()
            patience.check(f"waiting for {board[FINAL]} deliveries, of which {seen} have come")
            time.sleep(NAP)
    return {"sent": sent}


def _saturate(job: Job, senders: list[Sender], blocks: list[tuple[int, Callable[[], bytes]]]) -> int:
    """As fast as it goes."""
    board, copies, backlog = job.board, job.cell.copies, job.cell.backlog
    patience = Patience()
    sent = seen = 0
    alone = senders[0].sock if len(senders) == 1 else None
    while not board[STOP]:
        moved = False
        for sender, (count, block) in zip(senders, blocks, strict=True):
            done = board[DONE]
            if not sender.left and (sent + count) * copies - done > backlog:
                if done != seen:
                    seen = done
                    patience.progress()
                break
            if alone is not None:
                alone.sendall(block())
                sent += count
                moved = True
                continue
            fresh = not sender.left
            if sender.push(block() if fresh else None):
                sent += count if fresh else 0
                moved = True
        else:
            if not moved:
                poll_for_room(senders, patience)
            continue
        patience.check("waiting for the consumers")
        time.sleep(NAP)
    send_to_all(senders)
    return sent


def _paced(job: Job, senders: list[Sender], templates: list[list[frames.Template]]) -> int:
    """At the given rate of deliveries; each tick's messages go out on one of the connections."""
    board = job.board
    pace = Pace(job.rate / job.cell.copies)
    sent = turn = 0
    places = [0] * len(senders)
    while not board[STOP]:
        time.sleep(max(0.0, pace.ahead()))
        count, stamp = pace.take()
        if not count:
            continue
        at = turn % len(senders)
        turn += 1
        mine, place = templates[at], places[at]
        if len(mine) == 1:
            data = mine[0].stamped(stamp) * count
        else:
            data = b"".join(mine[(place + step) % len(mine)].stamped(stamp) for step in range(count))
        places[at] = (place + count) % len(mine)
        senders[at].sock.sendall(data)
        sent += count
    return sent


class Acknowledger:
    """Acks computed from counts."""

    def __init__(self, cell: Cell, replies: Replies) -> None:
        self.replies = replies
        self.each = cell.ack == "each"
        self.every = cell.ack_every
        self.counts = [0] * cell.channels
        self.acked = [0] * cell.channels
        self.books = [frames.Acks(1 + number) for number in range(cell.channels)] if self.each else []

    def deal(self, count: int) -> None:
        """So many deliveries more: acknowledge what is due."""
        if len(self.counts) == 1:
            self._on(0, count)
            return
        # The lower octet of the channel number, of each delivery.
        column = self.replies.column(2)
        for number in range(len(self.counts)):
            self._on(number, column.count(1 + number))

    def _on(self, number: int, count: int) -> None:
        total = self.counts[number] = self.counts[number] + count
        first = self.acked[number] + 1
        sock = self.replies.sock
        if self.each:
            for piece in self.books[number].of(first, total):
                sock.sendall(piece)
            self.acked[number] = total
        elif total - first + 1 >= self.every:
            self.acked[number] = total - total % self.every
            sock.sendall(frames.ack_multiple(1 + number, self.acked[number]))


def receive(job: Job) -> dict[str, Any]:
    """The consumers."""
    cell, board = job.cell, job.board
    topology = Topology(cell)
    length = topology.delivery_length()
    stamps = Stamps(job, length, cell.size) if job.rate else None
    with ExitStack() as stack:
        streams: list[Replies] = []
        ackers: dict[Replies, Acknowledger] = {}
        for number in range(cell.consumers):
            client = stack.enter_context(connect(job.url, 20.0))
            for channel in range(1, 1 + cell.channels):
                client.open_channel(channel)
                if cell.ack:
                    client.qos(cell.prefetch, channel)
                for queue in topology.queues_of(number):
                    client.consume(topology.queues[queue], topology.tag(queue), channel, no_ack=not cell.ack)
            tag_at = 7 + 4 + 1 + len(topology.tag(0)) if cell.channels == 1 else 0
            replies = Replies(client, length, stamps, tag_at)
            streams.append(replies)
            if cell.ack:
                ackers[replies] = Acknowledger(cell, replies)
        job.ready()
        _count(job, streams, ackers)
    if any(replies.have for replies in streams):
        raise LoadError("there are octets behind the last delivery")
    if board[FINAL] != sum(replies.count for replies in streams):
        raise LoadError(f"{board[FINAL]} deliveries were due, {sum(replies.count for replies in streams)} came")
    return {"received": board[DONE], "latency": percentiles(stamps.samples) if stamps else {}}


def _count(job: Job, streams: list[Replies], ackers: dict[Replies, Acknowledger]) -> None:
    """The hot loop: octets in, counts and acks out."""
    board, patience, received = job.board, Patience(), 0
    for ready in readable(streams):
        count = 0
        for replies in ready:
            more = replies.read()
            if more:
                count += more
                if ackers:
                    ackers[replies].deal(more)
        if count:
            received += count
            board[DONE] = received
            patience.progress()
        elif received == board[FINAL] or (board[FINAL] >= 0 and received > board[FINAL]):
            return
        elif board[SENT] or board[FINAL] >= 0:
            patience.check(f"receiving; {received} of {board[FINAL]} have come")
        if received == board[FINAL]:
            return
