"""Operations on bindings."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from amqpd.core import routing
from amqpd.core.arguments import exchange_resource, queue_resource
from amqpd.core.broker import Broker
from amqpd.core.events import about_binding
from amqpd.core.exchanges.base import Binding, Exchange, Remembering
from amqpd.core.message import PERSISTENT, props_of, routing_key_of
from amqpd.core.operations.common import Actor, Done, check_not_default, commit, strip
from amqpd.core.operations.exchanges import drop_orphans
from amqpd.core.plan import Target, durable_ids
from amqpd.core.ports import BindingRow, Change
from amqpd.core.queues.queue import Queue
from amqpd.core.queues.reply import REPLY_TO, REPLY_TO_PREFIX
from amqpd.core.vhost import VHost
from amqpd.errors import AccessRefused, AmqpError, NotFound
from amqpd.wire import properties
from amqpd.wire.tables import Table, encode_table

__all__ = ["bind", "unbind"]


class Ends(NamedTuple):
    """A binding's source and destination, found."""

    source: Exchange
    destination: Queue | Exchange


def binding_ends(
    vhost: VHost, actor: Actor, source: str, destination_kind: str, destination: str, routing_key: str
) -> tuple[Exchange | None, Queue | Exchange | None]:
    """Both ends of a binding, None for one that is missing, after all permission checks."""
    actor.require(vhost.name, "write", destination_kind, destination)
    check_not_default(source)
    if destination_kind == "exchange":
        check_not_default(destination)
    elif destination == REPLY_TO or destination.startswith(REPLY_TO_PREFIX):
        raise AccessRefused("cannot bind or unbind to a volatile (direct reply-to) queue")
    actor.require(vhost.name, "read", "exchange", source)
    found = vhost.queues.get(destination) if destination_kind == "queue" else vhost.exchanges.get(destination)
    if isinstance(found, Queue):
        actor.check_lock(found)
    exchange = vhost.exchanges.get(source)
    if exchange is not None:
        actor.require_topic(vhost.name, "read", exchange, routing_key)
    return exchange, found


def existing_ends(
    vhost: VHost, actor: Actor, source: str, destination_kind: str, destination: str, routing_key: str
) -> Ends:
    from_, to = binding_ends(vhost, actor, source, destination_kind, destination, routing_key)
    if from_ is None:
        raise NotFound(f"no {exchange_resource(source, vhost.name)}")
    if to is None:
        resource = queue_resource if destination_kind == "queue" else exchange_resource
        raise NotFound(f"no {resource(destination, vhost.name)}")
    return Ends(from_, to)


def bind(
    broker: Broker,
    vhost: VHost,
    actor: Actor,
    source: str,
    destination_kind: str,
    destination: str,
    routing_key: str,
    arguments: Table,
    done: Done[None],
) -> None:
    """Bind a queue or exchange ("queue", "exchange") to a source exchange."""
    source, destination = strip(source), strip(destination)
    ends = existing_ends(vhost, actor, source, destination_kind, destination, routing_key)
    binding = Binding(ends.source, ends.destination, routing_key, arguments)
    ends.source.type.check_binding(binding)
    if not binding.durable or binding.identity in ends.source.outgoing:
        add(broker, vhost, binding, actor)
        done(None)
        return

    def bound() -> None:
        if existing_ends(vhost, actor, source, destination_kind, destination, routing_key) != ends:
            raise NotFound(f"no {exchange_resource(source, vhost.name)}")
        add(broker, vhost, binding, actor)

    commit(broker, [Change(True, binding_row(vhost, binding))], done, bound)


def add(broker: Broker, vhost: VHost, binding: Binding, actor: Actor) -> None:
    """The binding exists from now on. When it is a new one of an exchange that remembers, its destination gets what is
    remembered, as new messages that lie in its queues alone."""
    source = binding.source.type
    if not vhost.add_binding(binding):
        return
    broker.emit("binding.created", about_binding(binding) | {"user_who_performed_action": actor.user})
    if not isinstance(source, Remembering):
        return
    for message in source.remembered():
        props = props_of(message)
        try:
            targets = targets_behind(vhost, binding.destination, routing_key_of(message), props)
        except AmqpError:
            # An exchange behind the binding refuses to route it. The binding stands all the same.
            continue
        persistent = message[0] & PERSISTENT != 0
        broker.enqueue(targets, durable_ids(targets), persistent, message[1], message[2], message[3])


def targets_behind(vhost: VHost, destination: Queue | Exchange, key: str, props: bytes) -> Sequence[Target]:
    """Where a message goes that one destination is handed."""
    if isinstance(destination, Queue):
        return (destination,)
    headers = properties.headers(props)
    copies, _ = properties.copies(headers)
    return routing.route(destination, (key, *copies), headers, vhost.exchanges, vhost.queues, props)


def unbind(
    broker: Broker,
    vhost: VHost,
    actor: Actor,
    source: str,
    destination_kind: str,
    destination: str,
    routing_key: str,
    arguments: Table,
    done: Done[None],
) -> None:
    """Remove the binding with exactly these arguments; removing what is not there is no error."""
    source, destination = strip(source), strip(destination)
    from_, to = binding_ends(vhost, actor, source, destination_kind, destination, routing_key)
    if from_ is None or to is None:
        done(None)
        return
    binding = Binding(from_, to, routing_key, arguments)
    existing = from_.outgoing.get(binding.identity)
    if existing is None and not binding.durable:
        done(None)
        return
    orphans: list[Exchange] = []
    if existing is not None:
        remove(broker, vhost, existing, orphans, actor)
    # A durable binding whose own commit is still under way is not in the model yet; its drop follows it in the catalog.
    changes = [Change(False, binding_row(vhost, binding))] if binding.durable else []

    def unbound() -> None:
        late = from_.outgoing.get(binding.identity) if existing is None else None
        if late is not None and from_.alive:
            remove(broker, vhost, late, [], actor)

    changes += drop_orphans(broker, vhost, orphans)
    if changes:
        commit(broker, changes, done, unbound)
    else:
        done(None)


def remove(broker: Broker, vhost: VHost, binding: Binding, orphans: list[Exchange], actor: Actor) -> None:
    vhost.remove_binding(binding, orphans)
    broker.emit("binding.deleted", about_binding(binding) | {"user_who_performed_action": actor.user})


def binding_row(vhost: VHost, binding: Binding) -> BindingRow:
    kind = "queue" if isinstance(binding.destination, Queue) else "exchange"
    return BindingRow(
        vhost.name,
        binding.source.name,
        kind,
        binding.destination.name,
        binding.routing_key,
        encode_table(binding.arguments),
    )
