"""The broker against a naive model of it, over random histories with restarts; and after each step, the fold of the log
against the durable part of the live broker."""

from __future__ import annotations

from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from pamqp import commands

from amqpd.core.message import PERSISTENT
from tests.support.world import Client, World

C = commands

QUEUES = st.sampled_from(["durable", "other", "transient"])
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


class NaiveQueue:
    """Messages as [body, persistent, redelivered], in order; those taken keep their place by their number."""

    def __init__(self) -> None:
        self.ready: list[tuple[int, bytes, bool, bool]] = []
        self.unacked: dict[int, tuple[int, bytes, bool, bool]] = {}


class BrokerMachine(RuleBasedStateMachine):
    """One publisher channel (1), one channel that gets and settles (2), one with a consumer (3)."""

    def __init__(self) -> None:
        super().__init__()
        self.world = World()
        self.queues: dict[str, NaiveQueue] = {}
        self.bindings: set[tuple[str, str, str]] = set()
        self.number = 0
        self.connect()
        for name, kind in EXCHANGES.items():
            self.client.method(1, C.Exchange.Declare, exchange=name, exchange_type=kind, durable=True)

    def connect(self) -> None:
        self.client: Client = self.world.connect()
        for number in (1, 2, 3):
            self.client.open(number)
        self.tag = 0
        self.tags: dict[int, tuple[str, int]] = {}

    # ------------------------------------------------------------------------------------------ topology

    @rule(name=QUEUES)
    def declare(self, name: str) -> None:
        answer = self.client.declare(name, durable=name != "transient")
        queue = self.queues.setdefault(name, NaiveQueue())
        assert (answer.queue, answer.message_count) == (name, len(queue.ready))

    @rule(name=QUEUES)
    def delete(self, name: str) -> None:
        (answer,) = self.client.method(1, C.Queue.Delete, queue=name)
        queue = self.queues.pop(name, NaiveQueue())
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
        exchange=st.sampled_from(["", *EXCHANGES]),
        key=KEYS,
        name=QUEUES,
        persistent=st.booleans(),
        count=st.integers(1, 3),
    )
    def publish(self, exchange: str, key: str, name: str, persistent: bool, count: int) -> None:
        key = key if exchange else name
        kind = EXCHANGES.get(exchange, "")
        reached = {q for x, q, p in self.bindings if x == exchange and matches(kind, p, key)}
        if not exchange:
            reached = {name} & set(self.queues)
        data = b""
        for _ in range(count):
            self.number += 1
            body = b"%d" % self.number
            data += self.client.publish_bytes(1, exchange, key, body, delivery_mode=2 if persistent else 1)
            for queue in reached:
                self.queues[queue].ready.append((self.number, body, persistent, False))
        self.client.send(data)
        assert self.client.frames() == []

    def taken(self, name: str, frames: list[Any], tag: int, redelivered: bool, body: bytes) -> None:
        number, expected, persistent, before = self.queues[name].ready.pop(0)
        assert (tag, body, redelivered) == (self.tag, expected, before)
        self.queues[name].unacked[number] = (number, expected, persistent, True)
        self.tags[self.tag] = (name, number)

    @rule(name=QUEUES)
    def get(self, name: str) -> None:
        if name not in self.queues:
            return
        frames = self.client.method(2, C.Basic.Get, queue=name)
        if not self.queues[name].ready:
            assert isinstance(frames[0], C.Basic.GetEmpty)
            return
        self.tag += 1
        self.taken(name, frames, frames[0].delivery_tag, frames[0].redelivered, frames[2])
        assert frames[0].message_count == len(self.queues[name].ready)

    @rule(name=QUEUES)
    def consume_all(self, name: str) -> None:
        """A consumer that takes everything without ack, and goes."""
        if name not in self.queues:
            return
        frames = self.client.consume(name, "c", number=3, no_ack=True)
        bodies = [item for item in frames if isinstance(item, bytes)]
        flags = [item.redelivered for item in frames if isinstance(item, C.Basic.Deliver)]
        assert list(zip(bodies, flags, strict=True)) == [
            (body, redelivered) for _, body, _, redelivered in self.queues[name].ready
        ]
        self.queues[name].ready.clear()
        self.client.method(3, C.Basic.Cancel, consumer_tag="c")

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
        self.connect()

    @rule(crash=st.booleans())
    def restart(self, crash: bool) -> None:
        if not crash:
            self.client.lose()
        self.give_back()
        if not crash:
            self.world.journal.close(clean=True)
        self.world = World(self.world.engine, self.world.catalog)
        self.queues.pop("transient", None)
        self.bindings = {binding for binding in self.bindings if binding[1] != "transient"}
        for queue in self.queues.values():
            queue.ready = [
                (number, body, persistent, redelivered or crash)
                for number, body, persistent, redelivered in queue.ready
                if persistent
            ]
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
TestBroker.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
