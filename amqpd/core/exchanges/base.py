"""Exchanges and bindings, and the port that an exchange type implements.

An exchange keeps its bindings; its type keeps whatever index answers "where does this go" fastest. `depends` says what
the answer depends on, and with that how long a plan may remember it.

A type is asked once per message, with all of the message's routing keys: the published one first, then those of CC and
BCC. What it answers is mostly destinations of its bindings. A type that wants to see the messages themselves adds a
Witness, which is handed each message as a queue would be and yet is no place where it went. Types that ship with amqpd
are in the table at the end; those that plugins add come from `node` (see amqpd/plugins).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from enum import IntEnum
from functools import partial
from importlib import import_module
from typing import TYPE_CHECKING, Any, ClassVar, Final, Protocol, TypeAlias, runtime_checkable

from amqpd.core.policy import UNTOUCHED, Applied
from amqpd.errors import PreconditionFailed
from amqpd.wire.tables import Table, canonical

if TYPE_CHECKING:
    from amqpd.core.broker import Broker
    from amqpd.core.delayed import Delays
    from amqpd.core.message import Message
    from amqpd.core.queues.queue import Queue
    from amqpd.core.vhost import VHost

__all__ = [
    "NO_PROPERTIES",
    "TYPES",
    "Answer",
    "Attached",
    "Binding",
    "Depends",
    "Destination",
    "Exchange",
    "ExchangeType",
    "Factory",
    "Identity",
    "Remembering",
    "Witness",
    "create",
    "factory",
]

Destination: TypeAlias = "Queue | Exchange"
Answer: TypeAlias = "Queue | Exchange | Witness | Delays"
Identity: TypeAlias = tuple[str, str, str, bytes]

DELAYED_MESSAGE: Final = "x-delayed-message"

NO_PROPERTIES: Final = b"\0\0"
"""The properties of a message that has none."""


class Depends(IntEnum):
    """What an exchange's answer depends on; the larger value is the stronger dependency."""

    KEY = 0
    """The routing key alone: a plan may remember the answer."""
    HEADERS = 1
    """The message's headers too."""
    EACH = 2
    """Anything: every message has to be asked."""


class Witness:
    """A target that is handed the messages and is no place to go to: what only a witness saw went nowhere.

    The part of a queue that publishing sees; `publish` is what a kind of witness writes. A type that has one depends on
    more than the key: what is mandatory is looked at only where messages are asked one by one.
    """

    __slots__ = ()

    name: ClassVar[str] = ""
    durable: ClassVar[bool] = False
    id: ClassVar[int] = 0
    alive: ClassVar[bool] = True
    epoch: ClassVar[int] = 0

    def publish(self, messages: Sequence[Message]) -> None:
        """See messages that have been routed."""
        raise NotImplementedError


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
    """How one type of exchange routes. One instance per exchange, made by calling the type with its arguments."""

    name: ClassVar[str]

    @property
    def depends(self) -> Depends:
        """What `route` looks at; the same for as long as the instance lives."""

    def check_binding(self, binding: Binding) -> None:
        """Raises PreconditionFailed for a binding that this type does not accept."""

    def bind(self, binding: Binding) -> None:
        """A binding that was not there before, and that has been checked. Raises nothing."""

    def unbind(self, binding: Binding) -> None:
        """A binding that was there is gone. Raises nothing."""

    def route(self, keys: Sequence[str], headers: Table, props: bytes) -> Sequence[Answer]:
        """Where a message goes; one destination may come more than once.

        `keys` holds at least one. `headers` are decoded, and `props` are all properties as they came (wire/properties
        reads them); both are empty while `depends` says that they do not count.
        """


@runtime_checkable
class Remembering(Protocol):
    """What a type is besides that has something for the destination of every new binding."""

    def remembered(self) -> Iterable[Message]:
        """The messages that it gets at once, as new ones, in this order."""


@runtime_checkable
class Attached(Protocol):
    """What a type is besides that needs more than the messages."""

    def attach(self, broker: Broker, vhost: VHost, exchange: Exchange) -> None:
        """The instance is the type of this exchange, which exists from now on."""


Factory: TypeAlias = Callable[[Table], ExchangeType]
"""From an exchange's arguments to its type. Raises PreconditionFailed for arguments that the type does not accept."""


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
    "x-consistent-hash": ("amqpd.core.exchanges.consistent_hash", "ConsistentHash"),
    "x-delayed-message": ("amqpd.core.exchanges.delayed_message", "DelayedMessage"),
    "x-local-random": ("amqpd.core.exchanges.random", "LocalRandom"),
    "x-message-deduplication": ("amqpd.core.exchanges.message_deduplication", "MessageDeduplication"),
    "x-modulus-hash": ("amqpd.core.exchanges.modulus_hash", "ModulusHash"),
    "x-random": ("amqpd.core.exchanges.random", "Random"),
    "x-recent-history": ("amqpd.core.exchanges.recent_history", "RecentHistory"),
}
"""Type name -> module and class."""


def factory(kind: str, added: Mapping[str, Factory]) -> Factory:
    """What makes instances of the type, of ours or of those `added`. Raises PreconditionFailed when there is none."""
    entry = TYPES.get(kind)
    if entry is not None:
        built_in: Any = getattr(import_module(entry[0]), entry[1])
        return partial(built_in, find=lambda inner: factory(inner, added)) if kind == DELAYED_MESSAGE else built_in
    if kind not in added:
        raise PreconditionFailed(f"unknown exchange type '{kind}'")
    return added[kind]


def create(kind: str, arguments: Table | None = None) -> ExchangeType:
    """A new, empty instance of one of our types. Raises PreconditionFailed as `factory` and what it makes do."""
    return factory(kind, {})(arguments or {})
