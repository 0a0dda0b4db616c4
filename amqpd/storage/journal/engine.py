"""The engine door: who keeps a log. Local files now, memory in tests, a log of a cluster later.

A log only grows at its tail and is only cut at its head. An engine does not know what is in a batch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple, Protocol, TypeAlias

from amqpd.storage.journal.format import Batch

__all__ = ["Appended", "Engine", "Place", "ReadDone"]


class Place(NamedTuple):
    """Where a batch is: its log, its number, and an offset by which the engine finds it."""

    log: str
    batch: int
    offset: int


Appended: TypeAlias = Callable[[Place | Exception], None]
ReadDone: TypeAlias = Callable[[list[Batch] | Exception], None]


class Engine(Protocol):
    """One log. Every `done` is called on the loop's thread, or, by an engine that need not wait, before returning.

    `max_batch` is the number of octets from which on a batch is divided (at a message, never within one).
    """

    max_batch: int

    def replay(self) -> Iterator[Batch]:
        """Every batch there is, from the head; once, before anything is appended. Raises Damage."""

    def append(self, batch: Batch, done: Appended) -> None:
        """Make the batch durable, then `done(place)`, or `done(error)`, after which the log takes nothing any more.

        One at a time. The batch's number is the tail's.
        """

    def append_now(self, batch: Batch) -> None:
        """The same, after what is in flight, and wait for it: for a start and a stop, when no loop turns."""

    def read(self, places: Sequence[Place], done: ReadDone) -> None:
        """The batches at these places, which `append` gave and no `truncate` has cut off since."""

    def tail(self) -> Place:
        """Where the next batch goes, when nothing is in flight."""

    def truncate(self, below: int) -> None:
        """Batches with a smaller number are not needed any more; the engine may keep some of them."""

    def close(self) -> None:
        """Wait for what is under way, then close."""
