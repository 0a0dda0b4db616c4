"""x-delayed-message: an exchange of another type that keeps a message for as long as its header x-delay says.

    x-delayed-type    argument: the type that routes; also checks the other arguments and the bindings
    x-delay           header: milliseconds; see core/delayed for what counts, and for what becomes of the message

Source: RabbitMQ's delayed message exchange plugin (rabbit_exchange_type_delayed_message).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, ClassVar

from amqpd.core.delayed import delay
from amqpd.core.exchanges.base import DELAYED_MESSAGE, Answer, Attached, Binding, Depends, Exchange, Factory
from amqpd.errors import PreconditionFailed
from amqpd.wire.tables import Table

if TYPE_CHECKING:
    from amqpd.core.broker import Broker
    from amqpd.core.delayed import Delays
    from amqpd.core.vhost import VHost

__all__ = ["DelayedMessage"]

TYPE = "x-delayed-type"


class DelayedMessage:
    """The delayed message exchange type; `find` gives the factory of an inner type.

    Raises PreconditionFailed where that does not exist or does not take the arguments.
    """

    name: ClassVar[str] = DELAYED_MESSAGE

    def __init__(self, arguments: Table, find: Callable[[str], Factory]) -> None:
        field = arguments.get(TYPE)
        if field is None or field.kind != "S" or not isinstance(field.value, str) or field.value == self.name:
            raise PreconditionFailed(f"Invalid argument, '{TYPE}' must be an existing exchange type")
        self.inner = find(field.value)(arguments)
        self.depends = max(Depends.HEADERS, self.inner.depends)
        self.delays: Delays | None = None

    def attach(self, broker: Broker, vhost: VHost, exchange: Exchange) -> None:
        self.delays = broker.delays(vhost, exchange)
        if isinstance(self.inner, Attached):
            self.inner.attach(broker, vhost, exchange)

    def check_binding(self, binding: Binding) -> None:
        self.inner.check_binding(binding)

    def bind(self, binding: Binding) -> None:
        self.inner.bind(binding)

    def unbind(self, binding: Binding) -> None:
        self.inner.unbind(binding)

    def route(self, keys: Sequence[str], headers: Table, props: bytes) -> Sequence[Answer]:
        if self.delays is not None and delay(headers):
            return (self.delays,)
        return self.inner.route(keys, headers, props)
