"""Exchanges and bindings, and the port that an exchange type implements.

An exchange keeps its bindings; its type keeps whatever index answers "where does this go" fastest. `depends` says what
the answer depends on, and with that how long a plan may remember it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from enum import IntEnum
from importlib import import_module
from typing import TYPE_CHECKING, ClassVar, Protocol, TypeAlias

from amqpd.core.policy import UNTOUCHED, Applied
from amqpd.errors import PreconditionFailed
from amqpd.wire.tables import Table, canonical

if TYPE_CHECKING:
    from amqpd.core.queues.queue import Queue

__all__ = ["TYPES", "Binding", "Depends", "Destination", "Exchange", "ExchangeType", "Identity", "create"]

Destination: TypeAlias = "Queue | Exchange"
Identity: TypeAlias = tuple[str, str, str, bytes]


class Depends(IntEnum):
    """What an exchange's answer depends on; the larger value is the stronger dependency."""

    KEY = 0
    """The routing key alone: a plan may remember the answer."""
    HEADERS = 1
    """The message's headers too."""
    EACH = 2
    """Anything: every message has to be asked."""


class Binding:
    """A binding. Two with the same identity are one: kind and name of the destination, routing key, arguments."""

    __slots__ = ("arguments", "destination", "identity", "routing_key", "source")

    def __init__(self, source: Exchange, destination: Destination, routing_key: str, arguments: Table) -> None:
        self.source = source
        self.destination = destination
        self.routing_key = routing_key
        self.arguments = arguments
        kind = "exchange" if isinstance(destination, Exchange) else "queue"
        self.identity: Identity = (kind, destination.name, routing_key, canonical(arguments))

    @property
    def durable(self) -> bool:
        """Does it survive a restart? Only between durable ends."""
        return self.source.durable and self.destination.durable


class ExchangeType(Protocol):
    """How one type of exchange routes. One instance per exchange."""

    name: ClassVar[str]
    depends: ClassVar[Depends]

    def check_binding(self, routing_key: str, arguments: Table) -> None:
        """Raises PreconditionFailed for a binding that this type does not accept."""

    def bind(self, binding: Binding) -> None:
        """A binding that was not there before."""

    def unbind(self, binding: Binding) -> None:
        """A binding that was there is gone."""

    def route(self, routing_key: str, headers: Table) -> Iterable[Destination]:
        """The destinations of a message; one may come more than once."""


class Exchange:
    """One exchange of one virtual host.

    `epoch` changes whenever an answer may change that leads through this exchange (see core/routing.bump). `onward` and
    `upstream` count the bindings to and from other exchanges, so that whoever follows exchanges need not look at the
    bindings of queues.
    """

    __slots__ = (
        "alive",
        "alternate",
        "applied",
        "arguments",
        "auto_delete",
        "durable",
        "epoch",
        "had_binding",
        "incoming",
        "internal",
        "kind",
        "name",
        "onward",
        "outgoing",
        "type",
        "upstream",
        "vhost",
    )

    def __init__(
        self,
        name: str,
        vhost: str,
        kind: str,
        *,
        durable: bool,
        auto_delete: bool,
        internal: bool,
        arguments: Table,
        type: ExchangeType,
    ) -> None:
        self.name = name
        self.vhost = vhost
        self.kind = kind
        self.durable = durable
        self.auto_delete = auto_delete
        self.internal = internal
        self.arguments = arguments
        self.type = type
        alternate = arguments.get("alternate-exchange")
        self.alternate: str | None = alternate.value if alternate is not None else None
        self.applied: Applied = UNTOUCHED
        self.epoch = 0
        self.alive = True
        self.outgoing: dict[Identity, Binding] = {}
        self.incoming: dict[Binding, None] = {}
        self.onward: Counter[Exchange] = Counter()
        self.upstream: Counter[Exchange] = Counter()
        self.had_binding = False

    def bind(self, binding: Binding) -> bool:
        """Add a binding of which this is the source; False when it is there already."""
        if binding.identity in self.outgoing:
            return False
        self.outgoing[binding.identity] = binding
        self.had_binding = True
        destination = binding.destination
        if isinstance(destination, Exchange):
            destination.incoming[binding] = None
            self.onward[destination] += 1
            destination.upstream[self] += 1
        else:
            destination.bindings[binding] = None
        self.type.bind(binding)
        return True

    def unbind(self, identity: Identity) -> Binding | None:
        """Remove a binding of which this is the source; None when there is none."""
        binding = self.outgoing.pop(identity, None)
        if binding is None:
            return None
        destination = binding.destination
        if isinstance(destination, Exchange):
            del destination.incoming[binding]
            count_down(self.onward, destination)
            count_down(destination.upstream, self)
        else:
            del destination.bindings[binding]
        self.type.unbind(binding)
        return binding

    @property
    def should_auto_delete(self) -> bool:
        """An auto-delete exchange that has lost the last binding of which it was the source."""
        return self.auto_delete and self.had_binding and not self.outgoing


def count_down(counter: Counter[Exchange], exchange: Exchange) -> None:
    counter[exchange] -= 1
    if not counter[exchange]:
        del counter[exchange]


TYPES: dict[str, tuple[str, str]] = {
    "direct": ("amqpd.core.exchanges.direct", "Direct"),
    "fanout": ("amqpd.core.exchanges.fanout", "Fanout"),
    "headers": ("amqpd.core.exchanges.headers", "Headers"),
    "topic": ("amqpd.core.exchanges.topic", "Topic"),
}
"""Type name -> module and class."""


def create(kind: str) -> ExchangeType:
    """A new, empty instance of the type. Raises PreconditionFailed for a type that does not exist."""
    entry = TYPES.get(kind)
    if entry is None:
        raise PreconditionFailed(f"unknown exchange type '{kind}'")
    factory: Callable[[], ExchangeType] = getattr(import_module(entry[0]), entry[1])
    return factory()
