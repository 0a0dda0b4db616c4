"""x-round-robin: each message goes to one of the bound queues or exchanges, all taking turns."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

from amqpd.plugins import Binding, Depends, Destination, PreconditionFailed, Table


class RoundRobin:
    name = "x-round-robin"
    depends = Depends.EACH

    def __init__(self, arguments: Table) -> None:
        self.bindings: deque[Binding] = deque()

    def check_binding(self, binding: Binding) -> None:
        if binding.routing_key:
            raise PreconditionFailed("x-round-robin takes bindings without a routing key only")

    def bind(self, binding: Binding) -> None:
        self.bindings.append(binding)

    def unbind(self, binding: Binding) -> None:
        self.bindings.remove(binding)

    def route(self, keys: Sequence[str], headers: Table, props: bytes) -> Sequence[Destination]:
        self.bindings.rotate(-1)
        return [self.bindings[-1].destination] if self.bindings else []
