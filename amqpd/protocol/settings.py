"""What a session is told about the node: limits, timeouts, and what it says of itself to clients."""

from __future__ import annotations

from dataclasses import dataclass, field

from amqpd.wire.tables import Table

__all__ = ["SessionSettings"]


@dataclass(slots=True)
class SessionSettings:
    """One per node, shared by its sessions; a reload changes it in place and later sessions see it.

    Times in milliseconds, but `heartbeat` in seconds, as AMQP negotiates it. 0 or None: no limit.
    """

    frame_max: int = 131072
    initial_frame_max: int = 8192
    frame_min: int = 4096
    channel_max: int = 2047
    heartbeat: int = 60
    handshake_timeout: int = 10_000
    max_message_size: int = 16 << 20
    max_connections: int | None = None
    consumer_max_per_channel: int | None = None
    consumer_timeout: int | None = None
    consumer_timeout_closes: bool = False
    """Does a consumer that keeps a delivery for too long cost its channel, not only itself?"""
    qos_update_existing_consumers: bool = False
    server_properties: Table = field(default_factory=dict)
