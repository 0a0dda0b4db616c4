"""Dead letters: what the broker writes into a message's header when it dies in a queue, and where it may not go again.

A message that a queue gives up (rejected, expired, pushed out, delivered too often) is published once more, to the
queue's dead letter exchange, as a new message: the old body, and a header that tells how it came to this.

    x-death                    array of tables, the most recent death first, one for each (queue, reason):
        original-expiration    S    the message's own expiration in milliseconds; only where it had one
        count                  l    how often it died there so
        reason, queue          S
        time                   T    seconds: when it died there so for the first time
        exchange               S    where it had been published to before it entered the queue
        routing-keys           A    of S: its routing key and the CC keys
    x-first-death-queue, -reason, -exchange    S    set by the first death, never changed
    x-last-death-queue, -reason, -exchange     S    set by each

A further death for the same reason in the same queue raises `count` and moves the table to the front; all else in it
stays as it was. The expiration is taken out, or the dead letter would expire as well. Everything else that the
publisher sent stays byte for byte.

*Whom to believe.* Anyone can publish an x-death, and a message that a client took from a dead letter queue and sent
again carries a true one. RabbitMQ, from 4.0 on, believes neither: it keeps the history beside the message, and what a
client sends under these names is passed on until a death overwrites it. Here the history lies in the header only, and
the message's origin says who wrote that: channel number 0 is the broker's (see core/message).

*The keys.* A dead letter is routed by the queue's dead letter routing key, or else by the keys that the message had:
its routing key, CC and BCC; x-death does not tell of the last. RabbitMQ leaves the CC header in when a dead letter
routing key has replaced them all, and remembers beside the message that it no longer counts; here the bit REKEYED of
the origin does.

*Cycles.* A dead letter that comes to a queue in which it died before, and in all that time was rejected by no consumer,
would go round for ever: it is not delivered to that queue. A rejection breaks the cycle, somebody wanted it.

A header that outgrew a consumer's frame_max is sent all the same, as RabbitMQ does: there is no way to split one.

Source: RabbitMQ's rabbit_dead_letter, mc (record_death, is_death_cycle) and mc_amqpl (death_table).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Literal, NamedTuple, TypeAlias

from amqpd.core.message import BLIND, REKEYED, Content, Message, exchange_of, props_of, routing_key_of, with_props
from amqpd.errors import FrameError
from amqpd.wire import properties
from amqpd.wire.framing import erlang_binary
from amqpd.wire.tables import Field, Table, long, longstr, subtable

__all__ = [
    "DeadLetter",
    "Reason",
    "cycle_text",
    "dead_letter",
    "headers_of",
    "is_cycle",
    "keys_in",
    "redelivered",
]

Reason: TypeAlias = Literal["rejected", "expired", "maxlen", "delivery_limit"]

DEATHS: Final = "x-death"
ACQUIRED_COUNT: Final = "x-acquired-count"
DELIVERY_COUNT: Final = "x-delivery-count"

REJECTED: Final = longstr("rejected")

CHANNEL: Final = 0xFFFF
"""The bits of an origin that are the channel number."""


class DeadLetter(NamedTuple):
    """What a message becomes when it dies, ready to be routed and enqueued."""

    content: Content
    origin: int
    keys: Sequence[str]
    """What to route it by. The first is its routing key."""
    headers: Table
    props: bytes


def dead_letter(message: Message, *, queue: str, reason: Reason, routing_key: str | None, seconds: int) -> DeadLetter:
    """The message as it leaves the queue in which it died.

    `routing_key` is the queue's dead letter routing key, if it has one; `seconds` the wall clock.
    """
    props, origin = props_of(message), message[3]
    headers = headers_of(props)
    keys, blind = keys_in(headers, message)
    death: Table = {}
    expiration = properties.facts(props).expiration
    if expiration is not None:
        death["original-expiration"] = longstr(str(properties.expiration(expiration)))
    death["count"] = long(1)
    death["reason"] = longstr(reason)
    death["queue"] = longstr(queue)
    death["time"] = Field("T", seconds)
    death["exchange"] = longstr(exchange_of(message))
    death["routing-keys"] = Field("A", [longstr(key) for key in keys])
    history = headers[DEATHS].value if origin & CHANNEL == 0 and DEATHS in headers else []
    recorded = record(headers, history, death)
    props = properties.rewrite(props, headers=recorded, expiration=None)
    content, origin = with_props(message, props, 0)
    if routing_key is not None:
        return DeadLetter(content, origin | REKEYED, [routing_key], recorded, props)
    return DeadLetter(content, origin, [*keys, *blind], recorded, props)


def record(headers: Table, history: list[Field], death: Table) -> Table:
    """The headers after this death; `history` is the broker's own x-death, empty if this is the first."""
    last: Table = {f"x-last-death-{name}": death[name] for name in ("exchange", "queue", "reason")}
    if not history:
        first: Table = {f"x-first-death-{name}": death[name] for name in ("exchange", "queue", "reason")}
        return headers | {DEATHS: Field("A", [subtable(death)])} | first | last
    for place, field in enumerate(history):
        known: Table = field.value
        if known["queue"] == death["queue"] and known["reason"] == death["reason"]:
            death = known | {"count": long(known["count"].value + 1)}
            history = history[:place] + history[place + 1 :]
            break
    return headers | {DEATHS: Field("A", [subtable(death), *history])} | last


def keys_in(headers: Table, message: Message) -> tuple[list[str], list[str]]:
    """The keys that the message, whose headers these are, was routed by: those to be told, and the blind copies."""
    key, origin = routing_key_of(message), message[3]
    if origin & REKEYED:
        return [key], []
    copies, blind_copies = properties.copies(headers)
    return [key, *copies], list(blind_copies) if origin & BLIND else []


def headers_of(props: bytes) -> Table:
    """The headers; none where they can't be decoded. Nobody looked inside when they were published, and no client can
    read them either: the broker's own take their place."""
    try:
        return properties.headers(props)
    except FrameError:
        return {}


def is_cycle(headers: Table, target: str) -> bool:
    """May the dead letter with these headers not enter this queue?"""
    queue = longstr(target)
    for field in headers[DEATHS].value:
        death: Table = field.value
        if death["reason"] == REJECTED:
            return False
        if death["queue"] == queue:
            return True
    return False


def cycle_text(headers: Table, target: str) -> str:
    """What to log of a dead letter that may not enter this queue: once per such text, as it says itself."""
    names = [longstr(target), *(field.value["queue"] for field in headers[DEATHS].value)]
    queues = ",".join(
        erlang_binary(name.value.encode() if isinstance(name.value, str) else name.value) for name in names
    )
    return (
        "Message dropped because the following list of queues (ordered by death recency) contains a dead letter cycle "
        f"without reason 'rejected'. This list will not be logged again: [{queues}]"
    )


def redelivered(message: Message, acquired: int, failed: int) -> Message:
    """The message for a redelivery that says in x-acquired-count how often it was delivered before, and in
    x-delivery-count how often that was a failure, if ever.

    To be sent, and forgotten. The origin keeps its channel number, so that this makes nobody's x-death the broker's.
    """
    props = props_of(message)
    told: Table = {ACQUIRED_COUNT: long(acquired)}
    if failed:
        told[DELIVERY_COUNT] = long(failed)
    props = properties.rewrite(props, headers=headers_of(props) | told)
    content, origin = with_props(message, props, message[3] & CHANNEL)
    return message[0], message[1], content, origin, message[4]
