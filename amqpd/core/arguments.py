"""The table of x-arguments: which a queue accepts, what their values may be, which a redeclaration is held to.

An argument that is not in the table is stored, shown and otherwise ignored. One that is in it is checked when a queue
is declared, and compared when it is declared again if the queue's type knows it.

Source: RabbitMQ's rabbit_amqqueue (check_arguments, assert_args_equivalence), rabbit_misc and the capabilities of the
queue types. Values in error texts are printed as Erlang terms.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

from amqpd.errors import PreconditionFailed
from amqpd.wire.tables import Field, Table, equal, type_name

if TYPE_CHECKING:
    from amqpd.core.exchanges.base import Exchange
    from amqpd.core.queues.queue import Queue

__all__ = [
    "QUEUE_ARGUMENTS",
    "check_exchange",
    "check_exchange_equivalent",
    "check_queue",
    "check_queue_equivalent",
    "consumer_priority",
    "exchange_resource",
    "queue_resource",
    "queue_type",
]

QUEUE_TYPES = ("classic", "quorum", "stream")
MAX_EXPIRY = 315_360_000_000
"""Ten years in milliseconds: RabbitMQ's limit of TTLs and expiries."""

INTEGER_KINDS = frozenset("bBsuIil")

Check = Callable[[Field], str | None]
"""What is wrong with a value, as the Erlang term that RabbitMQ prints; None: nothing."""


def queue_resource(name: str, vhost: str) -> str:
    """`queue 'q' in vhost '/'`."""
    return f"queue '{name}' in vhost '{vhost}'"


def exchange_resource(name: str, vhost: str) -> str:
    """`exchange 'x' in vhost '/'`."""
    return f"exchange '{name}' in vhost '{vhost}'"


# ------------------------------------------------------------------------------------------------------ checks


def integer(least: int = 0, most: int | None = None) -> Check:
    """An integer of any width, at least `least`."""

    def check(field: Field) -> str | None:
        if field.kind not in INTEGER_KINDS:
            return f"{{unacceptable_type,{type_name(field)}}}"
        value = field.value
        if value < 0 <= least:
            return f"{{value_negative,{value}}}"
        if value < least:
            return f"{{value_zero,{value}}}" if value == 0 else f"{{value_negative,{value}}}"
        if most is not None and value > most:
            return f"{{value_too_large,{value}}}"
        return None

    return check


def text(field: Field) -> str | None:
    return None if field.kind == "S" else f"{{unacceptable_type,{type_name(field)}}}"


def flag(field: Field) -> str | None:
    return None if field.kind == "t" else f"{{unacceptable_type,{type_name(field)}}}"


def one_of(values: tuple[str, ...], otherwise: str) -> Check:
    def check(field: Field) -> str | None:
        if field.kind != "S":
            return f"{{unacceptable_type,{type_name(field)}}}"
        return None if field.value in values else otherwise

    return check


def max_priority(field: Field) -> str | None:
    wrong = integer()(field)
    if wrong is None and field.value > 255:
        return f"{{max_value_exceeded,{field.value}}}"
    return wrong


def max_age(field: Field) -> str | None:
    if field.kind != "S":
        return f"{{unacceptable_type,{type_name(field)}}}"
    match = re.fullmatch(r"(\d+)[YMDhms]", str(field.value))
    return None if match and int(match[1]) > 0 else "invalid_max_age"


def queue_version(field: Field) -> str | None:
    wrong = integer()(field)
    return wrong or (None if field.value in (1, 2) else f"{{unsupported_version,{field.value}}}")


def delivery_limit(field: Field) -> str | None:
    return None if field.kind in INTEGER_KINDS else f"{{unacceptable_type,{type_name(field)}}}"


class Rule(NamedTuple):
    """One argument: what its value may be, and which queue types take it."""

    check: Check
    types: tuple[str, ...]


