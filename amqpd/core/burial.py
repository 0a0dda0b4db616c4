"""Burial: dead letters leave their queue and enter the queues that its dead-letter exchange routes them to.

Once per turn, after dispatch. For each: the history of its deaths is written into its headers, the exchange routes it
by the dead-letter routing key or the keys it had, queues in which it would run in a circle are left out, and in one
group of the journal it leaves the one queue and enters the others. A missing exchange, or one without a place for the
message, is its end. There are no permissions and no returns here. Source: RabbitMQ, Dead Letter Exchanges;
rabbit_dead_letter.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Sequence
from typing import TYPE_CHECKING

from amqpd.core import deadletter, routing
from amqpd.core.message import PERSISTENT, Message
from amqpd.core.plan import Target, durable_ids
from amqpd.core.ports import DROP_DELIVERY_LIMIT, DROP_EXPIRED, DROP_MAXLEN, DROP_REJECTED
from amqpd.errors import AmqpError
from amqpd.wire.outgoing import shortstr

if TYPE_CHECKING:
    from amqpd.core.broker import Broker
    from amqpd.core.queues.queue import Queue

__all__ = ["Burial"]

REASONS: dict[int, deadletter.Reason] = {
    DROP_EXPIRED: "expired",
    DROP_MAXLEN: "maxlen",
    DROP_REJECTED: "rejected",
    DROP_DELIVERY_LIMIT: "delivery_limit",
}

SLICE = 500
"""Dead letters of one turn."""

log = logging.getLogger("amqpd.queue")


class Burial:
    """The dead letters of this turn."""

    def __init__(self, broker: Broker) -> None:
        self.broker = broker
        self.waiting: deque[tuple[Queue, Message, int]] = deque()
        self.logged: set[str] = set()

    def add(self, queue: Queue, message: Message, reason: int) -> None:
        """The message has left the queue for this reason (DROP_*); the turn sees to the rest."""
        self.waiting.append((queue, message, reason))
        self.broker.turn.arm()

    def run(self) -> None:
        """The turn's step."""
        waiting = self.waiting
        for _ in range(min(len(waiting), SLICE)):
            self.bury(*waiting.popleft())
        if waiting:
            self.broker.turn.arm()

    def bury(self, queue: Queue, message: Message, reason: int) -> None:
        persistent = message[0] & PERSISTENT != 0
        if persistent and queue.journal is not None and queue.alive:
            queue.journal.drop(queue.id, (message[0],), reason)
        vhost = self.broker.vhosts.get(queue.vhost)
        name = queue.promises.dead_letter_exchange
        exchange = vhost.exchanges.get(name) if vhost is not None and name else None
        if vhost is None or name is None or (exchange is None and name):
            return
        letter = deadletter.dead_letter(
            message,
            queue=queue.name,
            reason=REASONS[reason],
            routing_key=queue.promises.dead_letter_routing_key,
            seconds=(self.broker.turn.now + self.broker.turn.wall) // 1000,
        )
        found: Sequence[Target]
        if exchange is None:
            found = [vhost.queues[key] for key in dict.fromkeys(letter.keys) if key in vhost.queues]
        else:
            try:
                found = routing.route(
                    exchange, letter.keys, letter.headers, vhost.exchanges, vhost.queues, letter.props
                )
            except AmqpError as error:
                log.warning("a dead letter of queue '%s' is lost: %s", queue.name, error)
                return
        targets = (
            found if reason == DROP_REJECTED else [target for target in found if not self.circular(letter, target)]
        )
        if targets:
            fields = shortstr(name) + shortstr(letter.keys[0])
            self.broker.enqueue(targets, durable_ids(targets), persistent, fields, letter.content, letter.origin)

    def unused(self, queue: Queue) -> None:
        """Nobody has used the queue for its x-expires: it is deleted, with what is in it."""
        # An operation, and those work on the broker.
        from amqpd.core.operations.queues import remove_queue

        vhost = self.broker.vhosts.get(queue.vhost)
        if vhost is not None and vhost.queues.get(queue.name) is queue:
            remove_queue(self.broker, vhost, queue, lambda _: None)

    def circular(self, letter: deadletter.DeadLetter, target: Target) -> bool:
        """Would the dead letter go round for ever by this target? The log is told once."""
        if not deadletter.is_cycle(letter.headers, target.name):
            return False
        text = deadletter.cycle_text(letter.headers, target.name)
        if text not in self.logged:
            self.logged.add(text)
            log.warning(text)
        return True
