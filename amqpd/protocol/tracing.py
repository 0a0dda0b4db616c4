"""A traced channel: what stands in the place of its publish and deliver functions while the firehose is on.

Plans of a traced virtual host have no targets, so that every publish takes the general road.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from amqpd.core import firehose
from amqpd.core.message import Message
from amqpd.core.plan import Target
from amqpd.core.queues.consumer import Consumer, Deliver
from amqpd.core.queues.queue import Queue
from amqpd.protocol import publishing
from amqpd.wire.outgoing import Content

if TYPE_CHECKING:
    from amqpd.protocol.channel import Channel

__all__ = ["delivered", "deliverer", "publish"]


def publish(
    channel: Channel,
    mandatory: bool,
    routing: bytes,
    targets: Sequence[Target],
    durable: Sequence[int],
    persistent: bool,
    content: Content,
    origin: int,
    ttl: int | None,
) -> bool:
    """`publishing.deliver`, told to the firehose."""
    queues = [target.name for target in targets if isinstance(target, Queue)]
    message = 0, routing, content, origin, 0
    firehose.published(channel.broker, channel.vhost, client(channel), message, queues)
    return publishing.deliver(channel, mandatory, routing, targets, durable, persistent, content, origin, ttl)


def deliverer(channel: Channel, consumer: Consumer, deliver: Deliver) -> Deliver:
    """The consumer's deliver function, told to the firehose."""

    def traced(messages: list[Message], redelivered: bool, count: int) -> int:
        delivered(channel, consumer.queue.name, messages, redelivered)
        return deliver(messages, redelivered, count)

    return traced


def delivered(channel: Channel, queue: str, messages: Sequence[Message], redelivered: bool) -> None:
    """The channel is given these messages."""
    for message in messages:
        firehose.delivered(channel.broker, channel.vhost, client(channel), message, queue, redelivered)


def client(channel: Channel) -> firehose.Client:
    return channel.connection_name, channel.number, channel.user
