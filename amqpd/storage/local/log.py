"""A log as files: what the committing thread does, one call after the other."""

from __future__ import annotations

import os
from bisect import bisect_right
from collections.abc import Iterator
from pathlib import Path

from amqpd.storage.errors import StorageError
from amqpd.storage.journal.engine import Place
from amqpd.storage.journal.format import HEAD_SIZE, Batch, checksum, read_head, seal
from amqpd.storage.local.os import sync_data, sync_directory, write_all
from amqpd.storage.local.recovery import Recovery, Torn
from amqpd.storage.local.segment import Segment, create

__all__ = ["Log"]


class Log:
    """The segments of one directory. After a failure nothing is written any more: what the file holds is not known."""

    def __init__(self, name: str, directory: Path, segment_octets: int) -> None:
        self.name = name
        self.directory = directory
        self.segment_octets = segment_octets
        self.segments: list[Segment] = []
        self.next_batch = 1
        self.last_id = 0
        self.torn: Torn | None = None
        self.failure: Exception | None = None
        self.fd = -1

    def replay(self) -> Iterator[Batch]:
        """Every batch; then the log is open for writing."""
        if not self.directory.is_dir():
            self.directory.mkdir(parents=True, mode=0o750)
            sync_directory(self.directory.parent)
        recovery = Recovery(self.directory)
        yield from recovery.batches()
        self.segments = recovery.segments
        self.next_batch = recovery.next_batch
        self.last_id = recovery.last_id
        self.torn = recovery.torn
        if self.segments:
            self.open_last()
        else:
            self.add_segment(1)

    def open_last(self) -> None:
        """Write to the last segment from now on, behind what it holds."""
        segment = self.segments[-1]
        self.close()
        self.fd = os.open(segment.path, os.O_RDWR | getattr(os, "O_BINARY", 0))
        os.lseek(self.fd, segment.size, os.SEEK_SET)

    def add_segment(self, count: int) -> None:
        self.segments.append(create(self.directory, count, self.next_batch, self.last_id))
        self.open_last()

    @property
    def tail(self) -> Place:
        """Where the next batch goes, as long as the segment has room."""
        return Place(self.name, self.next_batch, self.segments[-1].size)

    def write(self, batch: Batch) -> Place:
        """Make the batch durable."""
        if self.failure is not None:
            raise StorageError(f"log {self.name} takes nothing since it failed: {self.failure}")
        try:
            if batch.number != self.next_batch:
                raise StorageError(f"log {self.name} was given batch {batch.number} where {self.next_batch} is due")
            segment = self.segments[-1]
            if segment.first_batch < self.next_batch and segment.size + batch.octets > self.segment_octets:
                self.add_segment(segment.count + 1)
                segment = self.segments[-1]
            write_all(self.fd, [seal(batch, segment.salt), *batch.chunks])
            sync_data(self.fd)
        except Exception as error:
            self.failure = error
            raise
        place = Place(self.name, batch.number, segment.size)
        segment.size += batch.octets
        self.next_batch += 1
        self.last_id = max(self.last_id, batch.last_id)
        return place

    def read(self, place: Place) -> Batch:
        """The batch at the place."""
        at = bisect_right(self.segments, place.batch, key=lambda segment: segment.first_batch) - 1
        if at < 0:
            raise StorageError(f"batch {place.batch} is not in log {self.name} any more")
        segment = self.segments[at]
        with segment.path.open("rb") as file:
            file.seek(place.offset)
            head = read_head(file.read(HEAD_SIZE), 0, segment.salt)
            body = file.read(head.length) if head is not None else b""
        if head is None or head.number != place.batch or checksum((body,), segment.salt) != head.checksum:
            raise StorageError(f"batch {place.batch} cannot be read at octet {place.offset} of {segment.path}")
        return head.batch(body)

    def truncate(self, below: int) -> None:
        """Remove the segments that hold only batches with a smaller number; never the one that is written to."""
        removed = 0
        while removed < len(self.segments) - 1 and self.segments[removed + 1].first_batch <= below:
            removed += 1
        try:
            for segment in self.segments[:removed]:
                segment.path.unlink()
                # In order, each for good before the next: a crash must not leave a hole.
                sync_directory(self.directory)
        except OSError as error:
            self.failure = error
            return
        del self.segments[:removed]

    def close(self) -> None:
        if self.fd >= 0:
            fd, self.fd = self.fd, -1
            os.close(fd)
