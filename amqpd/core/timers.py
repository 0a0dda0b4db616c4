"""Timers: calls that are due at a time. The rim is asked to have a turn run when the first of them is due.

Times are monotonic milliseconds, as sessions are told them. A call is made at its time or later, never before, in the
turn's first step; calls that are due together are made in the order in which they were asked for.
"""

from __future__ import annotations

from collections.abc import Callable
from heapq import heappop, heappush

__all__ = ["Timers"]


class Timers:
    """The calls to come. `wake_at(time)` asks for a turn at that time."""

    def __init__(self, wake_at: Callable[[int], None]) -> None:
        self.wake_at = wake_at
        self.heap: list[tuple[int, int, Callable[[], None]]] = []
        self.number = 0

    def at(self, time: int, call: Callable[[], None]) -> None:
        """Make the call at this time. It cannot be taken back: whoever asked looks whether it is still wanted."""
        self.number += 1
        heappush(self.heap, (time, self.number, call))
        if self.heap[0][1] == self.number:
            self.wake_at(time)

    def run(self, now: int) -> None:
        """Make the calls that are due."""
        heap = self.heap
        while heap and heap[0][0] <= now:
            heappop(heap)[2]()
        if heap:
            self.wake_at(heap[0][0])
