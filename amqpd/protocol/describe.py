"""Connections and channels as the management API shows them, and as events tell of them: RabbitMQ's field names, values
that are true."""

from __future__ import annotations

from typing import TYPE_CHECKING

from amqpd.wire import tables

if TYPE_CHECKING:
    from amqpd.protocol.channel import Channel
    from amqpd.protocol.session import Session

__all__ = ["channel", "closed", "connection", "created", "created_channel", "login"]


def transport(session: Session) -> dict[str, object]:
    """What a connection runs over."""
    return {
        "host": session.peer.host,
        "port": session.peer.port,
        "peer_host": session.peer.peer_host,
        "peer_port": session.peer.peer_port,
        "protocol": "AMQP 0-9-1",
        "auth_mechanism": session.mechanism,
        "ssl": False,
    }


def connection(session: Session) -> dict[str, object]:
    """One connection."""
    return {
        "name": session.name,
        "user_provided_name": session.connection_label,
        "user": session.user,
        "vhost": session.vhost_name,
        **transport(session),
        "state": session.throttle.state,
        "channels": len(session.channels),
        "channel_max": session.channel_max,
        "frame_max": session.frame_max,
        "timeout": session.heartbeat.interval,
        "client_properties": tables.to_json(session.client_properties),
        "connected_at": session.connected_at,
        "recv_oct": session.octets_in,
        "send_oct": session.outbox.written,
        "type": "network",
    }


def channel(channel: Channel) -> dict[str, object]:
    """One channel."""
    session = channel.session
    confirms, transaction = channel.confirms, channel.transaction
    return {
        "name": f"{session.name} ({channel.number})",
        "number": channel.number,
        "connection_details": {
            "name": session.name,
            "peer_host": session.peer.peer_host,
            "peer_port": session.peer.peer_port,
        },
        "user": session.user,
        "vhost": session.vhost_name,
        "state": channel.state.value,
        "consumer_count": len(channel.consumers),
        "prefetch_count": channel.prefetch,
        "global_prefetch_count": channel.global_prefetch,
        "confirm": confirms is not None,
        "transactional": transaction is not None,
        "messages_unacknowledged": channel.ledger.unacked,
        "messages_unconfirmed": confirms.unconfirmed if confirms is not None else 0,
        "messages_uncommitted": len(transaction.publishes) if transaction is not None else 0,
        "acks_uncommitted": transaction.settling if transaction is not None else 0,
    }


# -------------------------------------------------------------------------------------------------- events


def login(session: Session, user: str) -> dict[str, object]:
    """A login that was tried."""
    return {
        "name": user,
        "connection_type": "network",
        "connection_name": session.name,
        **transport(session),
    }


def created(session: Session) -> dict[str, object]:
    """A connection that is open."""
    return {
        **login(session, session.user),
        "name": session.name,
        "user_provided_name": session.connection_label,
        "user": session.user,
        "vhost": session.vhost_name,
        "timeout": session.heartbeat.interval,
        "frame_max": session.frame_max,
        "channel_max": session.channel_max,
        "client_properties": session.client_properties,
        "connected_at": session.connected_at,
        "node": session.broker.node_name,
        "user_who_performed_action": session.user,
    }


def closed(session: Session) -> dict[str, object]:
    """A connection that was open and is no more."""
    return {
        "name": session.name,
        "node": session.broker.node_name,
        "vhost": session.vhost_name,
        "client_properties": session.client_properties,
        "user_who_performed_action": session.user,
    }


def created_channel(channel: Channel) -> dict[str, object]:
    """A channel that is open, or was."""
    return {
        "name": f"{channel.connection_name} ({channel.number})",
        "connection": channel.connection_name,
        "number": channel.number,
        "user": channel.user,
        "vhost": channel.vhost.name,
        "user_who_performed_action": channel.user,
    }
