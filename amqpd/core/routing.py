"""Routing: from an exchange through bindings, other exchanges and alternate exchanges to queues.

Each exchange is asked once per message, so cycles end; an exchange that has nowhere to send a message hands it to its
alternate exchange, if that exists. Source: RabbitMQ's rabbit_exchange:route.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from amqpd.core.exchanges.base import NO_PROPERTIES, Depends, Exchange, Witness
from amqpd.wire.tables import Table

if TYPE_CHECKING:
    from amqpd.core.delayed import Delays
    from amqpd.core.queues.queue import Queue

__all__ = ["Exchanges", "bump", "depends", "reaches", "route"]


class Exchanges(dict[str, Exchange]):
    """The exchanges of a virtual host by name. `naming` finds those that name one as their alternate, which need not
    exist."""

    def __init__(self) -> None:
        self.naming: dict[str, dict[Exchange, None]] = {}

    def __setitem__(self, name: str, exchange: Exchange) -> None:
        super().__setitem__(name, exchange)
        if exchange.alternate is not None:
            self.naming.setdefault(exchange.alternate, {})[exchange] = None

    def __delitem__(self, name: str) -> None:
        self.forget(self[name])
        super().__delitem__(name)

    def forget(self, exchange: Exchange) -> None:
        """The exchange names no alternate any more."""
        if exchange.alternate is not None:
            naming = self.naming[exchange.alternate]
            del naming[exchange]
            if not naming:
                del self.naming[exchange.alternate]

    def change_alternate(self, exchange: Exchange, alternate: str | None) -> None:
        """An exchange that is here names another alternate, or none, from now on."""
        if alternate != exchange.alternate:
            self.forget(exchange)
            exchange.alternate = alternate
            self[exchange.name] = exchange
            bump(exchange, self)


def route(
    exchange: Exchange,
    routing_keys: Sequence[str],
    headers: Table,
    exchanges: Mapping[str, Exchange],
    queues: Mapping[str, Queue],
    props: bytes = NO_PROPERTIES,
) -> tuple[Queue | Witness | Delays, ...]:
    """The queues that a message with these keys reaches, its witnesses, and the exchanges that delay it: each once, in
    the order they are found."""
    found: dict[Queue | Witness | Delays, None] = {}
    asked: dict[Exchange, None] = {exchange: None}
    waiting = [exchange]
    while waiting:
        current = waiting.pop()
        destinations = current.type.route(routing_keys, headers, props)
        for destination in destinations:
            if not isinstance(destination, Exchange):
                found[destination] = None
            elif destination not in asked:
                asked[destination] = None
                waiting.append(destination)
        if current.alternate is not None and not reaches(destinations):
            if not current.alternate:
                found.update((queues[key], None) for key in routing_keys if key in queues)
            alternate = exchanges.get(current.alternate)
            if alternate is not None and alternate not in asked:
                asked[alternate] = None
                waiting.append(alternate)
    return tuple(found)


def reaches(targets: Sequence[object]) -> bool:
    """Is there a place to go to among these targets or destinations?"""
    return any(not isinstance(target, Witness) for target in targets)


def reachable(exchange: Exchange, exchanges: Mapping[str, Exchange]) -> list[Exchange]:
    """The exchange and all that a message published to it may come through."""
    reached: dict[Exchange, None] = {exchange: None}
    waiting = [exchange]
    while waiting:
        current = waiting.pop()
        following = list(current.onward)
        alternate = exchanges.get(current.alternate) if current.alternate is not None else None
        if alternate is not None:
            following.append(alternate)
        for other in following:
            if other not in reached:
                reached[other] = None
                waiting.append(other)
    return list(reached)


def depends(exchange: Exchange, exchanges: Mapping[str, Exchange]) -> Depends:
    """What the answer depends on: the strongest dependency of any exchange on the way. An alternate exchange that is
    the default one makes each message depend on queues that come and go."""
    on_the_way = reachable(exchange, exchanges)
    if any(other.alternate == "" for other in on_the_way):
        return Depends.EACH
    return max(other.type.depends for other in on_the_way)


def bump(exchange: Exchange, exchanges: Exchanges) -> None:
    """Answers through this exchange may have changed: raise its epoch and that of all exchanges that lead to it."""
    raised: dict[Exchange, None] = {exchange: None}
    waiting = [exchange]
    while waiting:
        current = waiting.pop()
        current.epoch += 1
        for other in [*current.upstream, *exchanges.naming.get(current.name, ())]:
            if other not in raised:
                raised[other] = None
                waiting.append(other)
