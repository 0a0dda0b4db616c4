"""The broker against a naive model of it, over random histories with restarts and time that passes; after each step,
the fold of the log against the durable part of the live broker.

One of the queues, `brief`, makes promises: its messages live for a second, it holds three, and what it gives up goes to
the queue `graves`. Any message may have an expiration of its own.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from pamqp import commands

from amqpd.core.message import PERSISTENT
from tests.support.received import messages
from tests.support.world import Client, World

C = commands

PROMISES: dict[str, dict[str, Any]] = {
    "durable": {},
    "transient": {},
    "brief": {
        "x-message-ttl": 1000,
        "x-max-length": 3,
        "x-dead-letter-exchange": "",
        "x-dead-letter-routing-key": "graves",
    },
    "graves": {},
}
QUEUES = st.sampled_from(["brief", "brief", "durable", "graves", "transient"])
EXPIRATIONS = st.sampled_from([None, None, None, 0, 300, 2000])
EXCHANGES = {"x.direct": "direct", "x.topic": "topic", "x.fanout": "fanout"}
PATTERNS = st.sampled_from(["a", "a.b", "a.*", "#", "*.b"])
KEYS = st.sampled_from(["a", "a.b", "c", "b.b"])


def matches(kind: str, pattern: str, key: str) -> bool:
    """Does a binding of this exchange type match? The specification, spelled out."""
    if kind == "fanout":
        return True
    if kind == "direct":
        return pattern == key

    def topic(words: list[str], rest: list[str]) -> bool:
        if not words:
            return not rest
        if words[0] == "#":
            return any(topic(words[1:], rest[skip:]) for skip in range(len(rest) + 1))
        return bool(rest) and words[0] in ("*", rest[0]) and topic(words[1:], rest[1:])

    return topic(pattern.split("."), key.split("."))


@dataclass(order=True)
class Naive:
    """A message of the model; its number is its place in every queue."""

    number: int
    body: bytes
    persistent: bool
    deadline: float
    redelivered: bool = False
    deaths: list[tuple[str, str, int]] = field(default_factory=list)


class NaiveQueue:
    """Messages in order; those taken keep their place by their number."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.ttl = PROMISES[name].get("x-message-ttl", float("inf"))
        self.limit = PROMISES[name].get("x-max-length", float("inf"))
        self.ready: list[Naive] = []
        self.unacked: dict[int, Naive] = {}

    def keep(self, wall: int) -> Iterator[tuple[Naive, str]]:
        """What the queue gives up at its head, and why."""
        while self.ready and (len(self.ready) > self.limit or self.ready[0].deadline <= wall):
            reason = "expired" if self.ready[0].deadline <= wall else "maxlen"
            yield self.ready.pop(0), reason


