"""Burial: dead letters leave their queue and enter the queues that its dead-letter exchange routes them to.

Once per turn, after dispatch. For each: the history of its deaths is written into its headers, the exchange routes it
by the dead-letter routing key or the keys it had, queues in which it would run in a circle are left out, and in one
group of the journal it leaves the one queue and enters the others. A missing exchange, or one without a place for the
message, is its end. There are no permissions and no returns here.

A quorum queue with the dead-letter-strategy `at-least-once` (and overflow `reject-publish`, without which RabbitMQ does
not do it either) keeps a dead letter that finds no exchange, no queue, or a queue that refuses it, and tries again,
once a second, with the queues that do not have it yet. In the journal a kept one is a return that says why it died, so
it is still a dead letter after a restart. It counts against the queue's limits. Source: RabbitMQ, Dead Letter
Exchanges; Quorum Queues, At-Least-Once Dead Lettering; rabbit_dead_letter, rabbit_fifo_dlx_worker.
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
from amqpd.core.queues.counts import condemn
from amqpd.core.queues.keeping import octets
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

RETRY = 1000
"""Milliseconds after which dead letters that have not arrived are tried again."""

log = logging.getLogger("amqpd.queue")


def keeps(queue: Queue) -> bool:
    """Does the queue keep its dead letters until they have arrived?"""
    promises = queue.promises
    return (
        promises.dead_letter_strategy == "at-least-once"
        and promises.overflow == "reject-publish"
        and promises.dead_letter_exchange is not None
        and queue.kind == "quorum"
    )


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
        """One try. It fails only for a queue that keeps its dead letters until they have arrived."""
        if not queue.alive or not keeps(queue):
            self.forget(queue, message, reason)
            addressed = self.address(queue, message, reason)
            if addressed is not None:
                self.post(queue, message, *addressed)
            return
        first = not queue.stuck
        if self.arrived(queue, message, reason, frozenset()):
            return
        if message[0] & PERSISTENT and queue.journal is not None:
            queue.journal.returned(queue.id, message[0], condemn(0, reason))
        if queue.weight is not None:
            queue.weight += octets((message,))
        if first:
            log.warning(
                "dead letters of queue '%s' in vhost '%s' stay there: no queue takes them from exchange '%s'",
                queue.name,
                queue.vhost,
                queue.promises.dead_letter_exchange,
            )
            self.try_later(queue)

    def try_later(self, queue: Queue) -> None:
        turn, stuck = self.broker.turn, queue.stuck

        def due() -> None:
            # A purge has others take their place.
            if queue.stuck is stuck:
                self.retry(queue)

        turn.timers.at(turn.now + RETRY, due)

    def retry(self, queue: Queue) -> None:
        """Try again what is stuck in the queue, as long as there is something."""
        for _ in range(min(len(queue.stuck), SLICE)):
            message, reason, taken = queue.stuck.popleft()
            if not keeps(queue):
                self.bury(queue, message, reason)
            elif not self.arrived(queue, message, reason, taken):
                continue
            if queue.weight is not None:
                queue.weight -= octets((message,))
        if queue.stuck:
            self.try_later(queue)
        self.broker.turn.arm()

    def arrived(self, queue: Queue, message: Message, reason: int, taken: frozenset[str]) -> bool:
        """Bring the dead letter to all of its queues but those that have it; if one does not take it, it is stuck."""
        addressed = self.address(queue, message, reason)
        if addressed is not None:
            letter, targets = addressed
            for target in targets:
                if target.name not in taken and self.post(queue, message, letter, [target]):
                    taken |= {target.name}
            if taken.issuperset(target.name for target in targets):
                self.forget(queue, message, reason)
                return True
        queue.stuck.append((message, reason, taken))
        return False

    def forget(self, queue: Queue, message: Message, reason: int) -> None:
        """The message is no longer in the queue."""
        if message[0] & PERSISTENT and queue.journal is not None and queue.alive:
            queue.journal.drop(queue.id, (message[0],), reason)

    def address(
        self, queue: Queue, message: Message, reason: int
    ) -> tuple[deadletter.DeadLetter, Sequence[Target]] | None:
        """The dead letter that the message becomes, and where it is to go; None where that is nowhere."""
        vhost = self.broker.vhosts.get(queue.vhost)
        name = queue.promises.dead_letter_exchange
        exchange = vhost.exchanges.get(name) if vhost is not None and name else None
        if vhost is None or name is None or (exchange is None and name):
            return None
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
                log.warning("a dead letter of queue '%s' finds no way: %s", queue.name, error)
                return None
        if reason != DROP_REJECTED:
            found = [target for target in found if not self.circular(letter, target)]
        return (letter, found) if found else None

    def post(self, queue: Queue, message: Message, letter: deadletter.DeadLetter, targets: Sequence[Target]) -> bool:
        """Enqueue the dead letter. Did all of the queues take it?"""
        fields = shortstr(queue.promises.dead_letter_exchange or "") + shortstr(letter.keys[0])
        persistent = message[0] & PERSISTENT != 0
        _, refused = self.broker.enqueue(
            targets, durable_ids(targets), persistent, fields, letter.content, letter.origin
        )
        return not refused

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
