"""Which consumer is next: round robin among those with room, of the highest priority that has any.

A ring per priority holds only consumers believed to have room. One found without is parked, off the ring, and comes
back when its queue is told that it has room again; so a thousand consumers with full prefetch cost nothing per message.

With a single active consumer only the first is in a ring; when it goes the next takes its place, the one of the highest
priority that has waited longest.
"""

from __future__ import annotations

from collections import deque
from operator import attrgetter
from typing import TYPE_CHECKING

from amqpd.core.queues.consumer import UNLIMITED, Consumer

if TYPE_CHECKING:
    from amqpd.core.queues.queue import Queue

__all__ = ["Rota", "share_out"]


class Rota:
    """The consumers of one queue, in the order they are served."""

    __slots__ = ("active", "members", "priorities", "rings", "single")

    def __init__(self, single: bool = False) -> None:
        self.single = single
        self.active: Consumer | None = None
        """The single active consumer."""
        self.members: dict[Consumer, None] = {}
        self.rings: dict[int, deque[Consumer]] = {}
        self.priorities: list[int] = []

    def add(self, consumer: Consumer) -> None:
        """A new consumer, behind the others of its priority."""
        self.members[consumer] = None
        if not self.single:
            self.enter(consumer)
        elif self.active is None:
            self.activate(consumer)

    def enter(self, consumer: Consumer) -> None:
        ring = self.rings.get(consumer.priority)
        if ring is None:
            ring = self.rings[consumer.priority] = deque()
            self.priorities = sorted(self.rings, reverse=True)
        ring.append(consumer)

    def activate(self, consumer: Consumer) -> None:
        self.active = consumer
        self.enter(consumer)

    def remove(self, consumer: Consumer) -> None:
        """The consumer takes no more messages."""
        del self.members[consumer]
        if self.single:
            if consumer is self.active:
                self.leave(consumer)
                self.active = None
                if self.members:
                    self.activate(max(self.members, key=attrgetter("priority")))
            return
        self.leave(consumer)

    def leave(self, consumer: Consumer) -> None:
        if not consumer.parked:
            self.rings[consumer.priority].remove(consumer)
        if self.single or not any(other.priority == consumer.priority for other in self.members):
            del self.rings[consumer.priority]
            self.priorities = sorted(self.rings, reverse=True)

    def unpark(self, consumer: Consumer) -> None:
        """The consumer has room again."""
        if consumer.parked and consumer in self.members:
            consumer.parked = False
            self.rings[consumer.priority].append(consumer)

    def next(self) -> deque[Consumer] | None:
        """The ring whose first consumer is to be served, None when no one has room. The caller rotates it."""
        for priority in self.priorities:
            ring = self.rings[priority]
            while ring:
                consumer = ring[0]
                if consumer.credit > 0 and consumer.channel.room(consumer.no_ack) > 0:
                    return ring
                ring.popleft()
                consumer.parked = True
        return None


def share_out(queue: Queue, ring: deque[Consumer], budget: int, octets: int) -> tuple[int, int]:
    """Deliver to the consumers of a ring in turn: as many rounds at a stroke as all of them have room for."""
    size = len(ring)
    most = queue.stretch(ring[0], budget, octets)
    rounds = min(most, len(queue.window) // size)
    for consumer in ring:
        room = consumer.channel.room(consumer.no_ack)
        rounds = min(rounds, consumer.credit, room if room == UNLIMITED else 0)
    if rounds < 2:
        sent = queue.deliver(ring[0], queue.take(1))
        ring.rotate(-1)
        return sent
    messages = queue.take(min(most, rounds * size) if most >= size else size)
    used = 0
    for index, consumer in enumerate(list(ring)):
        used += queue.deliver(consumer, messages[index::size])[1]
    ring.rotate(-(len(messages) % size))
    return len(messages), used
