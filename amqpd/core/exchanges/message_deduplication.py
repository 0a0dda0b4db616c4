"""x-message-deduplication: a fanout that leaves out messages whose header it has seen.

    x-deduplication-header    header: what two messages have in common that are one; without it a message is not looked
                              at
    x-cache-size              argument, a positive integer: how many values are remembered; the oldest makes room
    x-cache-ttl               argument or header, milliseconds: how long a value is remembered; for ever without it
    x-cache-persistence       argument, "memory" or "disk": accepted; values are in memory, a restart forgets them

A duplicate goes nowhere: to the alternate exchange if there is one, and back if it is mandatory. A value counts as seen
once a message with it has come, whatever became of that: also if no queue was bound, or its transaction was rolled
back. Source: the plugin rabbitmq-message-deduplication (RabbitMQMessageDeduplication.Exchange), whose cache is the
same, but for which values make room.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar, Final

from amqpd.core.arguments import INTEGER_KINDS
from amqpd.core.exchanges.base import Answer, Binding, Depends, Exchange
from amqpd.core.queues.deduplicating import HEADER
from amqpd.errors import PreconditionFailed
from amqpd.wire.tables import Field, Table, canonical

if TYPE_CHECKING:
    from amqpd.core.broker import Broker
    from amqpd.core.turn import Turn
    from amqpd.core.vhost import VHost

__all__ = ["MessageDeduplication"]

SIZE: Final = "x-cache-size"
TTL: Final = "x-cache-ttl"
PERSISTENCE: Final = "x-cache-persistence"

FOR_EVER: Final = 1 << 63


def positive(field: Field) -> int | None:
    """The positive integer that an argument or header is, as a number or as a string."""
    kind, value = field
    if kind == "S" and isinstance(value, str) and value.isascii() and value.isdecimal() and len(value) < 20:
        value = int(value)
    elif kind not in INTEGER_KINDS:
        return None
    return int(value) if value > 0 else None


class Cache:
    """The values that were seen last, each until a time in monotonic milliseconds."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.until: dict[bytes, int] = {}

    def seen(self, value: bytes, now: int, ttl: int) -> bool:
        """Has the value been seen? From now on it has."""
        if self.until.get(value, 0) > now:
            return True
        # One that was forgotten is new, and takes its place behind the others.
        self.until.pop(value, None)
        if len(self.until) >= self.size:
            del self.until[next(iter(self.until))]
        self.until[value] = now + ttl
        return False


class MessageDeduplication:
    """The message deduplication exchange type. Raises PreconditionFailed for arguments that are none of its."""

    name: ClassVar[str] = "x-message-deduplication"
    depends: ClassVar[Depends] = Depends.EACH

    def __init__(self, arguments: Table) -> None:
        size = positive(arguments[SIZE]) if SIZE in arguments else None
        if size is None:
            raise PreconditionFailed(f"Missing or invalid argument, '{SIZE}' must be an integer greater than 0")
        ttl = positive(arguments[TTL]) if TTL in arguments else FOR_EVER
        if ttl is None:
            raise PreconditionFailed(f"Invalid argument, '{TTL}' must be an integer greater than 0")
        if arguments.get(PERSISTENCE, Field("S", "memory")) not in (Field("S", "memory"), Field("S", "disk")):
            raise PreconditionFailed(f"Invalid argument, '{PERSISTENCE}' must be either 'disk' or 'memory'")
        self.ttl = ttl
        self.cache = Cache(size)
        self.turn: Turn | None = None
        self.bindings: dict[Binding, None] = {}

    def attach(self, broker: Broker, vhost: VHost, exchange: Exchange) -> None:
        self.turn = broker.turn

    def check_binding(self, binding: Binding) -> None:
        """Any binding will do."""

    def bind(self, binding: Binding) -> None:
        self.bindings[binding] = None

    def unbind(self, binding: Binding) -> None:
        del self.bindings[binding]

    def route(self, keys: Sequence[str], headers: Table, props: bytes) -> Sequence[Answer]:
        value = headers.get(HEADER)
        if value is not None and self.turn is not None:
            own = positive(headers[TTL]) if TTL in headers else None
            if self.cache.seen(canonical({"": value}), self.turn.now, own or self.ttl):
                return ()
        return [binding.destination for binding in self.bindings]
