"""The Streams door over local files.

The log of a stream is a Journal of its own: batches grow in the loop, one is in flight, and the thread that commits all
logs writes and syncs it. What is in it is never settled: its head is cut by age and size. Another thread reads and
seeks, so that nobody's commit waits for a reader.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection
from functools import partial
from pathlib import Path
from shutil import rmtree

from amqpd.core.message import Message
from amqpd.core.ports import Block, Commit
from amqpd.storage.errors import Damage
from amqpd.storage.journal.journal import Journal
from amqpd.storage.local.committer import Committer, Deliver
from amqpd.storage.local.engine import SEGMENT_OCTETS, LocalEngine
from amqpd.storage.local.os import sync_directory
from amqpd.storage.local.recovery import Torn
from amqpd.storage.streams.files import Spot, StreamFiles

__all__ = ["LocalStream", "LocalStreams"]

UNDIVIDED = 1 << 62
"""As large as a batch may be: all that becomes durable at once stays together, so that offsets have no gap."""

log = logging.getLogger("amqpd.storage")


class StreamEngine(LocalEngine):
    """The Engine door for a stream's files."""

    def __init__(self, files: StreamFiles, committer: Committer) -> None:
        self.max_batch = UNDIVIDED
        self.committer = committer
        self.log = files


class LocalStream:
    """The log of one stream (see core/ports.StreamLog)."""

    def __init__(
        self,
        queue: int,
        files: StreamFiles,
        committer: Committer,
        reader: Committer,
        clock: Callable[[], int],
        on_failure: Callable[[Exception], None],
        gone: Callable[[int], None],
        damaged: bool = False,
    ) -> None:
        self.files = files
        self.committer = committer
        self.reader = reader
        self.clock = clock
        self.gone = partial(gone, queue)
        self.damaged = damaged
        self.queues = (queue,)
        self.max_age: int | None = None
        self.max_octets: int | None = None
        self.octets = files.segment_octets
        self.newest = files.segments[-1] if files.segments else None
        self.next = files.last_id
        self.journal = Journal(StreamEngine(files, committer), clock, on_failure, UNDIVIDED)
        self.journal.number = files.next_batch
        self.journal.last_id = files.last_id
        self.growing: object = None

    @property
    def first(self) -> int:
        segments = self.files.segments
        return segments[0].last_id if segments else 0

    def append(self, messages: list[Message]) -> Commit:
        growth = self.journal.enqueue(messages, self.queues)
        if growth is not self.growing:
            self.growing = growth
            growth.when_committed(self.committed)
        return growth

    def committed(self) -> None:
        """A batch is durable. The limits are looked at when it began a segment."""
        self.next = self.files.last_id
        newest = self.files.segments[-1]
        if newest is not self.newest:
            self.newest = newest
            self.retain()

    def hand_over(self) -> None:
        self.journal.hand_over()

    def read(self, offset: int, place: object | None, done: Callable[[Block | Exception], None]) -> None:
        spot = place if isinstance(place, Spot) else None
        self.reader.submit(lambda: self.files.read(offset, spot), done)

    def find(self, clock: int, done: Callable[[int | Exception], None]) -> None:
        self.reader.submit(lambda: self.files.find(clock), done)

    def keep(self, max_age: int | None, max_octets: int | None, segment_octets: int | None) -> None:
        self.max_age, self.max_octets = max_age, max_octets
        self.files.segment_octets = self.octets if segment_octets is None else segment_octets
        self.retain()

    def retain(self) -> None:
        """Cut the head as far as the limits ask for it."""
        if self.max_age is None and self.max_octets is None:
            return
        older_than = None if self.max_age is None else self.clock() - self.max_age
        self.committer.submit(partial(self.files.retain, self.max_octets, older_than), self.retained)

    def retained(self, outcome: Exception | None) -> None:
        if outcome is not None:
            log.error("the log %s could not be cut: %s", self.files.directory, outcome)

    def track(self, offsets: dict[str, int]) -> None:
        self.committer.submit(partial(self.files.write_positions, offsets), self.written)

    def written(self, outcome: Exception | None) -> None:
        if outcome is not None:
            log.error("the positions of consumers in %s could not be written: %s", self.files.directory, outcome)

    def tracked(self) -> dict[str, int]:
        return self.files.positions

    def delete(self) -> None:
        def remove() -> None:
            self.committer.jobs.put(self.files.remove)
            self.gone()

        self.journal.growing.when_committed(remove)
        self.journal.hand_over()

    def close(self) -> None:
        """Make durable what has been appended; it waits for the disk."""
        try:
            self.journal.write_out()
        finally:
            self.journal.engine.close()


class LocalStreams:
    """The logs of all streams, each in a directory that is named by its id."""

    def __init__(
        self,
        directory: Path,
        committer: Committer,
        deliver: Deliver,
        clock: Callable[[], int],
        on_failure: Callable[[Exception], None],
        segment_octets: int = SEGMENT_OCTETS,
    ) -> None:
        self.directory = directory
        self.committer = committer
        self.reader = Committer(deliver, "amqpd-streams")
        self.clock = clock
        self.on_failure = on_failure
        self.segment_octets = segment_octets
        self.logs: dict[int, LocalStream] = {}

    def open(self, queue: int) -> LocalStream:
        """The log of the stream, as `recover` has found it, else a new one."""
        stream = self.logs.get(queue)
        return stream if stream is not None else self.add(queue, self.files(queue))

    def files(self, queue: int) -> StreamFiles:
        return StreamFiles(self.directory / str(queue), self.segment_octets)

    def add(self, queue: int, files: StreamFiles, damaged: bool = False) -> LocalStream:
        stream = self.logs[queue] = LocalStream(
            queue, files, self.committer, self.reader, self.clock, self.on_failure, self.forget, damaged
        )
        return stream

    def forget(self, queue: int) -> None:
        """The log is being removed."""
        del self.logs[queue]

    def recover(self, known: Collection[int]) -> list[Torn]:
        """Open the logs that are there, and remove those whose queue is none of these. What was cut off of them.

        A damaged log stays closed, and the others go on. It waits for the disk.
        """
        if not self.directory.is_dir():
            self.directory.mkdir(mode=0o750)
            sync_directory(self.directory.parent)
        torn = []
        for queue in sorted(int(path.name) for path in self.directory.iterdir() if path.name.isdecimal()):
            files = self.files(queue)
            if queue not in known:
                rmtree(files.directory)
                continue
            try:
                files.recover()
            except Damage as damage:
                log.error("a stream stays closed until it is mended or deleted: %s", damage)
                self.add(queue, self.files(queue), damaged=True)
                continue
            self.add(queue, files)
            if files.torn is not None:
                torn.append(files.torn)
        return torn

    def close(self) -> None:
        """Close all logs; it waits for the disk. Raises what one of them failed of."""
        self.reader.close()
        failures: list[Exception] = []
        for stream in self.logs.values():
            try:
                stream.close()
            except Exception as error:
                failures.append(error)
        if failures:
            raise failures[0]
