"""x-modulus-hash: each message goes to one binding, the one that the hash of its routing keys counts out.

Binding keys do not count. The bindings are counted in a fixed order, so while they stay what they are equal keys go to
equal destinations, also over a restart; when one comes or goes most keys move (x-consistent-hash moves few). Source:
RabbitMQ's rabbit_exchange_type_modulus_hash, whose numbers differ from ours.
"""

from __future__ import annotations

from bisect import insort
from collections.abc import Sequence
from typing import ClassVar

from amqpd.core.exchanges.base import Binding, Depends, Destination, Identity
from amqpd.core.exchanges.hashing import number
from amqpd.wire.tables import Table

__all__ = ["ModulusHash"]


def identity(binding: Binding) -> Identity:
    return binding.identity


class ModulusHash:
    """The modulus hash exchange type."""

    name: ClassVar[str] = "x-modulus-hash"
    depends: ClassVar[Depends] = Depends.KEY

    def __init__(self, arguments: Table) -> None:
        self.bindings: list[Binding] = []

    def check_binding(self, binding: Binding) -> None:
        """Any binding will do."""

    def bind(self, binding: Binding) -> None:
        insort(self.bindings, binding, key=identity)

    def unbind(self, binding: Binding) -> None:
        self.bindings.remove(binding)

    def route(self, keys: Sequence[str], headers: Table, props: bytes) -> Sequence[Destination]:
        if not self.bindings:
            return []
        hashed = number("\0".join(keys).encode("utf-8", "surrogateescape"))
        return [self.bindings[hashed % len(self.bindings)].destination]
