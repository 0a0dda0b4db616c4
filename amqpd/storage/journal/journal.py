"""The journal: a batch grows in the loop while the one before it is made durable.

    growing     takes records; costs list appends only
    in flight   handed to the engine at the end of a turn; at most one
    committed   its waiters are called, what it took out of the log is accounted, the log's head is cut

Nothing waits for a timer: while the disk is busy the next batch grows, and goes when the disk is done. That is the
group commit. All of a batch becomes durable at once or not at all (when it is larger than the engine likes, it becomes
several that form a group), so whatever is written without a hand-over between is atomic.

What a client puts in is weighed. One that finds the growing batch heavy enough is asked to wait until the batch has
been handed over; those who wait are let in a few at a time, so that they do not all come back at once with what has
gathered. Else the batches of fast publishers and a slow disk would grow as far as the disk is behind, and all commits
would be as late. Settlements never wait: they make room.

Consecutive messages with the same routing, origin, priority and queues share a run. A message that is enqueued and
settled by all its queues while its batch grows is not written at all.

When an append fails, nothing of it and nothing after it is ever confirmed: the failure is reported once, and the
journal hands nothing over any more.
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Callable, Collection, Iterator, Sequence
from typing import NamedTuple

from amqpd.core.message import Message
from amqpd.core.ports import Recovered
from amqpd.storage.errors import StorageError
from amqpd.storage.journal.engine import Engine, Place
from amqpd.storage.journal.fold import Fold, recovered
from amqpd.storage.journal.format import (
    CLEAN,
    DROP,
    FOUND,
    MORE,
    REST,
    SETTLE,
    Batch,
    encode_enqueue,
    encode_removed,
    encode_returned,
    merged,
)
from amqpd.storage.journal.live import EXTENT_OCTETS, Live

__all__ = ["GROWTH_MAX", "Found", "Growth", "Journal"]

GROWTH_MAX = 2 << 20
"""What a batch should weigh at most. Measured with messages of 1 KB and a disk of 100 MB/s: 1, 2, 4, 8 MB give 65, 73,
76, 82 thousand per second, and who publishes one message beside them has its confirm after 28, 45, 80, 153 ms."""

MESSAGE_OCTETS = 256
"""What a message weighs beside its octets, for the objects that stand for it."""

LET_IN = 8
"""How many of those who wait are let in at once: as many as fill a batch with one read each, of up to 256 KB."""


class Run:
    """Consecutive messages that differ in content only."""

    __slots__ = ("messages", "origin", "priority", "queues", "routing")

    def __init__(self, messages: list[Message], queues: Sequence[int], priority: int) -> None:
        self.messages = messages
        self.queues = queues
        self.routing = messages[0][1]
        self.origin = messages[0][3]
        self.priority = priority


NO_RUN = Run([(0, b"", b"", 0, 0)], (), -1)
"""No message is like this one."""


class Growth:
    """What becomes durable at once: the Commit of all that is written while it grows."""

    __slots__ = ("committed", "drops", "forgotten", "queueing", "returns", "runs", "settled", "waiters", "weight")

    def __init__(self, queueing: deque[Callable[[], None]]) -> None:
        self.queueing = queueing
        self.weight = 0
        self.runs: list[Run] = []
        self.settled: defaultdict[int, list[int]] = defaultdict(list)
        self.drops: list[tuple[int, int, list[int]]] = []
        self.returns: defaultdict[int, list[tuple[int, int]]] = defaultdict(list)
        self.forgotten: list[int] = []
        self.waiters: list[Callable[[], None]] = []
        self.committed = False

    def weigh(self, messages: int, octets: int) -> bool:
        """So much has been put in; True when that is enough."""
        self.weight += octets + messages * MESSAGE_OCTETS
        return self.weight > GROWTH_MAX

    def when_room(self, call: Callable[[], None]) -> None:
        """`call()` once another batch grows, after those who have asked before."""
        self.queueing.append(call)

    def when_committed(self, call: Callable[[], None]) -> None:
        """`call()` once all this is durable."""
        if self.committed:
            call()
        else:
            self.waiters.append(call)

    @property
    def anything(self) -> bool:
        """Whether there is something to do."""
        return bool(self.runs or self.settled or self.drops or self.returns or self.forgotten or self.waiters)

    def elide(self) -> None:
        """Take out the messages that have already left all their queues, and their settles."""
        if not self.runs or not self.settled:
            return
        first = self.runs[0].messages[0][0]
        fresh = {queue: {i for i in ids if i >= first} for queue, ids in self.settled.items() if ids[-1] >= first}
        gone: defaultdict[int, set[int]] = defaultdict(set)
        for run in self.runs:
            left = [fresh[queue] for queue in run.queues if queue in fresh]
            if left and len(left) == len(run.queues):
                everywhere = {message[0] for message in run.messages}.intersection(*left)
                run.messages = [message for message in run.messages if message[0] not in everywhere]
                for queue in run.queues:
                    gone[queue] |= everywhere
        self.runs = [run for run in self.runs if run.messages]
        for queue, written_off in gone.items():
            remaining = [i for i in self.settled[queue] if i not in written_off]
            if remaining:
                self.settled[queue] = remaining
            else:
                del self.settled[queue]

    def records(self, limit: int) -> Iterator[list[bytes]]:
        """Every record as chunks; those that put messages in come first."""
        for run in self.runs:
            yield from encode_run(run.messages, run, limit)
        for queue, returns in self.returns.items():
            yield [encode_returned(queue, returns)]
        for queue, reason, ids in self.drops:
            yield [encode_removed(DROP, queue, ids, reason)]
        for queue, ids in self.settled.items():
            yield [encode_removed(SETTLE, queue, ids)]

    def sort(self) -> None:
        """Order the ids of what was taken out: it is done in one go, and ranges need it."""
        for ids in self.settled.values():
            ids.sort()
        for _, _, ids in self.drops:
            ids.sort()

    def account(self, live: Live) -> None:
        """It is in the log: bring the account of the log up to date."""
        for run in self.runs:
            live.enqueued(run.queues, [message[0] for message in run.messages])
        for queue, ids in self.settled.items():
            live.removed(queue, ids)
        for queue, _, ids in self.drops:
            live.removed(queue, ids)
        for queue in self.forgotten:
            live.forget(queue)

    def finish(self) -> None:
        """It is durable: let go of what it holds and tell who waits."""
        self.committed = True
        waiters = self.waiters
        self.runs, self.drops, self.forgotten, self.waiters = [], [], [], []
        self.settled.clear()
        self.returns.clear()
        for call in waiters:
            call()


def encode_run(messages: list[Message], run: Run, limit: int) -> Iterator[list[bytes]]:
    """The messages as one record or, while one is over the limit, as two of half as many."""
    chunks = encode_enqueue(messages, run.queues, run.priority)
    if len(messages) > 1 and sum(map(len, chunks)) > limit:
        half = len(messages) // 2
        yield from encode_run(messages[:half], run, limit)
        yield from encode_run(messages[half:], run, limit)
    else:
        yield chunks


class Found(NamedTuple):
    """What a log held: the messages of each known queue, the lowest id that is free, and how the log was left."""

    messages: dict[int, list[Recovered]]
    next_message_id: int
    clean: bool


class Journal:
    """The Journal door over one log. `recover` comes first; all calls are made on the loop's thread.

    `clock()` gives the wall clock in milliseconds; `on_failure(error)` is called once, when an append has failed.
    """

    def __init__(
        self,
        engine: Engine,
        clock: Callable[[], int],
        on_failure: Callable[[Exception], None],
        extent_octets: int = EXTENT_OCTETS,
    ) -> None:
        self.engine = engine
        self.clock = clock
        self.on_failure = on_failure
        self.live = Live(extent_octets)
        self.queueing: deque[Callable[[], None]] = deque()
        """Those who wait for room, the first to come first."""
        self.growing = Growth(self.queueing)
        self.run = NO_RUN
        """The run that goes on, if the next message is like its last one."""
        self.flying: Growth | None = None
        self.parts: deque[Batch] = deque()
        self.failure: Exception | None = None
        self.last_id = 0
        self.number = 0

    # ------------------------------------------------------------------------------------- start and stop

    def recover(self, known: Collection[int]) -> Found:
        """Read the log, for the queues with these ids. From here on it counts as left in disorder until `close`."""
        fold = Fold(known)
        for batch in self.engine.replay():
            fold.apply(batch)
            self.live.grow(batch.number, batch.octets, batch.last_id)
        tail = self.engine.tail()
        self.last_id = fold.last_id
        self.number = tail.batch
        for queue, state in fold.queues.items():
            if state.messages:
                self.live.enqueued((queue,), list(state.messages))
        marked = fold.found if fold.clean else fold.last_id
        found = {queue: recovered(state, marked) for queue, state in fold.queues.items()}
        opened = self.batch([], 0, 0 if fold.clean else FOUND)
        self.engine.append_now(opened)
        self.live.grow(opened.number, opened.octets, opened.last_id)
        self.cut()
        return Found(found, self.last_id + 1, fold.clean)

    def close(self, clean: bool) -> None:
        """Make durable what has grown and, for an orderly stop, that nothing was under way; close the log.

        It waits for the disk. Whoever waits for a commit is not told any more. Raises what an append failed of, unless
        that was reported before.
        """
        try:
            if self.write_out():
                self.engine.append_now(self.batch([], 0, CLEAN if clean else 0))
        finally:
            self.engine.close()

    def write_out(self) -> bool:
        """Make durable what has grown, and take nothing more; it waits for the disk. False after a failure."""
        failed, self.failure = self.failure, StorageError("the journal is closed")
        if failed is not None:
            return False
        in_flight = 1 if self.parts else 0
        for batch in [*self.parts, *self.encode(self.growing)][in_flight:]:
            self.engine.append_now(batch)
        return True

    # ------------------------------------------------------------------------------------------- growing

    def enqueue(self, messages: list[Message], queues: Sequence[int], priority: int = 0) -> Growth:
        """The messages, which have routing and origin in common, now lie in these queues.

        A plan hands in the same objects each time, so identity is enough to see that a run goes on.
        """
        run = self.run
        _, routing, _, origin, _ = messages[0]
        if routing is run.routing and queues is run.queues and origin == run.origin and priority == run.priority:
            run.messages += messages
        else:
            self.run = run = Run(messages, queues, priority)
            self.growing.runs.append(run)
        return self.growing

    def settle(self, queue: int, message_ids: Sequence[int]) -> None:
        """The messages no longer lie in the queue."""
        self.growing.settled[queue] += message_ids

    def drop(self, queue: int, message_ids: Sequence[int], reason: int) -> None:
        """The messages left the queue unconsumed."""
        if message_ids:
            self.growing.drops.append((queue, reason, list(message_ids)))

    def returned(self, queue: int, message_id: int, count: int) -> None:
        """The message came back to the queue after `count` deliveries."""
        self.growing.returns[queue].append((message_id, count))

    def forget_queue(self, queue: int) -> None:
        """The queue is gone, its deletion committed by the catalog: what it held keeps no log alive."""
        self.growing.forgotten.append(queue)

    def group(self, records: Callable[[], None]) -> Growth:
        """All that `records()` writes is in one growth, and thereby atomic."""
        growing = self.growing
        records()
        return growing

    # --------------------------------------------------------------------------------------------- flying

    def hand_over(self) -> None:
        """If nothing is in flight, let what has grown go."""
        growing = self.growing
        if self.flying is not None or self.failure is not None:
            return
        if not growing.anything:
            # Those who were let in had nothing to say, and no commit will come that lets in the next.
            self.let_in(len(self.queueing))
            return
        self.growing = Growth(self.queueing)
        self.run = NO_RUN
        self.flying = growing
        self.parts.extend(self.encode(growing))
        self.fly_on()
        self.let_in(LET_IN)

    def let_in(self, most: int) -> None:
        """There is room for so many of those who wait."""
        for _ in range(min(most, len(self.queueing))):
            self.queueing.popleft()()

    def encode(self, growth: Growth) -> list[Batch]:
        """The batches that make the growth durable: none, when nothing has to be written."""
        if growth.runs:
            self.last_id = growth.runs[-1].messages[-1][0]
        growth.elide()
        growth.sort()
        limit = self.engine.max_batch
        bodies: list[tuple[list[bytes], int]] = []
        chunks: list[bytes] = []
        octets = count = 0
        for record in growth.records(limit):
            size = sum(map(len, record))
            if octets and octets + size > limit:
                bodies.append((chunks, count))
                chunks, octets, count = [], 0, 0
            chunks += record
            octets += size
            count += 1
        if count:
            bodies.append((chunks, count))
        last = len(bodies) - 1
        return [
            self.batch(merged(body), records, (REST if at else 0) | (MORE if at < last else 0))
            for at, (body, records) in enumerate(bodies)
        ]

    def batch(self, chunks: list[bytes], records: int, flags: int) -> Batch:
        """The next batch."""
        number = self.number
        self.number += 1
        return Batch(number, flags, 0, self.clock(), self.last_id, records, chunks)

    def fly_on(self) -> None:
        """The next part goes; after the last one the growth is committed."""
        if self.parts:
            self.engine.append(self.parts[0], self.appended)
        else:
            self.commit()

    def appended(self, outcome: Place | Exception) -> None:
        """The engine has done with the part in flight."""
        if self.failure is not None:
            return
        if isinstance(outcome, Exception):
            self.failure = outcome
            self.on_failure(outcome)
            return
        part = self.parts.popleft()
        self.live.grow(part.number, part.octets, part.last_id)
        self.fly_on()

    def commit(self) -> None:
        """What was in flight is durable. What has grown meanwhile goes at once: no turn may be coming."""
        growth, self.flying = self.flying, None
        if growth is not None:
            growth.account(self.live)
            self.cut()
            growth.finish()
        self.hand_over()

    def cut(self) -> None:
        """Let go of the log's head as far as nothing lives in it."""
        below = self.live.cut()
        if below is not None:
            self.engine.truncate(below)
