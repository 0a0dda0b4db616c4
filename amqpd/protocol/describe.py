"""Connections and channels as the management API shows them: RabbitMQ's field names, values that are true."""

from __future__ import annotations

from typing import TYPE_CHECKING

from amqpd.wire import tables

if TYPE_CHECKING:
    from amqpd.protocol.channel import Channel
    from amqpd.protocol.session import Session

__all__ = ["channel", "connection"]


def connection(session: Session) -> dict[str, object]:
    """One connection."""
    return {
        "name": session.name,
        "user_provided_name": session.connection_label,
        "user": session.user,
        "vhost": session.vhost_name,
        "host": session.peer.host,
        "port": session.peer.port,
        "peer_host": session.peer.peer_host,
        "peer_port": session.peer.peer_port,
        "protocol": "AMQP 0-9-1",
        "auth_mechanism": session.mechanism,
        "ssl": False,
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
