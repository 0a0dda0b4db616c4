"""headers: bindings match the message's headers; the routing key does not count.

    x-match      all (the default), any, all-with-x, any-with-x

Only the -with-x forms look at binding arguments whose names begin with `x-`; x-match itself is never compared. An
argument without a value (void) asks only that the header is there; else value and type must be equal, integers of
different width being one type. `all` without arguments matches everything, `any` without any nothing.
Source: RabbitMQ's rabbit_exchange_type_headers.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar, NamedTuple

from amqpd.core.exchanges.base import Binding, Depends, Destination
from amqpd.errors import PreconditionFailed
from amqpd.wire.framing import erlang_binary
from amqpd.wire.tables import Field, Table, equal, type_name

__all__ = ["Headers"]

X_MATCH = "x-match"
MATCHES = ("all", "any", "all-with-x", "any-with-x")


class Condition(NamedTuple):
    """What one binding asks of the headers."""

    binding: Binding
    every: bool
    wanted: tuple[tuple[str, Field], ...]

    def holds(self, headers: Table) -> bool:
        """Do these headers match?"""
        if self.every:
            return all(matches(wanted, headers.get(name)) for name, wanted in self.wanted)
        return any(matches(wanted, headers.get(name)) for name, wanted in self.wanted)


def matches(wanted: Field, found: Field | None) -> bool:
    return found is not None and (wanted.kind == "V" or equal(wanted, found))


class Headers:
    """The headers exchange type."""

    name: ClassVar[str] = "headers"
    depends: ClassVar[Depends] = Depends.HEADERS

    def __init__(self) -> None:
        self.conditions: dict[Binding, Condition] = {}

    def check_binding(self, routing_key: str, arguments: Table) -> None:
        """Raises PreconditionFailed for an x-match that is none."""
        field = arguments.get(X_MATCH)
        if field is None:
            return
        if field.kind != "S":
            raise PreconditionFailed(
                f"Invalid x-match field type {type_name(field)} (value {field.value}); expected longstr"
            )
        if field.value not in MATCHES:
            value = field.value if isinstance(field.value, bytes) else field.value.encode()
            raise PreconditionFailed(
                f"Invalid x-match field value {erlang_binary(value)}; expected all, any, all-with-x, or any-with-x"
            )

    def bind(self, binding: Binding) -> None:
        field = binding.arguments.get(X_MATCH)
        mode = field.value if field is not None else "all"
        with_x = mode.endswith("-with-x")
        wanted = tuple(
            (name, value)
            for name, value in binding.arguments.items()
            if name != X_MATCH and (with_x or not name.startswith("x-"))
        )
        self.conditions[binding] = Condition(binding, mode.startswith("all"), wanted)

    def unbind(self, binding: Binding) -> None:
        del self.conditions[binding]

    def route(self, routing_key: str, headers: Table) -> Iterable[Destination]:
        return [condition.binding.destination for condition in self.conditions.values() if condition.holds(headers)]
