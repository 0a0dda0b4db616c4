"""The type of a durable exchange whose own type is not there: the plugin that brought it is gone, or does not take its
arguments any more.

The exchange and its bindings stay, and can be deleted; a message to it is refused. When the plugin is back, all is as
it was. Source: RabbitMQ's rabbit_exchange_type_invalid.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from amqpd.core.arguments import exchange_resource
from amqpd.core.exchanges.base import Binding, Depends, Destination
from amqpd.errors import PreconditionFailed
from amqpd.wire.tables import Table

__all__ = ["Missing"]


class Missing:
    """Stands for the type `kind` of one exchange."""

    name: ClassVar[str] = "missing"
    depends: ClassVar[Depends] = Depends.KEY

    def __init__(self, kind: str, exchange: str, vhost: str) -> None:
        self.kind = kind
        self.exchange = exchange_resource(exchange, vhost)

    def check_binding(self, binding: Binding) -> None:
        """Any binding will do."""

    def bind(self, binding: Binding) -> None:
        """The exchange knows it."""

    def unbind(self, binding: Binding) -> None:
        """The exchange knows it."""

    def route(self, keys: Sequence[str], headers: Table, props: bytes) -> Sequence[Destination]:
        """Raises PreconditionFailed."""
        raise PreconditionFailed(f"Cannot route message through {self.exchange}: exchange type {self.kind} not found")
