"""The Engine door over local files; the logs of a node share one committer."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

from amqpd.storage.journal.engine import Appended, Place, ReadDone
from amqpd.storage.journal.format import Batch
from amqpd.storage.local.committer import Committer
from amqpd.storage.local.log import Log
from amqpd.storage.local.recovery import Torn

__all__ = ["SEGMENT_OCTETS", "LocalEngine"]

SEGMENT_OCTETS = 64 << 20
MAX_BATCH = 32 << 20


class LocalEngine:
    """One log in one directory."""

    def __init__(self, name: str, directory: Path, committer: Committer, segment_octets: int = SEGMENT_OCTETS) -> None:
        self.max_batch = MAX_BATCH
        self.committer = committer
        self.log = Log(name, directory, segment_octets)

    @property
    def torn(self) -> Torn | None:
        """The incomplete batch that the replay cut off."""
        return self.log.torn

    def replay(self) -> Iterator[Batch]:
        return self.log.replay()

    def append(self, batch: Batch, done: Appended) -> None:
        self.committer.submit(partial(self.log.write, batch), done)

    def append_now(self, batch: Batch) -> None:
        self.committer.wait_for(partial(self.log.write, batch))

    def read(self, places: Sequence[Place], done: ReadDone) -> None:
        self.committer.submit(lambda: [self.log.read(place) for place in places], done)

    def tail(self) -> Place:
        return self.log.tail

    def truncate(self, below: int) -> None:
        self.committer.jobs.put(partial(self.log.truncate, below))

    def close(self) -> None:
        self.committer.wait_for(self.log.close)
