"""Confirms of one channel over several logs: what may be acked, and what an ack of several may cover."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from hypothesis import given
from hypothesis import strategies as st
from pamqp import commands, frame

from amqpd.protocol.confirms import Confirms


class Batch:
    """A commit of one log, which comes in when the test says so."""

    def __init__(self) -> None:
        self.waiting: list[Callable[[], None]] = []
        self.committed = False

    def when_committed(self, call: Callable[[], None]) -> None:
        self.waiting.append(call)

    def commit(self) -> None:
        self.committed = True
        for call in self.waiting:
            call()
        self.waiting.clear()


class Publisher:
    """The other side: which publishes have been acked or nacked."""

    def __init__(self) -> None:
        self.acked: set[int] = set()
        self.nacked: set[int] = set()
        self.answered = 0
        self.noted: list[Confirms] = []
        self.confirms = Confirms(1, self.receive, self.noted.append)

    def receive(self, data: bytes) -> None:
        _, _, method = frame.unmarshal(data)
        tag = method.delivery_tag
        if isinstance(method, commands.Basic.Nack):
            assert not method.multiple
            self.nacked.add(tag)
        else:
            covered = range(self.answered + 1, tag + 1) if method.multiple else (tag,)
            assert not self.nacked & set(covered)
            self.acked |= set(covered)
        self.answered = max(self.answered, tag)

    def turn(self) -> None:
        noted, self.noted[:] = list(self.noted), []
        for confirms in noted:
            confirms.flush()


STEP = st.one_of(
    st.tuples(st.just("publish"), st.lists(st.sampled_from(["one", "two"]), unique=True)),
    st.tuples(st.just("refuse"), st.just([])),
    st.tuples(st.just("commit"), st.lists(st.sampled_from(["one", "two"]), min_size=1, max_size=1)),
    st.tuples(st.just("turn"), st.just([])),
)


@given(st.lists(STEP, max_size=40))
def test_nothing_is_acked_before_all_its_commits(steps: Sequence[tuple[str, list[str]]]) -> None:
    publisher = Publisher()
    growing = {"one": Batch(), "two": Batch()}
    waits: dict[int, list[Batch]] = {}
    refused: set[int] = set()
    number = 0
    for what, logs in steps:
        if what == "publish":
            number += 1
            commits = [growing[log] for log in logs]
            waits[number] = commits
            if len(commits) > 1:
                publisher.confirms.accepted_by(commits)
            else:
                publisher.confirms.accepted(1, commits[0] if commits else None)
        elif what == "refuse":
            number += 1
            refused.add(number)
            publisher.confirms.refused()
        elif what == "commit":
            batch, growing[logs[0]] = growing[logs[0]], Batch()
            batch.commit()
        else:
            publisher.turn()
        assert not publisher.acked & refused
        assert publisher.nacked <= refused
        assert all(batch.committed for tag in publisher.acked for batch in waits[tag])
    for batch in growing.values():
        batch.commit()
    publisher.turn()
    assert publisher.acked | publisher.nacked == set(range(1, number + 1))
    assert publisher.nacked == refused
    assert publisher.confirms.unconfirmed == 0
