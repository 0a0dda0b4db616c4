"""What the control surface is told about the node that it controls."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from amqpd.server.resources import Resources

__all__ = ["Listener", "NodeInfo"]


class Listener(NamedTuple):
    """A place where clients connect; `protocol` as RabbitMQ names it: "amqp", "amqp/ssl"."""

    protocol: str
    ip_address: str
    port: int


@dataclass(slots=True, kw_only=True)
class NodeInfo:
    """One node, as it describes itself."""

    name: str
    """`rabbit@host`, or whatever the node is called."""
    cluster_name: str
    version: str
    """amqpd's own version."""
    product_name: str
    product_version: str
    """The product and version that clients look for, RabbitMQ's."""
    data_dir: Path
    started_at: float
    """Wall clock, in seconds since the epoch."""
    listeners: Sequence[Listener]
    resources: Resources
    """Its memory and disk, and their limits."""
    stop: Callable[[str], None]
    """Ask for an orderly stop, saying why; returns at once."""
