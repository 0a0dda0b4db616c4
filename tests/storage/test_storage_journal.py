"""The journal over an engine in memory: what is committed when, what is written, and what the log then says."""

from __future__ import annotations

from functools import partial

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, invariant, multiple, rule

from amqpd.core.message import Message
from amqpd.core.ports import DROP_PURGED, Recovered
from amqpd.storage.errors import StorageError
from amqpd.storage.journal.fold import Fold, recovered
from amqpd.storage.journal.format import MORE, Moved, records
from amqpd.storage.journal.journal import GROWTH_MAX, LET_IN, Journal
from amqpd.storage.memory import MemoryEngine

QUEUES = (1, 2, 3)
ROUTING = b"\x00\x01q"
TO_ONE, TO_BOTH = (1,), (1, 2)


def message(number: int, content: bytes | tuple[bytes, ...] = b"content") -> Message:
    return (number, ROUTING, content, 1, 0)


def no_failure(error: Exception) -> None:
    raise error


def open_journal(engine: MemoryEngine, extent_octets: int = 1 << 20) -> Journal:
    journal = Journal(engine, lambda: 1000, no_failure, extent_octets)
    journal.recover(QUEUES)
    return journal


def state(engine: MemoryEngine) -> dict[int, list[Recovered]]:
    """The fold of the log as it is."""
    fold = Fold(QUEUES)
    for batch in engine.replay():
        fold.apply(batch)
    return {queue: recovered(found, fold.found) for queue, found in fold.queues.items() if found.messages}


# ------------------------------------------------------------------------------------------- commits


def test_what_has_grown_is_committed_when_the_engine_has_done() -> None:
    engine = MemoryEngine(at_once=False)
    journal = open_journal(engine)
    calls: list[str] = []
    first = journal.enqueue([message(1)], TO_ONE)
    first.when_committed(lambda: calls.append("first"))
    journal.hand_over()
    second = journal.enqueue([message(3)], TO_ONE)
    second.when_committed(lambda: calls.append("second"))
    journal.hand_over()
    assert first is not second
    assert calls == [] and state(engine) == {}
    engine.commit()
    assert calls == ["first"]
    assert [found.message[0] for found in state(engine)[1]] == [1]
    engine.commit()
    assert calls == ["first", "second"], "what grew during the append goes without another turn"
    first.when_committed(lambda: calls.append("late"))
    assert calls[-1] == "late"


def test_everything_of_a_turn_shares_a_commit() -> None:
    journal = open_journal(MemoryEngine(at_once=False))
    assert journal.enqueue([message(1)], TO_ONE) is journal.enqueue([message(3)], TO_BOTH)


def test_a_group_that_writes_nothing_is_committed_with_the_next_hand_over() -> None:
    journal = open_journal(MemoryEngine())
    calls: list[int] = []
    journal.group(lambda: None).when_committed(lambda: calls.append(1))
    journal.hand_over()
    assert calls == [1]


def test_a_failed_append_is_reported_once_and_nothing_is_confirmed_any_more() -> None:
    engine = MemoryEngine(at_once=False)
    failures: list[Exception] = []
    journal = Journal(engine, lambda: 0, failures.append)
    journal.recover(QUEUES)
    calls: list[int] = []
    journal.enqueue([message(1)], TO_ONE).when_committed(lambda: calls.append(1))
    journal.hand_over()
    journal.enqueue([message(3)], TO_ONE).when_committed(lambda: calls.append(3))
    error = StorageError("no space left on device")
    engine.fail(error)
    journal.hand_over()
    engine.commit()
    assert failures == [error] and calls == [] and state(engine) == {}
    journal.close(True)
    assert state(engine) == {}


# ------------------------------------------------------------------------------------- what is written


def test_messages_of_one_plan_share_a_run() -> None:
    engine = MemoryEngine()
    journal = open_journal(engine)
    for number in range(1, 2001, 2):
        journal.enqueue([message(number, b"x")], TO_ONE)
    journal.hand_over()
    *_, last = engine.replay()
    assert last.records == 1 and last.last_id == 1999
    assert last.octets < 1000 * 14 + 200


def test_what_differs_in_anything_is_a_run_of_its_own_and_keeps_its_place() -> None:
    engine = MemoryEngine()
    journal = open_journal(engine)
    given = [
        (1, ROUTING, b"a", 1, 0),
        (3, b"\x00\x01z", b"a", 1, 0),
        (5, ROUTING, b"a", 2, 0),
        (7, ROUTING, (b"a", b"b"), 2, 99),
    ]
    for number, each in enumerate(given):
        journal.enqueue([each], TO_ONE, priority=number == 3)
    journal.hand_over()
    assert [found.message for found in state(engine)[1]] == given


