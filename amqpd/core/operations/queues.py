"""Operations on queues and their consumers."""

from __future__ import annotations

from secrets import token_urlsafe
from typing import NamedTuple

from amqpd.core import arguments as law
from amqpd.core.arguments import queue_resource
from amqpd.core.broker import Broker
from amqpd.core.operations.common import (
    Actor,
    Done,
    check_unreserved,
    create_durable,
    finish_drops,
    locked,
    retry,
    strip,
    waits,
)
from amqpd.core.operations.exchanges import drop_orphans
from amqpd.core.operations.limits import check_queue_limit
from amqpd.core.ports import Change, QueueRow
from amqpd.core.queues.consumer import Consumer
from amqpd.core.queues.deduplicating import queue_class
from amqpd.core.queues.queue import Queue
from amqpd.core.queues.reply import REPLY_TO, REPLY_TO_PREFIX
from amqpd.core.vhost import VHost
from amqpd.errors import AmqpError, NotFound, NotImplemented_
from amqpd.wire.tables import Table, encode_table, longstr

__all__ = [
    "DeclaredQueue",
    "cancel_consumer",
    "close_connection",
    "declare_queue",
    "delete_queue",
    "find_queue",
    "passive_queue",
    "purge_queue",
]


class DeclaredQueue(NamedTuple):
    """What queue.declare-ok says."""

    name: str
    ready: int
    consumers: int


def find_queue(vhost: VHost, actor: Actor, name: str) -> Queue:
    """The queue, for someone who may use it. Raises NotFound, ResourceLocked."""
    queue = vhost.queues.get(name)
    if queue is None:
        raise NotFound(f"no {queue_resource(name, vhost.name)}")
    actor.check_lock(queue)
    return queue


def declared(queue: Queue) -> DeclaredQueue:
    # To look at a quorum queue is not to use it.
    if queue.kind != "quorum":
        queue.used = queue.turn.now
    queue.catch_up()
    return DeclaredQueue(queue.name, queue.ready, len(queue.rota.members))


def passive_queue(broker: Broker, vhost: VHost, actor: Actor, name: str) -> DeclaredQueue:
    """The queue's counts. Raises NotFound when there is no such queue."""
    name = strip(name)
    if name == REPLY_TO or name.startswith(REPLY_TO_PREFIX):
        return declared_reply(broker, vhost, actor, name)
    actor.require_any(vhost.name, "queue", name)
    return declared(find_queue(vhost, actor, name))


def declared_reply(broker: Broker, vhost: VHost, actor: Actor, name: str) -> DeclaredQueue:
    """queue.declare of a direct reply-to name asks whether its consumer still lives."""
    if name != REPLY_TO and name not in broker.replies:
        raise NotFound(f"no {queue_resource(name, vhost.name)}")
    return DeclaredQueue(name, 0, 1)


def declare_queue(
    broker: Broker,
    vhost: VHost,
    actor: Actor,
    name: str,
    *,
    durable: bool,
    exclusive: bool,
    auto_delete: bool,
    arguments: Table,
    done: Done[DeclaredQueue],
) -> None:
    """Create the queue, or see that the one there is equivalent. An empty name has the broker choose one."""
    name = strip(name)
    if name == REPLY_TO or name.startswith(REPLY_TO_PREFIX):
        done(declared_reply(broker, vhost, actor, name))
        return
    if name:
        # Before the look-up: a server-named queue cannot be declared again by its name, even by its owner.
        check_unreserved("queue", name)
        actor.require(vhost.name, "configure", "queue", name)
    arguments = with_default_type(broker, vhost, durable and not (exclusive or auto_delete), arguments)
    again = lambda: retry(  # noqa: E731
        done,
        lambda: declare_queue(
            broker,
            vhost,
            actor,
            name,
            durable=durable,
            exclusive=exclusive,
            auto_delete=auto_delete,
            arguments=arguments,
            done=done,
        ),
    )
    if waits(vhost, "queue", name, again):
        return
    existing = vhost.queues.get(name)
    if existing is not None:
        check_equivalent(actor, existing, durable, exclusive, auto_delete, arguments)
        done(declared(existing))
        return
    check_queue_limit(vhost, name)
    law.check_queue(name, vhost.name, arguments, durable=durable, exclusive=exclusive, auto_delete=auto_delete)
    if not name:
        name = f"amq.gen-{token_urlsafe(16)}"
        actor.require(vhost.name, "configure", "queue", name)
    dead_letter_exchange = arguments.get("x-dead-letter-exchange")
    if dead_letter_exchange is not None:
        actor.require(vhost.name, "read", "queue", name)
        actor.require(vhost.name, "write", "exchange", dead_letter_exchange.value)
    create_queue(broker, vhost, actor, name, durable and not exclusive, exclusive, auto_delete, arguments, done)