CLASSIC, QUORUM, STREAM = ("classic",), ("quorum",), ("stream",)
QUEUES = CLASSIC + QUORUM
ALL = QUEUES + STREAM

QUEUE_ARGUMENTS: dict[str, Rule] = {
    "x-message-ttl": Rule(integer(0, MAX_EXPIRY), QUEUES),
    "x-expires": Rule(integer(1, MAX_EXPIRY), QUEUES),
    "x-max-length": Rule(integer(), QUEUES),
    "x-max-length-bytes": Rule(integer(), ALL),
    "x-overflow": Rule(one_of(("drop-head", "reject-publish", "reject-publish-dlx"), "invalid_overflow"), QUEUES),
    "x-dead-letter-exchange": Rule(text, QUEUES),
    "x-dead-letter-routing-key": Rule(text, QUEUES),
    "x-dead-letter-strategy": Rule(one_of(("at-most-once", "at-least-once"), "invalid_dlx_strategy"), QUORUM),
    "x-max-priority": Rule(max_priority, CLASSIC),
    "x-single-active-consumer": Rule(flag, QUEUES),
    "x-queue-type": Rule(text, ALL),
    "x-queue-mode": Rule(one_of(("default", "lazy"), "invalid_queue_mode"), CLASSIC),
    "x-queue-version": Rule(queue_version, CLASSIC),
    "x-queue-master-locator": Rule(text, CLASSIC),
    "x-queue-leader-locator": Rule(
        one_of(("client-local", "balanced", "random", "least-leaders"), "invalid_queue_locator"), ALL
    ),
    "x-delivery-limit": Rule(delivery_limit, QUORUM),
    "x-quorum-initial-group-size": Rule(integer(1), QUORUM),
    "x-initial-cluster-size": Rule(integer(1), STREAM),
    "x-max-in-memory-length": Rule(integer(), QUORUM),
    "x-max-in-memory-bytes": Rule(integer(), QUORUM),
    "x-consumer-timeout": Rule(integer(), QUORUM),
    "x-max-age": Rule(max_age, STREAM),
    "x-stream-max-segment-size-bytes": Rule(integer(0, 3_000_000_000), STREAM),
    "x-stream-filter-size-bytes": Rule(integer(16, 255), STREAM),
}

LENIENT = frozenset({"x-queue-master-locator", "x-queue-mode", "x-queue-version", "x-consumer-timeout"})
"""Accepted on any type, whatever it is there: RabbitMQ ignores these where they mean nothing."""


# ------------------------------------------------------------------------------------------------------ queues


def queue_type(arguments: Table) -> str:
    """The declared type; classic when there is none."""
    field = arguments.get("x-queue-type")
    return str(field.value) if field is not None else "classic"


def check_queue(name: str, vhost: str, arguments: Table, *, durable: bool, exclusive: bool, auto_delete: bool) -> None:
    """Raises PreconditionFailed for a queue that may not be declared like this. An empty name is server-named."""
    resource = queue_resource(name, vhost)
    dead_letter_exchange = arguments.get("x-dead-letter-exchange")
    if dead_letter_exchange is not None and dead_letter_exchange.kind != "S":
        kind = type_name(dead_letter_exchange)
        raise PreconditionFailed(f"invalid type '{kind}' for arg 'x-dead-letter-exchange' in {resource}")
    declared = arguments.get("x-queue-type")
    kind = queue_type(arguments)
    if declared is not None and (declared.kind != "S" or kind not in QUEUE_TYPES):
        raise PreconditionFailed(f"invalid arg 'x-queue-type' for {resource}: \"unsupported queue type '{kind}'\"")
    if not name and kind != "classic":
        raise PreconditionFailed(f"Cannot declare a server-named queue for type rabbit_{kind}_queue")
    for key, field in arguments.items():
        rule = QUEUE_ARGUMENTS.get(key)
        if rule is None:
            continue
        if kind not in rule.types and key not in LENIENT:
            raise PreconditionFailed(f"invalid arg '{key}' for {resource} of queue type rabbit_{kind}_queue")
        wrong = rule.check(field)
        if wrong is not None:
            raise PreconditionFailed(f"invalid arg '{key}' for {resource}: {wrong}")
    if "x-dead-letter-routing-key" in arguments and dead_letter_exchange is None:
        raise PreconditionFailed(
            f"invalid arg 'x-dead-letter-routing-key' for {resource}: routing_key_but_no_dlx_defined"
        )
    if kind != "classic":
        for refused, what in (
            (not durable, "non-durable"),
            (exclusive, "exclusive-owner"),
            (auto_delete, "auto-delete"),
        ):
            if refused:
                raise PreconditionFailed(f"invalid property '{what}' for {resource}")


