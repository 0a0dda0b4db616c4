"""Operations on delayed messages (see core/delayed)."""

from __future__ import annotations

from itertools import islice

from amqpd.core.arguments import exchange_resource
from amqpd.core.broker import Broker
from amqpd.core.delayed import Delays, Waiting
from amqpd.core.operations.common import Actor, Done
from amqpd.core.vhost import VHost
from amqpd.errors import NotFound

__all__ = ["cancel_delayed", "list_delayed"]


def find_delays(broker: Broker, vhost: VHost, exchange: str) -> Delays:
    """The delayed messages of an exchange, "" for the default one. Raises NotFound."""
    delays = broker.find_delays(vhost.name, exchange)
    if delays is None:
        raise NotFound(f"no {exchange_resource(exchange, vhost.name)}")
    return delays


def list_delayed(broker: Broker, vhost: VHost, actor: Actor, exchange: str, count: int) -> list[Waiting]:
    """The messages that are due next, at most so many. Raises NotFound, AccessRefused."""
    actor.require(vhost.name, "read", "exchange", exchange)
    return list(islice(find_delays(broker, vhost, exchange), count))


def cancel_delayed(
    broker: Broker, vhost: VHost, actor: Actor, exchange: str, due: int, message_id: int, done: Done[None]
) -> None:
    """Have a message never be delivered; answered when that is durable. Raises NotFound, AccessRefused."""
    actor.require(vhost.name, "configure", "exchange", exchange)
    delays = find_delays(broker, vhost, exchange)
    if not delays.cancel(due, message_id):
        raise NotFound(f"no such delayed message in {exchange_resource(exchange, vhost.name)}")
    # What the cancelling has written is in the commit that grows.
    broker.journal.group(lambda: None).when_committed(lambda: done(None))
    broker.turn.arm()
