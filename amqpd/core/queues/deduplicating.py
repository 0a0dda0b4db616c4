"""A queue that takes no message whose x-deduplication-header one has that is still in it, ready or unsettled.

The argument x-message-deduplication asks for it. A duplicate is confirmed and goes nowhere, not even to the dead letter
exchange; a message without the header is not looked at. Source: the plugin rabbitmq-message-deduplication
(RabbitMQMessageDeduplication.Queue).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Final

from amqpd.core.deadletter import headers_of
from amqpd.core.message import Message, props_of
from amqpd.core.ports import Recovered
from amqpd.core.queues.queue import Queue
from amqpd.wire.tables import Field, Table, canonical

if TYPE_CHECKING:
    from amqpd.core.queues.consumer import Consumer
    from amqpd.core.queues.ledger import Run

__all__ = ["HEADER", "DeduplicatingQueue", "queue_class"]

ARGUMENT: Final = "x-message-deduplication"
HEADER: Final = "x-deduplication-header"


def queue_class(arguments: Table) -> type[Queue]:
    """What a queue with these arguments is."""
    return DeduplicatingQueue if arguments.get(ARGUMENT) == Field("t", True) else Queue


class DeduplicatingQueue(Queue):
    """The queue, with an account of which values are in it."""

    __slots__ = ("duplicates", "ids", "values")

    def __init__(self, name: str, vhost: str, **settings: Any) -> None:
        self.ids: dict[bytes, int] = {}
        """Value of the header -> the message that has it."""
        self.values: dict[int, bytes] = {}
        """The same the other way round."""
        self.duplicates: set[int] = set()
        """Those among the messages that were published last."""
        super().__init__(name, vhost, **settings)

    def enter(self, message: Message) -> bool:
        """Note the message; False for a duplicate."""
        field = headers_of(props_of(message)).get(HEADER)
        if field is None:
            return True
        value = canonical({"": field})
        if value in self.ids:
            return False
        self.ids[value] = message[0]
        self.values[message[0]] = value
        return True

    def left(self, message: Message) -> None:
        value = self.values.pop(message[0], None)
        if value is not None:
            del self.ids[value]

    # ---------------------------------------------------------------------------------------------- in

    def publish(self, messages: list[Message]) -> list[Message] | None:
        self.duplicates.clear()
        fresh = [message for message in messages if self.enter(message)]
        if len(fresh) == len(messages):
            fresh = messages
        else:
            self.duplicates.update({message[0] for message in messages}.difference(message[0] for message in fresh))
        taken = super().publish(fresh) if fresh else None
        if taken is None:
            return None if fresh is messages else fresh
        there = {message[0] for message in taken}
        for message in fresh:
            if message[0] not in there:
                self.left(message)
        return taken

    def recover(self, messages: Iterable[Recovered]) -> None:
        found = list(messages)
        for message, _, _ in found:
            self.enter(message)
        super().recover(found)

    # --------------------------------------------------------------------------------------------- out

    def deliver(self, consumer: Consumer, messages: list[Message]) -> tuple[int, int]:
        if consumer.no_ack:
            self.all_left(messages)
        return super().deliver(consumer, messages)

    def redeliver(self, ring: deque[Consumer]) -> tuple[int, int]:
        if ring[0].no_ack:
            self.left(self.returned[0][2])
        return super().redeliver(ring)

    def settle(self, run: Run) -> None:
        super().settle(run)
        self.all_left(run.messages)

    def reject(self, run: Run) -> None:
        super().reject(run)
        self.all_left(run.messages)

    def all_left(self, messages: Iterable[Message]) -> None:
        """These are no longer in the queue."""
        for message in messages:
            self.left(message)

    def empty(self) -> None:
        """Those that are unsettled count no more, as with the plugin."""
        super().empty()
        self.ids.clear()
        self.values.clear()
