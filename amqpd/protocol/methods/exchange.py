"""Class exchange."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from amqpd.core import operations
from amqpd.wire import methods
from amqpd.wire.methods import commands

if TYPE_CHECKING:
    from amqpd.protocol.channel import Channel

__all__ = ["exchange_bind", "exchange_declare", "exchange_delete", "exchange_unbind"]


def replier(channel: Channel, method: Any, reply: type) -> Callable[[object], None]:
    """What to do with the result of an operation that has none: reply, unless the client said nowait."""

    def send(_: object) -> None:
        if not method.nowait:
            channel.session.send_method(channel.number, methods.build(reply))

    return send


def exchange_declare(channel: Channel, method: Any) -> None:
    """exchange.declare."""
    vhost, actor = channel.vhost, channel.actor
    reply = replier(channel, method, commands.Exchange.DeclareOk)
    if method.passive:
        operations.passive_exchange(vhost, actor, method.exchange)
        reply(None)
        return
    channel.perform(
        lambda done: operations.declare_exchange(
            channel.broker,
            vhost,
            actor,
            method.exchange,
            method.exchange_type,
            durable=method.durable,
            auto_delete=method.auto_delete,
            internal=method.internal,
            arguments=method.arguments,
            done=done,
        ),
        reply,
        method,
    )


def exchange_delete(channel: Channel, method: Any) -> None:
    """exchange.delete."""
    channel.perform(
        lambda done: operations.delete_exchange(
            channel.broker, channel.vhost, channel.actor, method.exchange, if_unused=method.if_unused, done=done
        ),
        replier(channel, method, commands.Exchange.DeleteOk),
        method,
    )


def exchange_bind(channel: Channel, method: Any) -> None:
    """exchange.bind, RabbitMQ's extension."""
    channel.perform(
        lambda done: operations.bind(
            channel.broker,
            channel.vhost,
            channel.actor,
            method.source,
            "exchange",
            method.destination,
            method.routing_key,
            method.arguments,
            done,
        ),
        replier(channel, method, commands.Exchange.BindOk),
        method,
    )


def exchange_unbind(channel: Channel, method: Any) -> None:
    """exchange.unbind, RabbitMQ's extension."""
    channel.perform(
        lambda done: operations.unbind(
            channel.broker,
            channel.vhost,
            channel.actor,
            method.source,
            "exchange",
            method.destination,
            method.routing_key,
            method.arguments,
            done,
        ),
        replier(channel, method, commands.Exchange.UnbindOk),
        method,
    )
