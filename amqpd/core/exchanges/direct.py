"""direct: the routing key is the binding key."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from amqpd.core.exchanges.base import Binding, Depends, Destination
from amqpd.wire.tables import Table

__all__ = ["Direct"]


class Direct:
    """The direct exchange type: a dict of binding keys."""

    name: ClassVar[str] = "direct"
    depends: ClassVar[Depends] = Depends.KEY

    def __init__(self, arguments: Table) -> None:
        self.keys: dict[str, dict[Binding, None]] = {}

    def check_binding(self, binding: Binding) -> None:
        """Any binding will do."""

    def bind(self, binding: Binding) -> None:
        self.keys.setdefault(binding.routing_key, {})[binding] = None

    def unbind(self, binding: Binding) -> None:
        bindings = self.keys[binding.routing_key]
        del bindings[binding]
        if not bindings:
            del self.keys[binding.routing_key]

    def route(self, keys: Sequence[str], headers: Table, props: bytes) -> Sequence[Destination]:
        return [binding.destination for key in keys for binding in self.keys.get(key, ())]
