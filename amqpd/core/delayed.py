"""Delayed messages: those that an exchange keeps until they are due, and routes then.

Two things delay a message: the header x-delay (milliseconds) at an exchange of type x-delayed-message, and the header
x-deliver-at (a time) of a publish to any exchange. It lies with its exchange then, which is a target like a queue: it
takes the message, the journal has it in the same record, and a confirm waits for that. When it is due it becomes a new
message with a new id: the exchange routes it by the bindings, alternate exchanges and queues of that moment, and in one
group of the journal it leaves here and enters the queues. What finds no queue then is gone, also if it was published as
mandatory. An expiration counts from that moment on.

    header       value                                                     what it does
    x-delay      a number, or a string that is one                         0 < n < 2**32: wait so many milliseconds
    x-deliver-at a timestamp (seconds), or a number (milliseconds) since   in the future: wait until then
                 1970, or a string that is one

Any other value delays nothing; where both do, the later counts. In the message that is delivered x-delay is negative,
which says how long it has waited, and keeps it from being delayed again.

*In the journal* delayed messages lie in a queue of their own, DELAYED, which is not in the catalog and always there;
deadline is when they are due, and before the routing stand virtual host and exchange, as short strings. So any exchange
can delay its first message without a commit of the catalog. An exchange that is deleted drops what it has; a start
drops the messages of exchanges that are gone, for a crash may come between the two commits.

*In memory* each is one tuple of atoms, in heaps by the second in which it is due: the first ones are found at once, a
page of the list by sorting a few heaps, and one message by looking through one of them.

Source: RabbitMQ's delayed message exchange plugin (rabbit_delayed_message, rabbit_delayed_message_utils). It returns
mandatory messages that it delays, and hands them to the alternate exchange as well; here they count as routed.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Collection, Iterator, Sequence
from heapq import heapify, heappop, heappush
from typing import TYPE_CHECKING, ClassVar, Final, NamedTuple, TypeAlias, TypeVar

from amqpd.core import deadletter, routing
from amqpd.core.arguments import INTEGER_KINDS, exchange_resource
from amqpd.core.message import PERSISTENT, Content, Message, props_of, with_props
from amqpd.core.plan import Target, durable_ids
from amqpd.core.ports import DELAYED, DROP_PURGED, Recovered
from amqpd.errors import AmqpError
from amqpd.wire import properties
from amqpd.wire.outgoing import shortstr
from amqpd.wire.tables import Field, Table, long

if TYPE_CHECKING:
    from amqpd.core.broker import Broker
    from amqpd.core.vhost import VHost

__all__ = ["Delays", "Waiting", "delay", "is_scheduled", "recover"]

DELAY: Final = "x-delay"
DELIVER_AT: Final = "x-deliver-at"

DELAY_MAX: Final = (1 << 32) - 1
TIME_MAX: Final = (1 << 63) - 1
INT_MAX: Final = (1 << 31) - 1

SLICE: Final = 200
"""Messages of one exchange that fall due in one turn."""

LOOK_AGAIN: Final = 60_000
"""Milliseconds after which the clock is looked at, however long the first message has to wait: it may have been set."""

SECOND: Final = 1000

DIGITS: Final = re.compile("[+-]?[0-9]{1,30}")

CHANNEL: Final = 0xFFFF
"""The bits of an origin that are the channel number."""

Waiting: TypeAlias = tuple[int, int, bytes, Content, int]
"""A message that waits: when it is due (wall clock in milliseconds), then its id, routing, content and origin."""

Item = TypeVar("Item", int, Waiting)

log = logging.getLogger("amqpd.exchange")


# -------------------------------------------------------------------------------------------------- headers


def number(field: Field | None) -> int | None:
    """The number that a header holds, in one way or another."""
    if field is None:
        return None
    kind, value = field
    if kind in INTEGER_KINDS or kind in "fd":
        return int(value)
    return int(value) if kind == "S" and isinstance(value, str) and DIGITS.fullmatch(value) else None


def delay(headers: Table) -> int:
    """The milliseconds by which x-delay delays the message; 0: not at all."""
    milliseconds = number(headers.get(DELAY))
    return milliseconds if milliseconds is not None and 0 < milliseconds <= DELAY_MAX else 0


def deliver_at(headers: Table) -> int:
    """The wall clock in milliseconds that x-deliver-at names; 0: none."""
    field = headers.get(DELIVER_AT)
    time = field.value * SECOND if field is not None and field.kind == "T" else number(field)
    return min(time, TIME_MAX) if time is not None and time > 0 else 0


def is_scheduled(headers: Table, wall: int) -> bool:
    """Is x-deliver-at in the future, at this time of the wall clock in milliseconds?"""
    return deliver_at(headers) > wall


# ----------------------------------------------------------------------------------------------- an exchange


class Delays:
    """The delayed messages of one exchange: the part of a queue that publishing sees.

    `exchange` is its name, empty for the default one; `durable`: persistent messages survive here; `delaying`: x-delay
    counts here.
    """

    __slots__ = (
        "address",
        "alarm",
        "alive",
        "broker",
        "buckets",
        "delaying",
        "durable",
        "exchange",
        "scheduled",
        "seconds",
        "size",
        "vhost",
    )

    # No queue has this name, so it is in nobody's history of deaths.
    name: ClassVar[str] = ""
    id: ClassVar[int] = DELAYED
    epoch: ClassVar[int] = 0

    def __init__(self, broker: Broker, vhost: VHost, exchange: str, *, durable: bool, delaying: bool) -> None:
        self.broker = broker
        self.vhost = vhost
        self.exchange = exchange
        self.durable = durable
        self.delaying = delaying
        self.address = shortstr(vhost.name) + shortstr(exchange)
        """What stands before the routing in the journal."""
        self.buckets: dict[int, list[Waiting]] = {}
        """Heaps, by the second in which their messages are due."""
        self.seconds: list[int] = []
        """The keys of `buckets`, a heap."""
        self.size = 0
        self.alarm = 0
        """The time for which a timer is set; 0 for none."""
        self.scheduled = False
        self.alive = True

    def __len__(self) -> int:
        return self.size

    # ---------------------------------------------------------------------------------------------- in

    def publish(self, messages: list[Message]) -> list[Message]:
        """Keep the messages; as the journal is to have them."""
        turn = self.broker.turn
        now = turn.now + turn.wall
        taken = []
        for message_id, routing_fields, content, origin, deadline in messages:
            headers = deadletter.headers_of(props_of((message_id, routing_fields, content, origin, deadline)))
            due = max(now + delay(headers) if self.delaying else now, deliver_at(headers))
            self.add((due, message_id, routing_fields, content, origin))
            taken.append((message_id, self.address + routing_fields, content, origin, due))
        self.watch()
        return taken

    def add(self, waiting: Waiting) -> None:
        """One more message waits."""
        self.size += 1
        second = waiting[0] // SECOND
        bucket = self.buckets.get(second)
        if bucket is None:
            self.buckets[second] = [waiting]
            heappush(self.seconds, second)
        else:
            heappush(bucket, waiting)

    # --------------------------------------------------------------------------------------------- out

    @property
    def first(self) -> Waiting | None:
        """The message that is due next."""
        return self.buckets[self.seconds[0]][0] if self.seconds else None

    def watch(self) -> None:
        """Come back when the first message is due."""
        first, turn = self.first, self.broker.turn
        if first is None:
            return
        alarm = min(max(first[0] - turn.wall, turn.now), turn.now + LOOK_AGAIN)
        if self.alarm and self.alarm <= alarm:
            return
        self.alarm = alarm

        def passed() -> None:
            if self.alarm == alarm:
                self.alarm = 0
                turn.wake(self)

        turn.timers.at(alarm, passed)

    def dispatch(self, budget: int) -> bool:
        """Send off messages that are due, at most a slice; True when there may be more."""
        turn = self.broker.turn
        now = turn.now + turn.wall
        for _ in range(min(budget, SLICE)):
            first = self.first
            if first is None or first[0] > now:
                self.watch()
                return False
            heappop(self.buckets[self.seconds[0]])
            self.taken_out()
            self.send(first)
        return True

    def taken_out(self) -> None:
        """A message has been taken out of its bucket; no empty one stands in front."""
        self.size -= 1
        while self.seconds and not self.buckets[self.seconds[0]]:
            del self.buckets[heappop(self.seconds)]

    def send(self, waiting: Waiting) -> None:
        """The message, which is no longer here, goes where the exchange says. Both is one group of the journal: nothing
        is handed over in between."""
        _, message_id, routing_fields, content, origin = waiting
        persistent = message_id & PERSISTENT != 0
        broker = self.broker
        if persistent and self.durable:
            broker.journal.settle(DELAYED, (message_id,))
            broker.turn.arm()
        message = (message_id, routing_fields, content, origin, 0)
        props = props_of(message)
        headers = deadletter.headers_of(props)
        changed = delivered(headers, delay(headers) if self.delaying else 0)
        try:
            told, blind = deadletter.keys_in(headers, message)
            expiration = properties.facts(props).expiration
            ttl = properties.expiration(expiration) if expiration is not None else None
            if changed is not headers:
                props = properties.rewrite(props, headers=changed)
                content, origin = with_props(message, props, origin & CHANNEL)
            targets = self.route([*told, *blind], changed, props)
        except AmqpError as error:
            resource = exchange_resource(self.exchange, self.vhost.name)
            log.warning("a delayed message of %s is lost: %s", resource, error)
            return
        if targets:
            broker.enqueue(targets, durable_ids(targets), persistent, routing_fields, content, origin, ttl)

    def route(self, keys: Sequence[str], headers: Table, props: bytes) -> Sequence[Target]:
        """Where the exchange sends a message now."""
        vhost = self.vhost
        if self.exchange:
            exchange = vhost.exchanges[self.exchange]
            return routing.route(exchange, keys, headers, vhost.exchanges, vhost.queues, props)
        found = [vhost.queues.get(key) or self.broker.replies.get(key) for key in dict.fromkeys(keys)]
        return [target for target in found if target is not None]

    # ----------------------------------------------------------------------------------------- the list

    def __iter__(self) -> Iterator[Waiting]:
        """The messages in the order in which they are due."""
        for second in ascending(self.seconds):
            yield from ascending(self.buckets[second])

    def cancel(self, due: int, message_id: int) -> bool:
        """The message is not delivered; False when it is not here."""
        bucket = self.buckets.get(due // SECOND, [])
        for place, waiting in enumerate(bucket):
            if waiting[:2] == (due, message_id):
                bucket[place] = bucket[-1]
                bucket.pop()
                heapify(bucket)
                self.taken_out()
                self.drop((message_id,))
                return True
        return False

    def close(self) -> None:
        """The exchange is gone, and its messages with it."""
        self.alive = False
        self.drop([waiting[1] for bucket in self.buckets.values() for waiting in bucket])
        self.broker.turn.let_go(*self.buckets.values())
        self.buckets = {}
        self.seconds = []
        self.size = 0

    def drop(self, message_ids: Sequence[int]) -> None:
        """Write down that the persistent ones have left."""
        ids = [message_id for message_id in message_ids if message_id & PERSISTENT]
        if ids and self.durable:
            self.broker.journal.drop(DELAYED, ids, DROP_PURGED)
            self.broker.turn.arm()


def ascending(heap: list[Item]) -> Iterator[Item]:
    """The items of a heap in order. The first ones are found without a look at the others."""
    reached = [(heap[0], 0)] if heap else []
    while reached:
        item, place = heappop(reached)
        yield item
        for child in (2 * place + 1, 2 * place + 2):
            if child < len(heap):
                heappush(reached, (heap[child], child))


def delivered(headers: Table, waited: int) -> Table:
    """The headers of a message that has waited so long for its x-delay: the same table, if nothing is to be changed."""
    if not waited:
        return headers
    return {**headers, DELAY: Field("I", -waited) if waited <= INT_MAX else long(-waited)}


# -------------------------------------------------------------------------------------------------- recovery


class Address(NamedTuple):
    """Where a delayed message of the journal belongs."""

    vhost: str
    exchange: str
    size: int
    """How many octets stand before the routing."""


def address_in(routing_fields: bytes) -> Address:
    """Take apart what `Delays.address` has put together."""
    end = routing_fields[0] + 1
    last = end + routing_fields[end] + 1
    vhost, exchange = routing_fields[1:end], routing_fields[end + 1 : last]
    return Address(vhost.decode("utf-8", "surrogateescape"), exchange.decode("utf-8", "surrogateescape"), last)


def recover(broker: Broker, messages: Collection[Recovered]) -> None:
    """The delayed messages that a start has found in the journal."""
    known: dict[bytes, tuple[Delays | None, bytes]] = {}
    orphans: list[int] = []
    for (message_id, stored, content, origin, due), _, _ in messages:
        place = known.get(stored)
        if place is None:
            vhost, exchange, size = address_in(stored)
            place = known[stored] = broker.find_delays(vhost, exchange), stored[size:]
        delays, routing_fields = place
        if delays is None:
            orphans.append(message_id)
        else:
            delays.add((due, message_id, routing_fields, content, origin))
    if orphans:
        broker.journal.drop(DELAYED, orphans, DROP_PURGED)
        broker.turn.arm()
    for delays in {id(delays): delays for delays, _ in known.values() if delays is not None}.values():
        delays.watch()
