"""The table of x-arguments: which a queue accepts, what their values may be, which a redeclaration is held to.

An argument that is not in the table is stored, shown and otherwise ignored. One that is in it is checked when a queue
is declared, refused by a queue whose type does not know it, and compared on redeclaration by one whose type does. The
table's order is the order in which RabbitMQ checks: where several arguments are wrong it decides which one is named.

Source: RabbitMQ 4.2's rabbit_amqqueue (declare_args, check_declare_arguments), rabbit_misc (assert_args_equivalence)
and the queue types' capabilities; texts as RabbitMQ 3.10.8 answered them. What is wrong with a value is printed as an
Erlang term. We differ where RabbitMQ answers with INTERNAL_ERROR (an x-max-age without digits, a master locator that
it does not know) or takes nonsense (an x-delivery-limit that is no integer).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Hashable
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from amqpd.core.promises import age
from amqpd.errors import PreconditionFailed
from amqpd.wire.framing import erlang_binary
from amqpd.wire.tables import Field, Table, canonical, equal, type_name

if TYPE_CHECKING:
    from amqpd.core.exchanges.base import Exchange
    from amqpd.core.queues.queue import Queue

SHORTSTR_MAX = 255

__all__ = [
    "QUEUE_ARGUMENTS",
    "Redeclare",
    "check_exchange",
    "check_exchange_equivalent",
    "check_queue",
    "check_queue_equivalent",
    "consumer_priority",
    "exchange_resource",
    "printed",
    "queue_resource",
    "queue_type",
    "stream_filter",
    "stream_offset",
    "term",
]

MAX_EXPIRY = 315_360_000_000
"""Ten years in milliseconds: RabbitMQ's limit of TTLs and expiries."""

MAX_SEGMENT_SIZE = 3_000_000_000
"""The largest segment of a stream, in bytes."""

INTEGER_KINDS = frozenset("bBsuIil")

Check: TypeAlias = Callable[[Field, Table], str | None]
"""What is wrong with a value among these arguments, as the Erlang term that RabbitMQ prints; None: nothing."""


def queue_resource(name: str, vhost: str) -> str:
    """`queue 'q' in vhost '/'`."""
    return f"queue '{name}' in vhost '{vhost}'"


def exchange_resource(name: str, vhost: str) -> str:
    """`exchange 'x' in vhost '/'`."""
    return f"exchange '{name}' in vhost '{vhost}'"


# ------------------------------------------------------------------------------------------------------ checks


def unacceptable(field: Field) -> str:
    return f"{{unacceptable_type,{type_name(field)}}}"


def integer(field: Field, arguments: Table) -> str | None:
    return None if field.kind in INTEGER_KINDS else f'"expected integer, got {type_name(field)}"'


def not_negative(field: Field, arguments: Table) -> str | None:
    wrong = integer(field, arguments)
    if wrong is None and field.value < 0:
        return f"{{value_negative,{field.value}}}"
    return wrong


def positive(field: Field, arguments: Table) -> str | None:
    wrong = not_negative(field, arguments)
    if wrong is None and field.value == 0:
        return "{value_zero,0}"
    return wrong


def time_to_live(field: Field, arguments: Table) -> str | None:
    wrong = not_negative(field, arguments)
    if wrong is None and field.value > MAX_EXPIRY:
        return f"{{value_too_large,{field.value}}}"
    return wrong


def expires(field: Field, arguments: Table) -> str | None:
    return positive(field, arguments) or time_to_live(field, arguments)


def max_priority(field: Field, arguments: Table) -> str | None:
    wrong = not_negative(field, arguments)
    if wrong is None and field.value > 255:
        return f"{{max_value_exceeded,{field.value}}}"
    return wrong


def text(field: Field, arguments: Table) -> str | None:
    return None if field.kind == "S" else unacceptable(field)


def flag(field: Field, arguments: Table) -> str | None:
    return None if field.kind == "t" else unacceptable(field)


def one_of(values: tuple[str, ...], otherwise: str) -> Check:
    """One of these texts; `otherwise` may have the value put in."""

    def check(field: Field, arguments: Table) -> str | None:
        if field.kind != "S":
            return unacceptable(field)
        return None if field.value in values else otherwise.format(plain(field))

    return check


def dead_letter_routing_key(field: Field, arguments: Table) -> str | None:
    wrong = text(field, arguments)
    if wrong is None and "x-dead-letter-exchange" not in arguments:
        return "routing_key_but_no_dlx_defined"
    # No basic.deliver could carry a longer one.
    return "routing_key_too_long" if wrong is None and len(octets(field)) > SHORTSTR_MAX else wrong


def octets(field: Field) -> bytes:
    value = field.value
    return value.encode("utf-8", "surrogateescape") if isinstance(value, str) else value


