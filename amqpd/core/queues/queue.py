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
from heapq import heapify, heappop
from typing import TYPE_CHECKING

from amqpd.core.arguments import queue_resource
from amqpd.core.message import PERSISTENT, Message
from amqpd.core.policy import UNTOUCHED, Applied
from amqpd.core.ports import (
    DROP_EXPIRED,
    DROP_PURGED,
    DROP_REJECTED,
    Burial,
    Journal,
    Recovered,
    Stuck,
)
from amqpd.core.promises import Promises, work_out
from amqpd.core.queues import counts, keeping, returning
from amqpd.core.queues.consumer import Consumer
from amqpd.core.queues.dispatch import Rota, share_out
from amqpd.core.queues.returning import Held
from amqpd.core.queues.window import window_for
from amqpd.errors import AccessRefused, PreconditionFailed
from amqpd.wire.tables import Table

if TYPE_CHECKING:
    from amqpd.core.exchanges.base import Binding
    from amqpd.core.queues.ledger import Run
    from amqpd.core.turn import Turn

__all__ = ["Queue"]

NO_ARGUMENTS: Table = {}
"""Shared by all queues without arguments: most."""

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
        "alarm",
        "alive",
        "applied",
        "arguments",
        "auto_delete",
        "bindings",
        "bulky",
        "burial",
        "cancelled",
        "durable",
        "epoch",
        "had_consumer",
        "held",
        "id",
        "journal",
        "kind",
        "mortal",
        "name",
        "owner",
        "promises",
        "receiving",
        "returned",
        "rota",
        "scheduled",
        "strict",
        "stuck",
        "turn",
        "unacked",
        "used",
        "vhost",
        "weight",
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
        journal: Journal | None,
        burial: Burial,
    ) -> None:
        self.name = name
        self.vhost = vhost
        self.id = id
        self.kind = kind
        self.durable = durable
        self.auto_delete = auto_delete
        self.owner = owner
        self.arguments = arguments or NO_ARGUMENTS
        self.applied: Applied = UNTOUCHED
        self.promises = work_out(kind, arguments)
        self.turn = turn
        self.journal = journal if durable else None
        self.burial = burial
        self.bindings: dict[Binding, None] = {}
        self.returned: list[tuple[int, int, Message]] = []
        self.held: list[Held] = []
        """A heap of the returned messages whose time to be delivered again has not come."""
        self.stuck: deque[Stuck] = deque()
        """Dead letters that are kept until they have arrived (see core/burial)."""
        self.window = window_for(self.promises, kind)
        self.bulky = False
        """May the window hold contents over SLICE_MAX? They are delivered one by one."""
        self.strict = keeping.is_strict(self.promises)
        """Does a message that comes in have to be looked at, or what is there because of it?"""
        self.weight: int | None = None
        """Octets of the ready messages' bodies, kept where there is a limit of them."""
        self.mortal = False
        """May there be messages with a deadline?"""
        self.alarm = 0
        """The deadline for which a timer is set; 0 for none."""
        self.receiving = False
        """Are messages coming in that are delivered at once or never?"""
        self.rota = Rota(single=self.promises.single_active_consumer)
        keeping.start_weighing(self)
        self.used = turn.now
        """When somebody last showed an interest in the queue."""
        keeping.watch_use(self)
        self.cancelled: Sequence[Consumer] = ()
        self.unacked = 0
        self.scheduled = False
        self.had_consumer = False
        self.alive = True
        self.epoch = 0

    def promise(self, promises: Promises) -> None:
        """What the queue promises from now on, whatever it holds."""
        self.promises = promises
        self.strict = keeping.is_strict(promises)
        keeping.start_weighing(self)
        keeping.keep_limits(self)
        keeping.watch_use(self)
        for consumer in self.rota.members:
            consumer.channel.promises_changed(consumer)

    # ---------------------------------------------------------------------------------------------- in

    def publish(self, messages: list[Message]) -> list[Message] | None:
        """Take the messages: None when they were taken as they are, else those that were, as the queue has them.

        Their journal record is the publisher's affair, one for all queues. A large message comes alone, and so does one
        that has a deadline.
        """
        if self.strict or messages[0][4]:
            return keeping.publish(self, messages)
        self.append(messages)
        return None

    def append(self, messages: list[Message]) -> None:
        """Put messages at the end."""
        self.window.extend(messages)
        if self.weight is not None:
            self.weight += keeping.octets(messages)
        first = messages[0]
        if type(first[2]) is not bytes:
            self.bulky = True
        if first[4]:
            self.mortal = True
        if not self.scheduled and (self.rota.members or self.mortal):
            self.turn.wake(self)

    def recover(self, messages: Iterable[Recovered]) -> None:
        """The messages that a start has found in the journal, in order."""
        for message, redelivered, count in messages:
            reason = counts.condemned(count)
            if reason:
                self.burial.add(self, message, reason)
            elif redelivered:
                window = self.window
                key = window.returning(message) if count else window.order(message)
                self.returned.append((key, count, message))
            else:
                self.window.append(message)
            self.bulky = self.bulky or type(message[2]) is not bytes
            self.mortal = self.mortal or message[4] > 0
        heapify(self.returned)
        keeping.start_weighing(self)
        if self.mortal or self.strict:
            self.turn.wake(self)

    # --------------------------------------------------------------------------------------------- out

    def dispatch(self, budget: int) -> bool:
        """Deliver to consumers with room, at most `budget` messages; True when there is more to do."""
        rota, window = self.rota, self.window
        octets = DISPATCH_OCTETS
        if self.mortal and not keeping.expire(self):
            return True
        while self.returned or window:
            ring = rota.next()
            if ring is None:
                break
            if budget <= 0 or octets <= 0:
                return True
            if self.returned and self.return_is_next():
                sent, used = self.redeliver(ring)
            elif len(ring) == 1:
                sent, used = self.deliver(ring[0], self.take(self.stretch(ring[0], budget, octets)))
            else:
                sent, used = share_out(self, ring, budget, octets)
            budget -= sent
            octets -= used
        if self.strict:
            keeping.cut(self)
        if self.mortal:
            # What stood behind those that are gone may have come to its deadline there.
            if not keeping.expire(self):
                return True
            keeping.watch(self)
        return False

    @property
    def counting(self) -> bool:
        """Is a consumer told how often a message was delivered before?"""
        return self.promises.delivery_limit is not None or self.kind == "quorum"

    def return_is_next(self) -> bool:
        """Do the returned messages come before the window's? Always, but for priorities."""
        window = self.window
        return not window or self.returned[0][0] < window.order(window[0])

    def stretch(self, consumer: Consumer, budget: int, octets: int) -> int:
        """How many messages the consumer, which has room, is to get at a stroke: while contents are large, few."""
        if self.bulky:
            return 1
        window = self.window
        room = consumer.channel.room(consumer.no_ack)
        return min(budget, consumer.credit, room, len(window), STRETCH, octets // len(window[0][2]) + 1)

    def take(self, count: int) -> list[Message]:
        """The first messages of the window: so many, less those that are past their deadline."""
        window = self.window
        if count == len(window):
            messages = list(window)
            window.clear()
            self.bulky = False
        else:
            popleft = window.popleft
            messages = [popleft() for _ in range(count)]
        if self.weight is not None:
            self.weight -= keeping.octets(messages)
        return keeping.living(self, messages) if self.mortal else messages

    def deliver(self, consumer: Consumer, messages: list[Message]) -> tuple[int, int]:
        """Deliver messages for the first time: how many, how many octets."""
        size = len(messages)
        if not size:
            return 0, 0
        consumer.delivered += size
        if consumer.no_ack:
            if self.journal is not None:
                self.settled(messages)
        else:
            self.unacked += size
            consumer.credit -= size
        return size, consumer.deliver(messages, False, 0)

    def redeliver(self, ring: deque[Consumer]) -> tuple[int, int]:
        """Deliver the first of the returned messages to the first of the ring."""
        consumer = ring[0]
        ring.rotate(-1)
        count, message = self.pop_returned()
        if self.mortal and keeping.is_past(self, message):
            keeping.drop(self, message, DROP_EXPIRED)
            return 0, 0
        consumer.delivered += 1
        if consumer.no_ack:
            if self.journal is not None:
                self.settled((message,))
        else:
            self.unacked += 1
            consumer.credit -= 1
        return 1, consumer.deliver([message], True, count)

    def catch_up(self) -> None:
        """Dispatch all that can be, and drop what is past its deadline, before someone looks at what is ready."""
        if self.scheduled or self.mortal:
            while self.dispatch(1000):
                pass

    def get(self) -> tuple[Message, bool, int] | None:
        """Take the first message, for basic.get: message, redelivered, deliveries before; None when there is none.

        It counts as unacked; the caller settles at once what it takes without ack.
        """
        self.used = self.turn.now
        self.catch_up()
        if not self.ready:
            return None
        redelivered, count, message = self.pop()
        if self.mortal:
            # Those behind it may have been waiting for their turn to expire.
            self.catch_up()
        self.unacked += 1
        return message, redelivered, count

    def pop(self) -> tuple[bool, int, Message]:
        """Take the first message: is it a returned one, how often it was delivered before, itself."""
        if self.returned and self.return_is_next():
            return (True, *self.pop_returned())
        message = self.window.popleft()
        if self.weight is not None:
            self.weight -= keeping.octets((message,))
        return False, 0, message

    def pop_returned(self) -> tuple[int, Message]:
        """Take the first of the returned messages."""
        _, count, message = heappop(self.returned)
        if self.weight is not None:
            self.weight -= keeping.octets((message,))
        return count, message

    # ------------------------------------------------------------------------------------------ settle

    def settle(self, run: Run) -> None:
        """The deliveries were acked: their messages are no longer here."""
        self.give_back(run)
        if self.journal is not None and self.alive:
            self.settled(run.messages)

    def settled(self, messages: Sequence[Message]) -> None:
        """Write down that the persistent ones have left."""
        ids = [message[0] for message in messages if message[0] & PERSISTENT]
        if ids:
            assert self.journal is not None
            self.journal.settle(self.id, ids)
            self.turn.arm()

    def reject(self, run: Run) -> None:
        """The deliveries were rejected for good: dead letters, where the queue has a place for such."""
        if self.promises.dead_letter_exchange is None or not self.alive:
            self.settle(run)
            return
        self.give_back(run)
        for message in run.messages:
            self.burial.add(self, message, DROP_REJECTED)

    def requeue(self, run: Run, failed: bool) -> None:
        """The deliveries come back, redelivered from now on (see core/queues/returning)."""
        self.give_back(run)
        if self.alive:
            returning.take_back(self, run.messages, run.count, failed)
            self.turn.wake(self)

    def left(self, message: Message) -> None:
        """The queue has given the message up. For a queue that keeps account of what it has."""

    def give_back(self, run: Run) -> None:
        """The deliveries are no longer the consumer's."""
        size = len(run.messages)
        self.unacked -= size
        if run.consumer is not None:
            run.consumer.credit += size

    def room_again(self, consumer: Consumer) -> None:
        """The consumer can take messages again."""
        self.rota.unpark(consumer)
        if self.returned or self.window:
            self.turn.wake(self)

    # --------------------------------------------------------------------------------------- consumers

    def check_consumer(self, exclusive: bool) -> None:
        """Raises AccessRefused if a consumer may not be added now."""
        members = self.rota.members
        if (exclusive and self.promises.single_active_consumer) or (
            members and (exclusive or any(consumer.exclusive for consumer in members))
        ):
            raise AccessRefused(f"{queue_resource(self.name, self.vhost)} in exclusive use")

    def add_consumer(self, consumer: Consumer) -> None:
        """Serve the consumer from now on."""
        self.rota.add(consumer)
        self.had_consumer = True
        self.used = self.turn.now
        self.turn.wake(self)

    def remove_consumer(self, consumer: Consumer) -> None:
        """No longer serve the consumer; what it has not settled stays with its channel."""
        self.rota.remove(consumer)
        self.used = self.turn.now
        if self.returned or self.window:
            self.turn.wake(self)

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
            ids = [message[0] for _, _, message in self.returned if message[0] & PERSISTENT]
            ids += [message[0] for message in self.window if message[0] & PERSISTENT]
            ids += [message[0] for message, _, _ in self.stuck if message[0] & PERSISTENT]
            if ids:
                self.journal.drop(self.id, ids, DROP_PURGED)
                self.turn.arm()
        self.empty()
        return count

    def empty(self) -> None:
        """Let go of all that is ready; the turn frees it bit by bit."""
        self.turn.let_go(self.returned, self.stuck, *self.window.rows_of_messages())
        self.returned = []
        self.stuck = deque()
        self.window = window_for(self.promises, self.kind)
        keeping.start_weighing(self)

    def check_deletable(self, if_unused: bool, if_empty: bool) -> None:
        """Raises PreconditionFailed if a condition of queue.delete does not hold."""
        if if_unused and self.rota.members:
            raise PreconditionFailed(f"{queue_resource(self.name, self.vhost)} in use")
        if if_empty:
            self.catch_up()
            if self.ready or self.held or self.stuck:
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
        self.empty()
        self.turn.let_go(self.held)
        return count

    def farewell(self) -> None:
        """The catalog has forgotten the queue, and who deleted it knows: its consumers are told, its records in the
        journal are garbage from now on."""
        for consumer in self.cancelled:
            consumer.channel.consumer_cancelled(consumer)
        # A plan may remember the queue for a while yet; it must not hold a connection with it.
        self.cancelled = ()
        self.owner = None
        if self.journal is not None:
            self.journal.forget_queue(self.id)
            self.turn.arm()