def test_a_message_that_came_and_went_in_one_batch_is_not_written() -> None:
    engine = MemoryEngine()
    journal = open_journal(engine)
    written = len(engine.log)
    calls: list[int] = []
    journal.enqueue([message(1)], TO_BOTH).when_committed(lambda: calls.append(1))
    journal.settle(1, [1])
    journal.settle(2, [1])
    journal.hand_over()
    assert len(engine.log) == written and calls == [1] and journal.live.references == 0


def test_a_message_that_one_of_its_queues_still_has_is_written() -> None:
    engine = MemoryEngine()
    journal = open_journal(engine)
    journal.enqueue([message(1)], TO_BOTH)
    journal.settle(1, [1])
    journal.hand_over()
    assert list(state(engine)) == [2]
    assert journal.live.references == 1


def test_only_the_settles_of_what_was_not_written_are_left_out() -> None:
    engine = MemoryEngine()
    journal = open_journal(engine)
    journal.enqueue([message(1)], TO_ONE)
    journal.hand_over()
    for number in (3, 5, 7):
        journal.enqueue([message(number)], TO_ONE)
    for number in (1, 5):
        journal.settle(1, [number])
    journal.hand_over()
    assert [found.message[0] for found in state(engine)[1]] == [3, 7]
    *_, last = engine.replay()
    assert [r.ranges for r in records(last) if isinstance(r, Moved)] == [[(range(1, 3, 2), 0)]]
    assert journal.live.references == 2


def test_drops_and_returns_are_written() -> None:
    engine = MemoryEngine()
    journal = open_journal(engine)
    for number in (1, 3, 5):
        journal.enqueue([message(number)], TO_ONE)
    journal.hand_over()
    journal.returned(1, 1, 1)
    journal.returned(1, 5, 1)
    journal.returned(1, 5, 2)
    journal.drop(1, (3,), DROP_PURGED)
    journal.drop(1, (), DROP_PURGED)
    journal.hand_over()
    assert state(engine)[1] == [Recovered(message(1), True, 1), Recovered(message(5), True, 2)]


# ------------------------------------------------------------------------------------------ start, stop


def test_after_an_orderly_stop_flags_are_exact_and_after_a_crash_all_are_redelivered() -> None:
    engine = MemoryEngine()
    journal = open_journal(engine)
    journal.enqueue([message(1)], TO_ONE)
    journal.enqueue([message(3)], TO_ONE)
    journal.hand_over()
    journal.returned(1, 3, 4)
    journal.close(True)
    found = Journal(engine, lambda: 0, no_failure).recover(QUEUES)
    assert found.clean and found.next_message_id == 4
    assert found.messages[1] == [Recovered(message(1), False, 0), Recovered(message(3), True, 4)]
    found = Journal(engine, lambda: 0, no_failure).recover(QUEUES)
    assert not found.clean, "the start after the orderly stop was not followed by one"
    assert found.messages[1] == [Recovered(message(1), True, 0), Recovered(message(3), True, 4)]


def test_a_stop_writes_what_has_grown_and_what_flies_once() -> None:
    engine = MemoryEngine(at_once=False)
    engine.max_batch = 200
    journal = open_journal(engine)
    for number in range(1, 101, 2):
        journal.enqueue([message(number)], TO_ONE)
    journal.hand_over()
    journal.enqueue([message(101)], TO_ONE)
    journal.close(True)
    engine.at_once = True
    found = Journal(engine, lambda: 0, no_failure).recover(QUEUES)
    assert [each.message[0] for each in found.messages[1]] == list(range(1, 102, 2))


def test_ids_are_not_given_again_even_when_the_log_has_nothing_of_them() -> None:
    engine = MemoryEngine()
    journal = open_journal(engine)
    journal.enqueue([message(41)], TO_ONE)
    journal.settle(1, [41])
    journal.close(True)
    assert Journal(engine, lambda: 0, no_failure).recover(QUEUES).next_message_id == 42


def test_records_of_an_unknown_queue_are_garbage() -> None:
    engine = MemoryEngine()
    journal = open_journal(engine)
    journal.enqueue([message(1)], TO_BOTH)
    journal.close(True)
    again = Journal(engine, lambda: 0, no_failure)
    assert again.recover([2, 9]).messages == {2: [Recovered(message(1), False, 0)], 9: []}
    assert again.live.references == 1


