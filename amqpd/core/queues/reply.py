"""Direct reply-to: the pseudo-queue that hands a message straight to one consumer and keeps nothing.

A client consumes from `amq.rabbitmq.reply-to`, publishes requests with that reply-to, and the broker puts the
consumer's own name in its place; the reply is published to the default exchange under that name and is delivered at
once, at most once, to nobody when the consumer has gone. Source: RabbitMQ, Direct Reply-to.
"""

from __future__ import annotations

from collections.abc import Sequence
from secrets import token_urlsafe

from amqpd.core.message import Message
from amqpd.core.queues.consumer import Deliver

__all__ = ["REPLY_TO", "REPLY_TO_PREFIX", "ReplyTarget"]

REPLY_TO = "amq.rabbitmq.reply-to"
REPLY_TO_PREFIX = REPLY_TO + "."


class ReplyTarget:
    """Where replies to one consumer go: the part of a queue that publishing sees."""

    __slots__ = ("alive", "deliver", "durable", "epoch", "id", "name", "tag")

    def __init__(self, tag: str, deliver: Deliver) -> None:
        self.name = REPLY_TO_PREFIX + token_urlsafe(18)
        self.tag = tag
        self.deliver = deliver
        self.durable = False
        self.id = 0
        self.alive = True
        self.epoch = 0

    def publish(self, messages: Sequence[Message]) -> None:
        """Deliver the replies now, if the consumer is there: none is ever refused."""
        if self.alive:
            self.deliver(list(messages), False, 0)

    def close(self) -> None:
        """The consumer has gone."""
        self.alive = False
        self.epoch += 1
