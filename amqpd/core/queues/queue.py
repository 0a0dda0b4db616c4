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
from collections.abc import Iterable
from heapq import heapify, heappop, heappush
from typing import TYPE_CHECKING

from amqpd.core.arguments import queue_resource
from amqpd.core.message import PERSISTENT, Message
from amqpd.core.policy import UNTOUCHED, Applied
from amqpd.core.ports import DROP_PURGED, Journal, Recovered
from amqpd.core.promises import Promises, work_out
from amqpd.core.queues.consumer import Consumer
from amqpd.core.queues.dispatch import Rota
from amqpd.errors import AccessRefused, PreconditionFailed
from amqpd.wire.tables import Table

if TYPE_CHECKING:
    from amqpd.core.exchanges.base import Binding
    from amqpd.core.queues.ledger import Delivery
    from amqpd.core.turn import Turn

__all__ = ["Queue"]

DISPATCH_OCTETS = 1 << 20
"""Octets that one queue may deliver in one slice."""


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

    def publish(self, message: Message) -> None:
        """Take the message. Its journal record is the publisher's affair, one for all queues."""
        self.window.append(message)
        if not self.scheduled and self.rota.members:
            self.turn.wake(self)

    def recover(self, messages: Iterable[Recovered]) -> None:
        """The messages that a start has found in the journal, in order."""
        for message, redelivered, count in messages:
            if redelivered:
                self.returned.append((message[0], count, message))
            else:
                self.window.append(message)
        heapify(self.returned)

    # --------------------------------------------------------------------------------------------- out

    def dispatch(self, budget: int) -> bool:
        """Deliver to consumers with room, at most `budget` messages; True when there is more to do."""
        rota, returned, window = self.rota, self.returned, self.window
        octets = DISPATCH_OCTETS
        while returned or window:
            ring = rota.next()
            if ring is None:
                return False
            if budget <= 0 or octets <= 0:
                return True
            consumer = ring[0]
            if returned or len(ring) > 1:
                sent = 1
                octets -= self.deliver_one(consumer)
            else:
                sent = min(budget, consumer.credit, consumer.channel.room(consumer.no_ack), len(window))
                sent, octets = self.deliver_run(consumer, sent, octets)
            if not consumer.no_ack:
                self.unacked += sent
                consumer.credit -= sent
            consumer.delivered += sent
            budget -= sent
            ring.rotate(-1)
        return False

    def deliver_one(self, consumer: Consumer) -> int:
        if self.returned:
            _, count, message = heappop(self.returned)
            octets = consumer.deliver(message, True, count)
        else:
            message = self.window.popleft()
            octets = consumer.deliver(message, False, 0)
        if consumer.no_ack and self.journal is not None and message[0] & PERSISTENT:
            self.journal.settle(self.id, message[0])
        return octets

    def deliver_run(self, consumer: Consumer, most: int, octets: int) -> tuple[int, int]:
        """The straight stretch: messages of the window to the only consumer that is to be served."""
        deliver, popleft = consumer.deliver, self.window.popleft
        journal = self.journal if consumer.no_ack else None
        sent = 0
        while sent < most and octets > 0:
            message = popleft()
            octets -= deliver(message, False, 0)
            if journal is not None and message[0] & PERSISTENT:
                journal.settle(self.id, message[0])
            sent += 1
        return sent, octets

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

    def settle(self, delivery: Delivery) -> None:
        """The delivery was acked, or rejected for good: the message is no longer here."""
        self.unacked -= 1
        _, _, consumer, message, _ = delivery
        if message[0] & PERSISTENT and self.journal is not None and self.alive:
            self.journal.settle(self.id, message[0])
            self.turn.arm()
        if consumer is not None:
            consumer.credit += 1

    def requeue(self, delivery: Delivery) -> None:
        """The delivery comes back, to its old position, redelivered from now on."""
        self.unacked -= 1
        _, _, consumer, message, count = delivery
        if consumer is not None:
            consumer.credit += 1
        if not self.alive:
            return
        if message[0] & PERSISTENT and self.journal is not None:
            self.journal.returned(self.id, message[0], count + 1)
        heappush(self.returned, (message[0], count + 1, message))
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
