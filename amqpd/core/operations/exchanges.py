"""Operations on exchanges."""

from __future__ import annotations

from amqpd.core import arguments as law
from amqpd.core.arguments import exchange_resource
from amqpd.core.broker import Broker
from amqpd.core.events import INTERNAL, about_binding, about_exchange
from amqpd.core.exchanges.base import Exchange, factory
from amqpd.core.operations.common import (
    RESERVED_PREFIX,
    Actor,
    Done,
    check_not_default,
    check_unreserved,
    create_durable,
    finish_drops,
    retry,
    strip,
    waits,
)
from amqpd.core.ports import Change, ExchangeRow
from amqpd.core.vhost import SYSTEM_EXCHANGES, VHost
from amqpd.errors import AccessRefused, NotFound, PreconditionFailed
from amqpd.wire.tables import Table, encode_table

__all__ = ["declare_exchange", "delete_exchange", "drop_orphans", "passive_exchange"]


def passive_exchange(vhost: VHost, actor: Actor, name: str) -> None:
    """Raises NotFound when there is no such exchange."""
    name = strip(name)
    check_not_default(name)
    actor.require_any(vhost.name, "exchange", name)
    find_exchange(vhost, name)


def find_exchange(vhost: VHost, name: str) -> Exchange:
    exchange = vhost.exchanges.get(name)
    if exchange is None:
        raise NotFound(f"no {exchange_resource(name, vhost.name)}")
    return exchange


def declare_exchange(
    broker: Broker,
    vhost: VHost,
    actor: Actor,
    name: str,
    kind: str,
    *,
    durable: bool,
    auto_delete: bool,
    internal: bool,
    arguments: Table,
    done: Done[None],
) -> None:
    """Create the exchange, or see that the one there is equivalent."""
    name = strip(name)
    make_type = factory(kind, broker.exchange_types)
    check_not_default(name)
    actor.require(vhost.name, "configure", "exchange", name)
    again = lambda: retry(  # noqa: E731
        done,
        lambda: declare_exchange(
            broker,
            vhost,
            actor,
            name,
            kind,
            durable=durable,
            auto_delete=auto_delete,
            internal=internal,
            arguments=arguments,
            done=done,
        ),
    )
    if waits(vhost, "exchange", name, again):
        return
    existing = vhost.exchanges.get(name)
    if existing is not None:
        law.check_exchange_equivalent(
            existing,
            kind=kind,
            durable=durable,
            auto_delete=auto_delete,
            internal=internal,
            arguments=arguments,
            redeclare=broker.redeclare,
        )
        done(None)
        return
    check_unreserved("exchange", name)
    law.check_exchange(name, vhost.name, arguments)
    alternate = arguments.get("alternate-exchange")
    if alternate is not None:
        actor.require(vhost.name, "read", "exchange", name)
        actor.require(vhost.name, "write", "exchange", alternate.value)
    exchange = Exchange(
        name,
        vhost.name,
        kind,
        durable=durable,
        auto_delete=auto_delete,
        internal=internal,
        arguments=arguments,
        type=make_type(arguments),
    )

    def created() -> None:
        broker.add_exchange(vhost, exchange)
        broker.emit("exchange.created", about_exchange(exchange) | {"user_who_performed_action": actor.user})

    if not durable:
        created()
        done(None)
        return
    row = ExchangeRow(vhost.name, name, kind, auto_delete, internal, encode_table(arguments))
    create_durable(broker, vhost, "exchange", name, Change(True, row), done, created)


def delete_exchange(
    broker: Broker, vhost: VHost, actor: Actor, name: str, *, if_unused: bool, done: Done[None]
) -> None:
    """Delete the exchange and its bindings; deleting what is not there is no error."""
    name = strip(name)
    check_not_default(name)
    actor.require(vhost.name, "configure", "exchange", name)
    again = lambda: retry(  # noqa: E731
        done, lambda: delete_exchange(broker, vhost, actor, name, if_unused=if_unused, done=done)
    )
    if waits(vhost, "exchange", name, again):
        return
    if name in SYSTEM_EXCHANGES or name.startswith(RESERVED_PREFIX):
        raise AccessRefused(f"deletion of system {exchange_resource(name, vhost.name)} not allowed")
    exchange = vhost.exchanges.get(name)
    if exchange is None:
        done(None)
        return
    if if_unused and exchange.outgoing:
        raise PreconditionFailed(f"{exchange_resource(name, vhost.name)} in use")
    drops = drop_exchange(broker, vhost, exchange, actor.user)
    drops += drop_orphans(broker, vhost, vhost.remove_exchange(exchange))
    finish_drops(broker, drops, done, lambda: None)


def drop_exchange(broker: Broker, vhost: VHost, exchange: Exchange, user: str) -> list[Change]:
    """What is told of an exchange that goes, and the catalog's side of it."""
    who = {"user_who_performed_action": user}
    for binding in (*exchange.outgoing.values(), *exchange.incoming):
        broker.emit("binding.deleted", about_binding(binding) | who)
    broker.emit("exchange.deleted", {"name": exchange.name, "vhost": vhost.name, **who})
    if not exchange.durable:
        return []
    row = ExchangeRow(vhost.name, exchange.name, exchange.kind, exchange.auto_delete, exchange.internal, b"")
    return [Change(False, row)]


def drop_orphans(broker: Broker, vhost: VHost, orphans: list[Exchange]) -> list[Change]:
    """Delete the auto-delete exchanges that have lost their last binding, and those that this orphans in turn."""
    changes: list[Change] = []
    while orphans:
        exchange = orphans.pop()
        if exchange.alive:
            changes += drop_exchange(broker, vhost, exchange, INTERNAL)
            orphans += vhost.remove_exchange(exchange)
    return changes
