"""How a queue keeps its promises: deadlines, limits of length, and where what it gives up goes.

The functions are parts of the queue that only a queue with such promises comes to.

Deadlines. A message's own (its expiration) is in its tuple. A queue with a message-ttl makes tuples of its own, with
the earlier of both, as messages come in; so the deadline is fixed from then on and requeueing does not change it. What
has come to its deadline is dropped when it is at the head, never before: by the next dispatch, or by a timer that is
set for the head's deadline. A message with ttl 0 is delivered if that can be done at once: while it comes in, a
deadline of this very moment does not count.

A queue that expires looks at its last use when that time may have come, so using it costs one assignment.

Limits. They count ready messages, and octets of their bodies, after the queue has dispatched all it can. Then either
the oldest go (drop-head) or the newest are refused (reject-publish).

Source: RabbitMQ, Time-To-Live and Expiration; Queue Length Limit; rabbit_amqqueue_process.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from amqpd.core.message import PERSISTENT, Message
from amqpd.core.ports import DROP_EXPIRED, DROP_MAXLEN
from amqpd.core.promises import Promises

if TYPE_CHECKING:
    from amqpd.core.queues.queue import Queue

__all__ = [
    "cut",
    "drop",
    "expire",
    "is_full",
    "is_past",
    "is_strict",
    "keep_limits",
    "living",
    "octets",
    "publish",
    "start_weighing",
    "watch",
    "watch_use",
]

EXPIRE_SLICE = 1000
"""Messages that are dropped at a stroke."""


def is_strict(promises: Promises) -> bool:
    """Is there anything to be seen to when a message comes in?"""
    return not promises.message_ttl is promises.max_length is promises.max_length_bytes is None


def octets(messages: Iterable[Message]) -> int:
    """The octets of the messages' bodies."""
    contents = (message[2] for message in messages)
    heads = (content if isinstance(content, bytes) else content[0] for content in contents)
    return sum(int.from_bytes(head[11:19], "big") for head in heads)


def start_weighing(queue: Queue) -> None:
    """Count the octets of what is ready, if they are limited."""
    if queue.promises.max_length_bytes is None:
        queue.weight = None
    else:
        queue.weight = (
            octets(message for _, _, message in queue.returned)
            + octets(message for message, _, _ in queue.stuck)
            + octets(queue.window)
        )


# -------------------------------------------------------------------------------------------------- coming in


def publish(queue: Queue, messages: list[Message]) -> list[Message] | None:
    """Take the messages as the queue's promises allow (see Queue.publish)."""
    promises = queue.promises
    own = messages if promises.message_ttl is None else stamped(queue, messages, promises.message_ttl)
    now_or_never = any(is_past(queue, message) for message in own)
    if now_or_never:
        queue.catch_up()
        queue.receiving = True
    if promises.overflow == "drop-head":
        queue.append(own)
        keep_limits(queue)
    else:
        own = fitting(queue, own)
    if now_or_never:
        queue.catch_up()
        queue.receiving = False
        expire(queue)
    return None if own is messages else own


def stamped(queue: Queue, messages: list[Message], ttl: int) -> list[Message]:
    """The messages with the queue's deadline, where their own is not earlier."""
    queue.mortal = True
    deadline = queue.turn.now + queue.turn.wall + ttl
    return [
        (message_id, routing, content, origin, min(own, deadline) if own else deadline)
        for message_id, routing, content, origin, own in messages
    ]


def fitting(queue: Queue, messages: list[Message]) -> list[Message]:
    """Take the messages one by one while there is room; which were taken. The others are refused."""
    taken = []
    for message in messages:
        if exceeds(queue, (message,)):
            queue.catch_up()
            if exceeds(queue, (message,)):
                if queue.promises.overflow == "reject-publish-dlx":
                    queue.burial.add(queue, message, DROP_MAXLEN)
                continue
        queue.append([message])
        taken.append(message)
    return messages if len(taken) == len(messages) else taken


