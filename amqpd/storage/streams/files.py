"""The files of one stream: segments of the journal's format, cut at the head, read from any offset.

    streams/17/00000001.log    segment head | batch | batch | ...      (see local/segment and journal/format)
    streams/17/00000002.log    the next one
    streams/17/positions.json  where consumers stand whose position is kept: {"tag": offset}

A batch is what became durable at once. Its records are ENQUEUE runs, whose message ids are offset + 1; so what a head
calls `last id` is the offset behind it: that of the batch before, or of the segment, is the first one of a batch. Head
checksums start from the segment's salt; a batch that a crash has left incomplete is cut off at the next start.

    start    reads the heads of the segments, and the last one whole
    seek     the segment by its first offset or its first batch's clock, then from batch head to batch head, beginning
             at the nearest mark: marks are a megabyte apart, made the first time somebody comes by
    read     some hundred KB of whole batches from a place on, or one batch if that is larger
    retain   removes segments that are too old or too much, by their first batches' clocks and their sizes

Two threads come here: the committing one writes and removes, the reading one reads and seeks. They meet in `segments`,
of which readers take a copy, and in a segment's size, which is what is durable of it.
"""

from __future__ import annotations

import json
import mmap
import os
import shutil
from bisect import bisect_left, bisect_right
from collections.abc import Callable
from contextlib import suppress
from operator import attrgetter
from pathlib import Path
from typing import NamedTuple

from amqpd.core.message import Message
from amqpd.core.ports import Block
from amqpd.storage.errors import Damage
from amqpd.storage.journal.engine import Place
from amqpd.storage.journal.format import HEAD_SIZE, Batch, Enqueued, Head, checksum, read_head, records
from amqpd.storage.local.log import Log
from amqpd.storage.local.os import sync_data, sync_directory, write_all
from amqpd.storage.local.recovery import Recovery
from amqpd.storage.local.segment import SEGMENT_HEAD_SIZE, Segment

__all__ = ["Spot", "StreamFiles"]

READ_OCTETS = 512 << 10
"""What is read at a stroke."""

MARK_OCTETS = 1 << 20
"""How far apart the places in a segment are that are remembered."""

first_offset = attrgetter("last_id")
"""A segment's: the highest id given before it."""


class Spot(NamedTuple):
    """A place in a segment."""

    segment: Segment
    position: int


class Mark(NamedTuple):
    """A batch: its first offset, the clock of the batch before it, where it begins."""

    offset: int
    clock: int
    position: int