def max_age(field: Field, arguments: Table) -> str | None:
    if field.kind != "S":
        return unacceptable(field)
    match = re.fullmatch("([0-9]+)[YMDhms]", plain(field))
    return None if match and int(match[1]) > 0 else "invalid_max_age"


def queue_version(field: Field, arguments: Table) -> str | None:
    wrong = not_negative(field, arguments)
    if wrong is None and field.value not in (1, 2):
        return f"\"unsupported queue version '{field.value}'\""
    return wrong


# ------------------------------------------------------------------------------------------------------- table


class Rule(NamedTuple):
    """One argument: what its value may be, and which queue types know it."""

    check: Check
    types: tuple[str, ...]


CLASSIC, QUORUM, STREAM = ("classic",), ("quorum",), ("stream",)
QUEUES = CLASSIC + QUORUM
ALL = QUEUES + STREAM

QUEUE_ARGUMENTS: dict[str, Rule] = {
    "x-expires": Rule(expires, QUEUES),
    "x-message-ttl": Rule(time_to_live, QUEUES),
    "x-dead-letter-exchange": Rule(text, QUEUES),
    "x-dead-letter-routing-key": Rule(dead_letter_routing_key, QUEUES),
    "x-dead-letter-strategy": Rule(one_of(("at-most-once", "at-least-once"), "invalid_dlx_strategy"), QUORUM),
    "x-max-length": Rule(not_negative, QUEUES),
    "x-max-length-bytes": Rule(not_negative, ALL),
    "x-max-in-memory-length": Rule(not_negative, QUORUM),
    "x-max-in-memory-bytes": Rule(not_negative, QUORUM),
    "x-max-priority": Rule(max_priority, CLASSIC),
    "x-overflow": Rule(one_of(("drop-head", "reject-publish", "reject-publish-dlx"), "invalid_overflow"), QUEUES),
    "x-queue-mode": Rule(one_of(("default", "lazy"), "\"unsupported queue mode '{}'\""), CLASSIC),
    "x-queue-version": Rule(queue_version, CLASSIC),
    "x-queue-master-locator": Rule(text, CLASSIC),
    "x-single-active-consumer": Rule(flag, QUEUES),
    "x-message-deduplication": Rule(flag, QUEUES),
    "x-queue-type": Rule(one_of(ALL, "\"unsupported queue type '{}'\""), ALL),
    "x-quorum-initial-group-size": Rule(positive, QUORUM),
    "x-delivery-limit": Rule(integer, QUORUM),
    "x-max-age": Rule(max_age, STREAM),
    "x-stream-max-segment-size-bytes": Rule(not_negative, STREAM),
    "x-stream-filter-size-bytes": Rule(not_negative, STREAM),
    "x-initial-cluster-size": Rule(positive, STREAM),
    "x-queue-leader-locator": Rule(
        one_of(("client-local", "balanced", "random", "least-leaders"), "invalid_queue_locator_arg"), ALL
    ),
}


# ------------------------------------------------------------------------------------------------------ queues


def queue_type(arguments: Table) -> str:
    """The declared type; classic when there is none."""
    field = arguments.get("x-queue-type")
    return plain(field) if field is not None else "classic"


def check_queue(name: str, vhost: str, arguments: Table, *, durable: bool, exclusive: bool, auto_delete: bool) -> None:
    """Raises PreconditionFailed for a queue that may not be declared like this. An empty name is server-named."""
    resource = queue_resource(name, vhost)
    kind = queue_type(arguments)
    if not name and kind in ("quorum", "stream"):
        raise PreconditionFailed(f"Cannot declare a server-named queue for type {module(kind)}")
    check_exchange_name("x-dead-letter-exchange", arguments, resource)
    check_value("x-queue-type", arguments, resource)
    for key, rule in QUEUE_ARGUMENTS.items():
        if kind in rule.types:
            check_value(key, arguments, resource)
    for key in arguments:
        if key in QUEUE_ARGUMENTS and kind not in QUEUE_ARGUMENTS[key].types:
            raise PreconditionFailed(f"invalid arg '{key}' for {resource} of queue type {module(kind)}")
    if kind != "classic":
        check_replicated(resource, durable=durable, exclusive=exclusive, auto_delete=auto_delete)
    if kind == "stream":
        check_stream(arguments)


def module(kind: str) -> str:
    """The Erlang module that stands for a queue type in error texts."""
    return f"rabbit_{kind}_queue"


def check_value(key: str, arguments: Table, resource: str) -> None:
    field = arguments.get(key)
    wrong = QUEUE_ARGUMENTS[key].check(field, arguments) if field is not None else None
    if wrong is not None:
        raise PreconditionFailed(f"invalid arg '{key}' for {resource}: {wrong}")