def with_default_type(broker: Broker, vhost: VHost, durable: bool, arguments: Table) -> Table:
    """The arguments of a queue, with the virtual host's or the node's default type where they name none.

    A type other than classic is given only to a queue that may have it: one that lives on by itself.
    """
    kind = vhost.row.default_queue_type or broker.default_queue_type
    if not kind or "x-queue-type" in arguments or not (durable or kind == "classic"):
        return arguments
    return {**arguments, "x-queue-type": longstr(kind)}


def check_equivalent(
    actor: Actor, queue: Queue, durable: bool, exclusive: bool, auto_delete: bool, arguments: Table
) -> None:
    actor.check_lock(queue)
    law.check_queue_equivalent(queue, durable=durable and not exclusive, auto_delete=auto_delete, arguments=arguments)
    if exclusive != (queue.owner is not None):
        raise locked(queue)


def create_queue(
    broker: Broker,
    vhost: VHost,
    actor: Actor,
    name: str,
    durable: bool,
    exclusive: bool,
    auto_delete: bool,
    arguments: Table,
    done: Done[DeclaredQueue],
) -> None:
    queue_id = 0
    if durable:
        queue_id = broker.next_queue_id
        broker.next_queue_id += 1
    queue = queue_class(arguments)(
        name,
        vhost.name,
        id=queue_id,
        kind=law.queue_type(arguments),
        durable=durable,
        auto_delete=auto_delete,
        owner=actor.connection if exclusive else None,
        arguments=arguments,
        turn=broker.turn,
        journal=broker.journal,
        burial=broker.burial,
    )

    def created() -> DeclaredQueue:
        vhost.add_queue(queue)
        return DeclaredQueue(name, 0, 0)

    if durable:
        row = QueueRow(queue_id, vhost.name, name, auto_delete, encode_table(arguments))
        create_durable(broker, vhost, "queue", name, Change(True, row), done, created)
    else:
        done(created())


def delete_queue(
    broker: Broker,
    vhost: VHost,
    actor: Actor,
    name: str,
    *,
    if_unused: bool,
    if_empty: bool,
    done: Done[int],
) -> None:
    """Delete the queue; answers how many messages were ready, 0 for a queue that is not there."""
    name = strip(name)
    actor.require(vhost.name, "configure", "queue", name)
    again = lambda: retry(  # noqa: E731
        done, lambda: delete_queue(broker, vhost, actor, name, if_unused=if_unused, if_empty=if_empty, done=done)
    )
    if waits(vhost, "queue", name, again):
        return
    queue = vhost.queues.get(name)
    if queue is None:
        done(0)
        return
    actor.check_lock(queue)
    if if_unused and queue.kind == "quorum":
        raise NotImplemented_(
            f"cannot delete {queue_resource(name, vhost.name)}. queue.delete operations with if-unused flag set are "
            "not supported by quorum queues"
        )
    queue.check_deletable(if_unused, if_empty)
    remove_queue(broker, vhost, queue, done)


def remove_queue(broker: Broker, vhost: VHost, queue: Queue, done: Done[int]) -> None:
    """Delete a queue that may go: on request, with its owner, or with its last consumer."""
    count, orphans = vhost.remove_queue(queue)
    changes = drop_orphans(vhost, orphans)
    if queue.durable:
        changes.insert(0, Change(False, QueueRow(queue.id, vhost.name, queue.name, queue.auto_delete, b"")))

    def answered(outcome: int | AmqpError) -> None:
        done(outcome)
        queue.farewell()

    finish_drops(broker, changes, answered, lambda: count)


def purge_queue(vhost: VHost, actor: Actor, name: str) -> int:
    """Drop the queue's ready messages; how many there were."""
    name = strip(name)
    actor.require(vhost.name, "read", "queue", name)
    queue = find_queue(vhost, actor, name)
    if queue.kind == "stream":
        raise NotImplemented_(f"queue.purge not supported by stream queues {queue_resource(name, vhost.name)}")
    return queue.purge()


def cancel_consumer(broker: Broker, vhost: VHost, consumer: Consumer) -> None:
    """Take the consumer off its queue, and the queue away when that was its last reason to live."""
    queue = consumer.queue
    if not queue.alive or consumer not in queue.rota.members:
        return
    queue.remove_consumer(consumer)
    if queue.unused:
        remove_queue(broker, vhost, queue, lambda _: None)


def close_connection(broker: Broker, vhost: VHost, connection: object) -> None:
    """The connection goes: its exclusive queues go first."""
    for queue in list(vhost.owned.get(connection, ())):
        remove_queue(broker, vhost, queue, lambda _: None)
    vhost.owned.pop(connection, None)
