"""A data directory, opened by one process at a time.

lock              held while the directory is open
pid               who holds it, for the message to the second one
catalog.sqlite    what exists
journal/          the log of messages
streams/          the logs of streams, each in a directory of its own
"""

from __future__ import annotations

import gc
import os
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import NamedTuple

from filelock import FileLock, Timeout

from amqpd.core.ports import DELAYED, Recovered, Snapshot
from amqpd.storage.catalog import SQLiteCatalog
from amqpd.storage.errors import DirectoryInUse
from amqpd.storage.journal.journal import Journal
from amqpd.storage.local.committer import Committer, Deliver
from amqpd.storage.local.engine import SEGMENT_OCTETS, LocalEngine
from amqpd.storage.local.recovery import Torn
from amqpd.storage.streams.streams import LocalStreams

__all__ = ["Opened", "Store", "collector_off", "open_store"]


class Store:
    """An open data directory."""

    def __init__(
        self,
        directory: Path,
        catalog: SQLiteCatalog,
        journal: Journal,
        streams: LocalStreams,
        resources: ExitStack,
    ) -> None:
        self.directory = directory
        self.catalog = catalog
        self.journal = journal
        self.streams = streams
        self.resources = resources

    def close(self, clean: bool) -> None:
        """Write what is still to be written and close everything; `clean`: no delivery is unsettled any more.

        It waits for the disk. Nobody is told of commits any more. Raises what the last append failed of; everything is
        closed even then.
        """
        with self.resources:
            self.journal.close(clean)


class Opened(NamedTuple):
    """A data directory as it was found: `messages` per queue id, `torn` for each log that a crash has left with an
    incomplete batch."""

    store: Store
    snapshot: Snapshot
    messages: dict[int, list[Recovered]]
    next_message_id: int
    clean: bool
    torn: list[Torn]


def wall_clock() -> int:
    """Milliseconds since 1970."""
    return time.time_ns() // 1_000_000


def open_store(
    directory: Path,
    deliver: Deliver,
    on_failure: Callable[[Exception], None],
    *,
    clock: Callable[[], int] = wall_clock,
    segment_octets: int = SEGMENT_OCTETS,
) -> Opened:
    """Open the data directory, making it if it is not there. Raises DirectoryInUse, Damage, NewerSchema, OSError.

    `deliver(call)` comes from other threads and has `call()` called on the loop's; `on_failure(error)` is called there,
    once, when the journal can promise nothing any more. Opening waits for the disk.
    """
    directory.mkdir(parents=True, exist_ok=True, mode=0o750)
    with ExitStack() as resources:
        take(directory, resources)
        catalog = SQLiteCatalog(directory / "catalog.sqlite", deliver)
        resources.callback(catalog.close)
        snapshot = catalog.load()
        committer = Committer(deliver, "amqpd-journal")
        resources.callback(committer.close)
        engine = LocalEngine("messages", directory / "journal", committer, segment_octets)
        resources.callback(engine.close)
        journal = Journal(engine, clock, on_failure)
        with collector_off():
            found = journal.recover([DELAYED, *(row.id for row in snapshot.queues)])
        streams = LocalStreams(directory / "streams", committer, deliver, clock, on_failure)
        resources.callback(streams.close)
        torn = streams.recover({row.id for row in snapshot.queues})
        if engine.torn is not None:
            torn.append(engine.torn)
        store = Store(directory, catalog, journal, streams, resources.pop_all())
    return Opened(store, snapshot, found.messages, found.next_message_id, found.clean, torn)


@contextmanager
def collector_off() -> Iterator[None]:
    """While the model is built nothing of it is garbage: collections would only walk over it again and again."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def take(directory: Path, resources: ExitStack) -> None:
    """Become the one process that has the directory."""
    lock = FileLock(directory / "lock", timeout=0, thread_local=False)
    holder = directory / "pid"
    try:
        lock.acquire()
    except Timeout:
        try:
            pid = f" by process {int(holder.read_text())}"
        except (OSError, ValueError):
            pid = ""
        raise DirectoryInUse(f"the data directory {directory} is in use{pid}") from None
    resources.callback(lock.release)
    holder.write_text(f"{os.getpid()}\n")
    resources.callback(holder.unlink, missing_ok=True)
