"""How long a consumer may keep a delivery without settling it: as long as it likes, unless somebody says otherwise.

The first of these that is there counts: the consumer's own x-consumer-timeout, that of its queue (argument or policy,
see core/promises), the setting `consumer_timeout`. Then the consumer is cancelled, what it holds goes back to its queue
(which is no failure), and what the client says of those deliveries later does nothing. With `consumer_timeout.action =
close_channel` the channel is closed instead, as RabbitMQ did up to 4.2. A client that does not understand basic.cancel
keeps everything; the log tells.

Nothing is noted when a message is delivered. A watched consumer is looked at ten times in its timeout, at least once a
minute; each look notes the channel's next delivery tag, and whatever has a lower tag a timeout later has been there all
the time. So the timeout is passed by a fifth, or two minutes, at most. Source: RabbitMQ 4.3, Consumers, Delivery
Acknowledgement Timeout; Quorum Queues, Consumer Timeout.
"""

from __future__ import annotations

import logging
from collections import deque
from typing import TYPE_CHECKING

from amqpd.core import operations
from amqpd.core.arguments import queue_resource
from amqpd.core.queues.consumer import Consumer
from amqpd.errors import PreconditionFailed
from amqpd.protocol.states import ChannelState

if TYPE_CHECKING:
    from amqpd.protocol.channel import Channel

__all__ = ["watch"]

LOOKS = 10
LONGEST = 60_000
"""Looks per timeout, and the longest time between two, in milliseconds."""

log = logging.getLogger("amqpd.channel")


def watch(channel: Channel, consumer: Consumer) -> None:
    """Watch the consumer from now on, if there is a timeout for it."""
    timeout = timeout_of(channel, consumer)
    if timeout is None or consumer.no_ack or consumer.queue.kind == "stream":
        consumer.watch = None
        return
    looks = Watch(channel, consumer, timeout)
    consumer.watch = looks
    looks.again()


def timeout_of(channel: Channel, consumer: Consumer) -> int | None:
    """The consumer's timeout in milliseconds; None: no limit."""
    own = consumer.arguments.get("x-consumer-timeout")
    if own is not None and isinstance(own.value, int) and own.value > 0:
        return int(own.value)
    return consumer.queue.promises.consumer_timeout or channel.session.settings.consumer_timeout


class Watch:
    """The looks at one consumer with one timeout."""

    def __init__(self, channel: Channel, consumer: Consumer, timeout: int) -> None:
        self.channel = channel
        self.consumer = consumer
        self.timeout = timeout
        self.step = min(max(timeout // LOOKS, 1), LONGEST)
        self.marks: deque[tuple[int, int]] = deque()
        """When it was looked, and the channel's next delivery tag at that time."""

    def again(self) -> None:
        """Look once more."""
        turn, ledger = self.channel.broker.turn, self.channel.ledger
        self.marks.append((turn.now, ledger.next_tag))
        turn.timers.at(turn.now + self.step, self.look)

    def look(self) -> None:
        consumer, channel, marks = self.consumer, self.channel, self.marks
        if consumer.watch is not self or channel.consumers.get(consumer.tag) is not consumer:
            return
        long_ago = channel.broker.turn.now - self.timeout
        delivered = 0
        while marks and marks[0][0] <= long_ago:
            delivered = marks.popleft()[1]
        oldest = channel.ledger.oldest(consumer) if delivered else None
        if oldest is None or oldest >= delivered:
            self.again()
        elif channel.state is ChannelState.OPEN:
            self.over(oldest)

    def over(self, tag: int) -> None:
        """The consumer has kept this delivery for too long."""
        consumer, channel, session = self.consumer, self.channel, self.channel.session
        log.warning(
            "Consumer '%s' on channel %d and %s has timed out waiting for a consumer acknowledgement of a delivery "
            "with delivery tag = %d. Timeout used: %d ms. This timeout value can be configured, see consumers doc "
            "guide to learn more",
            consumer.tag,
            channel.number,
            queue_resource(consumer.queue.name, consumer.queue.vhost),
            tag,
            self.timeout,
        )
        if session.settings.consumer_timeout_closes:
            error = PreconditionFailed(
                f"delivery acknowledgement on channel {channel.number} timed out. Timeout value used: {self.timeout} "
                "ms. This timeout value can be configured, see consumers doc guide to learn more"
            )
            session.failed(error, channel, None)
        elif session.capable("consumer_cancel_notify"):
            runs = channel.ledger.lapse(consumer)
            operations.cancel_consumer(channel.broker, channel.vhost, consumer)
            channel.requeue(runs, failed=False)
            channel.consumer_cancelled(consumer)
