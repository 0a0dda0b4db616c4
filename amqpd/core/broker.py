"""The broker: its virtual hosts, its connections, and the doors to what is outside the model.

Everything here runs on one thread. `node` builds one Broker from what the catalog and the journal hold; sessions and
the management face work on it through `core/operations`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from typing import Any, Protocol, TypeAlias

from amqpd.core.alarms import Alarms
from amqpd.core.arguments import Redeclare, queue_type
from amqpd.core.burial import Burial
from amqpd.core.commits import Commits
from amqpd.core.delayed import Delays, recover
from amqpd.core.events import say_through
from amqpd.core.exchanges.base import DELAYED_MESSAGE, Attached, Binding, Exchange, ExchangeType, Factory, factory
from amqpd.core.exchanges.missing import Missing
from amqpd.core.message import Message
from amqpd.core.plan import Plans, Target
from amqpd.core.ports import (
    DELAYED,
    Access,
    Catalog,
    Commit,
    ExchangeRow,
    Journal,
    Recovered,
    Snapshot,
    Streams,
    VHostRow,
)
from amqpd.core.queues.deduplicating import DeduplicatingQueue, queue_class
from amqpd.core.queues.queue import Queue
from amqpd.core.queues.reply import ReplyTarget
from amqpd.core.queues.stream import ClosedStream, Stream
from amqpd.core.turn import Turn
from amqpd.core.vhost import VHost
from amqpd.errors import PreconditionFailed
from amqpd.wire.outgoing import Content
from amqpd.wire.tables import Table, decode_table

__all__ = ["NOT_REFUSED", "Accepted", "Broker", "Connection"]


Accepted: TypeAlias = "tuple[Commit | None, Collection[int]]"
"""The commit to wait for when the messages are to survive in any queue, and the ids of those that a queue refused."""

NOT_REFUSED: Collection[int] = ()


class Connection(Protocol):
    """A client connection as the rest of the house sees it."""

    @property
    def name(self) -> str:
        """`1.2.3.4:5 -> 6.7.8.9:5672`, unique among the living."""

    @property
    def user(self) -> str: ...

    @property
    def vhost_name(self) -> str: ...

    @property
    def channels(self) -> Mapping[int, object]:
        """The channels that it has open, by number."""

    def force_close(self, reason: str) -> None:
        """Send connection.close 320 with this reason."""

    def info(self) -> dict[str, object]:
        """The connection's fields of the management API."""

    def channels_info(self) -> list[dict[str, object]]:
        """The same for each of its channels."""

    def alarms_changed(self) -> None:
        """The first alarm of the node is on, or the last one is off (see `alarms`)."""

    def tracing_changed(self) -> None:
        """Its virtual host's firehose has been turned on or off."""


def nothing_to_fill(vhost: VHost, then: Callable[[], None]) -> None:
    """New virtual hosts are empty."""
    then()


def nobody_listens(kind: str, about: Mapping[str, Any]) -> None:
    """There is no event exchange."""


