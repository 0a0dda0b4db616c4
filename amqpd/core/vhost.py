"""A virtual host: a name space of exchanges, queues and bindings, and the plans of those who publish in it."""

from __future__ import annotations

from collections.abc import Callable

from amqpd.core import routing
from amqpd.core.exchanges.base import Binding, Exchange, create
from amqpd.core.plan import Plans
from amqpd.core.ports import VHostRow
from amqpd.core.queues.queue import Queue

__all__ = ["SYSTEM_EXCHANGES", "VHost"]

SYSTEM_EXCHANGES = {
    "amq.direct": ("direct", False),
    "amq.fanout": ("fanout", False),
    "amq.headers": ("headers", False),
    "amq.match": ("headers", False),
    "amq.topic": ("topic", False),
    "amq.rabbitmq.trace": ("topic", True),
}
"""Name -> type, internal. All durable, in every virtual host, never in the catalog."""


class VHost:
    """One virtual host.

    `pending` holds the names of durable objects whose catalog commit is under way: whoever declares the same name
    meanwhile waits there and looks again.
    """

    def __init__(self, row: VHostRow) -> None:
        self.row = row
        self.name = row.name
        self.exchanges = routing.Exchanges()
        self.queues: dict[str, Queue] = {}
        self.owned: dict[object, dict[Queue, None]] = {}
        """Connection -> its exclusive queues."""
        self.plans: dict[str, Plans] = {}
        self.pending: dict[tuple[str, str], list[Callable[[], None]]] = {}
        self.alive = True
        for name, (kind, internal) in SYSTEM_EXCHANGES.items():
            self.exchanges[name] = Exchange(
                name,
                self.name,
                kind,
                durable=True,
                auto_delete=False,
                internal=internal,
                arguments={},
                type=create(kind),
            )

    def add_exchange(self, exchange: Exchange) -> None:
        """The exchange exists from now on. Exchanges that name it as their alternate see it."""
        self.exchanges[exchange.name] = exchange
        routing.bump(exchange, self.exchanges)

    def remove_exchange(self, exchange: Exchange) -> list[Exchange]:
        """The exchange and its bindings are gone; returns the auto-delete exchanges that this leaves without any."""
        routing.bump(exchange, self.exchanges)
        exchange.alive = False
        orphans: list[Exchange] = []
        for binding in list(exchange.outgoing.values()):
            exchange.unbind(binding.identity)
        for binding in list(exchange.incoming):
            self.remove_binding(binding, orphans)
        del self.exchanges[exchange.name]
        return orphans

    def add_binding(self, binding: Binding) -> bool:
        """Messages of the source reach the destination from now on; False when they did already."""
        added = binding.source.bind(binding)
        routing.bump(binding.source, self.exchanges)
        return added

    def remove_binding(self, binding: Binding, orphans: list[Exchange]) -> None:
        """The binding is gone; an auto-delete exchange that it leaves without any joins `orphans`."""
        source = binding.source
        routing.bump(source, self.exchanges)
        source.unbind(binding.identity)
        if source.should_auto_delete and source not in orphans:
            orphans.append(source)

    def add_queue(self, queue: Queue) -> None:
        """The queue exists from now on."""
        self.queues[queue.name] = queue
        if queue.owner is not None:
            self.owned.setdefault(queue.owner, {})[queue] = None

    def remove_queue(self, queue: Queue) -> tuple[int, list[Exchange]]:
        """The queue is gone: its ready messages, and the auto-delete exchanges this leaves without bindings."""
        del self.queues[queue.name]
        if queue.owner is not None:
            del self.owned[queue.owner][queue]
        orphans: list[Exchange] = []
        for binding in list(queue.bindings):
            self.remove_binding(binding, orphans)
        return queue.close(), orphans
