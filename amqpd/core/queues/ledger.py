"""A channel's ledger: what it has been delivered and has not settled, by delivery tag.

Messages are delivered in runs, so the ledger keeps runs: consecutive tags, from one queue to one consumer. An ack of
many takes whole runs off the front; one of a single tag shortens a run at its end, or splits it. A run has no gaps.
Deliveries that need no ack use up tags without a run.
"""

from __future__ import annotations

from bisect import bisect_right
from typing import TYPE_CHECKING

from amqpd.core.message import Message
from amqpd.errors import PreconditionFailed

if TYPE_CHECKING:
    from amqpd.core.queues.consumer import Consumer
    from amqpd.core.queues.queue import Queue

__all__ = ["Ledger", "Run"]

STRIDE = 256


class Run:
    """Deliveries with consecutive tags from `first` on. `consumer` is None for basic.get; `count` says how often the
    message had been delivered before, which only runs of one know to be more than 0."""

    __slots__ = ("consumer", "count", "first", "messages", "queue")

    def __init__(
        self,
        first: int,
        queue: Queue | Lapsed,
        consumer: Consumer | None,
        messages: list[Message],
        count: int = 0,
    ) -> None:
        self.first = first
        self.queue: Queue | Lapsed = queue
        self.consumer = consumer
        self.messages = messages
        self.count = count

    def split(self, at: int) -> Run:
        """Keep what stands before `at`; the rest as a run of its own."""
        rest = Run(self.first + at, self.queue, self.consumer, self.messages[at:], self.count)
        del self.messages[at:]
        return rest


class Lapsed:
    """In the place of the queue of deliveries that were taken back from the client: what it still says of them does
    nothing."""

    def settle(self, run: Run) -> None:
        """The message is somebody else's."""

    def reject(self, run: Run) -> None:
        """The same."""

    def requeue(self, run: Run, failed: bool) -> None:
        """It is in its queue already."""


LAPSED = Lapsed()


def first_tag(run: Run) -> int:
    return run.first


class Ledger:
    """The unsettled deliveries of one channel. `unacked` counts them."""

    __slots__ = ("next_tag", "runs", "start", "unacked")

    def __init__(self) -> None:
        self.runs: list[Run] = []
        self.start = 0
        """The runs before this one have been taken."""
        self.next_tag = 1
        self.unacked = 0

    def add(self, queue: Queue, consumer: Consumer | None, messages: list[Message], count: int) -> int:
        """Deliveries that await their acks; the tag of the first. The list is the ledger's from now on."""
        tag = self.next_tag
        size = len(messages)
        self.next_tag = tag + size
        self.unacked += size
        self.runs.append(Run(tag, queue, consumer, messages, count))
        return tag

    def skip(self, size: int) -> int:
        """The first tag of deliveries that need no ack."""
        tag = self.next_tag
        self.next_tag = tag + size
        return tag

    def take(self, tag: int, multiple: bool) -> list[Run]:
        """The deliveries that an ack, nack or reject of `tag` names, which are then no longer in the ledger.

        With `multiple` all up to the tag, 0 meaning all there are. Raises PreconditionFailed for an unknown tag.
        """
        if multiple and tag == 0:
            taken = self.runs[self.start :]
            self.runs.clear()
            self.start = 0
            self.unacked = 0
            return taken
        index = self.find(tag)
        return self.take_up_to(index, tag) if multiple else [self.take_one(index, tag)]

    def take_span(self, first: int, last: int) -> list[Run] | None:
        """The deliveries with these tags, if they are the oldest and all there; None, and nothing taken, if not."""
        runs = self.runs
        if self.start == len(runs) or runs[self.start].first != first:
            return None
        following = first
        for index in range(self.start, len(runs)):
            run = runs[index]
            if run.first != following:
                return None
            following += len(run.messages)
            if following > last:
                return self.take_up_to(index, last)
        return None

    def find(self, tag: int) -> int:
        """Where the run with this tag stands."""
        runs = self.runs
        index = self.start
        if index < len(runs) and tag >= runs[index].first + len(runs[index].messages):
            index = bisect_right(runs, tag, index, key=first_tag) - 1
        if index >= len(runs) or not 0 <= tag - runs[index].first < len(runs[index].messages):
            raise PreconditionFailed(f"unknown delivery tag {tag}")
        return index

    def take_up_to(self, index: int, tag: int) -> list[Run]:
        runs = self.runs
        last = runs[index]
        taken = runs[self.start : index + 1]
        if tag - last.first + 1 < len(last.messages):
            runs[index] = last.split(tag - last.first + 1)
            index -= 1
        self.cut(index + 1)
        for run in taken:
            self.unacked -= len(run.messages)
        return taken

    def take_one(self, index: int, tag: int) -> Run:
        run = self.runs[index]
        at = tag - run.first
        self.unacked -= 1
        if len(run.messages) == 1:
            if index == self.start:
                self.cut(index + 1)
            else:
                del self.runs[index]
            return run
        taken = Run(tag, run.queue, run.consumer, [run.messages[at]], run.count)
        if at == 0:
            del run.messages[0]
            run.first += 1
        else:
            if at + 1 < len(run.messages):
                self.runs.insert(index + 1, run.split(at + 1))
            del run.messages[at]
        return taken

    def restore(self, taken: list[Run]) -> None:
        """Put taken deliveries back, as tx.rollback does."""
        self.runs = sorted([*self.runs[self.start :], *taken], key=first_tag)
        self.start = 0
        self.unacked += sum(len(run.messages) for run in taken)

    def oldest(self, consumer: Consumer) -> int | None:
        """The tag of the consumer's oldest delivery."""
        return next((run.first for run in self.runs[self.start :] if run.consumer is consumer), None)

    def lapse(self, consumer: Consumer) -> list[Run]:
        """The consumer's deliveries, which are no longer its own. Their tags stay known to the client."""
        lapsed = []
        for run in self.runs[self.start :]:
            if run.consumer is consumer:
                lapsed.append(Run(run.first, run.queue, consumer, run.messages, run.count))
                run.queue, run.consumer, run.messages = LAPSED, None, [NO_MESSAGE] * len(run.messages)
        return lapsed

    def cut(self, start: int) -> None:
        runs = self.runs
        if start == len(runs):
            runs.clear()
            self.start = 0
        elif start >= STRIDE and start * 2 >= len(runs):
            del runs[:start]
            self.start = 0
        else:
            # What is taken must not be held here.
            for index in range(self.start, start):
                runs[index] = TAKEN
            self.start = start


NO_MESSAGE: Message = (0, b"", b"", 0, 0)

TAKEN: Run = Run(0, None, None, [])  # type: ignore[arg-type]
"""What stands in the place of a run that has been taken."""
