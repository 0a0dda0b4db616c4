"""The storage doors without a disk, for tests and for a node that keeps nothing."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence

from amqpd.core.message import Message
from amqpd.core.ports import (
    BindingRow,
    Block,
    Change,
    Commit,
    Committed,
    ExchangeRow,
    GlobalParameterRow,
    ParameterRow,
    PermissionRow,
    QueueRow,
    Row,
    Snapshot,
    TopicPermissionRow,
    UserRow,
    VHostRow,
)
from amqpd.storage.journal.engine import Appended, Place, ReadDone
from amqpd.storage.journal.format import HEAD_SIZE, Batch, read_head, seal
from amqpd.storage.journal.journal import Journal

__all__ = ["MemoryCatalog", "MemoryEngine", "MemoryStream", "MemoryStreams"]


class MemoryEngine:
    """A log as a list of encoded batches. With `at_once` appends are done before they return, else by `commit`."""

    def __init__(self, at_once: bool = True) -> None:
        self.max_batch = 1 << 20
        self.at_once = at_once
        self.log: list[bytes] = []
        self.first = 1
        self.pending: tuple[Batch, Appended] | None = None

    def replay(self) -> Iterator[Batch]:
        for data in self.log:
            head = read_head(data, 0, 0)
            assert head is not None
            yield head.batch(data[HEAD_SIZE:])

    def append(self, batch: Batch, done: Appended) -> None:
        assert self.pending is None, "one append at a time"
        self.pending = batch, done
        if self.at_once:
            self.commit()

    def commit(self) -> None:
        """What is in flight is durable now."""
        if self.pending is not None:
            (batch, done), self.pending = self.pending, None
            place = self.tail()
            self.store(batch)
            done(place)

    def fail(self, error: Exception) -> None:
        """What is in flight is lost."""
        if self.pending is not None:
            (_, done), self.pending = self.pending, None
            done(error)

    def store(self, batch: Batch) -> None:
        assert batch.number == self.tail().batch, "batches are numbered without a gap"
        self.log.append(seal(batch, 0) + b"".join(batch.chunks))

    def append_now(self, batch: Batch) -> None:
        self.commit()
        self.store(batch)

    def read(self, places: Sequence[Place], done: ReadDone) -> None:
        wanted = {place.batch for place in places}
        done([batch for batch in self.replay() if batch.number in wanted])

    def tail(self) -> Place:
        return Place("memory", self.first + len(self.log), 0)

    def truncate(self, below: int) -> None:
        del self.log[: max(0, below - self.first)]
        self.first = max(self.first, below)

    def close(self) -> None:
        self.commit()


class MemoryStream:
    """The log of one stream as a list of durable messages and their clocks; the limits hold for every message."""

    def __init__(self, streams: MemoryStreams) -> None:
        self.streams = streams
        self.damaged = False
        self.messages: list[Message] = []
        self.clocks: list[int] = []
        self.first = 0
        self.positions: dict[str, int] = {}
        self.limits: tuple[int | None, int | None] = (None, None)
        self.open()

    def open(self) -> None:
        """A start: what is not durable is lost."""
        self.engine = MemoryEngine(self.streams.at_once)
        self.journal = Journal(self.engine, self.streams.clock, lambda error: None, 1 << 62)
        self.journal.number = self.engine.first

    @property
    def next(self) -> int:
        return self.first + len(self.messages)

    def append(self, messages: list[Message]) -> Commit:
        own = list(messages)
        growth = self.journal.enqueue(messages, (1,))
        growth.when_committed(lambda: self.store(own))
        return growth

    def store(self, messages: list[Message]) -> None:
        self.messages += messages
        self.clocks += [self.streams.clock()] * len(messages)
        max_age, max_octets = self.limits
        while len(self.messages) > 1 and (
            (max_octets is not None and sum(len(message[2]) for message in self.messages) > max_octets)
            or (max_age is not None and self.clocks[0] < self.streams.clock() - max_age)
        ):
            del self.messages[0], self.clocks[0]
            self.first += 1

    def hand_over(self) -> None:
        self.journal.hand_over()

    def read(self, offset: int, place: object | None, done: Callable[[Block | Exception], None]) -> None:
        start = max(0, offset - self.first)
        block = Block(self.messages[start : start + self.streams.block], None)
        self.streams.reading.append(lambda: done(block))
        if self.streams.at_once:
            self.streams.read_all()

    def find(self, clock: int, done: Callable[[int | Exception], None]) -> None:
        done(self.first + bisect_left(self.clocks, clock))

    def keep(self, max_age: int | None, max_octets: int | None, segment_octets: int | None) -> None:
        self.limits = max_age, max_octets
        self.store([])

    def track(self, offsets: dict[str, int]) -> None:
        self.positions = offsets

    def tracked(self) -> dict[str, int]:
        return dict(self.positions)

    def delete(self) -> None:
        self.messages, self.clocks = [], []


class MemoryStreams:
    """The logs of all streams. Without `at_once` a test commits (`open(id).engine.commit()`) and reads (`read_all`)."""

    def __init__(self, clock: Callable[[], int]) -> None:
        self.clock = clock
        self.at_once = True
        self.block = 100
        """Messages that are read at a stroke."""
        self.logs: dict[int, MemoryStream] = {}
        self.reading: list[Callable[[], None]] = []

    def open(self, queue: int) -> MemoryStream:
        if queue not in self.logs:
            self.logs[queue] = MemoryStream(self)
        return self.logs[queue]

    def read_all(self) -> None:
        """Finish the reads that are under way."""
        reading, self.reading = self.reading, []
        for read in reading:
            read()

    def restart(self) -> None:
        """What is not durable is lost."""
        for stream in self.logs.values():
            stream.open()


class MemoryCatalog:
    """Rows in dictionaries; every change is done before `submit` returns."""

    def __init__(self) -> None:
        self.rows: dict[tuple[object, ...], Row] = {}
        self.next_queue_id = 1

    def load(self) -> Snapshot:
        rows = self.rows.values()
        return Snapshot(
            [row for row in rows if isinstance(row, VHostRow)],
            [row for row in rows if isinstance(row, UserRow)],
            [row for row in rows if isinstance(row, PermissionRow)],
            [row for row in rows if isinstance(row, ExchangeRow)],
            [row for row in rows if isinstance(row, QueueRow)],
            [row for row in rows if isinstance(row, BindingRow)],
            self.next_queue_id,
            [row for row in rows if isinstance(row, TopicPermissionRow)],
            [row for row in rows if isinstance(row, ParameterRow)],
            [row for row in rows if isinstance(row, GlobalParameterRow)],
        )

    def submit(self, changes: Sequence[Change], done: Committed) -> None:
        for put, row in changes:
            if put:
                self.rows[key_of(row)] = row
                if isinstance(row, QueueRow):
                    self.next_queue_id = max(self.next_queue_id, row.id + 1)
            else:
                self.rows.pop(key_of(row), None)
                for other in [other for other in self.rows.values() if goes_with(other, row)]:
                    del self.rows[key_of(other)]
        done(None)

    def close(self) -> None:
        """There is nothing to wait for."""


def key_of(row: Row) -> tuple[object, ...]:
    """What two rows that replace each other have in common."""
    if isinstance(row, VHostRow | UserRow | GlobalParameterRow):
        return type(row), row.name
    if isinstance(row, PermissionRow):
        return PermissionRow, row.user, row.vhost
    if isinstance(row, TopicPermissionRow | ParameterRow):
        return type(row), *row[:3]
    if isinstance(row, BindingRow):
        return BindingRow, *row
    return type(row), row.vhost, row.name


def goes_with(row: Row, gone: Row) -> bool:
    """Whether the row exists only as long as the one that was dropped."""
    if isinstance(gone, VHostRow):
        return not isinstance(row, VHostRow | UserRow | GlobalParameterRow) and row.vhost == gone.name
    if isinstance(gone, UserRow):
        return isinstance(row, PermissionRow | TopicPermissionRow) and row.user == gone.name
    if isinstance(gone, ExchangeRow | QueueRow) and isinstance(row, BindingRow) and row.vhost == gone.vhost:
        if isinstance(gone, QueueRow):
            return row.destination_kind == "queue" and row.destination == gone.name
        return row.source == gone.name or (row.destination_kind == "exchange" and row.destination == gone.name)
    return False
