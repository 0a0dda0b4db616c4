"""The turn: once per pass of the loop, a short list of things done in a stated order.

Reading and writing never interleave. All ready sockets are read first; what they cause is noted here; then, one call
later and once for all of them:

    0 read on    timers that are due; sessions that had spent their allowance in the last turn
    1 dispatch   queues with messages and consumers that have room; then dead letters, which may wake more queues
    2 journal    if no append is in flight, the batch that has grown goes to the engine
    3 confirm    publishers learn what was accepted or committed
    4 flush      one write per session that has something to say; then a slice of what is to be freed

Whoever writes to the journal arms the turn, so that nothing lies in the growing batch while the loop is idle.

A queue that has used up its slice, or a session that has, comes again in the next turn, so that no one starves another.

The turn also knows the time, as the rim or the last session that was told it did.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, MutableSequence
from typing import Any, Protocol

from amqpd.core.ports import Journal
from amqpd.core.timers import Timers

__all__ = ["Confirming", "Flushing", "Ready", "Resuming", "Turn"]

FREE_SLICE = 20_000
"""Messages that are freed in one turn."""

DISPATCH_SLICE = 1000
"""Messages that one queue may deliver in one turn."""


class Ready(Protocol):
    """A queue that may have something to deliver."""

    scheduled: bool

    def dispatch(self, budget: int) -> bool:
        """Deliver at most `budget` messages; True when there is more to do."""


class Confirming(Protocol):
    """A channel's confirms."""

    def flush(self) -> None: ...


class Flushing(Protocol):
    """A session with bytes to send."""

    def flush(self) -> None: ...


class Resuming(Protocol):
    """A session that stopped reading its buffer."""

    def resume(self) -> None: ...


def nothing() -> None:
    """There are no dead letters."""


class Turn:
    """What this pass of the loop has still to do.

    `schedule()` asks for one call of `run` soon, `wake_at(time)` for one at that time. `now` is monotonic milliseconds,
    `wall` what has to be added to it for the wall clock.
    """

    def __init__(self, schedule: Callable[[], None], wake_at: Callable[[int], None], journal: Journal) -> None:
        self.schedule = schedule
        self.journal = journal
        self.timers = Timers(wake_at)
        self.now = 0
        self.wall = 0
        self.bury: Callable[[], None] = nothing
        """Sends the dead letters on their way (see core/burial)."""
        self.armed = False
        self.ready: deque[Ready] = deque()
        self.confirming: list[Confirming] = []
        self.flushing: list[Flushing] = []
        self.resuming: list[Resuming] = []
        self.freeing: list[MutableSequence[Any]] = []

    def arm(self) -> None:
        """Have a turn run soon."""
        if not self.armed:
            self.armed = True
            self.schedule()

    def wake(self, queue: Ready) -> None:
        """The queue may be able to deliver."""
        if not queue.scheduled:
            queue.scheduled = True
            self.ready.append(queue)
            if not self.armed:
                self.arm()

    def confirm(self, confirms: Confirming) -> None:
        """The channel has something to confirm; the caller notes each channel once until its flush."""
        self.confirming.append(confirms)
        if not self.armed:
            self.arm()

    def touch(self, session: Flushing) -> None:
        """The session has bytes to send; it notes itself once until its flush."""
        self.flushing.append(session)
        if not self.armed:
            self.arm()

    def read_on(self, session: Resuming) -> None:
        """The session goes on with its buffer in the next turn."""
        self.resuming.append(session)
        self.arm()

    def let_go(self, *collections: MutableSequence[Any]) -> None:
        """Free what these hold, a slice in each turn: a million messages at a stroke would take a tenth of a second."""
        self.freeing += [each for each in collections if each]
        if self.freeing:
            self.arm()

    def free(self) -> None:
        rest = self.freeing[-1]
        for _ in range(min(len(rest), FREE_SLICE)):
            rest.pop()
        if not rest:
            self.freeing.pop()

    def run(self) -> None:
        """One turn. Whatever happens in it, another one can come."""
        try:
            self.steps()
        finally:
            self.armed = False
            if self.ready or self.resuming or self.flushing or self.confirming or self.freeing:
                self.arm()

    def steps(self) -> None:
        self.timers.run(self.now)
        resuming, self.resuming = self.resuming, []
        for session in resuming:
            session.resume()
        ready = self.ready
        for _ in range(len(ready)):
            queue = ready.popleft()
            queue.scheduled = False
            if queue.dispatch(DISPATCH_SLICE):
                queue.scheduled = True
                ready.append(queue)
        self.bury()
        self.journal.hand_over()
        while self.confirming:
            confirming, self.confirming = self.confirming, []
            for confirms in confirming:
                confirms.flush()
        flushing, self.flushing = self.flushing, []
        for outbox in flushing:
            outbox.flush()
        if self.freeing:
            self.free()
