"""x-random and x-local-random: each message goes to one binding, whichever chance picks.

x-local-random is for replies and requests that must not cross nodes: it takes classic queues only, bound without a key,
and picks among those on the publisher's node, which are all of them here. Source: RabbitMQ's
rabbit_exchange_type_random and rabbit_exchange_type_local_random.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import ClassVar, Final

from amqpd.core.exchanges.base import Binding, Depends, Destination, Exchange
from amqpd.errors import PreconditionFailed
from amqpd.wire.tables import Table

__all__ = ["LocalRandom", "Random"]

CHANCE: Final = random.Random()
"""Where choices come from unless someone else provides them."""


class Random:
    """The random exchange type."""

    name: ClassVar[str] = "x-random"
    depends: ClassVar[Depends] = Depends.EACH

    def __init__(self, arguments: Table, chance: random.Random = CHANCE) -> None:
        self.bindings: list[Binding] = []
        self.chance = chance

    def check_binding(self, binding: Binding) -> None:
        """Any binding will do."""

    def bind(self, binding: Binding) -> None:
        self.bindings.append(binding)

    def unbind(self, binding: Binding) -> None:
        self.bindings.remove(binding)

    def route(self, keys: Sequence[str], headers: Table, props: bytes) -> Sequence[Destination]:
        return [self.chance.choice(self.bindings).destination] if self.bindings else []


class LocalRandom(Random):
    """The local random exchange type."""

    name: ClassVar[str] = "x-local-random"

    def check_binding(self, binding: Binding) -> None:
        """Raises PreconditionFailed for a binding with a key, or of anything but a classic queue."""
        if binding.routing_key:
            raise PreconditionFailed(f"Non empty binding '{binding.routing_key}' key not permitted")
        if isinstance(binding.destination, Exchange):
            raise PreconditionFailed("Destination not found")
        kind = binding.destination.kind
        if kind != "classic":
            raise PreconditionFailed(f"Queue type rabbit_{kind}_queue not valid for this exchange type")
