"""What the log says of errors that close a channel or a connection, in RabbitMQ's words."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from amqpd.errors import AmqpError
from amqpd.wire import methods

if TYPE_CHECKING:
    from amqpd.protocol.channel import Channel
    from amqpd.protocol.session import Session

__all__ = ["channel_error", "connection_error"]

connection_log = logging.getLogger("amqpd.connection")
channel_log = logging.getLogger("amqpd.channel")


def connection_error(session: Session, number: int, error: AmqpError, ids: tuple[int, int]) -> None:
    """A hard error, met on channel `number` while doing the method with these ids."""
    connection_log.error(
        "Error on AMQP connection %s (vhost: '%s', user: '%s', state: %s), channel %d:\n%s",
        session.name,
        session.vhost_name,
        session.user,
        session.state.value,
        number,
        explained(error, ids, "connection"),
    )


def channel_error(channel: Channel, error: AmqpError, ids: tuple[int, int]) -> None:
    """A soft error of this channel."""
    channel_log.error(
        "Channel error on connection %s (vhost: '%s', user: '%s'), channel %d:\n%s",
        channel.connection_name,
        channel.vhost.name,
        channel.user,
        channel.number,
        explained(error, ids, "channel"),
    )


def explained(error: AmqpError, ids: tuple[int, int], scope: str) -> str:
    constant = error.constant.lower()
    if ids == (0, 0):
        return f"a {scope} exception {constant}: {error.explanation}"
    return f"operation {methods.name(ids)} caused a {scope} exception {constant}: {error.explanation}"