def exceeds(queue: Queue, more: Sequence[Message] = ()) -> bool:
    """Is a limit exceeded, with these messages more? Dead letters that are kept count."""
    promises = queue.promises
    if promises.max_length is not None and queue.ready + len(queue.stuck) + len(more) > promises.max_length:
        return True
    if promises.max_length_bytes is None or queue.weight is None:
        return False
    return queue.weight + octets(more) > promises.max_length_bytes


def is_full(queue: Queue) -> bool:
    """Would one more message, however small, exceed a limit?"""
    promises = queue.promises
    length = queue.ready + len(queue.stuck)
    return (promises.max_length is not None and length >= promises.max_length) or (
        promises.max_length_bytes is not None and (queue.weight or 0) >= promises.max_length_bytes
    )


def keep_limits(queue: Queue) -> None:
    """Drop the oldest messages while a limit is exceeded, once those that can be delivered have been."""
    if exceeds(queue):
        queue.catch_up()
        cut(queue)


def cut(queue: Queue) -> None:
    """Drop the oldest messages while a limit is exceeded, if that is what the queue does about it."""
    while queue.ready and exceeds(queue) and queue.promises.overflow == "drop-head":
        drop(queue, queue.pop()[2], DROP_MAXLEN)


# ---------------------------------------------------------------------------------------------------- going out


def head(queue: Queue) -> Message | None:
    """The message that would be delivered next."""
    if queue.returned and queue.return_is_next():
        return queue.returned[0][2]
    return queue.window[0] if queue.window else None


def moment(queue: Queue) -> int:
    """The latest deadline that counts as reached."""
    return queue.turn.now + queue.turn.wall - queue.receiving


def is_past(queue: Queue, message: Message) -> bool:
    """Has the message's deadline been reached?"""
    return 0 < message[4] <= moment(queue)


def living(queue: Queue, messages: list[Message]) -> list[Message]:
    """Those of the messages that can be delivered; the others are dropped."""
    now = moment(queue)
    if not any(0 < message[4] <= now for message in messages):
        return messages
    for message in messages:
        if 0 < message[4] <= now:
            drop(queue, message, DROP_EXPIRED)
    return [message for message in messages if not 0 < message[4] <= now]


def expire(queue: Queue) -> bool:
    """Drop messages from the head that have come to their deadline; False when there may be more of them."""
    now = moment(queue)
    for _ in range(EXPIRE_SLICE):
        first = head(queue)
        if first is None:
            queue.mortal = False
            return True
        if not 0 < first[4] <= now:
            return True
        drop(queue, queue.pop()[2], DROP_EXPIRED)
    return False


def watch(queue: Queue) -> None:
    """Come back at the head's deadline."""
    first = head(queue)
    if first is None or not first[4] or 0 < queue.alarm <= first[4]:
        return
    queue.alarm = deadline = first[4]

    def passed() -> None:
        if queue.alarm == deadline:
            queue.alarm = 0
        if queue.alive:
            queue.turn.wake(queue)

    queue.turn.timers.at(deadline - queue.turn.wall, passed)


def drop(queue: Queue, message: Message, reason: int) -> None:
    """The message leaves the queue unconsumed: a dead letter, where the queue has a place for such."""
    queue.left(message)
    if queue.promises.dead_letter_exchange is not None:
        queue.burial.add(queue, message, reason)
    elif message[0] & PERSISTENT and queue.journal is not None:
        queue.journal.drop(queue.id, (message[0],), reason)
        queue.turn.arm()


# ------------------------------------------------------------------------------------------------- the queue itself


def watch_use(queue: Queue) -> None:
    """Have the queue go when it has not been used for as long as it promises: no consumer, no get, no declare."""
    promises, timers = queue.promises, queue.turn.timers
    limit = promises.expires
    if limit is None:
        return

    def look() -> None:
        if queue.promises is not promises or not queue.alive:
            return
        now = queue.turn.now
        if queue.rota.members:
            timers.at(now + limit, look)
        elif now < queue.used + limit:
            timers.at(queue.used + limit, look)
        else:
            queue.burial.unused(queue)

    timers.at(queue.used + limit, look)
