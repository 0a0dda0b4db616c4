"""The fold: a queue is what its log says, applied in order, and nothing else.

    ENQUEUE   the message lies at the end of each of its queues
    SETTLE    it no longer lies in the queue
    DROP      the same; the reason is for people
    RETURN    it came back, which its count tells of, and keeps its place

There is no clock and no chance in it: what expires or exceeds a limit was decided by the live broker, and written down.
So the same log gives the same queues on every machine and at any later time. Records of a queue that the catalog does
not know are garbage: that is how a queue is deleted.

The batches of a group wait for the last one. When a batch comes that does not continue them they are dropped: the
process died within the group.

After an orderly stop the state is exact. After a crash nobody knows which of the messages were on their way to a
consumer, so all of them go out as redelivered, for as long as they live; the counts are those of the last RETURN.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from functools import partial
from itertools import repeat

from amqpd.core.message import Message
from amqpd.core.ports import Recovered
from amqpd.storage.journal.format import CLEAN, FOUND, MORE, REST, RETURN, Batch, Enqueued, Moved, records

__all__ = ["Fold", "QueueState", "recovered"]


class QueueState:
    """One queue: its messages by id, in order, and how often those that came back had been delivered."""

    __slots__ = ("counts", "messages")

    def __init__(self) -> None:
        self.messages: dict[int, Message] = {}
        self.counts: dict[int, int] = {}


class Fold:
    """The state of the queues whose ids are `known`, after the batches that were applied."""

    def __init__(self, known: Collection[int]) -> None:
        self.queues = {queue: QueueState() for queue in known}
        self.clean = True
        """The last batch closed the log in order; an empty log has nothing that could be under way."""
        self.last_id = 0
        self.found = 0
        """Messages up to this id were in the log when a crash had happened."""
        self.waiting: list[Batch] = []

    def apply(self, batch: Batch) -> None:
        """The next batch of the log."""
        self.clean = bool(batch.flags & CLEAN)
        self.last_id = max(self.last_id, batch.last_id)
        if batch.flags & FOUND:
            self.found = self.last_id
        if not batch.flags & REST:
            self.waiting.clear()
        self.waiting.append(batch)
        if not batch.flags & MORE:
            for complete in self.waiting:
                for record in records(complete):
                    if isinstance(record, Enqueued):
                        self.enqueue(record)
                    else:
                        self.move(record)
            self.waiting.clear()

    def enqueue(self, run: Enqueued) -> None:
        for queue in run.queues:
            state = self.queues.get(queue)
            if state is not None:
                state.messages.update(zip(run.ids, run.messages, strict=True))

    def move(self, moved: Moved) -> None:
        state = self.queues.get(moved.queue)
        if state is None:
            return
        messages, counts = state.messages, state.counts
        for ids, count in moved.ranges:
            if moved.kind == RETURN:
                counts.update((message_id, count) for message_id in ids if message_id in messages)
                continue
            for message_id in ids:
                messages.pop(message_id, None)
            if counts:
                for message_id in ids:
                    counts.pop(message_id, None)


make_recovered: Callable[[tuple[Message, bool, int]], Recovered] = partial(tuple.__new__, Recovered)
"""What Recovered._make does, without a Python frame per message."""


def recovered(state: QueueState, found: int) -> list[Recovered]:
    """A queue's messages as a start finds them, in order; those up to the id `found` have lived through a crash."""
    messages, counts = state.messages, state.counts
    if not counts:
        rows = zip(messages.values(), [message_id <= found for message_id in messages], repeat(0), strict=False)
        return list(map(make_recovered, rows))
    return [
        Recovered(message, message_id <= found or message_id in counts, counts.get(message_id, 0))
        for message_id, message in messages.items()
    ]