class StreamFiles(Log):
    """The log of one stream; nothing is on the disk before the first batch."""

    def __init__(self, directory: Path, segment_octets: int) -> None:
        super().__init__(f"streams/{directory.name}", directory, segment_octets)
        self.marks: dict[Segment, list[Mark]] = {}
        self.positions: dict[str, int] = {}
        """Those that a start has found."""

    # --------------------------------------------------------------------------------------------- start

    def recover(self) -> None:
        """Find what is there. Raises Damage."""
        if not self.directory.is_dir():
            return
        recovery = Recovery(self.directory)
        recovery.outline()
        self.segments = recovery.segments
        self.next_batch = recovery.next_batch
        self.last_id = recovery.last_id
        self.torn = recovery.torn
        # Positions that cannot be read are none: their consumers begin anew.
        with suppress(OSError, ValueError, AttributeError, TypeError):
            found = json.loads((self.directory / "positions.json").read_bytes())
            self.positions = {str(tag): int(offset) for tag, offset in found.items()}

    # ------------------------------------------------------------------------- on the committing thread

    def write(self, batch: Batch) -> Place:
        """Make the batch durable. The file is open only meanwhile: a node may have more streams than descriptors."""
        try:
            if self.failure is None:
                self.open_files()
            return super().write(batch)
        finally:
            self.close()

    def open_files(self) -> None:
        if self.segments:
            self.open_last()
            return
        self.directory.mkdir(parents=True, exist_ok=True, mode=0o750)
        sync_directory(self.directory.parent)
        self.add_segment(1)

    def retain(self, max_octets: int | None, older_than: int | None) -> None:
        """Remove segments from the head, but not the last: while the log is larger than this, or while all in them is
        from before this wall clock."""
        segments = self.segments
        size = sum(segment.size for segment in segments)
        while len(segments) > 1:
            too_large = max_octets is not None and size > max_octets
            if not too_large and (older_than is None or self.began(segments[1]) > older_than):
                return
            gone = segments.pop(0)
            size -= gone.size
            gone.path.unlink()
            sync_directory(self.directory)

    def write_positions(self, positions: dict[str, int]) -> None:
        """Keep the consumers' positions."""
        if not self.segments:
            return
        draft = self.directory / "positions.new"
        fd = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o640)
        try:
            write_all(fd, [json.dumps(positions).encode()])
            sync_data(fd)
        finally:
            os.close(fd)
        os.replace(draft, self.directory / "positions.json")

    def remove(self) -> None:
        """Remove all there is."""
        self.close()
        self.segments = []
        shutil.rmtree(self.directory, ignore_errors=True)

    # ---------------------------------------------------------------------------- on the reading thread

    def read(self, offset: int, spot: Spot | None) -> Block:  # type: ignore[override]
        """Messages from this offset on, which is where the spot lies if there is one."""
        segments = self.segments[:]
        if spot is None or spot.segment not in segments:
            spot = self.seek(segments, offset)
        segment, position = spot
        if position >= segment.size and segment is not segments[-1]:
            segment, position = segments[segments.index(segment) + 1], SEGMENT_HEAD_SIZE
        size = segment.size
        try:
            data = read_batches(segment.path, position, size)
        except FileNotFoundError:
            # It has been cut off in this moment.
            return self.read(offset, None)
        messages: list[Message] = []
        at = 0
        while (head := head_at(segment, data, at)) is not None and at + HEAD_SIZE + head.length <= len(data):
            messages += messages_of(segment, head, data[at + HEAD_SIZE : at + HEAD_SIZE + head.length])
            at += HEAD_SIZE + head.length
        if not at:
            raise Damage("there is no batch", str(segment.path), position)
        if messages[0][0] <= offset:
            del messages[: offset + 1 - messages[0][0]]
        if not messages:
            return self.read(offset, Spot(segment, position + at))
        return Block(messages, Spot(segment, position + at))

    def seek(self, segments: list[Segment], offset: int) -> Spot:
        """The batch with this offset."""
        at = max(0, bisect_right(segments, offset, key=first_offset) - 1)
        marks = self.marks_of(segments[at])
        near = max(0, bisect_right(marks, offset, key=lambda mark: mark.offset) - 1)
        return Spot(segments[at], self.walk(segments[at], marks[near], lambda head: head.last_id > offset).position)

    def find(self, clock: int) -> int:
        """The offset of the first batch of this wall clock or a later one; behind the last if there is none."""
        segments = self.segments[:]
        if not segments:
            return 0
        try:
            at = max(0, bisect_left(segments, clock, key=self.began) - 1)
            marks = self.marks_of(segments[at])
            near = max(0, bisect_left(marks, clock, key=lambda mark: mark.clock) - 1)
            return self.walk(segments[at], marks[near], lambda head: head.clock >= clock).offset
        except FileNotFoundError:
            return self.find(clock)

    def began(self, segment: Segment) -> int:
        """The clock of a segment's first batch; a segment that has none yet is as good as the end of time."""
        with segment.path.open("rb") as file:
            file.seek(SEGMENT_HEAD_SIZE)
            head = head_at(segment, file.read(HEAD_SIZE), 0)
        return 1 << 62 if head is None else head.clock

    def marks_of(self, segment: Segment) -> list[Mark]:
        marks = self.marks.get(segment)
        if marks is None:
            for gone in self.marks.keys() - set(self.segments):
                del self.marks[gone]
            marks = self.marks[segment] = [Mark(segment.last_id, 0, SEGMENT_HEAD_SIZE)]
        return marks

    def walk(self, segment: Segment, start: Mark, wanted: Callable[[Head], bool]) -> Mark:
        """From batch to batch up to the first that is wanted, or the end."""
        marks = self.marks_of(segment)
        offset, clock, position = start
        size = segment.size
        with segment.path.open("rb") as file, mmap.mmap(file.fileno(), size, access=mmap.ACCESS_READ) as data:
            while position < size:
                head = read_head(data, position, segment.salt)
                if head is None:
                    raise Damage("there is no batch", str(segment.path), position)
                if wanted(head):
                    break
                if position >= marks[-1].position + MARK_OCTETS:
                    marks.append(Mark(offset, clock, position))
                offset, clock = head.last_id, head.clock
                position += HEAD_SIZE + head.length
        return Mark(offset, clock, position)


def read_batches(path: Path, position: int, size: int) -> bytes:
    """The file from this position on: READ_OCTETS, or more where the first batch is larger, but not beyond `size`."""
    with path.open("rb", buffering=0) as file:
        file.seek(position)
        data = file.read(min(READ_OCTETS, size - position))
        # The length is what the checksum of the head is still to prove.
        length = int.from_bytes(data[40:44], "little") + HEAD_SIZE
        if len(data) < length <= size - position:
            data += file.read(length - len(data))
    return data


def head_at(segment: Segment, data: bytes, at: int) -> Head | None:
    return read_head(data, at, segment.salt)


def messages_of(segment: Segment, head: Head, body: bytes) -> list[Message]:
    """The messages of a batch."""
    if checksum((body,), segment.salt) != head.checksum:
        raise Damage(f"batch {head.number} is not what was written", str(segment.path))
    return [message for run in records(head.batch(body)) if isinstance(run, Enqueued) for message in run.messages]
