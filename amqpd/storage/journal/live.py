"""What of the log is still needed: live references (a message in a queue) per extent of the log.

An extent is a stretch of consecutive batches of some megabytes. Message ids ascend along the log, so the extent of a
message is found by its id. The head of the log can be cut up to the first extent in which something lives: a record
that takes a message out never stands before the record that put it in.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Sequence

__all__ = ["EXTENT_OCTETS", "Live"]

EXTENT_OCTETS = 4 << 20


class Extent:
    """Batches from `batch` on."""

    __slots__ = ("batch", "live", "octets")

    def __init__(self, batch: int) -> None:
        self.batch = batch
        self.octets = 0
        self.live = 0


class Live:
    """The account. Sequences of ids ascend."""

    def __init__(self, extent_octets: int = EXTENT_OCTETS) -> None:
        self.extent_octets = extent_octets
        self.extents: list[Extent] = []
        self.firsts: list[int] = []
        """The lowest id that may stand in each extent."""
        self.queues: dict[int, dict[Extent, int]] = {}
        self.last_id = 0

    @property
    def references(self) -> int:
        """All live references."""
        return sum(extent.live for extent in self.extents)

    def grow(self, batch: int, octets: int, last_id: int) -> None:
        """The log now has this batch, with ids up to `last_id`."""
        if not self.extents or self.extents[-1].octets >= self.extent_octets:
            self.extents.append(Extent(batch))
            self.firsts.append(self.last_id + 1)
        self.extents[-1].octets += octets
        self.last_id = max(self.last_id, last_id)

    def spread(self, ids: Sequence[int]) -> Iterable[tuple[Extent, int]]:
        """How many of the ids stand in which extent; those whose extent has been cut off are left out."""
        if ids[0] >= self.firsts[-1]:
            return ((self.extents[-1], len(ids)),)
        return self.spread_widely(ids)

    def spread_widely(self, ids: Sequence[int]) -> Iterator[tuple[Extent, int]]:
        firsts = self.firsts
        at = max(0, bisect_right(firsts, ids[0]) - 1)
        start = bisect_left(ids, firsts[0])
        while start < len(ids):
            end = bisect_left(ids, firsts[at + 1], start) if at + 1 < len(firsts) else len(ids)
            if end > start:
                yield self.extents[at], end - start
            start = end
            at += 1

    def enqueued(self, queues: Sequence[int], ids: Sequence[int]) -> None:
        """These messages lie in each of these queues; their batches are in the log."""
        for extent, count in self.spread(ids):
            for queue in queues:
                counts = self.queues.setdefault(queue, {})
                counts[extent] = counts.get(extent, 0) + count
            extent.live += count * len(queues)

    def removed(self, queue: int, ids: Sequence[int]) -> None:
        """These messages no longer lie in the queue. A forgotten queue has none."""
        counts = self.queues.get(queue)
        if counts:
            for extent, count in self.spread(ids):
                held = counts.pop(extent, 0)
                if held > count:
                    counts[extent] = held - count
                extent.live -= min(held, count)

    def forget(self, queue: int) -> None:
        """The queue is gone with all its messages."""
        for extent, count in self.queues.pop(queue, {}).items():
            extent.live -= count

    def cut(self) -> int | None:
        """Forget the extents at the head in which nothing lives; the first batch that is kept, if any were."""
        dead = 0
        while dead < len(self.extents) - 1 and not self.extents[dead].live:
            dead += 1
        if not dead:
            return None
        del self.extents[:dead], self.firsts[:dead]
        return self.extents[0].batch
