"""Class queue. An empty queue name stands for the queue last declared on the channel."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from amqpd.core import operations
from amqpd.core.operations import DeclaredQueue
from amqpd.errors import NotFound
from amqpd.protocol.methods.exchange import replier
from amqpd.wire import methods
from amqpd.wire.methods import commands

if TYPE_CHECKING:
    from amqpd.protocol.channel import Channel

__all__ = ["named", "queue_bind", "queue_declare", "queue_delete", "queue_purge", "queue_unbind"]


def named(channel: Channel, name: str) -> str:
    """The queue that a method means. Raises NotFound for an empty name before any declare."""
    if name:
        return name
    if channel.last_queue is None:
        raise NotFound("no previously declared queue")
    return channel.last_queue


def queue_declare(channel: Channel, method: Any) -> None:
    """queue.declare."""

    def reply(declared: DeclaredQueue) -> None:
        channel.last_queue = declared.name
        if not method.nowait:
            answer = methods.build(
                commands.Queue.DeclareOk,
                queue=declared.name,
                message_count=declared.ready,
                consumer_count=declared.consumers,
            )
            channel.session.send_method(channel.number, answer)

    if method.passive:
        name = named(channel, method.queue)
        reply(operations.passive_queue(channel.broker, channel.vhost, channel.actor, name))
        return
    channel.perform(
        lambda done: operations.declare_queue(
            channel.broker,
            channel.vhost,
            channel.actor,
            method.queue,
            durable=method.durable,
            exclusive=method.exclusive,
            auto_delete=method.auto_delete,
            arguments=method.arguments,
            done=done,
        ),
        reply,
        method,
    )


def binding_key(channel: Channel, method: Any) -> tuple[str, str]:
    """Queue and routing key of a bind or unbind: when both are empty, both are the last declared queue's name."""
    name = named(channel, method.queue)
    return name, method.routing_key if method.queue or method.routing_key else name


def queue_bind(channel: Channel, method: Any) -> None:
    """queue.bind."""
    name, key = binding_key(channel, method)
    channel.perform(
        lambda done: operations.bind(
            channel.broker, channel.vhost, channel.actor, method.exchange, "queue", name, key, method.arguments, done
        ),
        replier(channel, method, commands.Queue.BindOk),
        method,
    )


def queue_unbind(channel: Channel, method: Any) -> None:
    """queue.unbind, which has no nowait."""
    name, key = binding_key(channel, method)

    def reply(_: None) -> None:
        channel.session.send_method(channel.number, methods.build(commands.Queue.UnbindOk))

    channel.perform(
        lambda done: operations.unbind(
            channel.broker, channel.vhost, channel.actor, method.exchange, "queue", name, key, method.arguments, done
        ),
        reply,
        method,
    )


def queue_purge(channel: Channel, method: Any) -> None:
    """queue.purge."""
    count = operations.purge_queue(channel.vhost, channel.actor, named(channel, method.queue))
    if not method.nowait:
        channel.session.send_method(channel.number, methods.build(commands.Queue.PurgeOk, message_count=count))


def queue_delete(channel: Channel, method: Any) -> None:
    """queue.delete."""

    def reply(count: int) -> None:
        if not method.nowait:
            channel.session.send_method(channel.number, methods.build(commands.Queue.DeleteOk, message_count=count))

    channel.perform(
        lambda done: operations.delete_queue(
            channel.broker,
            channel.vhost,
            channel.actor,
            named(channel, method.queue),
            if_unused=method.if_unused,
            if_empty=method.if_empty,
            done=done,
        ),
        reply,
        method,
    )
