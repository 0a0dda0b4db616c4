"""The storage doors without a disk, for tests and for a node that keeps nothing."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from amqpd.core.ports import (
    BindingRow,
    Change,
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

__all__ = ["MemoryCatalog", "MemoryEngine"]


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
