"""fanout: every binding matches."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from amqpd.core.exchanges.base import Binding, Depends, Destination
from amqpd.wire.tables import Table

__all__ = ["Fanout"]


class Fanout:
    """The fanout exchange type."""

    name: ClassVar[str] = "fanout"
    depends: ClassVar[Depends] = Depends.KEY

    def __init__(self, arguments: Table) -> None:
        self.bindings: dict[Binding, None] = {}

    def check_binding(self, binding: Binding) -> None:
        """Any binding will do."""

    def bind(self, binding: Binding) -> None:
        self.bindings[binding] = None

    def unbind(self, binding: Binding) -> None:
        del self.bindings[binding]

    def route(self, keys: Sequence[str], headers: Table, props: bytes) -> Sequence[Destination]:
        return [binding.destination for binding in self.bindings]