# ----------------------------------------------------------------------------------------------- groups


def grouped_log() -> MemoryEngine:
    """A log whose last group is of many batches."""
    engine = MemoryEngine()
    engine.max_batch = 100
    journal = open_journal(engine)
    journal.enqueue([message(1)], TO_ONE)
    journal.hand_over()

    def dead_letter() -> None:
        journal.drop(1, [1], DROP_PURGED)
        for number in range(3, 43, 2):
            journal.enqueue([message(number, b"dead" * 10)], (2,))

    calls: list[int] = []
    journal.group(dead_letter).when_committed(lambda: calls.append(1))
    journal.hand_over()
    assert calls == [1]
    return engine


def test_a_group_over_several_batches_is_there_as_a_whole() -> None:
    engine = grouped_log()
    assert sum(1 for batch in engine.replay() if batch.flags & MORE) > 3
    assert list(state(engine)) == [2] and len(state(engine)[2]) == 20


def test_an_incomplete_group_is_not_applied_now_nor_after_more_was_written() -> None:
    whole = grouped_log()
    start = next(at for at, batch in enumerate(whole.replay()) if batch.flags & MORE)
    for end in range(start + 1, len(whole.log)):
        engine = MemoryEngine()
        engine.log = whole.log[:end]
        journal = Journal(engine, lambda: 0, no_failure)
        found = journal.recover(QUEUES)
        assert found.messages == {1: [Recovered(message(1), True, 0)], 2: [], 3: []}
        assert found.next_message_id > 41, "ids of the lost group are not given again"
        journal.enqueue([message(101)], (3,))
        journal.hand_over()
        assert {queue: len(rows) for queue, rows in state(engine).items()} == {1: 1, 3: 1}


# ------------------------------------------------------------------------------------------------ space


def test_the_head_is_cut_when_nothing_lives_in_it_and_the_settles_are_committed() -> None:
    engine = MemoryEngine(at_once=False)
    journal = open_journal(engine, extent_octets=400)
    for number in range(1, 41, 2):
        journal.enqueue([message(number, b"x" * 200)], TO_BOTH)
        journal.hand_over()
        engine.commit()
    first = engine.first
    for number in range(1, 40, 2):
        journal.settle(1, [number])
    journal.hand_over()
    engine.commit()
    assert engine.first == first, "the other queue still has them"
    for number in range(1, 31, 2):
        journal.settle(2, [number])
    journal.hand_over()
    assert engine.first == first, "a settle that is not committed does not count"
    engine.commit()
    assert engine.first > first + 10
    assert [found.message[0] for found in state(engine)[2]] == [31, 33, 35, 37, 39]
    assert journal.live.references == 5


def test_a_forgotten_queue_keeps_nothing_alive() -> None:
    engine = MemoryEngine()
    journal = open_journal(engine, extent_octets=400)
    for number in range(1, 41, 2):
        journal.enqueue([message(number, b"x" * 200)], TO_BOTH if number < 20 else TO_ONE)
        journal.hand_over()
    first = engine.first
    journal.enqueue([message(41)], TO_BOTH)
    journal.forget_queue(1)
    journal.hand_over()
    assert engine.first == first and journal.live.references == 11
    journal.settle(1, [5])
    journal.forget_queue(2)
    journal.hand_over()
    assert journal.live.references == 0 and engine.first > first + 10
    journal.settle(2, [7])
    journal.hand_over()
    assert journal.live.references == 0


