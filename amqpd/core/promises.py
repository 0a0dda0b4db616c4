"""What a queue promises: its arguments and the policies that apply to it, worked out into one set of values.

A queue is given its promises when it is declared or restored and whenever a policy changes; it never looks at arguments
or policies itself. Where both an argument and the effective policy (see core/policy) say something:

    the smaller counts     message-ttl, expires, max-length, max-length-bytes, max-age, consumer-timeout, segment size
    the argument counts    dead-letter-exchange, -routing-key and -strategy, overflow, delayed-retry-*
    the larger counts      delivery-limit, if either is negative, which means no limit; else the smaller

Source: RabbitMQ's rabbit_amqqueue_process (process_args_policy), rabbit_quorum_queue (ra_machine_config) and
rabbit_stream_queue (make_stream_conf).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeAlias

from amqpd.core.policy import delivery_limit, merge
from amqpd.wire.tables import Field, Table

__all__ = ["Promises", "work_out"]

QUORUM_DELIVERY_LIMIT = 20
"""Deliveries after which a quorum queue gives a message up when nobody says otherwise."""


@dataclass(frozen=True, slots=True)
class Promises:
    """What holds for one queue. None: no such limit. Times in milliseconds, sizes in octets of message bodies."""

    message_ttl: int | None = None
    expires: int | None = None
    max_length: int | None = None
    max_length_bytes: int | None = None
    overflow: str = "drop-head"
    dead_letter_exchange: str | None = None
    dead_letter_routing_key: str | None = None
    """None: a message keeps its own."""
    dead_letter_strategy: str = "at-most-once"
    max_priority: int | None = None
    single_active_consumer: bool = False
    delivery_limit: int | None = None
    """Returns after which a message is dead-lettered."""
    consumer_timeout: int | None = None
    delayed_retry_type: str = "disabled"
    delayed_retry_min: int | None = None
    delayed_retry_max: int | None = None
    max_age: int | None = None
    max_segment_size: int | None = None
    filter_size: int | None = None
    """Of a stream: octets of the filter that each chunk has."""


PLAIN = Promises(), Promises(delivery_limit=QUORUM_DELIVERY_LIMIT)
"""What queues promise when nobody says anything: all but quorum queues, and those."""

Read: TypeAlias = Callable[[Any], Any]
Choose: TypeAlias = Callable[[Any, Any], Any]

INTEGER_KINDS = frozenset("bBsuIil")


# ------------------------------------------------------------------------------------------------------ reading


def integer(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def natural(value: Any) -> int | None:
    number = integer(value)
    return number if number is not None and number >= 0 else None


def text(value: Any) -> str | None:
    return value if isinstance(value, str) else None


def flag(value: Any) -> bool | None:
    return value if isinstance(value, bool) else None


SECOND, DAY = 1000, 86_400_000
UNITS = {"Y": 365 * DAY, "M": 30 * DAY, "D": DAY, "h": 3600 * SECOND, "m": 60 * SECOND, "s": SECOND}


def age(value: Any) -> int | None:
    """`7D` in milliseconds."""
    match = re.fullmatch("([0-9]+)([YMDhms])", value) if isinstance(value, str) else None
    return int(match[1]) * UNITS[match[2]] if match is not None else None


def plain(field: Field) -> Any:
    """An argument as JSON has such values; octets that are no text as a text with surrogates. None for other types."""
    kind, value = field
    if kind in "Sx":
        return value.decode("utf-8", "surrogateescape") if isinstance(value, bytes) else value
    return value if kind in INTEGER_KINDS or kind == "t" else None


# ----------------------------------------------------------------------------------------------------- choosing


def argument_first(argument: Any, policy: Any) -> Any:
    return argument


class Source(NamedTuple):
    """Where a promise comes from: x-argument and policy key (which may not exist), and which counts when both do."""

    argument: str
    key: str | None
    read: Read
    choose: Choose = argument_first


SOURCES: dict[str, Source] = {
    "message_ttl": Source("x-message-ttl", "message-ttl", natural, min),
    "expires": Source("x-expires", "expires", natural, min),
    "max_length": Source("x-max-length", "max-length", natural, min),
    "max_length_bytes": Source("x-max-length-bytes", "max-length-bytes", natural, min),
    "overflow": Source("x-overflow", "overflow", text),
    "dead_letter_exchange": Source("x-dead-letter-exchange", "dead-letter-exchange", text),
    "dead_letter_routing_key": Source("x-dead-letter-routing-key", "dead-letter-routing-key", text),
    "dead_letter_strategy": Source("x-dead-letter-strategy", "dead-letter-strategy", text),
    "max_priority": Source("x-max-priority", None, natural),
    "single_active_consumer": Source("x-single-active-consumer", None, flag),
    "delivery_limit": Source("x-delivery-limit", "delivery-limit", integer, delivery_limit),
    "consumer_timeout": Source("x-consumer-timeout", "consumer-timeout", natural, min),
    "delayed_retry_type": Source("x-delayed-retry-type", "delayed-retry-type", text),
    "delayed_retry_min": Source("x-delayed-retry-min", "delayed-retry-min", natural),
    "delayed_retry_max": Source("x-delayed-retry-max", "delayed-retry-max", natural),
    "max_age": Source("x-max-age", "max-age", age, min),
    "max_segment_size": Source("x-stream-max-segment-size-bytes", "stream-max-segment-size-bytes", natural, min),
    "filter_size": Source("x-stream-filter-size-bytes", "stream-filter-size-bytes", natural),
}
"""Field of Promises -> its source."""

BY_ARGUMENT = {source.argument: name for name, source in SOURCES.items()}
BY_KEY = {source.key: name for name, source in SOURCES.items() if source.key is not None}


def work_out(
    kind: str, arguments: Table, policy: Mapping[str, Any] | None = None, operator: Mapping[str, Any] | None = None
) -> Promises:
    """The promises of a queue of this type ("classic", "quorum", "stream") with these arguments, under the definitions
    of the policy and the operator policy that apply to it."""
    definition = merge(policy or {}, operator or {})
    named = [BY_ARGUMENT[key] for key in arguments if key in BY_ARGUMENT]
    named += [BY_KEY[key] for key in definition if key in BY_KEY]
    if not named:
        return PLAIN[kind == "quorum"]
    values: dict[str, Any] = {}
    for name in named:
        source = SOURCES[name]
        field = arguments.get(source.argument)
        own = source.read(plain(field)) if field is not None else None
        other = source.read(definition.get(source.key)) if source.key is not None else None
        found = source.choose(own, other) if own is not None and other is not None else other if own is None else own
        if found is not None:
            values[name] = found
    limit = values.pop("delivery_limit", QUORUM_DELIVERY_LIMIT if kind == "quorum" else None)
    if limit is not None and limit >= 0:
        values["delivery_limit"] = limit
    return Promises(**values)
