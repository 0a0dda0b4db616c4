"""A channel's ledger: what it has been delivered and has not settled, by delivery tag.

Tags are consecutive, so the ledger is a list indexed by tag, not a dict; a settled entry becomes None and the settled
front is cut off in strides. Deliveries that need no ack use up a tag without an entry.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

from amqpd.core.message import Message
from amqpd.errors import PreconditionFailed

if TYPE_CHECKING:
    from amqpd.core.queues.consumer import Consumer
    from amqpd.core.queues.queue import Queue

__all__ = ["Delivery", "Ledger"]

Delivery: TypeAlias = "tuple[int, Queue, Consumer | None, Message, int]"
"""Delivery tag, queue, consumer (None: basic.get), message, how often it had been delivered before."""

STRIDE = 1024


class Ledger:
    """The unsettled deliveries of one channel. `unacked` counts them."""

    __slots__ = ("base", "entries", "start", "unacked")

    def __init__(self) -> None:
        self.entries: list[Delivery | None] = []
        self.base = 1
        """Tag of entries[0]."""
        self.start = 0
        """Entries before this one are all settled."""
        self.unacked = 0

    def add(self, queue: Queue, consumer: Consumer | None, message: Message, count: int) -> int:
        """A delivery that awaits its ack; returns its tag."""
        entries = self.entries
        tag = self.base + len(entries)
        entries.append((tag, queue, consumer, message, count))
        self.unacked += 1
        return tag

    def skip(self) -> int:
        """The tag of a delivery that needs no ack."""
        entries = self.entries
        if entries:
            entries.append(None)
            return self.base + len(entries) - 1
        self.base += 1
        return self.base - 1

    def take(self, tag: int, multiple: bool) -> list[Delivery]:
        """The deliveries that an ack, nack or reject of `tag` names, which are then no longer in the ledger.

        With `multiple` all up to the tag, 0 meaning all there are. Raises PreconditionFailed for an unknown tag.
        """
        entries = self.entries
        index = tag - self.base
        if multiple and tag == 0:
            index = len(entries) - 1
        elif not 0 <= index < len(entries) or entries[index] is None:
            raise PreconditionFailed(f"unknown delivery tag {tag}")
        if multiple:
            taken = [entry for entry in entries[self.start : index + 1] if entry is not None]
            self.start = index + 1
            self.cut()
        else:
            delivery = entries[index]
            assert delivery is not None
            taken = [delivery]
            entries[index] = None
            if index == self.start:
                self.advance()
        self.unacked -= len(taken)
        return taken

    def restore(self, deliveries: list[Delivery]) -> None:
        """Put taken deliveries back, as tx.rollback does."""
        if not deliveries:
            return
        lowest = min(delivery[0] for delivery in deliveries)
        if lowest < self.base:
            self.entries[:0] = [None] * (self.base - lowest)
            self.base = lowest
        for delivery in deliveries:
            self.entries[delivery[0] - self.base] = delivery
        self.start = 0
        self.unacked += len(deliveries)
        self.advance()

    def advance(self) -> None:
        entries = self.entries
        start, size = self.start, len(entries)
        while start < size and entries[start] is None:
            start += 1
        self.start = start
        self.cut()

    def cut(self) -> None:
        start = self.start
        if start == len(self.entries) or (start >= STRIDE and start * 2 >= len(self.entries)):
            self.base += start
            del self.entries[:start]
            self.start = 0