class Queues(RuleBasedStateMachine):
    """Random lives of messages. At any moment the log's fold is the model; a restart finds it."""

    messages = Bundle("messages")

    @initialize(max_batch=st.sampled_from([150, 1 << 20]), extent_octets=st.sampled_from([1, 300, 1 << 20]))
    def begin(self, max_batch: int, extent_octets: int) -> None:
        self.engine = MemoryEngine(at_once=False)
        self.engine.max_batch = max_batch
        self.extent_octets = extent_octets
        self.next_id = 1
        self.journal = open_journal(self.engine, extent_octets)
        self.model: dict[int, dict[int, Recovered]] = {queue: {} for queue in QUEUES}
        self.durable = {queue: dict(rows) for queue, rows in self.model.items()}
        self.plans = [(ROUTING, (1,)), (ROUTING, (1, 2)), (b"\x01e\x00", (3,))]

    @rule(target=messages, plan=st.integers(0, 2), size=st.integers(0, 300), long=st.booleans(), n=st.integers(1, 3))
    def enqueue(self, plan: int, size: int, long: bool, n: int) -> object:
        routing, queues = self.plans[plan]
        made = []
        for _ in range(n):
            content = (b"h", b"x" * size) if long else b"x" * size
            each: Message = (self.next_id, routing, content, 1, 0)
            self.next_id += 2
            self.journal.enqueue([each], queues)
            for queue in queues:
                self.model[queue][each[0]] = Recovered(each, False, 0)
                made.append((queue, each[0]))
        return multiple(*made)

    @rule(it=messages)
    def settle(self, it: tuple[int, int]) -> None:
        if self.model[it[0]].pop(it[1], None):
            self.journal.settle(it[0], [it[1]])

    @rule(it=messages)
    def come_back(self, it: tuple[int, int]) -> None:
        row = self.model[it[0]].get(it[1])
        if row is not None:
            self.model[it[0]][it[1]] = Recovered(row.message, True, row.deliveries + 1)
            self.journal.returned(*it, row.deliveries + 1)

    @rule(queue=st.sampled_from(QUEUES))
    def purge(self, queue: int) -> None:
        self.journal.drop(queue, list(self.model[queue]), DROP_PURGED)
        self.model[queue].clear()

    @rule()
    def commit_all(self) -> None:
        self.journal.hand_over()
        while self.engine.pending is not None:
            self.engine.commit()
        self.durable = {queue: dict(rows) for queue, rows in self.model.items()}

    @rule(clean=st.booleans())
    def restart(self, clean: bool) -> None:
        if clean:
            self.journal.close(True)
            self.durable = {queue: dict(rows) for queue, rows in self.model.items()}
        self.engine.pending = None
        self.journal = Journal(self.engine, lambda: 0, no_failure, self.extent_octets)
        found = self.journal.recover(QUEUES)
        assert found.clean == clean
        expected = {
            queue: [row if clean else row._replace(redelivered=True) for row in rows.values()]
            for queue, rows in self.durable.items()
        }
        assert found.messages == expected
        self.model = {queue: {row.message[0]: row for row in rows} for queue, rows in found.messages.items()}
        self.durable = {queue: dict(rows) for queue, rows in self.model.items()}

    @invariant()
    def the_log_says_what_is_durable(self) -> None:
        if self.journal.flying is None:
            assert state(self.engine) == {queue: list(rows.values()) for queue, rows in self.durable.items() if rows}
            assert self.journal.live.references == sum(map(len, self.durable.values()))


Queues.TestCase.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
TestQueues = Queues.TestCase


@pytest.mark.parametrize("queues", [1, 3])
def test_places_can_be_read_again(queues: int) -> None:
    engine = MemoryEngine(at_once=False)
    journal = open_journal(engine)
    tail = engine.tail()
    journal.enqueue([message(1)], tuple(range(1, queues + 1)))
    journal.hand_over()
    engine.commit()
    answers: list[object] = []
    engine.read([tail], answers.append)
    assert answers == [[batch for batch in engine.replay() if batch.number == tail.batch]]


# ------------------------------------------------------------------------------------------------- weight


def test_a_batch_that_weighs_enough_says_so() -> None:
    journal = open_journal(MemoryEngine(at_once=False))
    commit = journal.enqueue([message(1)], TO_ONE)
    assert not commit.weigh(1, GROWTH_MAX // 2)
    assert commit.weigh(1, GROWTH_MAX // 2)
    journal.hand_over()
    assert not journal.enqueue([message(3)], TO_ONE).weigh(1, 0)


def test_who_waits_is_let_in_when_another_batch_grows() -> None:
    engine = MemoryEngine(at_once=False)
    journal = open_journal(engine)
    journal.enqueue([message(1)], TO_ONE)
    journal.hand_over()
    calls: list[int] = []
    commit = journal.enqueue([message(3)], TO_ONE)
    for number in range(2 * LET_IN + 1):
        commit.when_room(partial(calls.append, number))
    journal.hand_over()
    assert calls == []
    engine.commit()
    assert calls == list(range(LET_IN))
    journal.enqueue([message(5)], TO_ONE)
    engine.commit()
    assert calls == list(range(2 * LET_IN))


def test_those_who_wait_are_all_let_in_when_nothing_grows() -> None:
    engine = MemoryEngine(at_once=False)
    journal = open_journal(engine)
    calls: list[int] = []
    commit = journal.enqueue([message(1)], TO_ONE)
    for number in range(3 * LET_IN):
        commit.when_room(partial(calls.append, number))
    journal.hand_over()
    assert len(calls) == LET_IN
    engine.commit()
    assert len(calls) == 3 * LET_IN
