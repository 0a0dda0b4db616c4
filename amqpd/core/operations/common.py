"""What all operations share: who asks, how an answer comes, and how a change gets into the catalog."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias, TypeVar

from amqpd.core.arguments import queue_resource
from amqpd.core.broker import Broker
from amqpd.core.exchanges.base import Exchange
from amqpd.core.plan import DEFAULT_EXCHANGE_ALIAS, require_topic
from amqpd.core.ports import Access, Change
from amqpd.core.queues.queue import Queue
from amqpd.core.vhost import VHost
from amqpd.errors import AccessRefused, AmqpError, InternalError, NotFound, ResourceLocked

__all__ = [
    "RESERVED_PREFIX",
    "Actor",
    "Done",
    "check_not_default",
    "check_unreserved",
    "commit",
    "create_durable",
    "finish_drops",
    "locked",
    "retry",
    "strip",
    "waits",
]

T = TypeVar("T")
Done: TypeAlias = Callable[[T | AmqpError], None]

RESERVED_PREFIX = "amq."


class Actor:
    """Who asks: a user, and the connection (None for HTTP) whose exclusive queues it may use."""

    __slots__ = ("access", "connection", "user")

    def __init__(self, user: str, access: Access, connection: object | None = None) -> None:
        self.user = user
        self.access = access
        self.connection = connection

    def require(self, vhost: str, permission: str, kind: str, name: str) -> None:
        """Raises AccessRefused unless the user has this permission ("configure", "write", "read") on the resource."""
        seen = name or DEFAULT_EXCHANGE_ALIAS
        if not self.access.allows(self.user, vhost, permission, seen):
            raise AccessRefused(
                f"{permission} access to {kind} '{seen}' in vhost '{vhost}' refused for user '{self.user}'"
            )

    def require_any(self, vhost: str, kind: str, name: str) -> None:
        """Raises AccessRefused if the user has no permission at all on the resource."""
        if not any(self.access.allows(self.user, vhost, permission, name) for permission in ("write", "read")):
            self.require(vhost, "configure", kind, name)

    def require_topic(self, vhost: str, permission: str, exchange: Exchange, key: str) -> None:
        """Raises AccessRefused unless the user may use this routing key of an exchange, which matters for topics."""
        require_topic(self.access, self.user, vhost, permission, exchange, key)

    def check_lock(self, queue: Queue) -> None:
        """Raises ResourceLocked for an exclusive queue of another connection."""
        if queue.owner is not None and queue.owner is not self.connection:
            raise locked(queue)


def strip(name: str) -> str:
    """Carriage returns and line feeds are no part of a name, as in RabbitMQ."""
    return name.replace("\r", "").replace("\n", "")


def locked(queue: Queue) -> ResourceLocked:
    return ResourceLocked(
        f"cannot obtain exclusive access to locked {queue_resource(queue.name, queue.vhost)}. It could be originally "
        "declared on another connection or the exclusive property value does not match that of the original "
        "declaration."
    )


def check_not_default(name: str) -> None:
    if not name:
        raise AccessRefused("operation not permitted on the default exchange")


def check_unreserved(kind: str, name: str) -> None:
    if name.startswith(RESERVED_PREFIX):
        raise AccessRefused(f"{kind} name '{name}' contains reserved prefix 'amq.*'")


# ------------------------------------------------------------------------------------------------ the catalog


def commit(broker: Broker, changes: list[Change], done: Done[T], then: Callable[[], T]) -> None:
    """Write the changes; after their commit do `then` and answer with its result."""

    def committed(error: Exception | None) -> None:
        if error is not None:
            done(InternalError(f"the change could not be written to the catalog: {error}"))
        else:
            answer(done, then)

    broker.catalog.submit(changes, committed)


def answer(done: Done[T], then: Callable[[], T]) -> None:
    try:
        result = then()
    except AmqpError as error:
        done(error)
    else:
        done(result)


def retry(done: Done[T], operation: Callable[[], None]) -> None:
    """Run an operation again after a wait: what it raises is now answered."""
    try:
        operation()
    except AmqpError as error:
        done(error)


def create_durable(
    broker: Broker, vhost: VHost, kind: str, name: str, change: Change, done: Done[T], then: Callable[[], T]
) -> None:
    """Commit a new durable object under its name; those who asked for the name meanwhile go on afterwards."""
    key = (kind, name)
    waiting = vhost.pending[key] = []

    def finished(outcome: T | AmqpError) -> None:
        del vhost.pending[key]
        done(outcome)
        for again in waiting:
            again()

    def exists() -> T:
        if not vhost.alive:
            raise NotFound(f"no vhost '{vhost.name}'")
        return then()

    commit(broker, [change], finished, exists)


def waits(vhost: VHost, kind: str, name: str, again: Callable[[], None]) -> bool:
    """Is the name's commit under way? Then `again` is called after it."""
    waiting = vhost.pending.get((kind, name))
    if waiting is None:
        return False
    waiting.append(again)
    return True


def finish_drops(broker: Broker, changes: list[Change], done: Done[T], then: Callable[[], T]) -> None:
    """Answer with the result of `then`: at once when nothing durable has gone, else after the commit."""
    if changes:
        commit(broker, changes, done, then)
    else:
        done(then())
