"""Class basic, but publish: taking messages and settling them. Source: RabbitMQ's rabbit_channel."""

from __future__ import annotations

from secrets import token_urlsafe
from typing import TYPE_CHECKING, Any

from amqpd.core import deadletter, operations
from amqpd.core.arguments import consumer_priority, queue_resource, stream_offset
from amqpd.core.message import Message
from amqpd.core.queues.consumer import Consumer
from amqpd.core.queues.counts import acquired, failed
from amqpd.core.queues.ledger import Run
from amqpd.core.queues.queue import Queue
from amqpd.core.queues.reply import REPLY_TO, ReplyTarget
from amqpd.errors import NotAllowed, NotImplemented_, PreconditionFailed, ResourceLocked
from amqpd.protocol import patience, tracing
from amqpd.protocol.methods.queue import named
from amqpd.wire import methods, outgoing
from amqpd.wire.methods import commands

if TYPE_CHECKING:
    from amqpd.protocol.channel import Channel

__all__ = [
    "basic_ack",
    "basic_cancel",
    "basic_consume",
    "basic_get",
    "basic_nack",
    "basic_qos",
    "basic_recover",
    "basic_recover_async",
    "basic_reject",
]


def basic_qos(channel: Channel, method: Any) -> None:
    """A prefetch count, for consumers started from now on or, global, shared by all of the channel.

    With `qos.update_existing_consumers` the count is also that of the consumers that the channel has: what the AMQP
    specification says, and what Celery expects of a broker that announces RabbitMQ 4 (tasks with a countdown).
    """
    if method.prefetch_size:
        raise NotImplemented_(f"prefetch_size!=0 ({method.prefetch_size})")
    if method.global_:
        channel.global_prefetch = method.prefetch_count
        channel.unpark_consumers()
    else:
        channel.prefetch = method.prefetch_count
        if channel.session.settings.qos_update_existing_consumers:
            for consumer in channel.consumers.values():
                consumer.change_prefetch(method.prefetch_count)
            channel.unpark_consumers()
    channel.session.send_method(channel.number, methods.build(commands.Basic.QosOk))


# -------------------------------------------------------------------------------------------------- consume


def basic_consume(channel: Channel, method: Any) -> None:
    """Start a consumer."""
    tag = method.consumer_tag or f"amq.ctag-{token_urlsafe(16)}"
    if tag in channel.consumers or (channel.reply is not None and channel.reply.tag == tag):
        raise NotAllowed(f"attempt to reuse consumer tag '{tag}'")
    limit = channel.session.settings.consumer_max_per_channel
    if limit is not None and len(channel.consumers) >= limit:
        raise NotAllowed(f"reached maximum ({limit}) of consumers per channel")
    if method.queue == REPLY_TO:
        consume_replies(channel, method, tag)
        return
    name = named(channel, method.queue)
    channel.actor.require(channel.vhost.name, "read", "queue", name)
    queue = operations.find_queue(channel.vhost, channel.actor, name)
    check_kind(channel, queue, method)
    priority = consumer_priority(method.arguments, queue_resource(queue.name, queue.vhost))
    stream_offset(method.arguments, queue_resource(queue.name, queue.vhost))
    queue.check_consumer(method.exclusive)
    consumer = Consumer(
        tag,
        queue,
        channel,
        no_ack=method.no_ack,
        exclusive=method.exclusive,
        prefetch=channel.prefetch,
        priority=priority,
        arguments=method.arguments,
    )
    channel.serve(consumer)
    channel.consumers[tag] = consumer
    if not method.nowait:
        channel.session.send_method(channel.number, methods.build(commands.Basic.ConsumeOk, consumer_tag=tag))
    queue.add_consumer(consumer)
    patience.watch(channel, consumer)
    about = {
        "consumer_tag": tag,
        "exclusive": consumer.exclusive,
        "ack_required": not consumer.no_ack,
        "queue": queue.name,
        "vhost": queue.vhost,
        "channel": f"{channel.connection_name} ({channel.number})",
        "prefetch_count": consumer.prefetch,
        "arguments": consumer.arguments,
        "user_who_performed_action": channel.user,
    }
    channel.broker.emit("consumer.created", about)


def check_kind(channel: Channel, queue: Queue, method: Any) -> None:
    """What quorum queues and streams refuse."""
    if queue.kind == "classic":
        return
    resource = queue_resource(queue.name, queue.vhost)
    if channel.global_prefetch:
        raise NotImplemented_(f"{resource} does not support global qos")
    if queue.kind == "stream":
        if method.no_ack:
            raise NotImplemented_(f"automatic acknowledgement not supported by stream {resource}")
        if not channel.prefetch:
            raise PreconditionFailed(f"consumer prefetch count is not set for stream {resource}")


