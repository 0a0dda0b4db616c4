"""x-consistent-hash: each message goes to one destination, chosen by a hash; equal keys go to equal destinations.

A binding key is the weight of its destination, a positive integer: destinations get messages in proportion to their
weights. What is hashed is the routing key, or what an argument of the exchange names:

    hash-header      the value (and type) of this header
    hash-property    correlation_id, message_id or timestamp

A message without that header or property is hashed as an empty one, and thus goes to one destination too. Of several
bindings of one destination the oldest counts.

RabbitMQ lays weight x buckets on a ring and jumps over them; we rank instead: a key draws, for each destination, an
exponentially distributed time whose rate is the weight, and the earliest wins. That is exactly proportional without
averaging over points; a destination that comes or goes takes or leaves its own share and no other key moves; and a
weight is one number however large it is (RabbitMQ had to limit weights, since each unit takes memory). The price is
that time grows with the number of destinations, by about a microsecond each; plans remember what a routing key chose.

Sources: D. Thaler, C. Ravishankar, "Using Name-Based Mappings to Increase Hit Rates" (1998), and for weights C.
Schindelhauer, G. Schomaker, "Weighted Distributed Hash Tables" (2005). RabbitMQ's rabbit_exchange_type_consistent_hash;
texts as 3.10.8 answered them. Where an argument is no text RabbitMQ answers with INTERNAL_ERROR, we with 406.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from math import inf, log1p
from typing import ClassVar, Final, NamedTuple

from amqpd.core.exchanges.base import Binding, Depends, Destination
from amqpd.core.exchanges.hashing import number
from amqpd.errors import PreconditionFailed
from amqpd.wire import properties
from amqpd.wire.framing import erlang_binary
from amqpd.wire.tables import Table, canonical, type_name

__all__ = ["ConsistentHash"]

HASH_HEADER = "hash-header"
HASH_PROPERTY = "hash-property"
PROPERTIES = ("correlation_id", "message_id", "timestamp")

PRIME: Final = (1 << 61) - 1
"""Keys and salts are numbers below it, and so is their product modulo it: uniform in the key, whatever the salt, and as
good as independent for two salts."""

DRAWS: Final = 1 << 53
"""Draws are below it: as many as a float tells apart."""


class Share(NamedTuple):
    """What a destination draws with: its weight, that times DRAWS, and the number that makes its draws its own."""

    weight: float
    scaled: float
    salt: int


def field_element(data: bytes) -> int:
    """What stands for the data: a number from 1 to PRIME - 1."""
    return number(data) % (PRIME - 1) + 1


def share(binding: Binding) -> Share:
    """The share that this binding gives. Only the destination's name makes the salt, so that neither the order of
    bindings nor a restart counts."""
    kind, name, _, _ = binding.identity
    weight = float(binding.routing_key)
    return Share(weight, weight * DRAWS, field_element(f"{kind} {name}".encode("utf-8", "surrogateescape")))


class ConsistentHash:
    """The consistent hash exchange type. Raises PreconditionFailed for arguments that make no sense."""

    name: ClassVar[str] = "x-consistent-hash"

    def __init__(self, arguments: Table) -> None:
        self.header = text(arguments, HASH_HEADER)
        self.property = text(arguments, HASH_PROPERTY)
        if self.header is not None and self.property is not None:
            raise PreconditionFailed("hash-header and hash-property are mutually exclusive")
        if self.property is not None and self.property not in PROPERTIES:
            raise PreconditionFailed(f"Unsupported property: {self.property}")
        self.bindings: dict[Destination, dict[Binding, None]] = {}
        self.shares: dict[Destination, Share] = {}

    @property
    def depends(self) -> Depends:
        """The key, unless an argument names something else."""
        if self.property is not None:
            return Depends.EACH
        return Depends.KEY if self.header is None else Depends.HEADERS

    def check_binding(self, binding: Binding) -> None:
        """Raises PreconditionFailed for a binding key that is no weight."""
        key = binding.routing_key
        if re.fullmatch("[+-]?[0-9]+", key) is None:
            octets = key.encode("utf-8", "surrogateescape")
            raise PreconditionFailed(f"The binding key must be an integer: {erlang_binary(octets)}")
        if int(key) < 1:
            raise PreconditionFailed("The binding key must be greater than 0")

    def bind(self, binding: Binding) -> None:
        bindings = self.bindings.setdefault(binding.destination, {})
        bindings[binding] = None
        self.shares[binding.destination] = share(next(iter(bindings)))

    def unbind(self, binding: Binding) -> None:
        bindings = self.bindings[binding.destination]
        del bindings[binding]
        if bindings:
            self.shares[binding.destination] = share(next(iter(bindings)))
        else:
            del self.bindings[binding.destination], self.shares[binding.destination]

    def route(self, keys: Sequence[str], headers: Table, props: bytes) -> Sequence[Destination]:
        if len(self.shares) < 2:
            return list(self.shares)
        key = field_element(self.hashed(keys, headers, props))
        first: list[Destination] = []
        earliest = inf
        for destination, (weight, scaled, salt) in self.shares.items():
            draw = key * salt % PRIME >> 8
            # The time is never less than draw / scaled, so most draws lose before their logarithm is taken.
            if draw < earliest * scaled:
                time = -log1p(-draw / DRAWS) / weight
                if time < earliest:
                    first, earliest = [destination], time
        return first

    def hashed(self, keys: Sequence[str], headers: Table, props: bytes) -> bytes:
        """What of this message is hashed."""
        if self.property is not None:
            return properties.octets(props, self.property) or b""
        if self.header is not None:
            field = headers.get(self.header)
            return canonical({"": field}) if field is not None else b""
        return keys[0].encode("utf-8", "surrogateescape")


def text(arguments: Table, key: str) -> str | None:
    """The argument, None when it is not there. Raises PreconditionFailed when it is no text."""
    field = arguments.get(key)
    if field is None:
        return None
    if field.kind != "S":
        raise PreconditionFailed(f"invalid type '{type_name(field)}' for arg '{key}'")
    if isinstance(field.value, bytes):
        return field.value.decode("utf-8", "surrogateescape")
    return str(field.value)
