"""A virtual host: a name space of exchanges, queues and bindings, and the plans of those who publish in it."""

from __future__ import annotations

from collections.abc import Callable

from amqpd.core import routing
from amqpd.core.delayed import Delays
from amqpd.core.exchanges.base import Binding, Exchange, create
from amqpd.core.parameters import LIMITS, VHOST_LIMITS
from amqpd.core.plan import Plans
from amqpd.core.policy import Policies, read_policy
from amqpd.core.ports import VHostRow
from amqpd.core.promises import work_out
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
    meanwhile waits there and looks again. `parameters` are its runtime parameters, by component and name; `policies`
    are those among them that are policies.
    """

    def __init__(self, row: VHostRow) -> None:
        self.row = row
        self.name = row.name
        self.exchanges = routing.Exchanges()
        self.queues: dict[str, Queue] = {}
        self.delays: dict[str, Delays] = {}
        """The delayed messages of the exchanges that have had some, by name; of the default exchange too."""
        self.owned: dict[object, dict[Queue, None]] = {}
        """Connection -> its exclusive queues."""
        self.plans: dict[str, Plans] = {}
        self.pending: dict[tuple[str, str], list[Callable[[], None]]] = {}
        self.alive = True
        self.parameters: dict[str, dict[str, object]] = {}
        self.policies = Policies()
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

    # ------------------------------------------------------------------------------------------ parameters

    def put_parameter(self, component: str, name: str, value: object) -> None:
        """This value, which has been checked. What a policy changes is for `apply_policies`."""
        self.parameters.setdefault(component, {})[name] = value
        if component in self.policies.named:
            self.policies.put(component, read_policy(component, name, value))

    def drop_parameter(self, component: str, name: str) -> None:
        """No such parameter any more."""
        values = self.parameters.get(component, {})
        values.pop(name, None)
        if not values:
            self.parameters.pop(component, None)
        if component in self.policies.named:
            self.policies.drop(component, name)

    def limit(self, name: str) -> int | None:
        """The virtual host's "max-connections" or "max-queues"; None: no such limit."""
        limits = self.parameters.get(VHOST_LIMITS, {}).get(LIMITS, {})
        number = limits.get(name) if isinstance(limits, dict) else None
        return number if number is not None and number >= 0 else None

    def apply_policies(self, target: Queue | Exchange) -> None:
        """Have the queue or exchange do what the policies that match it say now."""
        kind = target.kind if isinstance(target, Queue) else "exchange"
        applied = self.policies.applied(kind, target.name)
        if applied == target.applied:
            return
        target.applied = applied
        if isinstance(target, Queue):
            policy, operator = (one.definition if one is not None else None for one in applied)
            target.promise(work_out(target.kind, target.arguments, policy, operator))
        elif "alternate-exchange" not in target.arguments:
            self.exchanges.change_alternate(target, applied.definition.get("alternate-exchange"))

    # --------------------------------------------------------------------------------------------- objects

    def add_exchange(self, exchange: Exchange) -> None:
        """The exchange exists from now on. Exchanges that name it as their alternate see it."""
        self.exchanges[exchange.name] = exchange
        self.apply_policies(exchange)
        routing.bump(exchange, self.exchanges)

    def remove_exchange(self, exchange: Exchange) -> list[Exchange]:
        """The exchange and its bindings are gone; returns the auto-delete exchanges that this leaves without any."""
        routing.bump(exchange, self.exchanges)
        exchange.alive = False
        delays = self.delays.pop(exchange.name, None)
        if delays is not None:
            delays.close()
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
        self.apply_policies(queue)
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
