"""A stream: a log of messages that consumers read without taking anything out of it.

    log      [ first ............................ visible )          durable, on the disk
    tail                                [ ....... visible )          the last of these, in memory, for consumers
    pending                                       visible [ ... end )  appended, not durable yet: nobody sees them

Offsets count a stream's messages from 0 and are never given twice. Inside the log and the ledger a message's id is its
offset + 1. Every message is written to the stream's own log, persistent or not, and is confirmed when that is done.

Each consumer has a cursor. At the end of the log it is served from the tail; further back from blocks that the log
brings: the one that it is at and, from its middle on, the next. So memory is bounded, and a slow consumer holds up
nobody. A consumer without credit or room leaves the row of those that are served, as does one that waits for a block or
for messages. Acks, nacks and rejects only give credit back: a stream redelivers nothing, and has no dead letters.

Tracking: the position of a consumer with `x-stream-automatic-offset-tracking` is kept by its tag, and it begins there
when it comes again. The position is before the oldest delivery that it has not acked.

Source: RabbitMQ, Streams; rabbit_stream_queue; LavinMQ, Server-side offset tracking.
"""

from __future__ import annotations

import logging
from collections import OrderedDict, deque
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from amqpd.core.arguments import queue_resource, stream_filter, stream_offset
from amqpd.core.message import Message, props_of
from amqpd.core.ports import Block, Commit, Recovered, StreamLog
from amqpd.core.promises import Promises
from amqpd.core.queues.consumer import Consumer
from amqpd.core.queues.queue import DISPATCH_OCTETS, STRETCH, Queue
from amqpd.errors import FrameError, PreconditionFailed
from amqpd.wire import properties
from amqpd.wire.tables import Field, boolean, longstr

if TYPE_CHECKING:
    from amqpd.core.queues.ledger import Run

__all__ = ["ClosedStream", "Stream"]

OFFSET = "x-stream-offset"
FILTER_VALUE = "x-stream-filter-value"
TRACKING = "x-stream-automatic-offset-tracking"
VOID = Field("V", None)
"""As an offset: LavinMQ's other way to ask for tracking."""

GENERATED = "amq.ctag-"
"""How tags begin that the broker has chosen: nobody comes again with one of those."""

TAIL_OCTETS = 1 << 20
"""Octets of the last messages that stay in memory while there are consumers."""

TRACK_EVERY = 1000
"""Milliseconds between two writings of the consumers' positions."""

MEMO_LONGEST = 128
"""Properties that are longer differ each time: they are not remembered."""

logger = logging.getLogger("amqpd.queue")


class Cursor:
    """Where a consumer stands: `next` is the offset that it is to be given next."""

    __slots__ = (
        "active",
        "ahead",
        "asked",
        "at",
        "block",
        "consumer",
        "filter",
        "next",
        "place",
        "reading",
        "unsettled",
    )

    def __init__(self, consumer: Consumer, tracks: bool) -> None:
        self.consumer = consumer
        self.filter = stream_filter(consumer.arguments)
        self.next = 0
        self.block: list[Message] = []
        self.at = 0
        """The first message of the block that was not looked at."""
        self.ahead: Block | None = None
        self.place: object | None = None
        """Where the last block that was read ends, as long as the next one follows it."""
        self.reading = False
        """Is something being read, or looked for, for it?"""
        self.asked: object | None = None
        """What stands for the block that is being read, as long as it will be of use."""
        self.active = False
        self.unsettled: OrderedDict[int, None] | None = OrderedDict() if tracks else None
        """Offsets that were delivered and not acked, if its position is tracked."""

    def wants(self, message: Message) -> bool:
        """Does the message pass the consumer's filter?"""
        if self.filter is None:
            return True
        values, unfiltered = self.filter
        value = filter_value(props_of(message))
        return unfiltered if value is None else value in values

    def forget_blocks(self) -> None:
        """What was read is not what comes next."""
        self.block, self.at, self.ahead, self.place, self.asked = [], 0, None, None, None

    def turn_page(self) -> bool:
        """Go on to the block that was read ahead, if there is one."""
        if self.ahead is None:
            return False
        self.block, self.at, self.ahead = self.ahead.messages, 0, None
        return True

    @property
    def read_up_to(self) -> int:
        """The offset behind all that was read."""
        if self.ahead is not None:
            return self.ahead.messages[-1][0]
        return max(self.next, self.block[-1][0] if self.block else 0)