def check_queue_equivalent(queue: Queue, *, durable: bool, auto_delete: bool, arguments: Table) -> None:
    """Raises PreconditionFailed when a redeclaration differs from the queue in something that counts."""
    resource = queue_resource(queue.name, queue.vhost)
    check_same("durable", resource, durable, queue.durable)
    check_same("auto_delete", resource, auto_delete, queue.auto_delete)
    if queue_type(arguments) != queue.kind:
        received = described(arguments.get("x-queue-type"))
        raise PreconditionFailed(
            f"inequivalent arg 'x-queue-type' for {resource}: received {received} but current is "
            f"{described(Field('S', queue.kind))}"
        )
    for key, rule in QUEUE_ARGUMENTS.items():
        if key != "x-queue-type" and queue.kind in rule.types:
            check_argument(key, resource, arguments, queue.arguments)


def check_same(what: str, resource: str, received: Any, current: Any) -> None:
    if received != current:
        raise PreconditionFailed(
            f"inequivalent arg '{what}' for {resource}: received '{plain(received)}' but current is '{plain(current)}'"
        )


def plain(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def check_argument(key: str, resource: str, received: Table, current: Table) -> None:
    if not equal(received.get(key), current.get(key)):
        raise PreconditionFailed(
            f"inequivalent arg '{key}' for {resource}: received {described(received.get(key))} but current is "
            f"{described(current.get(key))}"
        )


def described(field: Field | None) -> str:
    """`none` or `the value '1000' of type 'long'`."""
    return "none" if field is None else f"the value '{plain(field.value)}' of type '{type_name(field)}'"


# --------------------------------------------------------------------------------------------------- exchanges


def check_exchange(name: str, vhost: str, arguments: Table) -> None:
    """Raises PreconditionFailed for an exchange that may not be declared like this."""
    alternate = arguments.get("alternate-exchange")
    if alternate is not None and alternate.kind != "S":
        raise PreconditionFailed(
            f"invalid type '{type_name(alternate)}' for arg 'alternate-exchange' in {exchange_resource(name, vhost)}"
        )


def check_exchange_equivalent(
    exchange: Exchange, *, kind: str, durable: bool, auto_delete: bool, internal: bool, arguments: Table
) -> None:
    """Raises PreconditionFailed when a redeclaration differs from the exchange in something that counts."""
    resource = exchange_resource(exchange.name, exchange.vhost)
    check_same("type", resource, kind, exchange.kind)
    check_same("durable", resource, durable, exchange.durable)
    check_same("auto_delete", resource, auto_delete, exchange.auto_delete)
    check_same("internal", resource, internal, exchange.internal)
    check_argument("alternate-exchange", resource, arguments, exchange.arguments)


# --------------------------------------------------------------------------------------------------- consumers


def consumer_priority(arguments: Table) -> int:
    """`x-priority` of a consumer, 0 when there is none. Raises PreconditionFailed."""
    field = arguments.get("x-priority")
    if field is None:
        return 0
    if field.kind not in INTEGER_KINDS:
        raise PreconditionFailed(f"invalid arg 'x-priority': {{unacceptable_type,{type_name(field)}}}")
    return int(field.value)
