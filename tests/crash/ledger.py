"""What really happened, as the clients saw it: the judge of a crash run.

Every publish, confirm, delivery and acknowledgement is entered here by the thread that did it or saw it. A message is
known by (producer, number); numbers grow by one per producer over the whole run. The promises that are checked:

1. *Nothing confirmed is lost.* A confirmed message stays in every queue it was routed to until an acknowledgement (or a
   reject without requeue) for it was sent.
2. *Nothing appears twice, except as redelivered.* Of the deliveries of a message from one queue only the first may say
   redelivered=false.
3. *Order.* In a queue, the messages of a producer are delivered in the order of their numbers: within the life of a
   consumer, redelivered or not, unless that consumer itself puts messages back; and over the whole run among those that
   are not redelivered.
4. *Nothing is invented or damaged.* Every delivery was published to that queue, and its body is what was sent.
"""

from __future__ import annotations

import random
import struct
import threading
from collections import defaultdict
from dataclasses import dataclass, field
from zlib import crc32

FANOUT = "crash.fanout"
PLAIN_QUEUES = ("crash.q0", "crash.q1", "crash.shared", "crash.returning")
FANOUT_QUEUES = ("crash.fan0", "crash.fan1")
QUEUES = PLAIN_QUEUES + FANOUT_QUEUES
TARGETS = (*PLAIN_QUEUES, FANOUT)

_HEAD = struct.Struct(">HQBI")
_SIZES = (16, 200, 1000, 4000, 20_000, 150_000, 1_200_000)
_WEIGHTS = (300, 300, 300, 80, 15, 4, 0.5)

Key = tuple[int, int]


def routed_to(target: str) -> tuple[str, ...]:
    """The queues that a message published to this target reaches."""
    return FANOUT_QUEUES if target == FANOUT else (target,)


def make_body(chance: random.Random, producer: int, number: int, target: str) -> bytes:
    """A body that names its message and can be verified."""
    size = chance.choices(_SIZES, _WEIGHTS)[0]
    filler = (b"%d.%d " % (producer, number) * (size // 4 + 1))[: size + chance.randrange(16)]
    return _HEAD.pack(producer, number, TARGETS.index(target), crc32(filler)) + filler


def read_body(body: bytes) -> tuple[Key, str] | None:
    """Which message this is and where it was sent, or None when it is damaged."""
    if len(body) < _HEAD.size:
        return None
    producer, number, target, checksum = _HEAD.unpack_from(body)
    if target >= len(TARGETS) or crc32(body[_HEAD.size :]) != checksum:
        return None
    return (producer, number), TARGETS[target]


@dataclass
class Stream:
    """One consumer's life: the last number seen of each producer."""

    queue: str
    puts_back: bool
    last: dict[int, int] = field(default_factory=dict)


class Ledger:
    """The account of a run."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.published: dict[Key, str] = {}
        self.confirmed: dict[str, set[Key]] = {queue: set() for queue in QUEUES}
        self.refused: set[Key] = set()
        self.settled: dict[str, set[Key]] = {queue: set() for queue in QUEUES}
        self.seen: dict[str, set[Key]] = {queue: set() for queue in QUEUES}
        self.redelivered = 0
        self.deliveries = 0
        self.confirms = 0
        self.faults: list[str] = []
        self._first: dict[str, dict[int, int]] = defaultdict(dict)

    def fault(self, text: str) -> None:
        """Enter something that must not be."""
        with self._lock:
            self.faults.append(text)

    def publishing(self, entries: list[tuple[Key, str]]) -> None:
        """These messages are about to be sent."""
        with self._lock:
            self.published.update(entries)

    def confirm(self, keys: list[Key]) -> None:
        """The broker took responsibility for these."""
        with self._lock:
            self.confirms += len(keys)
            for key in keys:
                for queue in routed_to(self.published[key]):
                    self.confirmed[queue].add(key)

    def refuse(self, keys: list[Key]) -> None:
        """The broker refused these: they may be there or not."""
        with self._lock:
            self.refused.update(keys)

    def settling(self, queue: str, keys: list[Key]) -> None:
        """An acknowledgement for these is about to be sent: from now on they may be gone."""
        with self._lock:
            self.settled[queue].update(keys)

    def deliver(self, stream: Stream, body: bytes, redelivered: bool) -> Key | None:
        """A message arrived from a queue."""
        queue = stream.queue
        known = read_body(body)
        with self._lock:
            self.deliveries += 1
            if known is None or known[0] not in self.published or self.published[known[0]] != known[1]:
                self.faults.append(f"{queue}: a message that nobody sent, or a damaged one: {known} {body[:40]!r}")
                return None
            key, target = known
            producer, number = key
            if queue not in routed_to(target):
                self.faults.append(f"{queue}: {key} was sent to {target}")
            if key in self.seen[queue] and not redelivered:
                self.faults.append(f"{queue}: {key} came again without the redelivered flag")
            self.seen[queue].add(key)
            self.redelivered += redelivered
            if not (redelivered and stream.puts_back):
                if number <= stream.last.get(producer, 0):
                    self.faults.append(f"{queue}: {key} came after number {stream.last[producer]} of that producer")
                stream.last[producer] = number
            if not redelivered and queue != "crash.shared":
                if number <= self._first[queue].get(producer, 0):
                    last = self._first[queue][producer]
                    self.faults.append(f"{queue}: {key} came for the first time after {last} had")
                self._first[queue][producer] = number
        return key

    def owed(self, queue: str) -> set[Key]:
        """The messages that must be in the queue when no consumer holds any of them."""
        with self._lock:
            return self.confirmed[queue] - self.settled[queue]

    def possible(self, queue: str) -> int:
        """The most messages that can be in the queue."""
        with self._lock:
            return sum(queue in routed_to(target) for target in self.published.values())