class BrokerMachine(RuleBasedStateMachine):
    """One publisher channel (1), one channel that gets and settles (2), one with a consumer (3)."""

    def __init__(self) -> None:
        super().__init__()
        self.world = World()
        self.queues: dict[str, NaiveQueue] = {}
        self.bindings: set[tuple[str, str, str]] = set()
        self.dead: list[tuple[Naive, str, str]] = []
        self.number = 0
        self.connect()
        for name, kind in EXCHANGES.items():
            self.client.method(1, C.Exchange.Declare, exchange=name, exchange_type=kind, durable=True)
        for name in ("brief", "graves"):
            self.declare(name)

    def connect(self) -> None:
        self.client: Client = self.world.connect()
        for number in (1, 2, 3):
            self.client.open(number)
        self.tag = 0
        self.tags: dict[int, tuple[str, int]] = {}

    # ------------------------------------------------------------------------------------------ promises

    @property
    def wall(self) -> int:
        return self.world.wall + self.world.now

    def keep(self, name: str) -> None:
        """The queue gives up what it has to."""
        self.dead += [(message, name, reason) for message, reason in self.queues[name].keep(self.wall)]

    def bury(self) -> None:
        """At the end of each step all queues have kept their promises, and the dead are buried."""
        for name in self.queues:
            self.keep(name)
        for message, name, reason in self.dead:
            if name == "brief" and "graves" in self.queues:
                self.number += 1
                letter = Naive(self.number, message.body, message.persistent, float("inf"))
                letter.deaths = [("brief", reason, 1)]
                self.queues["graves"].ready.append(letter)
        self.dead.clear()

    @rule(milliseconds=st.sampled_from([1, 1, 299, 300, 700, 1000]))
    def wait(self, milliseconds: int) -> None:
        self.world.wait(milliseconds)
        self.bury()

    # ------------------------------------------------------------------------------------------ topology

    @rule(name=QUEUES)
    def declare(self, name: str) -> None:
        answer = self.client.declare(name, durable=name != "transient", arguments=PROMISES[name])
        queue = self.queues.setdefault(name, NaiveQueue(name))
        assert (answer.queue, answer.message_count) == (name, len(queue.ready))

    @rule(name=QUEUES)
    def delete(self, name: str) -> None:
        (answer,) = self.client.method(1, C.Queue.Delete, queue=name)
        queue = self.queues.pop(name, NaiveQueue(name))
        assert answer.message_count == len(queue.ready)
        self.bindings = {binding for binding in self.bindings if binding[1] != name}
        self.tags = {tag: place for tag, place in self.tags.items() if place[0] != name}

    @rule(name=QUEUES, exchange=st.sampled_from(sorted(EXCHANGES)), pattern=PATTERNS)
    def bind(self, name: str, exchange: str, pattern: str) -> None:
        if name in self.queues:
            self.client.method(1, C.Queue.Bind, queue=name, exchange=exchange, routing_key=pattern)
            self.bindings.add((exchange, name, pattern))

    @rule(name=QUEUES, exchange=st.sampled_from(sorted(EXCHANGES)), pattern=PATTERNS)
    def unbind(self, name: str, exchange: str, pattern: str) -> None:
        self.client.method(1, C.Queue.Unbind, queue=name, exchange=exchange, routing_key=pattern)
        self.bindings.discard((exchange, name, pattern))

    # ------------------------------------------------------------------------------------------ messages

    @rule(
        exchange=st.sampled_from(["", "", "", *EXCHANGES]),
        key=KEYS,
        name=QUEUES,
        persistent=st.booleans(),
        expiration=EXPIRATIONS,
        count=st.integers(1, 5),
    )
    def publish(self, exchange: str, key: str, name: str, persistent: bool, expiration: int | None, count: int) -> None:
        key = key if exchange else name
        kind = EXCHANGES.get(exchange, "")
        reached = {q for x, q, p in self.bindings if x == exchange and matches(kind, p, key)}
        if not exchange:
            reached = {name} & set(self.queues)
        properties = {"delivery_mode": 2 if persistent else 1} | (
            {} if expiration is None else {"expiration": str(expiration)}
        )
        data = b""
        for _ in range(count):
            self.number += 1
            body = b"%d" % self.number
            data += self.client.publish_bytes(1, exchange, key, body, **properties)
            for queue in reached:
                ttl = min(self.queues[queue].ttl, float("inf") if expiration is None else expiration)
                self.queues[queue].ready.append(Naive(self.number, body, persistent, self.wall + ttl))
                self.keep(queue)
        self.client.send(data)
        assert self.client.frames() == []
        self.bury()

    @staticmethod
    def seen(found: list[Any]) -> list[tuple[bytes, bool, list[tuple[str, str, int]]]]:
        return [(message.body, message.method.redelivered, message.deaths) for message in found]

    @rule(name=QUEUES, count=st.integers(1, 3))
    def get(self, name: str, count: int) -> None:
        for _ in range(count if name in self.queues else 0):
            self.get_one(name)

    def get_one(self, name: str) -> None:
        frames = self.client.method(2, C.Basic.Get, queue=name)
        queue = self.queues[name]
        if not queue.ready:
            assert isinstance(frames[0], C.Basic.GetEmpty)
            return
        self.tag += 1
        message = queue.ready.pop(0)
        assert self.seen(messages(frames)) == [(message.body, message.redelivered, message.deaths)]
        assert frames[0].delivery_tag == self.tag
        queue.unacked[message.number] = replace(message, redelivered=True)
        self.tags[self.tag] = (name, message.number)
        self.keep(name)
        assert frames[0].message_count == len(queue.ready)
        self.bury()

    @rule(name=QUEUES)
    def consume_all(self, name: str) -> None:
        """A consumer that takes everything without ack, and goes."""
        if name not in self.queues:
            return
        frames = self.client.consume(name, "c", number=3, no_ack=True)
        expected = []
        queue = self.queues[name]
        while queue.ready:
            message = queue.ready.pop(0)
            expected.append((message.body, message.redelivered, message.deaths))
            self.keep(name)
        assert self.seen(messages(frames)) == expected
        self.client.method(3, C.Basic.Cancel, consumer_tag="c")
        self.bury()

    @precondition(lambda self: self.tags)
    @rule(data=st.data(), how=st.sampled_from(["ack", "reject", "requeue"]), multiple=st.booleans())
    def settle(self, data: st.DataObject, how: str, multiple: bool) -> None:
        tag = data.draw(st.sampled_from(sorted(self.tags)))
        if how == "ack":
            self.client.method(2, C.Basic.Ack, delivery_tag=tag, multiple=multiple)
        else:
            self.client.method(2, C.Basic.Nack, delivery_tag=tag, multiple=multiple, requeue=how == "requeue")
        for other in [t for t in self.tags if t == tag or (multiple and t < tag)]:
            name, number = self.tags.pop(other)
            message = self.queues[name].unacked.pop(number)
            if how == "requeue":
                self.queues[name].ready = sorted([*self.queues[name].ready, message])
            elif how == "reject":
                self.dead.append((message, name, "rejected"))
        self.bury()

    @rule(name=QUEUES)
    def purge(self, name: str) -> None:
        if name in self.queues:
            (answer,) = self.client.method(1, C.Queue.Purge, queue=name)
            assert answer.message_count == len(self.queues[name].ready)
            self.queues[name].ready.clear()

    # ----------------------------------------------------------------------------------------- the worst

    def give_back(self) -> None:
        for queue in self.queues.values():
            queue.ready = sorted([*queue.ready, *queue.unacked.values()])
            queue.unacked.clear()

    @rule()
    def lose_connection(self) -> None:
        self.client.lose()
        self.give_back()
        self.bury()
        self.connect()

    @rule(crash=st.booleans(), down=st.sampled_from([0, 300, 1000]))
    def restart(self, crash: bool, down: int) -> None:
        self.give_back()
        if not crash:
            self.bury()
        self.world = self.world.restart(crash=crash, down=down)
        self.queues.pop("transient", None)
        self.bindings = {binding for binding in self.bindings if binding[1] != "transient"}
        for queue in self.queues.values():
            queue.ready = [
                replace(message, redelivered=message.redelivered or crash)
                for message in queue.ready
                if message.persistent
            ]
        self.bury()
        self.connect()

    @invariant()
    def the_log_says_the_same(self) -> None:
        live: dict[str, list[int]] = {}
        ledger = self.client.session.channels[2].ledger
        unacked = ledger.runs[ledger.start :]
        for queue in self.world.broker.vhosts["/"].queues.values():
            if queue.durable:
                ids = [message[0] for message in queue.window] + [message_id for message_id, _, _ in queue.returned]
                ids += [message[0] for run in unacked if run.queue is queue for message in run.messages]
                live[queue.name] = sorted(message_id for message_id in ids if message_id & PERSISTENT)
        assert self.world.folded() == live


TestBroker = BrokerMachine.TestCase
TestBroker.settings = settings(max_examples=100, stateful_step_count=40, deadline=None)
