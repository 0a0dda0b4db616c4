"""What comes back to a queue: counted, given up beyond the delivery limit, and perhaps held for a while.

A quorum queue with delayed retry holds a message back before it delivers it again:

    delay = min(delayed-retry-min * failures, delayed-retry-max)        and delayed-retry-min for the first time

`delayed-retry-type` says which messages: `failed` those that came back as a failure, `returned` the others, `all` both.
While it is held a message is neither ready nor unacked. It is then the last of those that have come back. The journal
knows nothing of the delay: after a restart all of them are ready. Source: RabbitMQ 4.3, Quorum Queues, Delayed Retry.
"""

from __future__ import annotations

from collections.abc import Iterable
from heapq import heappop, heappush
from typing import TYPE_CHECKING, TypeAlias

from amqpd.core.message import PERSISTENT, Message
from amqpd.core.ports import DROP_DELIVERY_LIMIT
from amqpd.core.promises import Promises
from amqpd.core.queues import counts, keeping

if TYPE_CHECKING:
    from amqpd.core.queues.queue import Queue

__all__ = ["Held", "take_back"]

Held: TypeAlias = tuple[int, int, int, Message]
"""When it is due, a number that ascends with each return, its count, itself."""


def take_back(queue: Queue, messages: Iterable[Message], count: int, failed: bool) -> None:
    """The messages, which had this count, come back; `failed` says that this is a failure."""
    count = counts.again(count, failed)
    limit = queue.promises.delivery_limit
    given_up = limit is not None and counts.failed(count) > limit
    delay = 0 if queue.kind != "quorum" else delay_of(queue.promises, count, failed)
    for message in messages:
        if given_up:
            keeping.drop(queue, message, DROP_DELIVERY_LIMIT)
            continue
        if message[0] & PERSISTENT and queue.journal is not None:
            queue.journal.returned(queue.id, message[0], count)
        if delay:
            hold(queue, message, count, delay)
        else:
            put(queue, message, count)


def put(queue: Queue, message: Message, count: int) -> None:
    """The message is ready again."""
    heappush(queue.returned, (queue.window.returning(message), count, message))
    queue.mortal = queue.mortal or message[4] > 0
    if queue.weight is not None:
        queue.weight += keeping.octets((message,))


def delay_of(promises: Promises, count: int, failed: bool) -> int:
    """For how many milliseconds a message with this count is held; 0: not at all."""
    least, most, which = promises.delayed_retry_min, promises.delayed_retry_max, promises.delayed_retry_type
    if least is None or which not in ("all", "failed" if failed else "returned"):
        return 0
    delay = least * max(1, counts.failed(count))
    return delay if most is None else min(delay, most)


def hold(queue: Queue, message: Message, count: int, delay: int) -> None:
    """The message is ready again after this delay."""
    due = queue.turn.now + delay
    heappush(queue.held, (due, queue.window.returning(message), count, message))

    def release() -> None:
        if not queue.alive:
            return
        held = queue.held
        while held and held[0][0] <= queue.turn.now:
            _, _, count, message = heappop(held)
            put(queue, message, count)
        queue.turn.wake(queue)

    queue.turn.timers.at(due, release)