def consume_replies(channel: Channel, method: Any, tag: str) -> None:
    """Direct reply-to: one consumer per channel, without ack."""
    if not method.no_ack:
        raise PreconditionFailed("reply consumer cannot acknowledge")
    if channel.reply is not None:
        raise PreconditionFailed("reply consumer already set")
    channel.reply = ReplyTarget(tag, channel.deliverer(tag, None))
    channel.broker.replies[channel.reply.name] = channel.reply
    if not method.nowait:
        channel.session.send_method(channel.number, methods.build(commands.Basic.ConsumeOk, consumer_tag=tag))


def basic_cancel(channel: Channel, method: Any) -> None:
    """Stop a consumer; an unknown tag is no error. What it has been delivered stays with the channel."""
    tag = method.consumer_tag
    consumer = channel.consumers.pop(tag, None)
    if consumer is not None:
        operations.cancel_consumer(channel.broker, channel.vhost, consumer)
    elif channel.reply is not None and channel.reply.tag == tag:
        channel.end_replies()
    if not method.nowait:
        channel.session.send_method(channel.number, methods.build(commands.Basic.CancelOk, consumer_tag=tag))


def basic_get(channel: Channel, method: Any) -> None:
    """Take one message."""
    name = named(channel, method.queue)
    channel.actor.require(channel.vhost.name, "read", "queue", name)
    queue = operations.find_queue(channel.vhost, channel.actor, name)
    if queue.kind == "stream":
        raise NotImplemented_(f"basic.get not supported by stream queues {queue_resource(queue.name, queue.vhost)}")
    if queue.kind == "quorum" and queue.promises.single_active_consumer:
        raise ResourceLocked(
            f"cannot obtain access to locked {queue_resource(queue.name, queue.vhost)}. basic.get operations are not "
            "supported by quorum queues with single active consumer"
        )
    found = queue.get()
    if found is None:
        channel.session.outbox.send(outgoing.get_empty(channel.number))
        return
    message, redelivered, count = found
    if channel.vhost.row.tracing:
        tracing.delivered(channel, queue.name, [message], redelivered)
    send_message(channel, method, queue, message, redelivered, count)


def send_message(channel: Channel, method: Any, queue: Queue, message: Message, redelivered: bool, count: int) -> None:
    if method.no_ack:
        tag = channel.ledger.skip(1)
        queue.settle(Run(tag, queue, None, [message], count))
    else:
        tag = channel.ledger.add(queue, None, [message], count)
    if count and queue.counting:
        message = deadletter.redelivered(message, acquired(count), failed(count))
    session = channel.session
    session.outbox.send(outgoing.get_ok(channel.number, tag, redelivered, message[1], queue.ready))
    session.outbox.send_content(message[2], message[3], channel.number, session.frame_max)


# --------------------------------------------------------------------------------------------------- settle


def basic_ack(channel: Channel, method: Any) -> None:
    """The client is done with one message, or with all up to this tag."""
    runs = channel.ledger.take(method.delivery_tag, method.multiple)
    if channel.transaction is not None:
        channel.transaction.ack(runs)
    else:
        channel.settle(runs)


def basic_nack(channel: Channel, method: Any) -> None:
    """The client will not take care of one message, or of all up to this tag."""
    refuse(channel, channel.ledger.take(method.delivery_tag, method.multiple), method.requeue, failed=False)


def basic_reject(channel: Channel, method: Any) -> None:
    """The client will not take care of this message. Other than a nack, that counts as a failed delivery."""
    refuse(channel, channel.ledger.take(method.delivery_tag, False), method.requeue, failed=True)


def refuse(channel: Channel, runs: list[Run], requeue: bool, failed: bool) -> None:
    if channel.transaction is not None:
        channel.transaction.refused(runs, requeue, failed)
    elif requeue:
        channel.requeue(runs, failed=failed)
    else:
        channel.reject(runs)


def basic_recover(channel: Channel, method: Any) -> None:
    """All that the channel has not settled goes back to its queues."""
    basic_recover_async(channel, method)
    channel.session.send_method(channel.number, methods.build(commands.Basic.RecoverOk))


def basic_recover_async(channel: Channel, method: Any) -> None:
    """The same without an answer."""
    if not method.requeue:
        raise NotImplemented_("requeue=false")
    channel.requeue(channel.ledger.take(0, True), failed=False)