def check_replicated(resource: str, *, durable: bool, exclusive: bool, auto_delete: bool) -> None:
    """Quorum queues and streams belong to nobody and stay. An exclusive queue is not durable, but that is not named."""
    if auto_delete:
        raise PreconditionFailed(f"invalid property 'auto-delete' for {resource}")
    if exclusive:
        raise PreconditionFailed(f"invalid property 'exclusive-owner' for {resource}")
    if not durable:
        raise PreconditionFailed(f"invalid property 'non-durable' for {resource}")


def check_stream(arguments: Table) -> None:
    """Limits of streams that RabbitMQ looks at last, with texts of their own."""
    segment = arguments.get("x-stream-max-segment-size-bytes")
    if segment is not None and segment.value > MAX_SEGMENT_SIZE:
        raise PreconditionFailed("Exceeded max value for x-stream-max-segment-size-bytes")
    filter_size = arguments.get("x-stream-filter-size-bytes")
    if filter_size is not None and not 16 <= filter_size.value <= 255:
        raise PreconditionFailed("Invalid value for x-stream-filter-size-bytes")


class Redeclare(NamedTuple):
    """How like the queue or exchange that is there a redeclaration has to be."""

    relaxed: bool = False
    """Durability, auto-delete and arguments may be others: what is there stays as it is. RabbitMQ has no such thing."""
    quorum_as_classic: bool = False
    """A quorum queue may be redeclared as a classic one; only arguments that both types know are compared."""


STRICT = Redeclare()


def check_queue_equivalent(
    queue: Queue, *, durable: bool, auto_delete: bool, arguments: Table, redeclare: Redeclare = STRICT
) -> None:
    """Raises PreconditionFailed when a redeclaration differs from the queue in something that counts."""
    resource = queue_resource(queue.name, queue.vhost)
    kind = queue_type(arguments)
    compared = [key for key, rule in QUEUE_ARGUMENTS.items() if queue.kind in rule.types]
    if redeclare.relaxed:
        # A stream is no queue: whoever asks for the one cannot work with the other.
        compared = ["x-queue-type"] if "stream" in (kind, queue.kind) else []
    elif redeclare.quorum_as_classic and queue.kind == "quorum" and kind == "classic":
        compared = [key for key in compared if kind in QUEUE_ARGUMENTS[key].types and key != "x-queue-type"]
    else:
        check_same("durable", resource, named(durable), named(queue.durable))
        check_same("auto_delete", resource, named(auto_delete), named(queue.auto_delete))
    for key in compared:
        check_argument(key, resource, arguments.get(key), queue.arguments.get(key))


def check_same(what: str, resource: str, received: str, current: str) -> None:
    if received != current:
        raise PreconditionFailed(
            f"inequivalent arg '{what}' for {resource}: received '{received}' but current is '{current}'"
        )


def check_argument(key: str, resource: str, received: Field | None, current: Field | None) -> None:
    if equal(received, current) or (key == "x-queue-type" and is_classic(received) and is_classic(current)):
        return
    if received is not None and current is not None:
        if same_type_and_value(term(received), term(current)):
            return
        received_text, current_text = f"'{plain(received)}'", f"'{plain(current)}'"
    else:
        received_text, current_text = described(received), described(current)
    raise PreconditionFailed(
        f"inequivalent arg '{key}' for {resource}: received {received_text} but current is {current_text}"
    )


def same_type_and_value(one: Hashable, other: Hashable) -> bool:
    return type(one) is type(other) and one == other


def is_classic(declared: Field | None) -> bool:
    """A queue whose declaration names no type is a classic one."""
    return declared is None or declared == Field("S", "classic")


# --------------------------------------------------------------------------------------------------- exchanges


EXCHANGE_ARGUMENTS: dict[str, tuple[str, ...]] = {"x-delayed-message": ("x-delayed-type",)}
"""What else a redeclaration is held to, by the exchange's type."""


def check_exchange(name: str, vhost: str, arguments: Table) -> None:
    """Raises PreconditionFailed for an exchange that may not be declared like this."""
    check_exchange_name("alternate-exchange", arguments, exchange_resource(name, vhost))


def check_exchange_name(key: str, arguments: Table, resource: str) -> None:
    field = arguments.get(key)
    if field is not None and field.kind != "S":
        raise PreconditionFailed(f"invalid type '{type_name(field)}' for arg '{key}' in {resource}")
    if field is not None and isinstance(field.value, bytes):
        # The value names an exchange, and names are UTF-8.
        raise PreconditionFailed(f"invalid arg '{key}' for {resource}: {printed(field)} is not UTF-8")