class Broker:
    """The whole model of one node. `exchange_types` are those that plugins add."""

    def __init__(
        self,
        turn: Turn,
        journal: Journal,
        catalog: Catalog,
        access: Access,
        exchange_types: Mapping[str, Factory] | None = None,
        *,
        streams: Streams,
    ) -> None:
        self.turn = turn
        self.journal = journal
        self.catalog = catalog
        self.access = access
        self.exchange_types = exchange_types or {}
        self.streams = streams
        self.commits = Commits()
        self.vhosts: dict[str, VHost] = {}
        self.connections: dict[Connection, None] = {}
        self.alarms = Alarms(
            self.connections, lambda kind, source: self.emit(kind, {"source": source, "node": self.node_name})
        )
        self.replies: dict[str, ReplyTarget] = {}
        self.burial = Burial(self)
        turn.bury = self.burial.run
        self.sequence = 0
        """The last message id given, without its lowest bit."""
        self.next_queue_id = 1
        self.system_exchanges: Mapping[str, Sequence[str]] = {}
        """Virtual host -> exchanges that it has besides those that all have (see core/events)."""
        self.node_name = "amqpd@localhost"
        self.default_queue_type = ""
        """The type of queues declared without one where the virtual host has none of its own; empty: classic."""
        self.emit: Callable[[str, Mapping[str, Any]], None] = nobody_listens
        """Tells of an event, by its kind and what it is about (see core/events)."""
        self.redeclare = Redeclare()
        self.global_parameters: dict[str, object] = {}
        self.fill_vhost: Callable[[VHost, Callable[[], None]], None] = nothing_to_fill
        """Gives a new virtual host what all are to have, then calls."""
        self.vhost_listeners: list[Callable[[str], None]] = []

    # --------------------------------------------------------------------------------------------- start

    def restore(self, snapshot: Snapshot, messages: Mapping[int, Sequence[Recovered]], next_message_id: int) -> None:
        """Build the durable model from what the catalog and the journal hold."""
        self.sequence = (next_message_id + 1) & ~1
        self.next_queue_id = snapshot.next_queue_id
        for row in snapshot.vhosts:
            # The firehose does not outlive a start.
            self.add_vhost(row._replace(tracing=False))
        self.restore_parameters(snapshot)
        for exchange in snapshot.exchanges:
            vhost = self.vhosts[exchange.vhost]
            arguments, _ = decode_table(exchange.arguments)
            self.add_exchange(
                vhost,
                Exchange(
                    exchange.name,
                    exchange.vhost,
                    exchange.kind,
                    durable=True,
                    auto_delete=exchange.auto_delete,
                    internal=exchange.internal,
                    arguments=arguments,
                    type=self.restored_type(exchange, arguments),
                ),
            )
        for queue in snapshot.queues:
            arguments, _ = decode_table(queue.arguments)
            restored = self.make_queue(
                queue.name,
                queue.vhost,
                id=queue.id,
                durable=True,
                auto_delete=queue.auto_delete,
                owner=None,
                arguments=arguments,
            )
            self.vhosts[queue.vhost].add_queue(restored)
            restored.recover(messages.get(queue.id, ()))
        for binding in snapshot.bindings:
            vhost = self.vhosts[binding.vhost]
            if binding.source not in vhost.exchanges:
                # A system exchange that this start does not have.
                continue
            ends = vhost.queues if binding.destination_kind == "queue" else vhost.exchanges
            arguments, _ = decode_table(binding.arguments)
            source, destination = vhost.exchanges[binding.source], ends[binding.destination]
            vhost.add_binding(Binding(source, destination, binding.routing_key, arguments))
        recover(self, messages.get(DELAYED, ()))

    def restore_parameters(self, snapshot: Snapshot) -> None:
        """Runtime parameters come before what they apply to."""
        for parameter in snapshot.parameters:
            # A policy was checked when it was set, but by another Python version's `re`: then it applies to nothing.
            with suppress(PreconditionFailed):
                vhost = self.vhosts[parameter.vhost]
                vhost.put_parameter(parameter.component, parameter.name, json.loads(parameter.value))
        for row in snapshot.global_parameters:
            self.global_parameters[row.name] = json.loads(row.value)
        for vhost in self.vhosts.values():
            for exchange in vhost.exchanges.values():
                vhost.apply_policies(exchange)

    def on_vhost_deleted(self, listener: Callable[[str], None]) -> None:
        """Call `listener(name)` when a virtual host is gone from the model, before another can take the name."""
        self.vhost_listeners.append(listener)

    def restored_type(self, row: ExchangeRow, arguments: Table) -> ExchangeType:
        """The type of an exchange that was declared by an earlier start, which knew it."""
        try:
            return factory(row.kind, self.exchange_types)(arguments)
        except PreconditionFailed:
            return Missing(row.kind, row.name, row.vhost)

    def add_vhost(self, row: VHostRow) -> VHost:
        """The virtual host exists from now on."""
        vhost = self.vhosts[row.name] = VHost(row)
        for name in self.system_exchanges.get(row.name, ()):
            say_through(vhost, name)
        return vhost

    def make_queue(self, name: str, vhost: str, *, id: int, arguments: Table, **rest: Any) -> Queue:
        """A queue of the type that its arguments name; nobody knows of it yet."""
        kind = queue_type(arguments)
        given: dict[str, Any] = {**rest, "id": id, "kind": kind, "arguments": arguments, "turn": self.turn}
        if kind == "stream":
            log = self.streams.open(id)
            made = ClosedStream if log.damaged else Stream
            return made(name, vhost, log=log, burial=self.burial, **given)
        return queue_class(arguments)(name, vhost, journal=self.journal, burial=self.burial, **given)

    def add_exchange(self, vhost: VHost, exchange: Exchange) -> None:
        """The exchange exists from now on."""
        vhost.add_exchange(exchange)
        if isinstance(exchange.type, Attached):
            exchange.type.attach(self, vhost, exchange)

    # ------------------------------------------------------------------------------------------ delayed

    def delays(self, vhost: VHost, exchange: Exchange | None) -> Delays:
        """The delayed messages of an exchange; None stands for the default one."""
        name = exchange.name if exchange is not None else ""
        delays = vhost.delays.get(name)
        if delays is None:
            durable = exchange is None or exchange.durable
            delaying = exchange is not None and exchange.kind == DELAYED_MESSAGE
            delays = vhost.delays[name] = Delays(self, vhost, name, durable=durable, delaying=delaying)
        return delays

    def find_delays(self, vhost: str, exchange: str) -> Delays | None:
        """The same by name; None where there is no such exchange."""
        found = self.vhosts.get(vhost)
        if found is None or (exchange and exchange not in found.exchanges):
            return None
        return self.delays(found, found.exchanges.get(exchange))

    # ------------------------------------------------------------------------------------------ publish

    def plans(self, vhost: VHost, user: str) -> Plans:
        """The plans that this user's connections to this virtual host share."""
        plans = vhost.plans.get(user)
        if plans is None:
            plans = vhost.plans[user] = Plans(vhost, user, self.access, self.replies, vhost.row.tracing)
        return plans

    def enqueue(
        self,
        targets: Sequence[Target],
        durable: Sequence[int],
        persistent: bool,
        routing: bytes,
        content: Content,
        origin: int,
        ttl: int | None = None,
    ) -> Accepted:
        """A new message for these queues, to survive in the `durable` of them if it is persistent.

        `ttl` is its own time to live in milliseconds.
        """
        self.sequence = sequence = self.sequence + 2
        deadline = 0 if ttl is None else self.turn.now + self.turn.wall + ttl
        message: Message = (sequence | persistent, routing, content, origin, deadline)
        return self.accept([message], targets, durable if persistent else ())

    def accept(self, messages: list[Message], targets: Sequence[Target], durable: Sequence[int]) -> Accepted:
        """Messages that have their ids, all alike but in content, enter these queues and the log of the `durable`."""
        otherwise: dict[Target, list[Message]] | None = None
        for target in targets:
            taken = target.publish(messages)
            if taken is not None:
                if otherwise is None:
                    otherwise = {}
                otherwise[target] = taken
        if otherwise is not None:
            return self.accept_otherwise(messages, targets, durable, otherwise)
        if durable:
            self.turn.arm()
            return self.journal.enqueue(messages, durable), NOT_REFUSED
        return None, NOT_REFUSED

    def accept_otherwise(
        self,
        messages: list[Message],
        targets: Sequence[Target],
        durable: Sequence[int],
        otherwise: dict[Target, list[Message]],
    ) -> Accepted:
        """Some targets took other tuples of the messages (with their own deadlines), or not all of them, or are
        streams, which have logs of their own and keep every message."""
        ids = {message[0] for message in messages}
        refused: set[int] = set()
        for target, taken in otherwise.items():
            not_taken = ids.difference(message[0] for message in taken)
            # A duplicate is no message that was refused.
            refused |= not_taken - target.duplicates if isinstance(target, DeduplicatingQueue) else not_taken
        commits = [target.commit for target in otherwise if isinstance(target, Stream) and target.commit is not None]
        if durable:
            self.turn.arm()
            # Targets with the same tuples share a record, and thereby the contents.
            groups: dict[tuple[tuple[int, bytes, int], ...], tuple[list[Message], list[int]]] = {}
            for target in targets:
                taken = otherwise.get(target, messages)
                if target.durable and taken and not isinstance(target, Stream):
                    key = tuple((message[0], message[1], message[4]) for message in taken)
                    groups.setdefault(key, (taken, []))[1].append(target.id)
            for taken, queues in groups.values():
                commit = self.journal.enqueue(taken, durable if len(queues) == len(durable) else tuple(queues))
            if groups:
                commits.append(commit)
        return self.commits.join(commits), refused

    def tracing_changed(self, vhost: VHost) -> None:
        """The virtual host's messages go to the firehose from now on, or no longer do."""
        for plans in vhost.plans.values():
            plans.trace(vhost.row.tracing)
        for connection in self.connections:
            if connection.vhost_name == vhost.name:
                connection.tracing_changed()

    # ---------------------------------------------------------------------------------------- revocation

    def access_changed(self, user: str, vhost: str | None) -> None:
        """What this user may do has changed: no plan made before is good any more."""
        for other in self.vhosts.values():
            if vhost is None or other.name == vhost:
                plans = other.plans.get(user)
                if plans is not None:
                    plans.forget()

    def close_connections(self, reason: str, *, user: str | None = None, vhost: str | None = None) -> None:
        """Force the connections of this user or virtual host, or all, to close."""
        for connection in list(self.connections):
            if (user is None or connection.user == user) and (vhost is None or connection.vhost_name == vhost):
                connection.force_close(reason)
