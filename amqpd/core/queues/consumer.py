"""A consumer: who takes messages from a queue, and how many it may still take."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

from amqpd.core.message import Message
from amqpd.wire.tables import Table

if TYPE_CHECKING:
    from amqpd.core.queues.queue import Queue

__all__ = ["UNLIMITED", "Consumer", "ConsumerChannel", "Deliver"]

UNLIMITED = 1 << 60
"""Credit of a consumer without a prefetch count: more than a connection can use up."""

Deliver = Callable[[list[Message], bool, int], int]
"""(messages, redelivered, deliveries so far) -> octets that went to the outbox. The list is given away."""


class ConsumerChannel(Protocol):
    """What a queue needs to know of the channel a consumer lives on."""

    @property
    def number(self) -> int: ...

    @property
    def connection_name(self) -> str: ...

    @property
    def user(self) -> str: ...

    def room(self, no_ack: bool) -> int:
        """How many deliveries the channel can take now, by its connection's outbox and, where they are to be acked, by
        the prefetch count that its consumers share."""

    def promises_changed(self, consumer: Consumer) -> None:
        """The consumer's queue promises something else from now on."""

    def consumer_cancelled(self, consumer: Consumer) -> None:
        """The broker has taken the consumer off its queue; the client is to be told."""


class Consumer:
    """One basic.consume.

    `credit` is what is left of its own prefetch count. `parked` says that its queue's rota has dropped it because it
    had no room; `Queue.room_again` puts it back.
    """

    __slots__ = (
        "arguments",
        "channel",
        "credit",
        "deliver",
        "delivered",
        "exclusive",
        "no_ack",
        "parked",
        "prefetch",
        "priority",
        "queue",
        "tag",
        "watch",
    )

    def __init__(
        self,
        tag: str,
        queue: Queue,
        channel: ConsumerChannel,
        *,
        no_ack: bool,
        exclusive: bool,
        prefetch: int,
        priority: int,
        arguments: Table,
    ) -> None:
        self.tag = tag
        self.queue = queue
        self.channel = channel
        self.no_ack = no_ack
        self.exclusive = exclusive
        self.prefetch = prefetch
        self.credit = UNLIMITED if no_ack else limit(prefetch)
        self.priority = priority
        self.arguments = arguments
        self.parked = False
        self.delivered = 0
        self.deliver: Deliver
        self.watch: object | None = None
        """Who watches how long it keeps deliveries."""

    def change_prefetch(self, prefetch: int) -> None:
        """Another prefetch count from now on; what is delivered already counts, so the credit may become negative."""
        if not self.no_ack:
            self.credit += limit(prefetch) - limit(self.prefetch)
        self.prefetch = prefetch


def limit(prefetch: int) -> int:
    """How many unsettled deliveries a prefetch count allows."""
    return prefetch or UNLIMITED