class Stream(Queue):
    """One stream. What a queue does with `returned`, `window` and the shared journal it does not do."""

    __slots__ = (
        "active",
        "commit",
        "cursors",
        "end",
        "log",
        "pending",
        "positions",
        "tail",
        "tail_octets",
        "tracking",
        "visible",
    )

    def __init__(self, name: str, vhost: str, *, log: StreamLog, journal: None = None, **rest: Any) -> None:
        super().__init__(name, vhost, journal=journal, **rest)
        self.log = log
        self.visible = log.next
        """The offset behind the last message that can be read."""
        self.end = self.visible
        """The offset of the next message that comes in."""
        self.pending: list[Message] = []
        self.commit: Commit | None = None
        """What `pending` waits for."""
        self.tail: list[Message] = []
        self.tail_octets = 0
        self.cursors: dict[Consumer, Cursor] = {}
        self.active: deque[Cursor] = deque()
        """Those that may have something to be given at once."""
        self.positions = log.tracked()
        self.tracking = False
        """Is a writing of the positions due?"""
        self.keep()

    def promise(self, promises: Promises) -> None:
        self.promises = promises
        self.keep()

    def keep(self) -> None:
        """Tell the log what it need not keep."""
        promises = self.promises
        self.log.keep(promises.max_age, promises.max_length_bytes, promises.max_segment_size)

    def recover(self, messages: Iterable[Recovered]) -> None:
        """Nothing of a stream is in the shared journal."""

    @property
    def ready(self) -> int:
        """Messages that can be read."""
        return self.visible - self.log.first

    # ---------------------------------------------------------------------------------------------- in

    def publish(self, messages: list[Message]) -> list[Message]:
        """Append the messages; all are taken. `commit` is then the commit to wait for."""
        end = self.end
        own: list[Message] = [
            (offset, routing, content, origin, 0)
            for offset, (_, routing, content, origin, _) in enumerate(messages, end + 1)
        ]
        self.end = end + len(own)
        commit = self.log.append(own)
        if commit is not self.commit:
            self.commit = commit
            pending: list[Message] = []
            self.pending = pending
            commit.when_committed(lambda: self.committed(pending))
        self.pending += own
        self.turn.wake(self)
        return messages

    def committed(self, messages: list[Message]) -> None:
        """These messages, the next in order, are durable: they can be seen."""
        self.visible = messages[-1][0]
        if messages is self.pending:
            self.pending, self.commit = [], None
        if not self.cursors:
            return
        self.tail += messages
        self.tail_octets += octets(messages)
        if self.tail_octets > 2 * TAIL_OCTETS:
            self.cut_tail()
        for cursor in self.cursors.values():
            self.activate(cursor)

    def cut_tail(self) -> None:
        """Let go of the older part of the tail."""
        dropped = 0
        while self.tail_octets > TAIL_OCTETS:
            self.tail_octets -= octets(self.tail[dropped : dropped + 1])
            dropped += 1
        del self.tail[:dropped]

    # --------------------------------------------------------------------------------------------- out

    def activate(self, cursor: Cursor) -> None:
        """The cursor may have something to be given."""
        if not cursor.active and not cursor.consumer.parked:
            cursor.active = True
            self.active.append(cursor)
            self.turn.wake(self)

    def catch_up(self) -> None:
        """Consumers take nothing out of a stream: its counts wait for nobody."""

    def dispatch(self, budget: int) -> bool:
        """Give the log what has come in, then deliver to those with room, in turn; True when there is more to do."""
        # What is committed or read before these calls return need not wake it.
        self.scheduled = True
        self.log.hand_over()
        active, room = self.active, DISPATCH_OCTETS
        while active and budget > 0 and room > 0:
            cursor = active.popleft()
            cursor.active = False
            looked_at, used = self.serve(cursor, min(budget, STRETCH), room)
            if looked_at:
                self.activate(cursor)
            budget -= looked_at
            room -= used
        self.scheduled = False
        return bool(active)

    def serve(self, cursor: Cursor, most: int, room: int) -> tuple[int, int]:
        """Deliver the next messages to the cursor's consumer: how many were looked at, octets delivered. (0, 0): it has
        no room, or has to wait."""
        consumer = cursor.consumer
        if consumer not in self.cursors:
            return 0, 0
        most = min(most, consumer.credit, consumer.channel.room(consumer.no_ack))
        if most <= 0:
            consumer.parked = True
            return 0, 0
        messages = self.upcoming(cursor, most, room)
        if not messages:
            return 0, 0
        cursor.next = messages[-1][0]
        wanted = messages if cursor.filter is None else [message for message in messages if cursor.wants(message)]
        return len(messages), self.deliver_to(cursor, wanted) if wanted else 0

    def upcoming(self, cursor: Cursor, most: int, room: int) -> list[Message]:
        """The messages that the cursor is to look at next, or none, and then it is woken when there are some."""
        first, following = self.log.first, self.visible
        if cursor.next < first:
            cursor.next = first
            cursor.forget_blocks()
        if cursor.next >= following or (cursor.reading and cursor.at == len(cursor.block)):
            return []
        start = len(self.tail) - (following - cursor.next)
        if start >= 0:
            cursor.forget_blocks()
            return fitting(self.tail, start, most, room)
        if cursor.at == len(cursor.block) and not cursor.turn_page():
            cursor.forget_blocks()
            self.read(cursor)
            return []
        messages = fitting(cursor.block, cursor.at, most, room)
        cursor.at += len(messages)
        halfway = cursor.ahead is None and not cursor.reading and 2 * cursor.at >= len(cursor.block)
        if halfway and cursor.read_up_to < following - len(self.tail):
            self.read(cursor)
        return messages

    def read(self, cursor: Cursor) -> None:
        """Have the next block read for the cursor."""
        cursor.reading = True
        asked = cursor.asked = object()

        def done(outcome: Block | Exception) -> None:
            cursor.reading = False
            if cursor.consumer not in self.cursors:
                return
            if isinstance(outcome, Exception):
                self.unreadable(cursor, outcome)
                return
            if cursor.asked is asked:
                cursor.ahead, cursor.place = outcome, outcome.place
            self.activate(cursor)

        self.log.read(cursor.read_up_to, cursor.place, done)

    def unreadable(self, cursor: Cursor, error: Exception) -> None:
        """The consumer cannot go on; it is told so."""
        logger.error("%s cannot be read at offset %d: %s", queue_resource(self.name, self.vhost), cursor.next, error)
        self.remove_consumer(cursor.consumer)
        cursor.consumer.channel.consumer_cancelled(cursor.consumer)

    def deliver_to(self, cursor: Cursor, messages: list[Message]) -> int:
        """Deliver messages, each with its offset in a header; the octets."""
        consumer = cursor.consumer
        stamped = [with_offset(message) for message in messages]
        consumer.delivered += len(stamped)
        consumer.credit -= len(stamped)
        if cursor.unsettled is not None:
            cursor.unsettled.update((message[0] - 1, None) for message in stamped)
        sent = consumer.deliver(stamped, False, 0)
        # The ledger has the list now. It needs no more of these messages than their ids: they are not redelivered.
        stamped[:] = [(message[0], b"", b"", 0, 0) for message in messages]
        return sent

    # ------------------------------------------------------------------------------------------ settle

    def settle(self, run: Run) -> None:
        """The deliveries were acked, or rejected for good: the consumer has credit again."""
        self.give_back(run)
        cursor = self.cursors.get(run.consumer) if run.consumer is not None else None
        if cursor is None or cursor.unsettled is None:
            return
        unsettled = cursor.unsettled
        for message in run.messages:
            unsettled.pop(message[0] - 1, None)
        self.positions[cursor.consumer.tag] = next(iter(unsettled)) if unsettled else cursor.next
        if not self.tracking:
            self.tracking = True
            self.turn.timers.at(self.turn.now + TRACK_EVERY, self.track)

    def reject(self, run: Run) -> None:
        self.settle(run)

    def requeue(self, run: Run, failed: bool) -> None:
        """The deliveries do not come back, but a position that is kept stays before them."""
        self.give_back(run)

    def give_back(self, run: Run) -> None:
        if run.consumer is not None:
            run.consumer.credit += len(run.messages)

    def room_again(self, consumer: Consumer) -> None:
        consumer.parked = False
        cursor = self.cursors.get(consumer)
        if cursor is not None:
            self.activate(cursor)

    def track(self) -> None:
        """Write the positions down. Those that have been cut off need not be known."""
        if self.tracking and self.alive:
            self.tracking = False
            first = self.log.first
            self.positions = {tag: offset for tag, offset in self.positions.items() if offset >= first}
            self.log.track(dict(self.positions))

    # --------------------------------------------------------------------------------------- consumers

    def add_consumer(self, consumer: Consumer) -> None:
        self.rota.members[consumer] = None
        arguments = consumer.arguments
        asked = arguments.get(TRACKING) in (boolean(True), longstr("true")) or arguments.get(OFFSET) == VOID
        tracks = asked and not consumer.tag.startswith(GENERATED)
        cursor = self.cursors[consumer] = Cursor(consumer, tracks)
        if tracks and consumer.tag in self.positions:
            cursor.next = self.positions[consumer.tag]
            self.activate(cursor)
        else:
            self.begin(cursor, tracks)

    def begin(self, cursor: Cursor, tracks: bool) -> None:
        """Set the cursor to where its consumer wants to begin."""
        wanted = stream_offset(cursor.consumer.arguments, queue_resource(self.name, self.vhost))
        kind, value = ("first" if tracks else "next", 0) if wanted is None else wanted
        first, following = self.log.first, self.visible
        if kind in ("timestamp", "ago"):
            clock = value if kind == "timestamp" else self.turn.now + self.turn.wall - value
            self.look_for(cursor, clock)
            return
        known = {"first": first, "last": max(first, following - 1), "next": following}
        cursor.next = known.get(kind, value)
        self.activate(cursor)

    def look_for(self, cursor: Cursor, clock: int) -> None:
        """Set the cursor to what became durable at this time or later."""
        cursor.reading = True

        def done(outcome: int | Exception) -> None:
            cursor.reading = False
            if cursor.consumer not in self.cursors:
                return
            if isinstance(outcome, Exception):
                self.unreadable(cursor, outcome)
                return
            cursor.next = outcome
            self.activate(cursor)

        self.log.find(clock, done)

    def remove_consumer(self, consumer: Consumer) -> None:
        del self.rota.members[consumer]
        del self.cursors[consumer]
        self.track()
        if not self.cursors:
            self.tail = []
            self.tail_octets = 0

    def close(self) -> int:
        self.track()
        self.cursors.clear()
        self.active.clear()
        return super().close()

    def farewell(self) -> None:
        super().farewell()
        self.log.delete()


