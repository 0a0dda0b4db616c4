"""Recovery: what a crash may leave in a log, and what it may not.

A batch is acknowledged after its fdatasync, and the next one is written after that. So at most one batch, the last one
of the last segment, can be incomplete; nobody was told that it is durable; it is cut off and reported (Torn).

Everything else is damage, and is not repaired in passing: a bad batch in an older segment, a bad batch with a good one
somewhere after it, a gap in the numbers, a missing file. A good batch is known by its head's checksum, which starts
from the segment's salt: no message content can look like one.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from mmap import ACCESS_READ, mmap
from pathlib import Path
from typing import NamedTuple, TypeAlias

from amqpd.storage.errors import Damage
from amqpd.storage.journal.format import HEAD_SIZE, MAGIC, Batch, Head, checksum, read_head
from amqpd.storage.local.os import sync_data
from amqpd.storage.local.segment import SEGMENT_HEAD_SIZE, Segment, list_segments, open_segment

__all__ = ["Recovery", "Torn"]


Data: TypeAlias = bytes | mmap


class Torn(NamedTuple):
    """An incomplete batch that was cut off: from `offset` of the file on, `octets` long."""

    file: str
    offset: int
    octets: int


class Recovery:
    """One reading of a log's directory. After `batches` has run out the rest is known."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.segments: list[Segment] = []
        self.next_batch = 1
        self.last_id = 0
        self.torn: Torn | None = None

    def batches(self) -> Iterator[Batch]:
        """Every complete batch in order."""
        paths = list_segments(self.directory)
        for path in paths:
            yield from self.segment(path, path.read_bytes(), last=path == paths[-1])

    def outline(self) -> None:
        """The segments, of which only the last one is read whole."""
        paths = list_segments(self.directory)
        earlier = []
        for path in paths[:-1]:
            with path.open("rb") as file:
                segment = open_segment(path, file.read(SEGMENT_HEAD_SIZE))
            segment.size = path.stat().st_size
            earlier.append(segment)
        for path in paths[-1:]:
            with path.open("rb") as file:
                open_segment(path, file.read(SEGMENT_HEAD_SIZE))
                # Mapped, as it may be larger than what memory there is.
                with mmap(file.fileno(), 0, access=ACCESS_READ) as data:
                    for _ in self.segment(path, data, last=True):
                        pass
        self.segments[:0] = earlier

    def segment(self, path: Path, data: Data, last: bool) -> Iterator[Batch]:
        segment = open_segment(path, data[:SEGMENT_HEAD_SIZE])
        if not self.segments:
            self.next_batch = segment.first_batch
        elif segment.first_batch != self.next_batch:
            raise Damage(f"it begins with batch {segment.first_batch}, not {self.next_batch}", str(path), 0)
        self.segments.append(segment)
        self.last_id = max(self.last_id, segment.last_id)
        while segment.size < len(data):
            offset = segment.size
            head = self.head(data, offset, segment)
            body = b"" if head is None else data[offset + HEAD_SIZE : offset + HEAD_SIZE + head.length]
            if head is None or len(body) < head.length or checksum((body,), segment.salt) != head.checksum:
                if not last:
                    raise Damage("a bad batch in a segment that was complete", str(path), offset)
                self.cut(segment, data)
                return
            if head.number != self.next_batch:
                raise Damage(f"batch {head.number} where {self.next_batch} is due", str(path), offset)
            self.next_batch += 1
            self.last_id = max(self.last_id, head.last_id)
            segment.size = offset + HEAD_SIZE + head.length
            yield head.batch(body)

    def head(self, data: Data, offset: int, segment: Segment) -> Head | None:
        """The batch head at the offset, if there is one."""
        try:
            return read_head(data, offset, segment.salt)
        except Damage as damage:
            raise Damage(damage.what, str(segment.path), offset) from None

    def cut(self, segment: Segment, data: Data) -> None:
        """Cut off the incomplete batch with which the log ends. Raises Damage if it does not end with it."""
        offset = segment.size
        at = data.find(MAGIC, offset + 1)
        while at >= 0:
            if self.head(data, at, segment) is not None:
                raise Damage(f"a bad batch, and a good head after it at octet {at}", str(segment.path), offset)
            at = data.find(MAGIC, at + 1)
        fd = os.open(segment.path, os.O_RDWR)
        try:
            os.ftruncate(fd, offset)
            sync_data(fd)
        finally:
            os.close(fd)
        self.torn = Torn(str(segment.path), offset, len(data) - offset)