def check_exchange_equivalent(
    exchange: Exchange,
    *,
    kind: str,
    durable: bool,
    auto_delete: bool,
    internal: bool,
    arguments: Table,
    redeclare: Redeclare = STRICT,
) -> None:
    """Raises PreconditionFailed when a redeclaration differs from the exchange in something that counts."""
    resource = exchange_resource(exchange.name, exchange.vhost)
    check_same("type", resource, kind, exchange.kind)
    if redeclare.relaxed:
        check_same("internal", resource, named(internal), named(exchange.internal))
        return
    check_same("durable", resource, named(durable), named(exchange.durable))
    check_same("auto_delete", resource, named(auto_delete), named(exchange.auto_delete))
    check_same("internal", resource, named(internal), named(exchange.internal))
    for key in ("alternate-exchange", *EXCHANGE_ARGUMENTS.get(kind, ())):
        check_argument(key, resource, arguments.get(key), exchange.arguments.get(key))


# --------------------------------------------------------------------------------------------------- consumers


def consumer_priority(arguments: Table, resource: str) -> int:
    """`x-priority` of a consumer of this queue, 0 when there is none. Raises PreconditionFailed."""
    field = arguments.get("x-priority")
    if field is None:
        return 0
    wrong = integer(field, arguments)
    if wrong is not None:
        raise PreconditionFailed(f"invalid arg 'x-priority' for {resource}: {wrong}")
    return int(field.value)


class StreamOffset(NamedTuple):
    """Where a consumer of a stream begins: `kind` is "first", "last", "next", "offset", "timestamp" (milliseconds since
    1970) or "ago" (milliseconds before now)."""

    kind: str
    value: int = 0


def stream_offset(arguments: Table, resource: str) -> StreamOffset | None:
    """`x-stream-offset` of a consumer of this queue, None when there is none or a void. Raises PreconditionFailed."""
    field = arguments.get("x-stream-offset")
    if field is None or field.kind == "V":
        return None
    kind, value = field
    if kind in INTEGER_KINDS:
        return StreamOffset("offset", value)
    if kind == "T":
        return StreamOffset("timestamp", value * 1000)
    if kind == "S" and value in ("first", "last", "next"):
        return StreamOffset(value)
    if kind == "S" and max_age(field, arguments) is None:
        return StreamOffset("ago", age(value) or 0)
    raise PreconditionFailed(
        f"invalid arg 'x-stream-offset' for {resource}: "
        f"{{invalid_stream_offset_arg,{{{type_name(field)},{printed(field)}}}}}"
    )


def stream_filter(arguments: Table) -> tuple[frozenset[str | bytes], bool] | None:
    """The filter values of a consumer, and whether it takes messages without one too. None: no filter."""
    field = arguments.get("x-stream-filter")
    if field is None or field.kind not in "SA":
        return None
    values = [field] if field.kind == "S" else field.value
    unfiltered = arguments.get("x-stream-match-unfiltered")
    return frozenset(item.value for item in values if item.kind == "S"), unfiltered == Field("t", True)


# -------------------------------------------------------------------------------------------------------- texts


def described(field: Field | None) -> str:
    """`none` or `the value '1000' of type 'long'`."""
    return "none" if field is None else f"the value '{plain(field)}' of type '{type_name(field)}'"


def plain(field: Field) -> str:
    """The value as it stands between quotes: octets as they are, all else as an Erlang term."""
    value = field.value
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    return value if isinstance(value, str) else printed(field)


def named(value: bool) -> str:
    return "true" if value else "false"


def term(field: Field) -> Hashable:
    """What stands for the value among Erlang's terms: equal, as `==` has it, for fields whose values are the same term.

    Integers of all widths and timestamps are integers, both kinds of string are binaries; inside a table or an array
    every type is its own. A true is no 1, as it would be in Python.
    """
    kind, value = field
    if kind in "Sx":
        return value.encode() if isinstance(value, str) else bytes(value)
    if kind in "AF":
        return kind, canonical({"": field})
    if kind in "tVD":
        return kind, value
    number: int | float = value
    return number


def printed(field: Field) -> str:
    """The value as the Erlang term that RabbitMQ holds it as."""
    kind, value = field
    if kind in "Sx":
        return erlang_binary(value.encode() if isinstance(value, str) else value)
    if kind == "t":
        return named(value)
    if kind == "V":
        return "undefined"
    if kind == "D":
        return f"{{{value[0]},{value[1]}}}"
    if kind == "A":
        return "[" + ",".join(f"{{{type_name(item)},{printed(item)}}}" for item in value) + "]"
    if kind == "F":
        rows = (
            f"{{{erlang_binary(key.encode('utf-8', 'surrogateescape'))},{type_name(item)},{printed(item)}}}"
            for key, item in value.items()
        )
        return "[" + ",".join(rows) + "]"
    return str(value)
