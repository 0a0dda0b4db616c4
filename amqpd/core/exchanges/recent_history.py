"""x-recent-history: a fanout that remembers its last messages and gives them to whoever is newly bound.

    x-recent-history-length      argument: how many messages, 20 when it is not there
    x-recent-history-no-store    header: true for a message that is not to be remembered

The history is a witness of the exchange: it is handed the very message that the queues share, also when no queue is
bound yet, and does not make an unroutable message routed. It is kept in memory and is empty after a restart, as in
RabbitMQ on Mnesia (on Khepri it is stored). What a transaction publishes is remembered when it commits. Source:
RabbitMQ's rabbit_exchange_type_recent_history; texts as 3.10.8 answered them.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import ClassVar

from amqpd.core.arguments import INTEGER_KINDS, printed
from amqpd.core.exchanges.base import Binding, Depends, Destination, Witness
from amqpd.core.message import Message
from amqpd.errors import PreconditionFailed
from amqpd.wire.tables import Field, Table

__all__ = ["RecentHistory"]

LENGTH = "x-recent-history-length"
NO_STORE = "x-recent-history-no-store"
DEFAULT_LENGTH = 20

TRUE = Field("t", True)


class History(Witness):
    """The last messages that came by, the oldest first."""

    __slots__ = ("messages",)

    def __init__(self, length: int) -> None:
        self.messages: deque[Message] = deque(maxlen=length)

    def publish(self, messages: Sequence[Message]) -> None:
        """Remember the messages."""
        self.messages.extend(messages)


class RecentHistory:
    """The recent history exchange type. Raises PreconditionFailed for a length that is no positive integer."""

    name: ClassVar[str] = "x-recent-history"
    depends: ClassVar[Depends] = Depends.HEADERS

    def __init__(self, arguments: Table) -> None:
        field = arguments.get(LENGTH, Field("l", DEFAULT_LENGTH))
        if field.kind not in INTEGER_KINDS or field.value <= 0:
            raise PreconditionFailed(f"Invalid argument {printed(field)}, '{LENGTH}' must be a positive integer")
        self.history = History(field.value)
        self.bindings: dict[Binding, None] = {}

    def check_binding(self, binding: Binding) -> None:
        """Any binding will do."""

    def bind(self, binding: Binding) -> None:
        self.bindings[binding] = None

    def unbind(self, binding: Binding) -> None:
        del self.bindings[binding]

    def route(self, keys: Sequence[str], headers: Table, props: bytes) -> Sequence[Destination | Witness]:
        found: list[Destination | Witness] = [binding.destination for binding in self.bindings]
        if headers.get(NO_STORE) != TRUE:
            found.append(self.history)
        return found

    def remembered(self) -> Sequence[Message]:
        """The history as it is now."""
        return tuple(self.history.messages)
