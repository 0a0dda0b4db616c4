"""headers: bindings match the message's headers; the routing key does not count.

    x-match      all (the default), any, all-with-x, any-with-x

Only the -with-x forms look at binding arguments whose names begin with `x-`; x-match itself is never compared. `all`
without arguments matches everything, `any` without any nothing. An argument without a value (void) asks only that the
header is there; any other that its value is the same, and what that means is Erlang's idea of it (see arguments.term).

An argument and a header thereby become a *claim*: (name,) or (name, value). A message offers the claims of its
headers; `any` bindings hold when one of theirs is among them, `all` bindings when all are. Bindings are found by claim:
`any` bindings under each of theirs, `all` bindings under one, that which the fewest others are under. A message looks
only where it has something to offer. Source: RabbitMQ's rabbit_exchange_type_headers, 3.10.8 asked.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import ClassVar, NamedTuple, TypeAlias

from amqpd.core.arguments import printed, term
from amqpd.core.exchanges.base import Binding, Depends, Destination
from amqpd.errors import PreconditionFailed
from amqpd.wire.tables import Table, type_name

__all__ = ["Headers"]

X_MATCH = "x-match"
MATCHES = ("all", "any", "all-with-x", "any-with-x")

Claim: TypeAlias = tuple[Hashable, ...]

ALWAYS: Claim = ()
"""What every message offers: the claim of bindings that ask for nothing."""


class Condition(NamedTuple):
    """What one binding asks for, and the claims under which it is found."""

    every: bool
    claims: frozenset[Claim]
    found_under: tuple[Claim, ...]


class Headers:
    """The headers exchange type."""

    name: ClassVar[str] = "headers"
    depends: ClassVar[Depends] = Depends.HEADERS

    def __init__(self, arguments: Table) -> None:
        self.conditions: dict[Binding, Condition] = {}
        self.index: dict[Claim, dict[Binding, Condition]] = {}

    def check_binding(self, binding: Binding) -> None:
        """Raises PreconditionFailed for an x-match that is none."""
        field = binding.arguments.get(X_MATCH)
        if field is None:
            return
        if field.kind != "S":
            raise PreconditionFailed(
                f"Invalid x-match field type {type_name(field)} (value {printed(field)}); expected longstr"
            )
        if field.value not in MATCHES:
            raise PreconditionFailed(
                f"Invalid x-match field value {printed(field)}; expected all, any, all-with-x, or any-with-x"
            )

    def bind(self, binding: Binding) -> None:
        condition = self.conditions[binding] = self.condition(binding.arguments)
        for claim in condition.found_under:
            self.index.setdefault(claim, {})[binding] = condition

    def unbind(self, binding: Binding) -> None:
        for claim in self.conditions.pop(binding).found_under:
            bindings = self.index[claim]
            del bindings[binding]
            if not bindings:
                del self.index[claim]

    def condition(self, arguments: Table) -> Condition:
        field = arguments.get(X_MATCH)
        match = field.value if field is not None else "all"
        with_x = match.endswith("-with-x")
        claims = frozenset(
            (name,) if field.kind == "V" else (name, term(field))
            for name, field in arguments.items()
            if name != X_MATCH and (with_x or not name.startswith("x-"))
        )
        if match.startswith("any"):
            return Condition(False, claims, tuple(claims))
        rarest = min(claims, key=lambda claim: len(self.index.get(claim, ())), default=ALWAYS)
        return Condition(True, claims, (rarest,))

    def route(self, keys: Sequence[str], headers: Table, props: bytes) -> Sequence[Destination]:
        offered: dict[Claim, None] = {ALWAYS: None}
        for name, field in headers.items():
            offered[(name,)] = None
            offered[(name, term(field))] = None
        matching: list[Destination] = []
        for claim in offered:
            for binding, condition in self.index.get(claim, {}).items():
                if not condition.every or condition.claims <= offered.keys():
                    matching.append(binding.destination)
        return matching