class ClosedStream(Stream):
    """A stream whose log is damaged: it refuses messages and consumers, and can be deleted."""

    __slots__ = ()

    def publish(self, messages: list[Message]) -> list[Message]:
        """None is taken."""
        return []

    def check_consumer(self, exclusive: bool) -> None:
        resource = queue_resource(self.name, self.vhost)
        raise PreconditionFailed(f"stream {resource} does not have a running replica on the local node")


def octets(messages: Sequence[Message]) -> int:
    """What these messages weigh."""
    return sum(
        len(content) if isinstance(content, bytes) else sum(map(len, content)) for _, _, content, _, _ in messages
    )


def fitting(messages: list[Message], start: int, most: int, room: int) -> list[Message]:
    """Messages from `start` on, as many as fit by their number and, guessed by the first one, by their octets."""
    content = messages[start][2]
    size = len(content) if isinstance(content, bytes) else room
    return messages[start : start + min(most, room // (size or 1) + 1)]


def filter_value(props: bytes) -> str | bytes | None:
    """The publisher's value that filters are compared with."""
    try:
        field = properties.headers(props).get(FILTER_VALUE)
    except FrameError:
        return None
    return field.value if field is not None and field.kind == "S" else None


def slot(props: bytes) -> tuple[bytes, bytes]:
    """The properties before and behind the octets of the offset."""
    return properties.header_slot(props, OFFSET)


slot_of_short = lru_cache(4096)(slot)


def with_offset(message: Message) -> Message:
    """The message with its offset among its headers."""
    offset, routing, content, origin, _ = message
    frames = (content,) if isinstance(content, bytes) else content
    header = frames[0]
    end = 7 + int.from_bytes(header[3:7], "big")
    props = header[19:end]
    before, behind = slot_of_short(props) if len(props) <= MEMO_LONGEST else slot(props)
    size = 20 + len(before) + len(behind)
    fresh = b"".join(
        (header[:3], size.to_bytes(4, "big"), header[7:19], before, (offset - 1).to_bytes(8, "big"), behind, b"\xce")
    )
    if isinstance(content, bytes):
        changed: bytes | tuple[bytes, ...] = fresh + content[end + 1 :]
    else:
        changed = (fresh, *content[1:])
    return offset, routing, changed, origin & 0xFFFF | max(origin >> 16, len(fresh)) << 16, 0
