"""A queue: messages in order, and the consumers that take them.

It has parts from which messages are taken in this order:

    returned   requeued messages, a heap by order key; each goes out as redelivered
    window     the messages in memory that were never delivered, in order

A message's order key is its id. What was delivered always came from the front, so everything in `returned` stands
before everything in `window`; a requeued message thereby gets its old position back.

Nothing looks at a queue's ready messages (get, purge, if-empty, counts) before the queue has dispatched all it can:
`catch_up` is that rule.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from heapq import heapify, heappop, heappush
from typing import TYPE_CHECKING

from amqpd.core.arguments import queue_resource
from amqpd.core.message import PERSISTENT, Message
from amqpd.core.policy import UNTOUCHED, Applied
from amqpd.core.ports import DROP_PURGED, Journal, Recovered
from amqpd.core.promises import Promises, work_out
from amqpd.core.queues.consumer import UNLIMITED, Consumer
from amqpd.core.queues.dispatch import Rota
from amqpd.errors import AccessRefused, PreconditionFailed
from amqpd.wire.tables import Table

if TYPE_CHECKING:
    from amqpd.core.exchanges.base import Binding
    from amqpd.core.queues.ledger import Run
    from amqpd.core.turn import Turn

__all__ = ["Queue"]

DISPATCH_OCTETS = 1 << 20
"""Octets that one queue may deliver in one slice."""

STRETCH = 128
"""Messages that a consumer is given at a stroke; between strokes the octets are looked at."""


class Queue:
    """One queue of one virtual host.

    `id` is its catalog number (0 for a queue that is not durable), `owner` the connection that may use it when it is
    exclusive. `epoch` changes when the queue dies: plans that hold it look at that.
    """

    __slots__ = (
        "alive",
        "applied",
        "arguments",
        "auto_delete",
        "bindings",
        "bulky",
        "cancelled",
        "durable",
        "epoch",
        "had_consumer",
        "id",
        "journal",
        "kind",
        "name",
        "owner",
        "promises",
        "returned",
        "rota",
        "scheduled",
        "turn",
        "unacked",
        "vhost",
        "window",
    )

    def __init__(
        self,
        name: str,
        vhost: str,
        *,
        id: int,
        kind: str,
        durable: bool,
        auto_delete: bool,
        owner: object | None,
        arguments: Table,
        turn: Turn,
        journal: Journal,
    ) -> None:
        self.name = name
        self.vhost = vhost
        self.id = id
        self.kind = kind
        self.durable = durable
        self.auto_delete = auto_delete
        self.owner = owner
        self.arguments = arguments
        self.applied: Applied = UNTOUCHED
        self.promises = work_out(kind, arguments)
        self.turn = turn
        self.journal = journal if durable else None
        self.bindings: dict[Binding, None] = {}
        self.returned: list[tuple[int, int, Message]] = []
        self.window: deque[Message] = deque()
        self.bulky = False
        """May the window hold contents over SLICE_MAX? They are delivered one by one."""
        self.rota = Rota()
        self.cancelled: list[Consumer] = []
        self.unacked = 0
        self.scheduled = False
        self.had_consumer = False
        self.alive = True
        self.epoch = 0

    def promise(self, promises: Promises) -> None:
        """What the queue promises from now on, whatever it holds."""
        self.promises = promises

    # ---------------------------------------------------------------------------------------------- in

    def publish(self, messages: Sequence[Message]) -> None:
        """Take the messages. Their journal record is the publisher's affair, one for all queues.

        A large one comes alone.
        """
        self.window.extend(messages)
        if type(messages[0][2]) is not bytes:
            self.bulky = True
        if not self.scheduled and self.rota.members:
            self.turn.wake(self)

    def recover(self, messages: Iterable[Recovered]) -> None:
        """The messages that a start has found in the journal, in order."""
        for message, redelivered, count in messages:
            if redelivered:
                self.returned.append((message[0], count, message))
            else:
                self.window.append(message)
            self.bulky = self.bulky or type(message[2]) is not bytes
        heapify(self.returned)

    # --------------------------------------------------------------------------------------------- out

    def dispatch(self, budget: int) -> bool:
        """Deliver to consumers with room, at most `budget` messages; True when there is more to do."""
        rota, window = self.rota, self.window
        octets = DISPATCH_OCTETS
        while self.returned or window:
            ring = rota.next()
            if ring is None:
                return False
            if budget <= 0 or octets <= 0:
                return True
            if self.returned:
                sent, used = self.redeliver(ring)
            elif len(ring) == 1:
                sent, used = self.deliver(ring[0], self.take(self.stretch(ring[0], budget, octets)))
            else:
                sent, used = self.share_out(ring, budget, octets)
            budget -= sent
            octets -= used
        return False

    def stretch(self, consumer: Consumer, budget: int, octets: int) -> int:
        """How many messages the consumer, which has room, is to get at a stroke: while contents are large, few."""
        if self.bulky:
            return 1
        window = self.window
        room = consumer.channel.room(consumer.no_ack)
        return min(budget, consumer.credit, room, len(window), STRETCH, octets // len(window[0][2]) + 1)

    def take(self, count: int) -> list[Message]:
        """The first messages of the window."""
        window = self.window
        if count == len(window):
            messages = list(window)
            window.clear()
            self.bulky = False
            return messages
        popleft = window.popleft
        return [popleft() for _ in range(count)]

    def deliver(self, consumer: Consumer, messages: list[Message]) -> tuple[int, int]:
        """Deliver messages for the first time: how many, how many octets."""
        size = len(messages)
        consumer.delivered += size
        if consumer.no_ack:
            if self.journal is not None:
                self.settled(messages)
        else:
            self.unacked += size
            consumer.credit -= size
        return size, consumer.deliver(messages, False, 0)

    def share_out(self, ring: deque[Consumer], budget: int, octets: int) -> tuple[int, int]:
        """Deliver to the consumers of a ring in turn: as many rounds at a stroke as all of them have room for."""
        size = len(ring)
        most = self.stretch(ring[0], budget, octets)
        rounds = min(most, len(self.window) // size)
        for consumer in ring:
            room = consumer.channel.room(consumer.no_ack)
            rounds = min(rounds, consumer.credit, room if room == UNLIMITED else 0)
        if rounds < 2:
            sent = self.deliver(ring[0], self.take(1))
            ring.rotate(-1)
            return sent
        messages = self.take(min(most, rounds * size) if most >= size else size)
        used = 0
        for index, consumer in enumerate(list(ring)):
            used += self.deliver(consumer, messages[index::size])[1]
        ring.rotate(-(len(messages) % size))
        return len(messages), used

    def redeliver(self, ring: deque[Consumer]) -> tuple[int, int]:
        """Deliver the first of the returned messages to the first of the ring."""
        consumer = ring[0]
        ring.rotate(-1)
        _, count, message = heappop(self.returned)
        consumer.delivered += 1
        if consumer.no_ack:
            if self.journal is not None:
                self.settled((message,))
        else:
            self.unacked += 1
            consumer.credit -= 1
        return 1, consumer.deliver([message], True, count)

    def catch_up(self) -> None:
        """Dispatch all that can be, before someone looks at what is ready."""
        if self.scheduled:
            while self.dispatch(1000):
                pass

    def get(self) -> tuple[Message, bool, int] | None:
        """Take the first message, for basic.get: message, redelivered, deliveries before; None when there is none.

        It counts as unacked; the caller settles at once what it takes without ack.
        """
        self.catch_up()
        if self.returned:
            _, count, message = heappop(self.returned)
            self.unacked += 1
            return message, True, count
        if self.window:
            self.unacked += 1
            return self.window.popleft(), False, 0
        return None

    # ------------------------------------------------------------------------------------------ settle

    def settle(self, run: Run) -> None:
        """The deliveries were acked, or rejected for good: their messages are no longer here."""
        size = len(run.messages)
        self.unacked -= size
        if run.consumer is not None:
            run.consumer.credit += size
        if self.journal is not None and self.alive:
            self.settled(run.messages)

    def settled(self, messages: Sequence[Message]) -> None:
        """Write down that the persistent ones have left."""
        ids = [message[0] for message in messages if message[0] & PERSISTENT]
        if ids:
            assert self.journal is not None
            self.journal.settle(self.id, ids)
            self.turn.arm()

    def requeue(self, run: Run) -> None:
        """The deliveries come back, to their old position, redelivered from now on."""
        size = len(run.messages)
        self.unacked -= size
        if run.consumer is not None:
            run.consumer.credit += size
        if not self.alive:
            return
        count = run.count + 1
        for message in run.messages:
            if message[0] & PERSISTENT and self.journal is not None:
                self.journal.returned(self.id, message[0], count)
            heappush(self.returned, (message[0], count, message))
        self.turn.wake(self)

    def room_again(self, consumer: Consumer) -> None:
        """The consumer can take messages again."""
        self.rota.unpark(consumer)
        if self.returned or self.window:
            self.turn.wake(self)

    # --------------------------------------------------------------------------------------- consumers

    def check_consumer(self, exclusive: bool) -> None:
        """Raises AccessRefused if a consumer may not be added now."""
        members = self.rota.members
        if members and (exclusive or any(consumer.exclusive for consumer in members)):
            raise AccessRefused(f"{queue_resource(self.name, self.vhost)} in exclusive use")

    def add_consumer(self, consumer: Consumer) -> None:
        """Serve the consumer from now on."""
        self.rota.add(consumer)
        self.had_consumer = True
        self.turn.wake(self)

    def remove_consumer(self, consumer: Consumer) -> None:
        """No longer serve the consumer; what it has not settled stays with its channel."""
        self.rota.remove(consumer)

    @property
    def unused(self) -> bool:
        """An auto-delete queue whose last consumer has gone."""
        return self.auto_delete and self.had_consumer and not self.rota.members

    # ------------------------------------------------------------------------------------------ whole

    @property
    def ready(self) -> int:
        """Messages that could be delivered."""
        return len(self.returned) + len(self.window)

    def purge(self) -> int:
        """Drop all ready messages; how many there were."""
        self.catch_up()
        count = self.ready
        if self.journal is not None:
            ids = [message_id for message_id, _, _ in self.returned if message_id & PERSISTENT]
            ids += [message[0] for message in self.window if message[0] & PERSISTENT]
            if ids:
                self.journal.drop(self.id, ids, DROP_PURGED)
                self.turn.arm()
        self.returned.clear()
        self.window.clear()
        return count

    def check_deletable(self, if_unused: bool, if_empty: bool) -> None:
        """Raises PreconditionFailed if a condition of queue.delete does not hold."""
        if if_unused and self.rota.members:
            raise PreconditionFailed(f"{queue_resource(self.name, self.vhost)} in use")
        if if_empty:
            self.catch_up()
            if self.ready:
                raise PreconditionFailed(f"{queue_resource(self.name, self.vhost)} not empty")

    def close(self) -> int:
        """The queue is gone: nobody is served any more, messages are dropped. How many messages were ready.

        `farewell` follows when that has been written and answered.
        """
        self.catch_up()
        count = self.ready
        self.alive = False
        self.epoch += 1
        self.cancelled = list(self.rota.members)
        self.rota = Rota()
        self.returned.clear()
        self.window.clear()
        return count

    def farewell(self) -> None:
        """The catalog has forgotten the queue, and who deleted it knows: its consumers are told, its records in the
        journal are garbage from now on."""
        for consumer in self.cancelled:
            consumer.channel.consumer_cancelled(consumer)
        # A plan may remember the queue for a while yet; it must not hold a connection with it.
        self.cancelled.clear()
        self.owner = None
        if self.journal is not None:
            self.journal.forget_queue(self.id)
            self.turn.arm()
