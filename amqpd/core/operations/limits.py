"""The limits of virtual hosts and users, where they are met.

Source: RabbitMQ's rabbit_reader (is_over_*_connection_limit), rabbit_channel (check_vhost_queue_limit).
"""

from __future__ import annotations

from amqpd.core.broker import Broker
from amqpd.core.vhost import VHost
from amqpd.errors import NotAllowed, PreconditionFailed

__all__ = ["check_channel_limit", "check_connection_limits", "check_queue_limit"]


def check_connection_limits(broker: Broker, vhost: VHost, user: str) -> None:
    """Raises NotAllowed if the virtual host, or the user, has as many connections as it may have."""
    limit = vhost.limit("max-connections")
    if limit is not None and reached(broker, limit, vhost=vhost.name):
        raise NotAllowed(
            f"access to vhost '{vhost.name}' refused for user '{user}': connection limit ({limit}) is reached"
        )
    limit = broker.access.limit(user, "max-connections")
    if limit is not None and reached(broker, limit, user=user):
        raise NotAllowed(f"connection refused for user '{user}': user connection limit ({limit}) is reached")


def reached(broker: Broker, limit: int, user: str | None = None, vhost: str | None = None) -> bool:
    """Are there as many connections of this user, or to this virtual host?"""
    return limit <= sum(
        (user is None or connection.user == user) and (vhost is None or connection.vhost_name == vhost)
        for connection in broker.connections
    )


def check_channel_limit(broker: Broker, user: str) -> None:
    """Raises NotAllowed if the user has as many channels as it may have."""
    limit = broker.access.limit(user, "max-channels")
    if limit is None:
        return
    if limit <= sum(len(connection.channels) for connection in broker.connections if connection.user == user):
        raise NotAllowed(
            f"number of channels opened for user '{user}' has reached the maximum allowed user limit of {limit}"
        )


def check_queue_limit(vhost: VHost, name: str) -> None:
    """Raises PreconditionFailed if the virtual host has as many queues as it may have."""
    limit = vhost.limit("max-queues")
    if limit is None:
        return
    coming = sum(kind == "queue" for kind, _ in vhost.pending)
    if limit <= len(vhost.queues) + coming:
        raise PreconditionFailed(
            f"cannot declare queue '{name}': queue limit in vhost '{vhost.name}' ({limit}) is reached"
        )
